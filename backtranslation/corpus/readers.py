"""Documents from corpus files: HTML and text files, JSON lines, Parquet; for WARC and WET, see `archives`.

Reads a file as a stream and never holds more than one document. What is left out is noted in a `Tally`: skipped, if it
is not wanted; refused, if it cannot be used. A file that cannot be read at all raises DataError. Knows where a document
lies, not what it says: cutting it up is the work of `segments`.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backtranslation.corpus.archives import read_archive
from backtranslation.corpus.documents import (
    MAX_LICENSE,
    Document,
    Share,
    has_too_many_tags,
    is_garbled,
    usable_text,
)
from backtranslation.corpus.shards import FOLDER_FORMATS, HTML_SUFFIXES, TEXT_SUFFIXES, ShardIdentity
from backtranslation.errors import DataError
from backtranslation.files import open_binary, writable
from backtranslation.jobs.bounds import ALL, Items
from backtranslation.settings.corpus import Fields
from backtranslation.tally import Tally


def read_documents(
    path: Path, shard: ShardIdentity, fields: Fields, max_bytes: int, tally: Tally, items: Items = ALL
) -> Iterator[tuple[int, Document]]:
    """Yield the documents of a shard and the numbers of their records; pages of more than `max_bytes` are skipped.

    Counts `records/read` and what is left out in `tally`, but only of the `items` that are asked for. Raises DataError
    when nothing in the file can be read.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file() and not (path.is_dir() and shard.format in FOLDER_FORMATS):
        raise DataError(f"{path}: no file, which the format {shard.format} needs")
    if path.is_file() and path.stat().st_size == 0:
        tally.skip("files/empty", path.name)
        return
    share = Share(shard.split, shard.splits, items)
    for document in _read_file(path, shard, fields, share, max_bytes, tally):
        yield share.seen, document


def _read_file(
    path: Path, shard: ShardIdentity, fields: Fields, share: Share, max_bytes: int, tally: Tally
) -> Iterator[Document]:
    if shard.format in ("warc", "wet"):
        yield from read_archive(path, shard.format, share, max_bytes, tally)
    elif shard.format in FOLDER_FORMATS:
        yield from _read_files(path, shard.format == "html", share, max_bytes, tally)
    elif shard.format == "jsonl":
        yield from _read_json_lines(path, fields, share, max_bytes, tally)
    else:
        yield from _read_parquet(path, fields, share, max_bytes, tally)


def _read_files(path: Path, is_html: bool, share: Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """One HTML or text file, or all below a folder in the order of their paths; the address is the path."""
    suffixes = HTML_SUFFIXES if is_html else TEXT_SUFFIXES
    paths = _files_below(path, suffixes) if path.is_dir() else [path]
    if not paths:
        kind = "HTML" if is_html else "text"
        raise DataError(f"{path}: no {kind} file ({', '.join(suffixes)}) in this folder")
    for file in paths:
        if not share.takes_next():
            continue
        tally.counts["records/read"] += 1
        name = writable(str(file.relative_to(path)) if path.is_dir() else file.name)
        try:
            with open_binary(file) as stream:
                data = stream.read(max_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            tally.refuse("records/damaged", f"{name} ({error})")
            continue
        content = usable_text(data, None, name, max_bytes, tally)
        if content is not None and not (is_html and has_too_many_tags(content, name, tally)):
            yield Document(content, is_html, name, name, 0)


def _files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """All files below a folder with such suffixes, except hidden ones, which do not count as its content."""
    files = (file for file in folder.rglob("*") if file.name.lower().endswith(suffixes) and file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _read_json_lines(path: Path, fields: Fields, share: Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """Objects with a text or HTML field; blank lines are none."""
    file = writable(path.name)
    offset = 0
    with open_binary(path) as stream:
        while True:
            try:
                line = stream.readline(2 * max_bytes)
                length = len(line)
                too_large = length == 2 * max_bytes
                while line and not line.endswith(b"\n") and too_large:
                    line = stream.readline(1 << 20)
                    length += len(line)
            except (OSError, EOFError, zlib.error) as error:
                if not tally.counts["records/read"]:
                    raise DataError(f"{path}: cannot be read ({error})") from None
                share.note_damage(tally, f"{file} after byte {offset} ({error})")
                return
            if not length:
                return
            where = f"the line at byte {offset} of {file}"
            is_blank = not too_large and line.isspace()
            if not is_blank and share.takes_next():
                tally.counts["records/read"] += 1
                if too_large:
                    tally.skip("records/too large", f"{where}: {length:,} bytes")
                else:
                    yield from _json_document(line, fields, where, file, offset, max_bytes, tally)
            offset += length


def _json_document(
    line: bytes, fields: Fields, where: str, file: str, offset: int, max_bytes: int, tally: Tally
) -> Iterator[Document]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        tally.refuse("records/bad JSON", f"{where} ({error})")
        return
    if not isinstance(row, dict):
        tally.refuse("records/bad JSON", f"{where} (not an object)")
        return
    yield from _row_document(row, fields, where, file, offset, max_bytes, tally)


def _read_parquet(path: Path, fields: Fields, share: Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """Rows of a table with a text or HTML column."""
    import pyarrow
    from pyarrow import parquet

    file = writable(path.name)
    try:
        table = parquet.ParquetFile(path, buffer_size=1 << 20)
        names = table.schema_arrow.names
        columns = [name for name in (fields.url_field, fields.text_field, fields.html_field) if name in names]
        columns += [fields.license_field] if names.count(fields.license_field) == 1 else []  # it stops nothing
        if not {fields.text_field, fields.html_field} & set(columns):
            raise DataError(f"{path}: no column {fields.text_field!r} or {fields.html_field!r}")
        if repeated := [name for name in columns if names.count(name) > 1]:
            raise DataError(f"{path}: several columns are called {repeated[0]!r}")
        number = 0
        for batch in table.iter_batches(batch_size=1, columns=columns):
            if share.takes_next():
                tally.counts["records/read"] += 1
                row = {name: _cell(batch.column(name)) for name in columns}
                where = f"row {number} of {file}"
                yield from _row_document(row, fields, where, file, number, max_bytes, tally)
            number += 1
    except MemoryError:  # one of Arrow's is also an ArrowException
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # a column's name may be no UTF-8
        if not tally.counts["records/read"]:
            raise DataError(f"{path}: cannot be read as Parquet ({error})") from None
        share.note_damage(tally, f"{file} after row {number} ({error})")


def _cell(column: Any) -> Any:
    """The value in a column of one row, None if Python has none for it; bytes that are no UTF-8 are replaced."""
    import pyarrow

    try:
        return column[0].as_py()
    except UnicodeDecodeError:
        return column.cast(pyarrow.large_binary())[0].as_py().decode("utf-8", "replace")
    except (ValueError, OverflowError):  # a date out of range
        return None


def _row_document(
    row: dict[str, Any], fields: Fields, where: str, file: str, offset: int, max_bytes: int, tally: Tally
) -> Iterator[Document]:
    """The document of one row: its HTML where there is some, else its text."""
    html, text = row.get(fields.html_field), row.get(fields.text_field)
    content = html or text
    url = row.get(fields.url_field)
    if not isinstance(content, str):
        tally.refuse("records/no text", f"{where}: no {fields.text_field!r} or {fields.html_field!r} with text in it")
    elif len(content) > max_bytes:
        tally.skip("records/too large", f"{where}: {len(content):,} characters")
    elif is_garbled(content):
        tally.refuse("records/not text", where)
    elif not (html and has_too_many_tags(content, where, tally)):
        address = writable(url) if isinstance(url, str) else ""
        license = _license(row.get(fields.license_field))
        yield Document(writable(content), bool(html), address, file, offset, license)


def _license(given: Any) -> str | None:
    """The name of a license, or None for what is none: a page without one is a page all the same."""
    name = writable(given).strip() if isinstance(given, str) else ""
    return name if 0 < len(name) <= MAX_LICENSE else None
