"""Memory and time of the stages that go through the whole pool of candidates, which they have to do as a stream.

    python benchmarks/many_rows.py --rows 5_000_000 --folder build/many-rows

Makes short candidates, their segments and their scores in `--files` files (once), then runs by their command lines
select_candidates in three ways, build_report over three iterations, and deduplicate_segments over a tenth of the rows,
whose signatures it must hold. Prints a Markdown table with the most memory of each process.
"""

import argparse
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from many_shards import Measure, measure, pairs, settings, text

from backtranslation.files import Row, replace_file, write_json, write_rows
from backtranslation.jobs.costs import costs_value
from backtranslation.jobs.stage import port_options
from backtranslation.method.scores import NAMES
from backtranslation.settings.run import load_settings
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import Slice, spec

ROOT = Path(__file__).resolve().parent.parent
MODELS = ["M0", "M1", "M2", "M3"]
ODD = 0x9E3779B97F4A7C15  # a multiple of it, modulo 2^64, looks drawn at random, and none comes twice


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--files", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, required=True, help="where the files are made, if they are not yet")
    args = parser.parse_args()

    folder = args.folder.resolve()
    if not (folder / "made").exists():
        make_pool(folder, args.rows, args.files)
        make_texts(folder, args.rows // 10, args.files)
        make_evaluation(folder)
        (folder / "made").touch()
    shutil.rmtree(folder / "results", ignore_errors=True)
    print(f"{args.files} files; load {os.getloadavg()[0]:.1f}\n")
    print("| stage | rows | seconds | memory, MiB |\n|---|---|---|---|")
    selections = [
        Selection(threshold=4.5),
        Selection(threshold=4, top_n=args.rows // 5),
        Selection(by="expected", threshold=3.5),
    ]
    for number, selection in enumerate(selections, start=1):
        tell(
            f"select_candidates, by {selection.by}, top_n {selection.top_n}",
            args.rows,
            select(folder, number, selection),
        )
    tell("build_report", args.rows, report(folder))
    tell("deduplicate_segments", args.rows // 10, deduplicate(folder))


def tell(stage: str, rows: int, done: Measure) -> None:
    """Print a row."""
    print(f"| {stage} | {rows:,} | {done.seconds:,.0f} | {done.memory:,.0f} |", flush=True)


# Stages


def select(folder: Path, iteration: int, selection: Selection) -> Measure:
    """Select the candidates of an iteration."""
    outputs = {
        "curated": f"iterations/{iteration}/curated.jsonl.zst",
        "table": f"iterations/{iteration}/scores.parquet",
    }
    return run(folder, "select_candidates", {"selection": selection}, pool(folder, "candidates", "scores"), outputs)


def report(folder: Path) -> Measure:
    """Build the report of three iterations, all with the same scores."""
    results = folder / "results/iterations"
    inputs = pool(folder, "candidates", "segments", "last-scores") | {
        "template": ROOT / "backtranslation/report/page.html.jinja",
        "seed-train": folder / "seed.jsonl",
        "held-out": folder / "held_out.jsonl",
        "scores": sorted(results.glob("*/scores.parquet")),
        "curated": sorted(results.glob("*/curated.jsonl.zst")),
        "training-logs": [folder / "training.tsv" for _ in MODELS],
        "training-pairs": [folder / "training.pairs.json" for _ in MODELS],
        "losses": [folder / "loss.json" for _ in MODELS],
        "answers": [folder / "answers.jsonl" for _ in MODELS],
        "costs": folder / "costs.json",
    }
    values = {"settings": run_settings(), "models": MODELS, "comparisons": [], "random_seed": 1}
    return run(folder, "build_report", values, inputs, {"page": "report/index.html"})


def deduplicate(folder: Path) -> Measure:
    """Drop the repeated ones of many texts."""
    names = [path.name for path in sorted((folder / "texts").iterdir())]
    inputs = {"extracted": [folder / "texts" / name for name in names], "held-out": folder / "held_out.jsonl"}
    inputs["funnels"] = [folder / "funnel.json"] * len(names)
    outputs = {"segments": [f"kept/{name}" for name in names], "funnel": "funnel.tsv"}
    return run(folder, "deduplicate_segments", {}, inputs, outputs)


def run(folder: Path, stage: str, values: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]) -> Measure:
    """Run a stage by its command line; outputs lie below results/."""
    words = [sys.executable, f"{ROOT}/scripts/{stage}.py", "--spec", spec(**values), "--store", "results/store"]
    made = {name: [f"results/{path}" for path in as_list(paths)] for name, paths in outputs.items()}
    words += port_options({name: as_list(paths) for name, paths in (inputs | made).items()})
    return measure(words, folder)


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as the only item of one."""
    return value if isinstance(value, list) else [value]


def pool(folder: Path, *arguments: str) -> dict[str, Any]:
    """The files of the pool for some arguments of a stage."""
    return {name: sorted((folder / name.removeprefix("last-")).iterdir()) for name in arguments}


def run_settings() -> Slice:
    """Settings that the report can show."""
    return load_settings(settings(iterations=3))


# Files


def make_pool(folder: Path, rows: int, files: int) -> None:
    """Candidates, segments and scores, row by row the same; one candidate in fifty has no score."""
    share = -(-rows // files)
    for file in range(files):
        numbers = range(file * share, min((file + 1) * share, rows))
        for kind, line in (("candidates", candidate_line), ("segments", segment_line), ("scores", score_line)):
            with replace_file(folder / kind / f"{file:04}.jsonl.zst") as stream:
                stream.writelines(map(line, numbers))


def candidate_line(number: int) -> str:
    row_id = f"{number * ODD % 2**64:016x}"
    return f'{{"id": "{row_id}", "instruction": "Tell {row_id}", "response": "As {number}.", "rejection": null}}\n'


def segment_line(number: int) -> str:
    row_id = f"{number * ODD % 2**64:016x}"
    return f'{{"id": "{row_id}", "text": "As {number}.", "url": "https://example.org/{number}"}}\n'


def score_line(number: int) -> str:
    """A whole score, or none, and an expected one that is often near it."""
    value = number * ODD % 2**64
    score, expected = value % 50 // 10 + 1, 1 + (value >> 20) % 4000 / 1000
    reason = None if value % 50 else "no_score"
    row: Row = {"id": f"{value:016x}", "texts": [f"Score: {score}"], "finished": True, "label_mass": 0.9}
    row |= dict.fromkeys(NAMES) | {"score": None if reason else score, "expected_score": expected}
    return json.dumps(row | {"failures": dict.fromkeys(NAMES) | {"score": reason}}) + "\n"


def make_texts(folder: Path, rows: int, files: int) -> None:
    """Texts that deduplication can compare."""
    for file in range(files):
        generator = random.Random(file)
        write_rows(folder / f"texts/{file:04}.jsonl.zst", texts(generator, file, rows // files))
    write_json(folder / "funnel.json", {"source": "texts", "shard": "texts", "counts": {}})


def texts(generator: random.Random, file: int, rows: int) -> Iterator[Row]:
    return ({"id": f"{file}-{number}", "text": text(generator)} for number in range(rows))


def make_evaluation(folder: Path) -> None:
    """What else the report shows, small."""
    rows = [{"id": str(number)} | pair for number, pair in enumerate(pairs())]
    write_rows(folder / "seed.jsonl", rows)
    write_rows(folder / "held_out.jsonl", rows[:20])
    losses = [
        {"id": row["id"], "loss": 2.0 + index % 3, "tokens": 50, "failure": None} for index, row in enumerate(rows[:20])
    ]
    write_json(folder / "costs.json", costs_value([]))
    write_json(folder / "loss.json", {"loss": 2.5, "tokens": 1000, "pairs": losses})
    answers = ({"id": row["id"], "instruction": row["instruction"], "reference": row["response"], "answer": "Yes.",
                "failure": None} for row in rows[:20])  # fmt: skip
    write_rows(folder / "answers.jsonl", answers)
    write_json(folder / "training.pairs.json", {"seed": {"used": len(rows), "left_out": {}}})
    (folder / "training.tsv").write_text(
        "step\tloss\tlearning_rate\ttokens\tseconds\ttokens_per_second\tpadding\tmfu\n1\t2.5\t1e-05\t1000\t1.0\t1000.0\t0.1\t\n"
    )


if __name__ == "__main__":
    main()
