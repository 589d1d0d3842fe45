"""All scores of a candidate in one row. A score that it has not is a reason, never a number."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from backtranslation.errors import DataError
from backtranslation.files import Row, join_rows, read_rows
from backtranslation.method.gains import likelihood_gain
from backtranslation.method.score_parsing import expected_score, parse_score
from backtranslation.score_names import COLUMNS
from backtranslation.tally import exceeds

NAMES = tuple(COLUMNS.values())
LOW_LABEL_MASS = "low_label_mass"
NEVER_ASKED = {"prompt_too_long", "target_too_long", "empty_target"}  # counted where the model would have been asked
EXAMPLES = 3


@dataclass(frozen=True)
class Findings:
    """What was found out about a candidate: a row of each stage that looked at it."""

    judgement: Row | None
    forward: Row | None
    backward: Row | None

    @property
    def failure(self) -> str | None:
        """Why a stage could not look at the candidate."""
        parts = (self.judgement, self.forward, self.backward)
        return next((part["failure"] for part in parts if part and part["failure"]), None)


def read_findings(
    candidates: Path, judgements: Path | None, likelihoods: Path | None, backward_likelihoods: Path | None
) -> Iterator[tuple[Row, Findings]]:
    """The candidates that were not rejected, with what was found out about each."""
    rows = [row for row in read_rows(candidates) if row["rejection"] is None]
    parts = [
        [None] * len(rows) if path is None else [part for _, part in join_rows(candidates, path, _is_accepted)]
        for path in (judgements, likelihoods, backward_likelihoods)
    ]
    for row, *found in zip(rows, *parts, strict=True):
        yield row, Findings(*found)


def _is_accepted(candidate: Row) -> bool:
    return candidate["rejection"] is None


def score_candidate(row_id: str, found: Findings, label: str | None, min_label_mass: float) -> Row:
    """All scores that follow from what was found out, each alone; `label` stands before a score that was written.

    Gives {"id", "texts", "finished", "label_mass", "score", "expected_score", "likelihood", "backward_likelihood",
    "combined", "failures"}: null where there is nothing, and for each score why there is none, or null.
    """
    row: Row = {
        "id": row_id,
        **dict.fromkeys(("texts", "finished", "label_mass", *NAMES)),
        "failures": dict.fromkeys(NAMES),
    }
    if found.judgement:
        _add_rubric_scores(row, found.judgement, label, min_label_mass)
    for name, likelihood in (("likelihood", found.forward), ("backward_likelihood", found.backward)):
        if likelihood and likelihood["failure"]:
            row["failures"][name] = likelihood["failure"]
        elif likelihood:
            row[name] = round(likelihood_gain(likelihood), 6)
    return row


def _add_rubric_scores(row: Row, judgement: Row, label: str | None, min_label_mass: float) -> None:
    """Both scores are means over the samples that have one; nothing was written without a label.

    An expected score counts only where the labels have at least the probability `min_label_mass`.
    """
    failures, samples = row["failures"], judgement["samples"]
    if judgement["failure"]:
        failures |= dict.fromkeys(["expected_score", *(["score"] if label else [])], judgement["failure"])
        return
    row["label_mass"] = round(fmean(sample["label_mass"] for sample in samples), 6)
    meant = [sample["label_probabilities"] for sample in samples if sample["label_mass"] >= min_label_mass]
    if meant:
        row["expected_score"] = round(fmean(map(expected_score, meant)), 6)
    else:
        failures["expected_score"] = LOW_LABEL_MASS
    if not label:
        return
    row["texts"] = [sample["text"] for sample in samples]
    row["finished"] = all(sample["finished"] for sample in samples)
    parsed = [parse_score(text, label) for text in row["texts"]]
    written = [score for score, _ in parsed if score is not None]
    if written:
        row["score"] = round(fmean(written), 6)
    else:
        failures["score"] = parsed[0][1]


def check_unscored(rows: Sequence[Row], name: str, max_share: float) -> None:
    """Raise DataError, with counts by reason and three examples, if clearly too many rows lack the score of a name."""
    failed = [row for row in rows if row["failures"][name]]
    if not exceeds(len(failed), len(rows), max_share):
        return
    counts = Counter(row["failures"][name] for row in failed)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    examples = "\n".join(f"  {row['id']} ({row['failures'][name]}): {_example(row)}" for row in failed[:EXAMPLES])
    hint = (
        "\nscoring.method direct and likelihood need no text to be read (docs/selection.md)" if name == "score" else ""
    )
    raise DataError(
        f"{len(failed)} of {len(rows)} candidates have no {name} ({reasons}), more than scoring.max_unparsable_share ="
        f" {max_share}. For example:\n{examples}{hint}"
    )


def _example(row: Row) -> str:
    return repr(row["texts"][0]) if row["texts"] else f"label mass {row['label_mass']}"
