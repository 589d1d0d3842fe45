"""Files of rows: JSON lines, compressed with zstandard, written whole or not at all.

Knows nothing of what the rows mean.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, TextIO, cast

import zstandard

from backtranslation.errors import DataError

Row = dict[str, Any]


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a .jsonl, .jsonl.gz or .jsonl.zst file, one at a time.

    Raises DataError naming file and line when a line is not a JSON object or the file is truncated.
    """
    path = Path(path)
    with open_binary(path) as stream:
        number = 0
        try:
            for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8"), start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError(f"{path}: line {number} is not a JSON object")
                yield row
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: line {number}: not valid JSON ({error})") from None
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged after line {number} ({error})") from None


def row_hash(*parts: object, size: int = 8) -> str:
    """Hash of a few values as hexadecimal digits, two a byte: a name for a row, or a draw that follows from one."""
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=size).hexdigest()


def count_rows(path: Path) -> int:
    """Number of lines of a .jsonl, .jsonl.gz or .jsonl.zst file."""
    with open_binary(path) as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def writable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON and names of files may hold and UTF-8 has not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def open_binary(path: Path) -> IO[bytes]:
    """Open a file, unpacking it if its suffix says so. Reading raises OSError, EOFError or zlib.error if damaged."""
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdFile(path), 1 << 16)
    return path.open("rb")


class _ZstdFile(io.RawIOBase):
    """All frames of a zstandard file; unlike the zstandard package, it raises OSError when the last one is cut off."""

    def __init__(self, path: Path) -> None:
        from fastwarc.stream_io import ZstdReader

        self.file = path.open("rb")
        self.reader = ZstdReader(self.file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


def join_rows(
    left: str | Path, right: str | Path, keep_left: Callable[[Row], bool] = lambda row: True
) -> Iterator[tuple[Row, Row]]:
    """Pair the rows of two files that hold the same ids in the same order, one at a time.

    `keep_left` leaves out rows of the first file that the second never had. Raises DataError naming the first id that
    differs.
    """
    for a, b in zip_longest(filter(keep_left, read_rows(left)), read_rows(right)):
        if a is None or b is None or a["id"] != b["id"]:
            ids = [row["id"] if row else "the end" for row in (a, b)]
            raise DataError(f"{left} and {right} do not belong together: {ids[0]} against {ids[1]}")
        yield a, b


def write_rows(path: str | Path, rows: Iterable[Row]) -> int:
    """Write rows to a .jsonl or .jsonl.zst file and return their number."""
    count = 0
    with replace_file(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_json(path: str | Path, value: Any) -> None:
    """Write one JSON value, indented for people."""
    with replace_file(path) as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def link_file(source: str | Path, target: str | Path) -> None:
    """A hard link where the file system has them, a copy where not."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def replace_file(path: str | Path) -> Iterator[TextIO]:
    """A text stream to a neighbour of `path` that takes its place, synced to disk, only when all went well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as raw:
            compressed = path.suffix == ".zst"
            stream = zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) if compressed else raw
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
            yield text
            text.flush()
            if compressed:
                stream.flush(zstandard.FLUSH_FRAME)  # type: ignore[call-arg]
            raw.flush()
            os.fsync(raw.fileno())
            text.detach()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
