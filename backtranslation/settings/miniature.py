"""Settings of the generated world of the default run, and where its files lie."""

from typing import NamedTuple

from pydantic import Field

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
    folder = f"{results}/miniature"
    pages = [f"{folder}/pages-{number}.warc.gz" for number in range(1, warc_files + 1)]
    return MiniatureFiles(pages, f"{folder}/seed.jsonl", f"{folder}/held_out.jsonl", f"{folder}/truth.jsonl")
