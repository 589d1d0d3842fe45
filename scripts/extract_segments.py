"""Cut the passages under headers out of the pages of one shard, and drop what is no good passage.

Writes rows {"id", "text", "url", "source", "shard", "file", "record_offset", "heading_path", "license"}, the text as
Markdown, the license null where the page has none; the funnel: how many records, sections and segments there were, and
why which of them were left out; and a sample of the texts that were left out, rows {"id", "text", "reason", "url"}.
Stops, with counts and examples, if too many records cannot be used.
"""

from backtranslation.corpus.extraction import DroppedSample, extract_rows
from backtranslation.corpus.filters import check_languages
from backtranslation.corpus.shards import ShardIdentity
from backtranslation.files import write_json, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
from backtranslation.settings.limits import Limits
from backtranslation.settings.slices import Slice
from backtranslation.tally import Tally


class Spec(Slice):
    """Settings of this stage."""

    shard: ShardIdentity
    fields: Fields = Fields()
    segments: SegmentSettings = SegmentSettings()
    filters: SegmentFilters = SegmentFilters()
    limits: Limits = Limits()


def extract_segments(pages: Input, segments: Output, funnel: Output, dropped: Output, spec: Spec) -> None:
    """Write the segments of the shard, its funnel, and what it dropped.

    pages: corpus file, or folder of HTML files
    segments: segments of the shard, .jsonl.zst
    funnel: counts of what was kept and left out, .json
    dropped: a sample of what was left out, .jsonl.zst
    """
    check_languages(spec.filters.languages)

    tally, sample = Tally(), DroppedSample()
    write_rows(segments, extract_rows(pages, spec.shard, spec.fields, spec.segments, spec.filters, tally, sample))
    tally.check(tally.counts["records/read"], f"records of {pages}", spec.limits.max_unusable_share)
    write_json(funnel, {"source": spec.shard.source, "shard": spec.shard.name, "counts": tally.counts})
    write_rows(dropped, sample.rows)


if __name__ == "__main__":
    run_stage(extract_segments)
