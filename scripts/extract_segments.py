"""Cut the passages under headers out of the pages of one shard, and drop what is no good passage.

Writes rows {"id", "text", "url", "source", "shard", "file", "record_offset", "heading_path"}, the text as Markdown, and
the funnel: how many records, sections and segments there were, and why which of them were left out.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from backtranslation.corpus.filters import check_languages, navigation_pattern, reason_to_drop
from backtranslation.corpus.readers import Document, ShardIdentity, Tally, read_documents
from backtranslation.corpus.segments import Passage, cut_page, cut_text, segment_id
from backtranslation.files import Row, write_json, write_rows
from backtranslation.jobs.progress import Progress
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    shard: ShardIdentity
    fields: Fields = Fields()
    segments: SegmentSettings = SegmentSettings()
    filters: SegmentFilters = SegmentFilters()


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--input", type=Input, required=True, help="corpus file, or folder of HTML files")
    parser.add_argument("--segments", type=Output, required=True, help="output, .jsonl.zst")
    parser.add_argument("--funnel", type=Output, required=True, help="output, .json")
    return parser


def write_segments(args: argparse.Namespace) -> None:
    """Write the segments of the shard and its funnel."""
    spec = Spec.model_validate_json(args.spec)
    check_languages(spec.filters.languages)

    tally = Tally()
    write_rows(args.segments, extract_segments(Path(args.input), spec, tally))
    write_json(args.funnel, {"source": spec.shard.source, "shard": spec.shard.name, "counts": tally.counts})


def extract_segments(path: Path, spec: Spec, tally: Tally) -> Iterator[Row]:
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
    run_stage(__file__, build_parser(), write_segments)
