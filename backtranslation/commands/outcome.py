"""What came out of a run, in a few lines."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from backtranslation.commands.status import list_iterations
from backtranslation.layout import FUNNEL, HELD_OUT_LOSS, REPORT, TRUTH_MEASURES, find, locate


def describe_outcome(results: str | Path) -> list[str]:
    """What people ask of a results folder first, and the path of the report; what is not there yet is left out."""
    lines = [*_segments(results), *_iterations(results), *_losses(results), *_right_answers(results)]
    report = locate(results, REPORT)
    return lines + ([f"  report       {report}"] if report.exists() else [])


def _segments(results: str | Path) -> Iterator[str]:
    path = locate(results, FUNNEL)
    if path.exists():
        counts: Counter[str] = Counter()
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                counts[row["step"]] += int(row["count"])
        kept, cut, read = (counts[step] for step in ("segments/kept", "segments/extracted", "records/read"))
        yield f"  segments     {kept:,} kept of {cut:,} that were cut out of {read:,} pages"


def _iterations(results: str | Path) -> Iterator[str]:
    iterations = list_iterations(Path(results))
    if iterations:
        yield f"  candidates   {iterations[0].scored:,} segments with an instruction that can be used"
        selected = ", ".join(f"{item.selected:,} in iteration {item.number}" for item in iterations)
        unparsable = max(item.unparsable_share for item in iterations)
        yield f"  selected     {selected} ({100 * unparsable:.1f} % of the candidates have no score)"


def _losses(results: str | Path) -> Iterator[str]:
    losses = [
        f"{found['model']} {loss:.3f}"
        for found, path in find(results, HELD_OUT_LOSS)
        if (loss := json.loads(path.read_text(encoding="utf-8"))["loss"]) is not None
    ]
    if losses:
        yield f"  models       held-out loss: {', '.join(losses)}"


def _right_answers(results: str | Path) -> Iterator[str]:
    path = locate(results, TRUTH_MEASURES)
    if path.exists():
        measures = json.loads(path.read_text(encoding="utf-8"))
        right = [row for row in measures if row["measure"] == "right answers"]
        shares = [f"{row['model_or_iteration']} {row['value']:.3f}" for row in right]
        yield f"  answers      right: {', '.join(shares)}"
