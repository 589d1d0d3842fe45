"""Draw candidates by chance, as many as the last iteration selects, whatever their scores.

Writes rows {"id", "instruction", "response"} in the order of the candidates.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from backtranslation.files import Row, count_rows, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.method.controls import draw_candidates
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    random_seed: int


def draw_random_candidates(candidates: list[Input], curated: Input, drawn: Output, spec: Spec) -> None:
    """Draw among all candidates, whether they could be scored or not; of the selection, only its size counts.

    candidates: candidates of every shard, .jsonl.zst
    curated: the last iteration's selected pairs, .jsonl.zst
    drawn: the drawn pairs, .jsonl.zst
    """
    ids = draw_candidates((row["id"] for row in accepted_rows(candidates)), count_rows(curated), spec.random_seed)
    pairs = ({name: row[name] for name in ("id", "instruction", "response")} for row in accepted_rows(candidates))
    log.info("%d candidates drawn", write_rows(drawn, (pair for pair in pairs if pair["id"] in ids)))


def accepted_rows(paths: list[Path]) -> Iterator[Row]:
    """The candidates that can be used."""
    return (row for row in chain.from_iterable(map(read_rows, paths)) if row["rejection"] is None)


if __name__ == "__main__":
    run_stage(draw_random_candidates)
