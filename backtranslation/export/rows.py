"""What can be exported, read out of the results as streams: pairs with their origin, answers, judgements.

Only the files of the present shards, iterations and models are read, never what an earlier run left.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from backtranslation import layout
from backtranslation.errors import DataError, UserError
from backtranslation.export.pairs import Pair, origin
from backtranslation.files import Row, join_rows, read_rows


@dataclass(frozen=True)
class Run:
    """A results folder, and the names of its shards in their order."""

    results: Path
    shards: Sequence[str]

    def file(self, pattern: str, **wildcards: object) -> Path:
        """A result. Raises UserError if it is not there yet."""
        path = layout.locate(self.results, pattern, **wildcards)
        if not path.exists():
            raise UserError(f"{path}: not there yet: run the workflow first")
        return path

    def files(self, pattern: str, **wildcards: object) -> list[Path]:
        """A result of every shard."""
        return [self.file(pattern, shard=shard, **wildcards) for shard in self.shards]


def curated_pairs(run: Run, iteration: int) -> Iterator[Pair]:
    """The pairs that were selected in an iteration, as they are: without a tag sentence."""
    rows = read_rows(run.file(layout.CURATED, iteration=iteration))
    for row, segment in with_segments(run, rows):
        yield Pair(row["instruction"], row["response"], origin(row["id"], "augmented", segment, row, iteration))


SCORED = {"failure": "string", "selected": "bool"}


def scored_candidates(run: Run, iteration: int, counting: str) -> Iterator[Pair]:
    """All candidates that were scored in an iteration, with the columns of SCORED besides.

    `failure` says why a pair has no score in the column that counts; `selected` whether it is in the curated set.
    """
    files = zip(run.files(layout.CANDIDATES), run.files(layout.SCORES, iteration=iteration), strict=True)
    joined = (pair for candidates, scores in files for pair in join_rows(candidates, scores, is_accepted))
    scored = (candidate | score | {"failure": score["failures"][counting]} for candidate, score in joined)
    rows = mark_selected(scored, run.file(layout.CURATED, iteration=iteration))
    for row, segment in with_segments(run, rows):
        found = origin(row["id"], "augmented", segment, row, iteration)
        yield Pair(row["instruction"], row["response"], found | {name: row[name] for name in SCORED})


def training_pairs(run: Run, model: str, show: Mapping[str, Callable[[str], str]]) -> Iterator[Pair]:
    """What a model learnt from, seed first, as it was shown; without the pairs that its training left out.

    `show` gives, by kind of pair, what the turn of a user holds who says an instruction or, to the backward model, a
    response.
    """
    counts = json.loads(run.file(layout.TRAINING_PAIRS, model=model).read_text(encoding="utf-8"))

    def shown(row: Row, found: Row) -> Pair:
        source, target = ("response", "instruction") if model == "backward" else ("instruction", "response")
        return Pair(show[found["kind"]](row[source]), row[target], found)

    for row in read_rows(run.file(layout.SEED)):
        if row["id"] not in counts["seed"]["left_out"]:
            yield shown(row, origin(row["id"], "seed"))
    iteration = iteration_of(model)
    augmented = chain.from_iterable(map(read_rows, augmented_files(run, model)))
    for row, segment in with_segments(run, filter(is_accepted, augmented)):
        if row["id"] not in counts["augmented"]["left_out"]:
            yield shown(row, origin(row["id"], "augmented", segment, row, iteration))


def augmented_files(run: Run, model: str) -> list[Path]:
    """What a model learns from besides the seed: nothing, its iteration's selection, random or all candidates."""
    if model == "unselected":
        return run.files(layout.CANDIDATES)
    if model == "random":
        return [run.file(layout.RANDOM_CANDIDATES)]
    iteration = iteration_of(model)
    return [run.file(layout.CURATED, iteration=iteration)] if iteration else []


def iteration_of(model: str) -> int | None:
    """The iteration whose selection a model learnt from: none for backward, M0, and the controls."""
    return int(model[1:]) or None if model[1:].isdigit() else None


def is_accepted(pair: Row) -> bool:
    """Whether an instruction was good enough for a candidate to be scored; a selected pair's was."""
    return pair.get("rejection") is None


def with_segments(run: Run, rows: Iterator[Row]) -> Iterator[tuple[Row, Row]]:
    """Each row with its segment, in one pass: rows stand in the order of the segments that they come from.

    Raises DataError for a row without one: what was selected is of other pages than there are now.
    """
    segments = chain.from_iterable(map(read_rows, run.files(layout.SEGMENTS)))
    for row in rows:
        segment = next((segment for segment in segments if segment["id"] == row["id"]), None)
        if segment is None:
            raise DataError(
                f"{run.results}: {row['id']} is no segment of the present corpus: its results are of another one, run"
                " the workflow first"
            )
        yield row, segment


def mark_selected(rows: Iterator[Row], curated: Path) -> Iterator[Row]:
    """The rows with `selected`: whether they are in the curated file, which has them in the same order.

    Raises DataError if it has others.
    """
    ids = (row["id"] for row in read_rows(curated))
    awaited = next(ids, None)
    for row in rows:
        is_selected = row["id"] == awaited
        awaited = next(ids, None) if is_selected else awaited
        yield row | {"selected": is_selected}
    if awaited is not None:
        raise DataError(f"{curated}: {awaited} is no scored candidate of the present corpus: run the workflow")


ANSWER = dict.fromkeys(("dataset", "instruction", "output", "generator"), "string")
JUDGEMENT = {
    **dict.fromkeys(("instruction", "output_1", "output_2", "generator_1", "generator_2", "annotator"), "string"),
    "preference": "float64",
}


def answers(run: Run, models: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """The answers of every model to the held-out instructions, as AlpacaEval reads them, with the model's name.

    A model that could not be asked has an empty one.
    """
    for model in models:
        for row in read_rows(run.file(layout.ANSWERS, model=model)):
            yield model, {
                "dataset": "held_out", "instruction": row["instruction"], "output": row["answer"], "generator": model,
            }  # fmt: skip


def judgements(run: Run, comparisons: Sequence[tuple[str, str]], judge: str) -> Iterator[tuple[str, Row]]:
    """Every comparison as AlpacaEval annotates, with its name: the later model is the second, the one that is measured.

    The preference is 1 plus the probability that its answer is the better one, the mean of both orders; None where the
    judge could not be asked.
    """
    for measured, baseline in comparisons:
        path = run.file(layout.JUDGEMENTS, first=measured, second=baseline)
        both = zip(
            join_rows(path, run.file(layout.ANSWERS, model=measured)),
            join_rows(path, run.file(layout.ANSWERS, model=baseline)),
            strict=True,
        )
        for (judgement, answer), (_, other) in both:
            yield f"{measured}-vs-{baseline}", {
                "instruction": answer["instruction"], "output_1": other["answer"], "output_2": answer["answer"],
                "generator_1": baseline, "generator_2": measured, "annotator": judge,
                "preference": preference(judgement),
            }  # fmt: skip


def preference(judgement: Row) -> float | None:
    """1 plus the mean probability of both orders that the first model's answer is the better one."""
    if judgement["failure"]:
        return None
    return float(1 + (judgement["first_wins_forward"] + judgement["first_wins_reversed"]) / 2)
