"""Settings of the generated world of the default run."""

from typing import NamedTuple

from pydantic import Field

from backtranslation.layout import MINIATURE_HELD_OUT, MINIATURE_PAGES, MINIATURE_SEED, MINIATURE_TRUTH, locate
from backtranslation.settings.slices import PositiveInt, Slice


class Miniature(Slice):
    """A generated world of web pages and pairs; see docs/miniature.md."""

    random_seed: int = Field(1, description="the same number gives the same world, byte for byte")
    pages: PositiveInt = Field(1000, description="number of web pages")
    warc_files: PositiveInt = Field(2, description="number of WARC files that hold the pages; each file is one shard")
    seed_pairs: PositiveInt = Field(160, description="number of pairs that stand for human-written ones")
    held_out_pairs: PositiveInt = Field(
        200, description="number of pairs for the evaluation, more varied than the seed pairs"
    )


class MiniatureFiles(NamedTuple):
    """Where the miniature world is written."""

    pages: list[str]
    seed: str
    held_out: str
    truth: str


def miniature_files(results: str, warc_files: int) -> MiniatureFiles:
    """Paths of the miniature world below the results folder."""
    pages = [locate(results, MINIATURE_PAGES, number=number) for number in range(1, warc_files + 1)]
    pairs_and_truth = [locate(results, pattern) for pattern in (MINIATURE_SEED, MINIATURE_HELD_OUT, MINIATURE_TRUTH)]
    return MiniatureFiles([str(path) for path in pages], *map(str, pairs_and_truth))
