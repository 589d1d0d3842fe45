"""What a hostile input is, and how the stages of the corpus and of the seed meet it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backtranslation.corpus.seed import iterate_pairs
from backtranslation.corpus.shards import ShardIdentity
from backtranslation.files import read_rows
from backtranslation.settings.corpus import Fields, SegmentSettings
from backtranslation.settings.seed import PairFormat
from backtranslation.tally import Tally
from scripts.extract_segments import Spec as ExtractionSpec
from scripts.extract_segments import extract_segments
from scripts.prepare_seed import Spec as SeedSpec
from scripts.prepare_seed import prepare_seed

Kind = Literal[
    "WARC", "WET", "HTML", "JSON lines", "Parquet", "seed", "template", "model folder", "configuration", "file name"
]
BOTH = frozenset({"Garden 1", "Garden 2"})
MEGABYTE = 1_000_000
PAGE_SECONDS = 3  # of the processor; the default is for pages that are honest, and long


@dataclass(frozen=True)
class Met:
    """What a stage made of an input: its counts by reason, and which of the good neighbours it kept."""

    counts: dict[str, int] = field(default_factory=dict)
    kept: frozenset[str] = BOTH


@dataclass(frozen=True)
class Case:
    """A hostile input, how it is built in an empty folder, what meets it, and what must come of it.

    `expected` is "fine", or the reason under which the funnel counts it; with `stops`, a part of the error's message.
    `kept` are the good neighbours that must still be there.
    """

    name: str
    kind: Kind
    build: Callable[[Path], Any]
    meet: Callable[[Any], Met]
    expected: str = "fine"
    stops: bool = False
    kept: frozenset[str] = BOTH
    needs_torch: bool = False


def good_text(number: int) -> str:
    """Paragraphs that no filter drops, like those of no other number."""
    return "\n\n".join(
        f"In the {number}th garden the {number * 31 + part}th bed has plants from the {number * 17 + part}th country, "
        f"and they grow best when {part} litres of rain fall in a week."
        for part in range(12)
    )


def good_page(number: int) -> str:
    """A page with one segment under the header `Garden <number>`."""
    paragraphs = "".join(f"<p>{paragraph}</p>" for paragraph in good_text(number).split("\n\n"))
    return f"<html><body><h1>Garden {number}</h1>{paragraphs}</body></html>"


def extract(file_format: str, **fields: str) -> Callable[[Path], Met]:
    """Cut the segments of a corpus file, as the stage does."""

    def meet(path: Path) -> Met:
        shard = ShardIdentity.model_validate({"name": "hostile", "source": "hostile", "format": file_format})
        segments, funnel = path.parent / "out" / "segments.jsonl.zst", path.parent / "out" / "funnel.json"
        dropped = path.parent / "out" / "dropped.jsonl.zst"
        settings = SegmentSettings(max_page_seconds=PAGE_SECONDS)
        extract_segments(
            path, segments, funnel, dropped, ExtractionSpec(shard=shard, fields=Fields(**fields), segments=settings)
        )
        headers = {header for row in read_rows(segments) for header in row["heading_path"]}
        return Met(json.loads(funnel.read_text())["counts"], BOTH & headers)

    return meet


def read_seed(pair_format: str = "auto", **settings: Any) -> Callable[[Path], Met]:
    """Read and divide the pairs of a file, as the stage does."""

    def meet(path: Path) -> Met:
        train, held_out = path.parent / "out" / "train.jsonl.zst", path.parent / "out" / "held-out.jsonl.zst"
        seed = PairFormat.model_validate({"format": pair_format, **settings})
        prepare_seed(
            path, None, train, held_out, SeedSpec(seed=seed, size=None, held_out=None, held_out_size=1, random_seed=1)
        )
        tally = Tally()
        for _ in iterate_pairs(path, seed, tally):
            pass
        instructions = {row["instruction"] for file in (train, held_out) for row in read_rows(file)}
        return Met(tally.counts, BOTH & instructions)

    return meet
