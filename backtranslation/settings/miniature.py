"""Settings of the generated world of the default run, and where its files lie."""

from typing import NamedTuple

from pydantic import Field

from backtranslation.settings.slices import PositiveInt, Slice


class Miniature(Slice):
    """The generated world of the default run; see docs/miniature.md."""

    random_seed: int = Field(1, description="the same number makes the same world, byte for byte")
    pages: PositiveInt = Field(1000, description="web pages, all kinds together")
    warc_files: PositiveInt = Field(2, description="the pages are spread over so many WARC files (= shards)")
    seed_pairs: PositiveInt = Field(160, description="human-written pairs")
    held_out_pairs: PositiveInt = Field(200, description="pairs for the evaluation, wider than the seed pairs")


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
