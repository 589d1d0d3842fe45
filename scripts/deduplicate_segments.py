"""Drop repeated segments, earlier shards first, and those that overlap with the held-out pairs.

Writes the segments that stay, one file per shard, and the funnel of all shards: a table with the columns source, shard,
step, count. What a shard keeps depends on itself, the shards before it and the held-out pairs.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from backtranslation.corpus.decontamination import ContaminationFinder
from backtranslation.corpus.deduplication import DuplicateFinder
from backtranslation.files import Row, read_rows, replace_file, write_rows
from backtranslation.jobs.progress import track
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.corpus import Decontamination, Deduplication
from backtranslation.settings.slices import Slice

BATCH = 1000  # segments in memory at once


class Spec(Slice):
    """Settings of this stage."""

    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination = Decontamination()


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--extracted", type=Input, nargs="*", default=[], help="segments of every shard, in order")
    parser.add_argument("--funnels", type=Input, nargs="*", default=[], help="their funnels")
    parser.add_argument("--held-out", type=Input, required=True, help="pairs of the evaluation, .jsonl.zst")
    # First, since a job's claim lies under its first output, and the first shard may change.
    parser.add_argument("--funnel", type=Output, required=True, help="output, .tsv")
    parser.add_argument("--segments", type=Output, nargs="*", default=[], help="output for every shard, .jsonl.zst")
    return parser


def deduplicate_segments(args: argparse.Namespace) -> None:
    """Go through the shards in order; a shard's rows are judged against all that was kept before."""
    spec = Spec.model_validate_json(args.spec)

    held_out = (row[field] for row in read_rows(args.held_out) for field in ("instruction", "response"))
    contamination = ContaminationFinder(held_out, spec.decontamination)
    duplicates = DuplicateFinder(spec.deduplication)
    table = []
    for extracted, funnel, output in zip(args.extracted, args.funnels, args.segments, strict=True):
        shard = json.loads(Path(funnel).read_text(encoding="utf-8"))
        counts = Counter(shard["counts"])
        kept = keep_rows(read_rows(extracted), contamination, duplicates, counts)
        counts["segments/kept"] = write_rows(output, kept)
        table += [(shard["source"], shard["shard"], step, count) for step, count in counts.items()]
    write_funnel(args.funnel, table)


def keep_rows(
    rows: Iterable[Row], contamination: ContaminationFinder, duplicates: DuplicateFinder, counts: Counter[str]
) -> Iterator[Row]:
    """Yield the segments that are neither held out nor repeated, counting the others."""
    stream = track(rows, total=None, unit="segments")
    while batch := list(islice(stream, BATCH)):
        clean = [row for row in batch if not contamination.is_contaminated(row["text"])]
        counts["segments/held out"] += len(batch) - len(clean)
        for row, reason in zip(clean, duplicates.judge([row["text"] for row in clean]), strict=True):
            if reason:
                counts[f"segments/{reason}"] += 1
            else:
                yield row


def write_funnel(path: str, table: list[tuple[str, str, str, int]]) -> None:
    """Write the counts of all shards."""
    with replace_file(path) as stream:
        stream.write("source\tshard\tstep\tcount\n")
        stream.writelines("\t".join(map(str, row)) + "\n" for row in table)


if __name__ == "__main__":
    run_stage(__file__, build_parser(), deduplicate_segments)
