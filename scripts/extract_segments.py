"""Cut the passages under headers out of the pages of one shard, and drop what is no good passage.

Writes rows {"id", "text", "url", "source", "shard", "file", "record_offset", "heading_path"}, the text as Markdown, and
the funnel: how many records, sections and segments there were, and why which of them were left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from backtranslation.corpus.filters import check_languages, navigation_pattern, reason_to_drop
from backtranslation.corpus.readers import Document, ShardIdentity, read_documents
from backtranslation.corpus.segments import Passage, cut_page, cut_text, segment_id
from backtranslation.files import Row, write_json, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import Progress
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
from backtranslation.settings.slices import Slice
from backtranslation.tally import Tally


class Spec(Slice):
    """Settings of this stage."""

    shard: ShardIdentity
    fields: Fields = Fields()
    segments: SegmentSettings = SegmentSettings()
    filters: SegmentFilters = SegmentFilters()


def extract_segments(pages: Input, segments: Output, funnel: Output, spec: Spec) -> None:
    """Write the segments of the shard and its funnel.

    pages: corpus file, or folder of HTML files
    segments: segments of the shard, .jsonl.zst
    funnel: counts of what was kept and left out, .json
    """
    check_languages(spec.filters.languages)

    tally = Tally()
    write_rows(segments, cut_segments(pages, spec, tally))
    write_json(funnel, {"source": spec.shard.source, "shard": spec.shard.name, "counts": tally.counts})


def cut_segments(path: Path, spec: Spec, tally: Tally) -> Iterator[Row]:
    """Yield the rows of a shard's segments, counting what is read and left out."""
    progress = Progress(total=None, unit="pages")
    navigation = navigation_pattern(spec.filters.navigation_headers)
    for document in read_documents(path, spec.shard, spec.fields, spec.segments.max_page_bytes, tally):
        for passage in cut_document(document, spec.segments, navigation, tally):
            if reason := reason_to_drop(passage, spec.filters):
                tally.counts[f"segments/{reason}"] += 1
            else:
                yield segment_row(passage, document, spec.shard)
        progress.add()
    progress.tell()


def cut_document(
    document: Document, settings: SegmentSettings, navigation: re.Pattern[str], tally: Tally
) -> list[Passage]:
    """The passages of one page or text."""
    from resiliparse.parse.html import HTMLParserException

    cut = cut_page if document.is_html else cut_text
    try:
        return cut(document.content, settings, navigation, tally.counts)
    except HTMLParserException as error:
        tally.skip("records/unreadable HTML", f"{document.url} ({error})")
        return []


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
    }


if __name__ == "__main__":
    run_stage(extract_segments)
