"""A look at the first rows of a corpus file: whether they have what its format promises."""

import json
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from backtranslation.corpus.archives import ARCHIVE_HEADS
from backtranslation.corpus.shards import HTML_SUFFIXES, TEXT_SUFFIXES, Shard
from backtranslation.files import open_binary
from backtranslation.settings.corpus import Fields

ROWS = 5
LINE_BYTES = 1 << 20  # of a longer line only the job sees more


def first_rows_fault(shard: Shard, fields: Fields) -> str | None:
    """What is wrong with a corpus file, with the fields found in it, and what to do; None if nothing is.

    Looks for what the reader of the format would stop at, and no further: an empty file, or one bad row, is none.
    """
    path = Path(shard.path)
    if path.is_dir():
        return _folder_fault(path, shard.format)
    try:
        if not path.stat().st_size:
            return None
        if shard.format in ("warc", "wet"):
            return _archive_fault(path, shard.format)
        if shard.format == "jsonl":
            return _json_fault(path, fields)
        if shard.format == "parquet":
            return _parquet_fault(path, fields)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be read ({error})"
    return None


def _folder_fault(folder: Path, file_format: str) -> str | None:
    suffixes = TEXT_SUFFIXES if file_format == "text" else HTML_SUFFIXES
    if any(path.name.lower().endswith(suffixes) for path in folder.rglob("*")):
        return None
    other = "; for plain text set format: text" if file_format == "html" else ""
    return f"no file in this folder has the suffix {' or '.join(suffixes)}{other}"


def _archive_fault(path: Path, file_format: str) -> str | None:
    with path.open("rb") as stream:
        head = stream.read(16)
    return None if head.startswith(ARCHIVE_HEADS) else f"no {file_format.upper()} file (it begins with {head!r})"


def _json_fault(path: Path, fields: Fields) -> str | None:
    with open_binary(path) as stream:
        lines = [stream.readline(LINE_BYTES) for _ in range(ROWS)]
    if any(len(line) == LINE_BYTES for line in lines):
        return None
    if lines[0].lstrip().startswith(b"["):
        return "a JSON array, where JSON lines belong: write one object a line (`jq -c '.[]'` does)"
    rows = [row for line in lines if line.strip() and (row := _parse(line)) is not None]
    if not rows:
        return "no JSON lines: none of the first lines is an object"
    wanted = (fields.text_field, fields.html_field)
    if any(isinstance(row.get(name), str) for row in rows for name in wanted):
        return None
    return _no_field(fields, sorted({name for row in rows for name in row}))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _parquet_fault(path: Path, fields: Fields) -> str | None:
    import pyarrow
    from pyarrow import parquet

    try:
        names = parquet.read_schema(path).names
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        return f"no Parquet file ({str(error).splitlines()[0]})"
    return None if {fields.text_field, fields.html_field} & set(names) else _no_field(fields, names)


def _no_field(fields: Fields, found: Sequence[str]) -> str:
    names = ", ".join(map(repr, islice(found, 12)))
    return (
        f"no text in a field {fields.text_field!r} or {fields.html_field!r} (fields found: {names}): name the right one"
        " in text_field or html_field"
    )
