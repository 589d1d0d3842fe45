"""From a corpus file to its segments, whatever the file holds: pages that take too much are dropped and counted.

Pages are read and cut in a child process, which ends when one of them takes too long or too much memory (see
`jobs.bounds`); the others lose nothing by it.
"""

import re
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backtranslation.corpus.documents import Document
from backtranslation.corpus.filters import navigation_pattern, reason_to_drop
from backtranslation.corpus.readers import read_documents
from backtranslation.corpus.segments import Dropped, Passage, cut_page, cut_text, segment_id
from backtranslation.corpus.shards import ShardIdentity
from backtranslation.errors import DataError
from backtranslation.files import Row, row_hash
from backtranslation.jobs.bounds import Ended, Items, work_in_bounds
from backtranslation.jobs.progress import Progress
from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
from backtranslation.tally import Tally

MAX_MEMORY = 700 << 20  # bytes for reading and cutting; the whole stage needs less than 1 GiB
SAMPLE_SIZE = 200
MIN_SAMPLE_CHARS, MAX_SAMPLE_CHARS = 20, 2000  # a shorter text is the label of a button, a longer one is cut


@dataclass
class DroppedSample:
    """Some of the texts of a shard that became no segment, those with the smallest hashes; equal texts count once."""

    rows: list[Row] = field(default_factory=list)
    draws: list[str] = field(default_factory=list)

    def add(self, row: Row) -> bool:
        """Take a row in if its text is drawn, in place of the one drawn last; whether it was."""
        draw = row_hash(row["text"])
        if draw in self.draws or (len(self.draws) == SAMPLE_SIZE and draw > self.draws[-1]):
            return False
        insort(self.draws, draw)
        self.rows.insert(self.draws.index(draw), row)
        del self.draws[SAMPLE_SIZE:], self.rows[SAMPLE_SIZE:]
        return True


def extract_rows(
    path: Path,
    shard: ShardIdentity,
    fields: Fields,
    settings: SegmentSettings,
    filters: SegmentFilters,
    tally: Tally,
    sample: DroppedSample,
) -> Iterator[Row]:
    """Yield a shard's segments as they are stored; count what is read and left out in `tally`, and sample it.

    Raises DataError when nothing in the file can be read.
    """

    def cut_documents(items: Items) -> Iterator[tuple[int, tuple[list[Row], list[Row], Tally]]]:
        navigation = navigation_pattern(filters.navigation_headers)
        number = items.after
        for number, document in read_documents(path, shard, fields, settings.max_page_bytes, tally, items):
            dropped: list[Dropped] = []
            passages = keep_passages(document, settings, filters, navigation, tally, dropped)
            rows = [segment_row(passage, document, shard) for passage in passages]
            drawn = [row for row in dropped_rows(dropped, document.url) if sample.add(row)]
            yield number, (rows, drawn, tally)
        yield number, ([], [], tally)  # what was left out after the last document

    progress = Progress(total=None, unit="records")
    for made in work_in_bounds(cut_documents, settings.max_page_seconds, MAX_MEMORY):
        if isinstance(made, Ended):
            note_end(made, path, tally)
            continue
        rows, drawn, counted = made
        vars(tally).update(vars(counted))
        for row in drawn:
            sample.add(row)
        yield from rows
        progress.add(tally.counts["records/read"] - progress.done)
    if tally.refused and not tally.counts["records/read"] and shard.splits == 1:
        raise DataError(f"{path}: no record of it can be read ({tally.examples[0]})")
    progress.tell()


def note_end(ended: Ended, path: Path, tally: Tally) -> None:
    """Count what the process that read it did not survive."""
    if ended.number is None:
        tally.refuse("files/damaged stretch", f"the rest of {path.name}: its reader {ended.reason}")
    else:
        tally.counts["records/read"] += 1
        tally.refuse(f"records/{ended.reason}", f"record {ended.number:,} of {path.name}")


def keep_passages(
    document: Document,
    settings: SegmentSettings,
    filters: SegmentFilters,
    navigation: re.Pattern[str],
    tally: Tally,
    dropped: list[Dropped],
) -> Iterator[Passage]:
    """The passages of one page or text that pass the filters; those that do not are added to `dropped`."""
    from resiliparse.parse.html import HTMLParserException

    cut = cut_page if document.is_html else cut_text
    try:
        passages = cut(document.content, settings, navigation, tally.counts, dropped)
    except HTMLParserException as error:
        tally.refuse("records/unreadable HTML", f"{document.url} ({error})")
        return
    for passage in passages:
        if reason := reason_to_drop(passage, filters):
            tally.counts[f"segments/{reason}"] += 1
            dropped.append(Dropped(passage.text, reason))
        else:
            yield passage


def dropped_rows(dropped: list[Dropped], url: str) -> Iterator[Row]:
    """Dropped texts of a page as they are stored, without the shortest."""
    for one in dropped:
        if len(one.text) >= MIN_SAMPLE_CHARS:
            text = one.text[:MAX_SAMPLE_CHARS]
            yield {"id": segment_id(url, text), "text": text, "reason": one.reason, "url": url}


def segment_row(passage: Passage, document: Document, shard: ShardIdentity) -> Row:
    """A segment as it is stored."""
    return {
        "id": segment_id(document.url, passage.text),
        "text": passage.text,
        "url": document.url,
        "source": shard.source,
        "shard": shard.name,
        "file": document.file,
        "record_offset": document.record_offset,
        "heading_path": list(passage.heading_path),
        "license": document.license,
    }
