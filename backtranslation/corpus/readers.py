"""Documents from corpus files: WARC, WET, HTML files, JSON lines, Parquet, plain text.

Reads a file as a stream and never holds more than one document. What is left out is noted in a `Tally`: skipped, if it
is not wanted; refused, if it cannot be used. A file that cannot be read at all raises DataError. Knows where a document
lies, not what it says: cutting it up is the work of `segments`. Importing this module is cheap, so that the list of
shards can be made while a workflow is planned.
"""

import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field

from backtranslation.corpus.decoding import decode_text
from backtranslation.errors import DataError, UserError
from backtranslation.files import open_binary
from backtranslation.jobs.bounds import ALL, Items
from backtranslation.settings.corpus import Fields, Source
from backtranslation.settings.slices import PositiveInt, Slice
from backtranslation.tally import Tally

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
TEXT_SUFFIXES = (".txt", ".txt.gz", ".txt.zst")
SUFFIXES = {
    "warc": (".warc", ".warc.gz", ".warc.zst"),
    "wet": (".warc.wet", ".warc.wet.gz", ".warc.wet.zst", ".wet", ".wet.gz", ".wet.zst"),
    "html": HTML_SUFFIXES,
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"),
    "parquet": (".parquet",),
    "text": TEXT_SUFFIXES,
}
FOLDER_FORMATS = ("html", "text")
# Start of a record, or of the packed member that holds one, by kind of file: where reading goes on after damage.
PLAIN_START = re.compile(rb"WARC/1\.\d\r?\n[A-Za-z-]+:")
PACKED_STARTS = {
    b"\x1f\x8b": re.compile(rb"\x1f\x8b\x08[\x00-\x1f].{4}[\x00\x02\x04][\x00-\x0d\xff](?!\x03\x00\x00{8})", re.DOTALL),
    b"\x28\xb5": re.compile(rb"\x28\xb5\x2f\xfd"),
    b"\x5d\x2a": re.compile(rb"\x28\xb5\x2f\xfd"),  # begins with a dictionary
}
LONGEST_START = 64
ARCHIVE_HEADS = (b"WARC/1.", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18")
MAX_REREAD = 4  # times the length of a file: what looks like a record in damaged data is tried no longer than that
ARCHIVED_TYPES = {"warc": ("text/html", "application/xhtml+xml"), "wet": ("text/plain",)}
MAX_ENCODINGS = 3
BLOCK = 1 << 16
MAX_TAGS = 300_000  # a parsed page takes up to 700 bytes of memory per tag, however short the page


class ShardIdentity(Slice):
    """What identifies a shard, without the place of its file."""

    name: str
    source: str
    format: Literal["warc", "wet", "html", "jsonl", "parquet", "text"]
    split: PositiveInt = Field(1, description="which part of the file, from 1 on")
    splits: PositiveInt = Field(1, description="records are dealt out to so many parts in turn")


class Shard(ShardIdentity):
    """One corpus file (or folder of HTML or text files), or one part of it."""

    path: str

    def without_path(self) -> ShardIdentity:
        """The part that a result depends on."""
        return ShardIdentity(**self.model_dump(exclude={"path"}))


@dataclass(frozen=True)
class Document:
    """One page or text, and where it came from.

    `record_offset` is a byte offset in WARC files and (uncompressed) JSON lines, a row number in Parquet, 0 in HTML
    files. `file` is the file's name, below the folder where the input is a folder.
    """

    content: str
    is_html: bool
    url: str
    file: str
    record_offset: int


def list_shards(sources: Collection[Source], promised: Collection[str] = ()) -> list[Shard]:
    """All shards in the order of the sources; names do not change when files are added.

    `promised` are files that need not exist yet, because the run makes them. Raises UserError, with a line for every
    fault that names the source: a path that matches nothing or whose format is unknown, two shards of one name.
    """
    shards: dict[str, Shard] = {}
    faults: list[str] = []
    for source in sources:
        for pattern in source.paths:
            try:
                for path, name in _matching_files(pattern, promised):
                    _add_shards(shards, source, path, name)
            except UserError as error:
                faults.append(f"config: corpus.sources: {source.name}: {error}")
    if faults:
        raise UserError("\n".join(faults))
    return list(shards.values())


def _add_shards(shards: dict[str, Shard], source: Source, path: str, name: str) -> None:
    """Add the shards of one file. Raises UserError if the names are taken, or Snakemake cannot be given the path."""
    if "{" in path or path != _writable(path):
        raise UserError(
            f"{path!r}: names with braces, or that are no UTF-8, mean something else to Snakemake: rename it"
        )
    for split in range(1, source.splits + 1):
        part = f".part{split}" if source.splits > 1 else ""
        shard = Shard(
            name=f"{source.name}-{name}{part}", source=source.name, path=path, format=_file_format(source, path),
            split=split, splits=source.splits,
        )  # fmt: skip
        if shard.name in shards:
            raise UserError(_collision(shards[shard.name].path, path, shard.name))
        shards[shard.name] = shard


def _collision(first: str, second: str, shard: str) -> str:
    """What to do where two files would be one shard."""
    globs = [f"*{_known_suffix(path)}" for path in (first, second)]
    by_suffix = f", with the globs {globs[0]} and {globs[1]}" if globs[0] != globs[1] else ""
    return f"{first} and {second} would both be shard {shard}: give them to two sources with different names{by_suffix}"


def _matching_files(pattern: str, promised: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, name of its shard within the source), sorted. Raises UserError if there is nothing to read."""
    if not re.search(r"[*?\[]", pattern):
        named = Path(pattern)
        if not named.exists() and pattern not in promised:
            raise UserError(f"{pattern} does not exist (looked in {Path.cwd()})")
        if named.exists() and not (named.is_file() or named.is_dir()):
            raise UserError(f"{pattern} is neither a regular file nor a folder, and only these are read")
        yield pattern, _shard_name(named.name)
        return
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if re.search(r"[*?\[]", part))
    root = Path(*parts[:fixed])
    found = {str(path) for path in root.glob(str(Path(*parts[fixed:]))) if path.is_file()}
    found |= {path for path in promised if fnmatchcase(path, pattern)}
    if not found:
        raise UserError(f"{pattern} matches no file (looked in {Path.cwd()})")
    for path in sorted(found):
        yield path, _shard_name(str(Path(path).relative_to(root)))


def _known_suffix(path: str) -> str:
    """The longest suffix of a path that says a format; empty if there is none."""
    suffixes = (suffix for known in SUFFIXES.values() for suffix in known if path.endswith(suffix))
    return max(suffixes, key=len, default="")


def _shard_name(relative_path: str) -> str:
    stem = relative_path.removesuffix(_known_suffix(relative_path))
    return re.sub(r"[^A-Za-z0-9._-]", "_", stem or relative_path)


def _file_format(source: Source, path: str) -> str:
    if Path(path).is_dir():
        if source.format not in ("auto", *FOLDER_FORMATS):
            raise UserError(f"{path} is a folder: name its files by a glob, {path.rstrip('/')}/*")
        return "html" if source.format == "auto" else source.format
    if source.format != "auto":
        return source.format
    suffix = _known_suffix(path)
    for name, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return name
    raise UserError(f"the suffix of {path} says no format; set format to one of {', '.join(SUFFIXES)}")


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
    share = _Share(shard.split, shard.splits, items)
    for document in _read_file(path, shard, fields, share, max_bytes, tally):
        yield share.seen, document


def _read_file(
    path: Path, shard: ShardIdentity, fields: Fields, share: "_Share", max_bytes: int, tally: Tally
) -> Iterator[Document]:
    if shard.format in ("warc", "wet"):
        yield from _read_archive(path, shard.format, share, max_bytes, tally)
    elif shard.format in FOLDER_FORMATS:
        yield from _read_files(path, shard.format == "html", share, max_bytes, tally)
    elif shard.format == "jsonl":
        yield from _read_json_lines(path, fields, share, max_bytes, tally)
    else:
        yield from _read_parquet(path, fields, share, max_bytes, tally)


@dataclass
class _Share:
    """Deals records out to the parts of a file in turn; of its own, a part takes those that are still to be read."""

    split: int
    splits: int
    items: Items
    seen: int = 0

    def takes_next(self) -> bool:
        """Whether the next record is to be read."""
        self.seen += 1
        return (self.seen - self.split) % self.splits == 0 and self.items.begin(self.seen)

    def note_damage(self, tally: Tally, where: str) -> None:
        """Count a damaged stretch after the record seen last, unless an earlier process did."""
        if self.seen >= self.items.after:
            tally.refuse("files/damaged stretch", where)


def _read_archive(path: Path, file_format: str, share: _Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """Records of a WARC or WET file; after damage, reading continues at the next record or compressed member."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kinds = WarcRecordType.conversion if file_format == "wet" else WarcRecordType.response | WarcRecordType.resource
    file = _writable(path.name)
    found_any = False

    def note_any(_record: Any) -> bool:
        nonlocal found_any
        found_any = True
        return True

    record_start = _record_start(path)
    is_packed = record_start is not PLAIN_START
    reread, most = 0, MAX_REREAD * path.stat().st_size
    start: int | None = 0
    with path.open("rb") as stream:
        while start is not None:
            position, went_on, fault = start, start == 0, ""
            stream.seek(position)
            try:
                for record in ArchiveIterator(stream, func_filter=note_any):
                    position, went_on = record.stream_pos, True
                    if record.record_type & kinds and share.takes_next():
                        yield from _archive_document(record, file, file_format, max_bytes, tally)
            except OSError as error:
                fault = str(error)
            if fault and not found_any and position == 0 and not _begins_like_archive(path):
                break
            reread += stream.tell() - position
            start = None
            if (fault or is_packed) and reread <= most:  # an empty member passes for the end of a packed file
                start = _next_start(stream, record_start, position + 1)
            if went_on and (fault or start is not None):  # else this is still the same damage
                share.note_damage(tally, f"{file} after byte {position} ({fault or 'an empty stretch'})")
    if reread > most:
        share.note_damage(tally, f"the rest of {file}: too much in it looks like a record and is none")
    elif not found_any:
        raise DataError(f"{path}: not a {file_format.upper()} file ({fault or 'no record in it'})")


def _begins_like_archive(path: Path) -> bool:
    """Whether the first bytes are those of a WARC or WET file, packed or not."""
    with path.open("rb") as stream:
        return stream.read(16).startswith(ARCHIVE_HEADS)


def _record_start(path: Path) -> re.Pattern[bytes]:
    """How records, or the members that hold them, start in a file of this kind."""
    with path.open("rb") as stream:
        return PACKED_STARTS.get(stream.read(2), PLAIN_START)


def _next_start(stream: IO[bytes], pattern: re.Pattern[bytes], position: int) -> int | None:
    """Offset of the next thing from `position` on that looks like the start of a record."""
    stream.seek(position)
    kept = b""
    while chunk := stream.read(1 << 20):
        window = kept + chunk
        if found := pattern.search(window):
            return position - len(kept) + found.start()
        kept = window[-LONGEST_START:]
        position += len(chunk)
    return None


def _archive_document(record: Any, file: str, file_format: str, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """The document of one record, or nothing."""
    tally.counts["records/read"] += 1
    url = record.headers.get("WARC-Target-URI") or ""
    where = f"{url or 'a record'} at byte {record.stream_pos} of {file}"
    kind = (record.http_content_type if record.is_http else record.headers.get("Content-Type")) or ""
    content_type = kind.split(";")[0].strip().lower()
    status = record.http_headers.status_code if record.is_http and record.http_headers else 200
    if not url:
        tally.skip("records/no address", where)
    elif status != 200:
        tally.skip("records/HTTP status other than 200", f"{where}: {status}")
    elif content_type not in ARCHIVED_TYPES[file_format]:
        tally.skip("records/not HTML", f"{where}: {kind}")
    elif record.content_length > max_bytes:
        tally.skip("records/too large", f"{where}: {record.content_length:,} bytes")
    else:
        declared_length = record.content_length
        charset = record.http_charset if record.is_http else None
        try:
            data = record.reader.read(declared_length)
            if len(data) < declared_length:
                tally.refuse("records/cut short", f"{where}: {len(data):,} of {declared_length:,} bytes")
                return
            if record.is_http and record.http_headers:
                data = _unpack(data, record.http_headers, max_bytes)
        except OSError as error:
            tally.refuse("records/damaged", f"{where} ({error})")
            return
        is_html = file_format == "warc"
        content = _usable_text(data, charset, where, max_bytes, tally)
        if content is not None and not (is_html and _has_too_many_tags(content, where, tally)):
            yield Document(content, is_html, _writable(url), file, record.stream_pos)


def _unpack(data: bytes, headers: Any, max_bytes: int) -> bytes:
    """The body of an HTTP response without its encodings, but not much more than `max_bytes`.

    Raises OSError for damage. What is not packed as the headers say has been unpacked by whoever wrote the archive.
    """
    from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader, ZstdReader

    readers: dict[str, Callable[[Any], Any]] = {
        "gzip": GzipReader, "x-gzip": GzipReader, "deflate": partial(GzipReader, zlib=True), "br": BrotliReader,
        "zstd": ZstdReader, "chunked": ChunkedReader,
    }  # fmt: skip
    named = [headers.get(name) or "" for name in ("Content-Encoding", "Transfer-Encoding")]
    encodings = [word.strip().lower() for word in ",".join(named).split(",")]
    known = [encoding for encoding in reversed(encodings) if encoding in readers]
    if len(known) > MAX_ENCODINGS:
        raise OSError(f"{len(known)} encodings, one upon the other")
    stream: Any = BytesIO(data)
    for encoding in known:
        if not (len(known) == 1 and encoding.endswith("gzip") and not data.startswith(b"\x1f\x8b")):
            stream = readers[encoding](stream)
    unpacked = BytesIO()
    while unpacked.tell() <= max_bytes and (block := stream.read(BLOCK)):
        unpacked.write(block)
    return unpacked.getvalue()


def _read_files(path: Path, is_html: bool, share: _Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
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
        name = _writable(str(file.relative_to(path)) if path.is_dir() else file.name)
        try:
            with open_binary(file) as stream:
                data = stream.read(max_bytes + 1)
        except (OSError, EOFError, zlib.error) as error:
            tally.refuse("records/damaged", f"{name} ({error})")
            continue
        content = _usable_text(data, None, name, max_bytes, tally)
        if content is not None and not (is_html and _has_too_many_tags(content, name, tally)):
            yield Document(content, is_html, name, name, 0)


def _files_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """All files below a folder with such suffixes, except hidden ones, which do not count as its content."""
    files = (file for file in folder.rglob("*") if file.name.lower().endswith(suffixes) and file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _read_json_lines(path: Path, fields: Fields, share: _Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """Objects with a text or HTML field; blank lines are none."""
    file = _writable(path.name)
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
            if not too_large and line.isspace():
                pass
            elif share.takes_next():
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


def _read_parquet(path: Path, fields: Fields, share: _Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """Rows of a table with a text or HTML column."""
    import pyarrow
    from pyarrow import parquet

    file = _writable(path.name)
    try:
        table = parquet.ParquetFile(path, buffer_size=1 << 20)
        names = table.schema_arrow.names
        columns = [name for name in (fields.url_field, fields.text_field, fields.html_field) if name in names]
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
    elif _is_garbled(content):
        tally.refuse("records/not text", where)
    elif not (html and _has_too_many_tags(content, where, tally)):
        yield Document(_writable(content), bool(html), _writable(url) if isinstance(url, str) else "", file, offset)


def _writable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON and names of files may hold and UTF-8 has not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _usable_text(data: bytes, charset: str | None, where: str, max_bytes: int, tally: Tally) -> str | None:
    """The decoded bytes, or None with the reason counted."""
    if len(data) > max_bytes:
        tally.skip("records/too large", f"{where}: more than {max_bytes:,} bytes")
        return None
    if not data.strip():
        tally.skip("records/empty", where)
        return None
    text = decode_text(data, charset)
    if _is_garbled(text):
        tally.refuse("records/not text", where)
        return None
    return text


def _is_garbled(text: str) -> bool:
    """Whether more than 1 % of the characters are NULs, or stand for bytes that could not be read."""
    return text.count("\ufffd") + text.count("\0") > len(text) / 100


def _has_too_many_tags(html: str, where: str, tally: Tally) -> bool:
    if (tags := html.count("<")) <= MAX_TAGS:
        return False
    tally.skip("records/too many tags", f"{where}: {tags:,}")
    return True
