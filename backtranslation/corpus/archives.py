"""Documents from WARC and WET files; after damage, reading continues at the next record that can be found."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from backtranslation.corpus.documents import Document, Share, has_too_many_tags, usable_text
from backtranslation.errors import DataError
from backtranslation.files import writable
from backtranslation.tally import Tally

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


def read_archive(path: Path, file_format: str, share: Share, max_bytes: int, tally: Tally) -> Iterator[Document]:
    """Records of a WARC or WET file; after damage, reading continues at the next record or compressed member."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kinds = WarcRecordType.conversion if file_format == "wet" else WarcRecordType.response | WarcRecordType.resource
    file = writable(path.name)
    found_any = False

    def note_any(_record: Any) -> bool:
        nonlocal found_any
        found_any = True
        return True

    record_start = _record_start(path)
    is_packed = record_start is not PLAIN_START
    reread, most = 0, MAX_REREAD * path.stat().st_size
    start: int | None = 0
    hidden = ""  # what may be an end too early, until a record is found behind it
    with path.open("rb") as stream:
        while start is not None:
            position, went_on, fault = start, start == 0, ""
            stream.seek(position)
            try:
                for record in ArchiveIterator(stream, func_filter=note_any):
                    if hidden:
                        share.note_damage(tally, hidden)
                        hidden = ""
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
            if went_on and fault:  # else this is still the same damage
                share.note_damage(tally, f"{file} after byte {position} ({fault})")
            elif went_on and start is not None:
                hidden = f"{file} after byte {position} (an empty stretch)"
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
        content = usable_text(data, charset, where, max_bytes, tally)
        if content is not None and not (is_html and has_too_many_tags(content, where, tally)):
            yield Document(content, is_html, writable(url), file, record.stream_pos)


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
