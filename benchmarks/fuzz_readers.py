"""Fuzzes what reads untrusted bytes: a change of the input that reaches new code is kept and changed further.

    python -m pip install atheris==3.0.0           # Python 3.11; not a dependency of the project
    python benchmarks/fuzz_readers.py warc corpus-folder -max_total_time=600 -max_len=20000 -timeout=20

The first argument is a target, the others go to libFuzzer: a folder of inputs, which grows, and options. An exception
that is no UserError, or an input that takes longer than the timeout, ends it and is written to `crash-...` or
`timeout-...`; what is found belongs into tests/helpers/hostile.
"""

import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["backtranslation"]):
    from backtranslation.corpus.decoding import decode_text
    from backtranslation.corpus.filters import navigation_pattern, reason_to_drop
    from backtranslation.corpus.readers import read_documents
    from backtranslation.corpus.seed import read_pairs
    from backtranslation.corpus.segments import Passage, cut_page, cut_text, segment_id
    from backtranslation.corpus.shards import ShardIdentity
    from backtranslation.errors import UserError
    from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
    from backtranslation.settings.seed import PairFormat
    from backtranslation.tally import Tally

SETTINGS = SegmentSettings(min_chars=1)
FILTERS = SegmentFilters()
NAVIGATION = navigation_pattern(FILTERS.navigation_headers)
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))


def main() -> None:
    """Command line."""
    logging.getLogger("backtranslation").setLevel(logging.CRITICAL)
    target = TARGETS[sys.argv[1]]

    def test(data: bytes) -> None:
        with suppress(UserError):
            target(data)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], test)
    atheris.Fuzz()


def reader(file_format: str, suffix: str) -> Callable[[bytes], None]:
    """A target that reads a file and cuts its documents."""
    path = FOLDER / f"pages{suffix}"
    shard = ShardIdentity.model_validate({"name": "fuzz", "source": "fuzz", "format": file_format})

    def read(data: bytes) -> None:
        path.write_bytes(data)
        tally = Tally()
        for _, document in read_documents(path, shard, Fields(), SETTINGS.max_page_bytes, tally):
            cut = cut_page if document.is_html else cut_text
            for passage in cut(document.content, SETTINGS, NAVIGATION, tally.counts, []):
                judge(passage, document.url)

    return read


def judge(passage: Passage, url: str) -> None:
    """What a stage does with a passage before it writes it."""
    reason_to_drop(passage, FILTERS)
    segment_id(url, passage.text)


def decode(data: bytes) -> None:
    """The first byte says how long a charset stands before the page."""
    length = data[0] if data else 0
    decode_text(data[1 + length :], data[1 : 1 + length].decode("latin-1")).encode()


def cut_html(data: bytes) -> None:
    """A page."""
    for passage in cut_page(data.decode(errors="replace"), SETTINGS, NAVIGATION, Tally().counts, []):
        judge(passage, "")


def cut_markdown(data: bytes) -> None:
    """A text."""
    for passage in cut_text(data.decode(errors="replace"), SETTINGS, NAVIGATION, Tally().counts, []):
        judge(passage, "")


def filter_passage(data: bytes) -> None:
    """A passage whose first line is its header."""
    header, _, text = data.decode(errors="replace").partition("\n")
    reason_to_drop(Passage(text, (header,)), SegmentFilters(max_symbol_share=1, max_header_capitals=1))


def seed(data: bytes) -> None:
    """Human-written pairs."""
    path = FOLDER / "seed.jsonl"
    path.write_bytes(data)
    read_pairs(path, PairFormat())


TARGETS: dict[str, Callable[[bytes], None]] = {
    "warc": reader("warc", ".warc"),
    "html": cut_html,
    "jsonl": reader("jsonl", ".jsonl"),
    "parquet": reader("parquet", ".parquet"),
    "decode": decode,
    "text": cut_markdown,
    "filters": filter_passage,
    "seed": seed,
}


if __name__ == "__main__":
    main()
