"""Drop repeated segments, earlier shards first, and those that overlap with the held-out pairs.

Writes the segments that stay, one file per shard, and the funnel of all shards: a table with the columns source, shard,
step, count. What a shard keeps depends on itself, the shards before it and the held-out pairs.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from backtranslation.corpus.decontamination import ContaminationFinder
from backtranslation.corpus.deduplication import DuplicateFinder
from backtranslation.files import Row, read_rows, replace_file, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import track
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.corpus import Decontamination, Deduplication
from backtranslation.settings.slices import Slice

BATCH = 1000  # segments in memory at once


class Spec(Slice):
    """Settings of this stage."""

    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination = Decontamination()


def deduplicate_segments(
    extracted: list[Input],
    funnels: list[Input],
    held_out: Input,
    funnel: Output,
    segments: list[Output],
    spec: Spec,
) -> None:
    """Go through the shards in order; a shard's rows are judged against all that was kept before.

    extracted: segments of every shard, in order
    funnels: their funnels
    held_out: pairs of the evaluation, .jsonl.zst
    funnel: the funnel of all shards, .tsv; named first, since people know a job by it and the first shard may change
    segments: the segments that stay, for every shard, .jsonl.zst
    """
    held_out_texts = (row[field] for row in read_rows(held_out) for field in ("instruction", "response"))
    contamination = ContaminationFinder(held_out_texts, spec.decontamination)
    duplicates = DuplicateFinder(spec.deduplication)
    table = []
    for shard_segments, shard_funnel, output in zip(extracted, funnels, segments, strict=True):
        shard = json.loads(shard_funnel.read_text(encoding="utf-8"))
        counts = Counter(shard["counts"])
        kept = keep_rows(read_rows(shard_segments), contamination, duplicates, counts)
        counts["segments/kept"] = write_rows(output, kept)
        table += [(shard["source"], shard["shard"], step, count) for step, count in counts.items()]
    write_funnel(funnel, table)


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


def write_funnel(path: Path, table: list[tuple[str, str, str, int]]) -> None:
    """Write the counts of all shards."""
    with replace_file(path) as stream:
        stream.write("source\tshard\tstep\tcount\n")
        stream.writelines("\t".join(map(str, row)) + "\n" for row in table)


if __name__ == "__main__":
    run_stage(deduplicate_segments)
