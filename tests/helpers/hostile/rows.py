"""Hostile corpus files of rows: JSON lines and Parquet, each with a good row before and after."""

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from helpers.hostile.archives import TEXTS, packed, zstd_bomb
from helpers.hostile.cases import BOTH, MEGABYTE, Case, extract, good_text

GOOD = [
    {"url": f"https://example.org/{number}", "text": f"# Garden {number}\n\n{good_text(number)}"} for number in (1, 2)
]
FIRST = frozenset({"Garden 1"})
NONE: frozenset[str] = frozenset()
BAD, NO_TEXT, DAMAGED = "records/bad JSON", "records/no text", "files/damaged stretch"


def json_lines(name: str, *lines: bytes | Callable[[], bytes], expected: str = "fine", **more: Any) -> Case:
    """A case of hostile lines, given as bytes or as what makes them."""

    def build(folder: Path) -> Path:
        path = folder / "pages.jsonl"
        with path.open("wb") as stream:
            for line in (json.dumps(GOOD[0]).encode(), *lines, json.dumps(GOOD[1]).encode()):
                stream.write((line if isinstance(line, bytes) else line()) + b"\n")
        return path

    return Case(name, "JSON lines", build, extract("jsonl"), expected, **more)


def whole_file(
    name: str, data: Callable[[], bytes], suffix: str = ".jsonl", expected: str = "fine", **more: Any
) -> Case:
    """A case of a whole file."""

    def build(folder: Path) -> Path:
        path = folder / f"pages{suffix}"
        path.write_bytes(data())
        return path

    return Case(name, "JSON lines", build, extract("jsonl"), expected, **more)


def row(**fields: Any) -> bytes:
    """A line; half surrogate pairs are escaped."""
    return json.dumps(fields).encode()


def in_row(text: Callable[[], bytes]) -> Callable[[], bytes]:
    """A line with a text that is made when it is written."""
    return lambda: row(url="a", text=text().decode(errors="replace"))


def lines_of(*rows: dict[str, Any]) -> bytes:
    """A file of good rows."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def noise(size: int, seed: int = 1) -> bytes:
    """So many bytes that look like chance, always the same."""
    return Random(seed).randbytes(size)


def long_file() -> bytes:
    """Good rows, and many after them that cannot be packed well."""
    return lines_of(*GOOD) + b"".join(row(text=noise(100, number).hex()) + b"\n" for number in range(2000))


def after_good(data: bytes) -> bytes:
    """Packed data behind packed good rows, with the same packer."""
    pack = gzip.compress if data.startswith(b"\x1f\x8b") else zstandard.compress
    return pack(lines_of(*GOOD)) + data


LONG = good_text(3)

JSON_CASES = [
    *(json_lines(f"text: {name}", in_row(text)) for name, text in TEXTS.items()),
    json_lines("half a surrogate pair in url", row(url="https://a/\ud800", text=f"# Garden 3\n\n{LONG}")),
    json_lines("half a surrogate pair in text", row(url="https://a/", text=f"# Garden \udfff\n\n\ud800 {LONG}")),
    json_lines("half a surrogate pair in html", row(url="https://a/", html=f"<h1>Garden \udfff</h1><p>{LONG}")),
    json_lines("half a surrogate pair in a key", row(**{"\ud800": 1, "text": f"# Garden 3\n\n{LONG}"})),
    json_lines("url with escapes", row(url="https://a/\x1b[2J\0\n", text=f"# Garden 3\n\n{LONG}")),
    json_lines("a million brackets", b"[" * 1_000_000, expected=BAD),
    json_lines("a million brackets, closed", b"[" * 1_000_000 + b"]" * 1_000_000, expected=BAD),
    json_lines("a million objects in one another", b'{"a":' * 1_000_000, expected=BAD),
    json_lines("nested 900 deep", b'{"text": "a", "b": ' + b"[" * 900 + b"]" * 900 + b"}"),
    json_lines("nested text", row(text=[[["a"]]]), expected=NO_TEXT),
    json_lines("a number of a million digits", b'{"text": ' + b"9" * MEGABYTE + b"}", expected="records/"),
    json_lines("a number of 4,300 digits", b'{"text": ' + b"9" * 4300 + b"}", expected=NO_TEXT),
    json_lines("a power beyond all", b'{"text": 1e999999999}', expected=NO_TEXT),
    json_lines("a million decimal places", b'{"text": 0.' + b"9" * MEGABYTE + b"}", expected=NO_TEXT),
    json_lines("no number", b'{"text": NaN, "html": -Infinity}', expected=NO_TEXT),
    json_lines("no number as url", b'{"text": "a", "url": NaN}'),
    json_lines("equal keys", b'{"text": "a", "text": 5}', expected=NO_TEXT),
    json_lines(
        "a million keys", lambda: b"{" + b",".join(b'"k%d":0' % k for k in range(1_000_000)) + b"}", expected=NO_TEXT
    ),
    json_lines("a key of 9 MB", b'{"' + b"k" * 9 * MEGABYTE + b'": 1}', expected=NO_TEXT),
    json_lines("an object without keys", b"{}", expected=NO_TEXT),
    json_lines("an array", b"[]", expected=BAD),
    json_lines("a string", b'"text"', expected=BAD),
    json_lines("null", b"null", expected=BAD),
    json_lines("empty lines", b"", b""),
    json_lines("NULs", bytes(1000), expected=BAD),
    json_lines("escaped NULs", row(url="\0", text="\0" * 1000 + LONG)),
    json_lines("no UTF-8", b'{"text": "\xff\xfe"}', expected=BAD),
    json_lines("two objects in a line", b'{"text": "a"} {"text": "b"}', expected=BAD),
    json_lines("half an object", b'{"text": "a', expected=BAD),
    json_lines("a string without an end", b'{"text": "' + b'\\"' * MEGABYTE, expected=BAD),
    json_lines("single quotes", b"{'text': 'a'}", expected=BAD),
    json_lines("text: null", row(text=None), expected=NO_TEXT),
    json_lines("text: a boolean", row(text=True), expected=NO_TEXT),
    json_lines("text: an object", row(text={"text": "a"}), expected=NO_TEXT),
    json_lines("text: a number, html: a list", row(text=5, html=["a"]), expected=NO_TEXT),
    json_lines("url: an object", row(url={"a": 1}, text=f"# Garden 3\n\n{LONG}")),
    json_lines("no text", row(text="")),
    json_lines("space as text", row(text=" \n ")),
    json_lines("a line of 50 MB", lambda: row(text="a" * 50_000_000), expected="records/too large"),
    json_lines("a line of 18 MB, escaped", lambda: b'{"text": "' + b"\\u0041" * 3_000_000 + b'"}'),
    json_lines("50 MB without a line end", lambda: b"x" * 50_000_000, expected="records/too large"),
    json_lines("a page of a million attributes", lambda: row(html="<p " + " ".join(f"a{k}" for k in range(1_000_000)))),
    json_lines("a million tags", row(html="<b>" * 1_000_000), expected="records/too many tags"),
    whole_file("a byte order mark", lambda: b"\xef\xbb\xbf" + lines_of(*GOOD)),
    whole_file("UTF-16", lambda: lines_of(*GOOD).decode().encode("utf-16"), expected=BAD, kept=NONE),
    whole_file("no line end at the end", lambda: lines_of(*GOOD).rstrip()),
    whole_file("line ends of Windows", lambda: lines_of(*GOOD).replace(b"\n", b"\r\n")),
    whole_file("line ends of old Macs", lambda: lines_of(*GOOD).replace(b"\n", b"\r"), expected=BAD, kept=NONE),
    whole_file("one array", lambda: json.dumps(GOOD).encode(), expected=BAD, kept=NONE),
    whole_file("a bare file", lambda: b"", expected="files/empty", kept=NONE),
    whole_file("garbage", lambda: noise(100_000), expected="jsonl", stops=True),
    whole_file("gzip that is none", lambda: b"garbage" * 1000, ".jsonl.gz", "cannot be read", stops=True),
    whole_file("gzip cut off", lambda: gzip.compress(long_file())[:-5000], ".jsonl.gz", DAMAGED),
    whole_file("gzip, 1 GB of zeros", lambda: after_good(packed(1000)), ".jsonl.gz", "records/too large"),
    whole_file("gzip, 20 MB of line ends", lambda: after_good(packed(20, b"\n" * MEGABYTE)), ".jsonl.gz"),
    whole_file("zstandard that is none", lambda: b"garbage" * 1000, ".jsonl.zst", "cannot be read", stops=True),
    whole_file("zstandard cut off", lambda: zstandard.compress(long_file())[:-5000], ".jsonl.zst", DAMAGED),
    whole_file("zstandard, 1 GB of zeros", lambda: after_good(zstd_bomb(1000)), ".jsonl.zst", "records/too large"),
]


def parquet(name: str, build_table: Callable[[Path], object], expected: str = "fine", **more: Any) -> Case:
    """A case of a Parquet file."""

    def build(folder: Path) -> Path:
        path = folder / "pages.parquet"
        build_table(path)
        return path

    return Case(name, "Parquet", build, extract("parquet"), expected, **more)


def table(*hostile: dict[str, Any], schema: pa.Schema | None = None, **options: Any) -> Callable[[Path], None]:
    """A table of rows between two good ones."""
    return lambda path: pq.write_table(
        pa.Table.from_pylist([GOOD[0], *hostile, GOOD[1]], schema=schema), path, **options
    )


def strings(values: list[bytes]) -> pa.Array:
    """A string column of any bytes, unchecked."""
    plain = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(plain), plain.buffers())


def columns(**arrays: Any) -> Callable[[Path], None]:
    """A table of columns."""
    return lambda path: pq.write_table(pa.table(arrays), path)


def bytes_of(hostile: bytes, column: str = "text") -> Callable[[Path], None]:
    """A table with any bytes in a string column."""
    values = {name: [GOOD[0][name].encode(), b"a", GOOD[1][name].encode()] for name in ("url", "text")}
    values[column][1] = hostile
    return lambda path: pq.write_table(pa.table({name: strings(cells) for name, cells in values.items()}), path)


def edited(edit: Callable[[bytearray], object], count: int = 2) -> Callable[[Path], None]:
    """A good table whose bytes are changed afterwards."""

    def build(path: Path) -> None:
        rows = [GOOD[number % 2] | {"noise": str(number)} for number in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        data = bytearray(path.read_bytes())
        edit(data)
        path.write_bytes(data)

    return build


def overwrite(place: slice, value: bytes) -> Callable[[bytearray], None]:
    """Replace some bytes."""

    def edit(data: bytearray) -> None:
        data[place] = value

    return edit


def no_utf8_name(path: Path) -> None:
    """A good table, one of whose columns has a name that cannot be decoded (found by fuzzing)."""
    edited(lambda data: None)(path)
    path.write_bytes(path.read_bytes().replace(b"noise", b"no\xff\xfee"))


def dictionary_bomb(path: Path) -> None:
    """A text of 9 MB that thirty rows refer to, with good rows before and after."""
    indices = pa.array([0, *[1] * 30, 2], pa.int32())
    texts = pa.array([GOOD[0]["text"], "a " * 4_500_000, GOOD[1]["text"]])
    chunks = [pa.DictionaryArray.from_arrays(indices, texts)]
    pq.write_table(pa.table({"text": pa.chunked_array(chunks)}), path, dictionary_pagesize_limit=100 * MEGABYTE)


def one_large_group(path: Path) -> None:
    """20 MB of texts in one row group, between two good rows."""
    texts = [GOOD[0]["text"], *[f"{number} " + "a" * 1000 for number in range(20_000)], GOOD[1]["text"]]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1_000_000, use_dictionary=False, compression="zstd")


def page_bomb(path: Path) -> None:
    """One text of 500 MB that takes a few kilobytes."""
    texts = pa.array([GOOD[0]["text"], "a" * 500_000_000, GOOD[1]["text"]])
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False, "row_group_size": 1}
    pq.write_table(pa.table({"text": texts}), path, **options)


def many_columns(path: Path) -> None:
    """Ten thousand columns that nobody asked for."""
    pq.write_table(pa.Table.from_pylist([row | {f"c{k}": k for k in range(10_000)} for row in GOOD]), path)


def nested_list(depth: int) -> pa.DataType:
    """Lists of lists."""
    return pa.string() if depth == 0 else pa.list_(nested_list(depth - 1))


TEXT = pa.schema([("url", pa.string()), ("text", pa.string())])

PARQUET_CASES = [
    parquet("no UTF-8 in text", bytes_of(b"\xff\xfe word " * 100)),
    parquet("no UTF-8 in url", bytes_of(b"\xff\xfe", "url")),
    parquet("half a surrogate pair in text", bytes_of(b"\xed\xa0\x80 word")),
    parquet("NULs", bytes_of(bytes(1000))),
    parquet("one text of 9 MB for thirty rows", dictionary_bomb),
    parquet("20 MB in one row group", one_large_group),
    parquet("a text of 500 MB", page_bomb, DAMAGED, kept=FIRST),
    parquet("10,000 columns", many_columns),
    parquet("null", table({"url": None, "text": None}), NO_TEXT),
    parquet("hash signs and spaces", table({"text": "# " * 4_500_000})),
    parquet(
        "large strings",
        lambda path: pq.write_table(
            pa.Table.from_pylist(GOOD).cast(pa.schema([("url", pa.large_string()), ("text", pa.large_string())])), path
        ),
    ),
    parquet("binary text", columns(text=[row["text"].encode() for row in GOOD]), "cannot be used", stops=True),
    parquet("numbers as text", columns(text=[1, 2]), "cannot be used", stops=True),
    parquet("lists as text", columns(text=[["a"], ["b"]]), "cannot be used", stops=True),
    parquet("objects as text", columns(text=[{"a": 1}, {"a": 2}]), "cannot be used", stops=True),
    parquet(
        "dates before all time as text",
        columns(text=pa.array([-(2**62), 2**62], pa.timestamp("us"))),
        "cannot be used",
        stops=True,
    ),
    parquet(
        "dates before all time beside text",
        columns(text=[row["text"] for row in GOOD], url=pa.array([-(2**62), 2**62], pa.timestamp("us"))),
    ),
    parquet("nothing but nulls", columns(text=pa.nulls(5)), "cannot be used", stops=True),
    parquet(
        "lists nested 25 deep beside text",
        lambda path: pq.write_table(
            pa.table({"text": [row["text"] for row in GOOD], "deep": pa.nulls(2, nested_list(25))}), path
        ),
    ),
    parquet(
        "dictionaries as text",
        lambda path: pq.write_table(
            pa.table({"text": pa.array([row["text"] for row in GOOD]).dictionary_encode()}), path
        ),
    ),
    parquet("no column of text", columns(other=["a"]), "no column 'text'", stops=True),
    parquet("no columns", lambda path: pq.write_table(pa.table({}), path), "no column 'text'", stops=True),
    parquet(
        "two columns of one name",
        lambda path: pq.write_table(
            pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path
        ),
        expected="several columns are called 'text'",
        stops=True,
    ),
    parquet("no rows", lambda path: pq.write_table(TEXT.empty_table(), path), kept=NONE),
    parquet("a footer cut off", edited(overwrite(slice(-20, None), b"")), "cannot be read as Parquet", stops=True),
    parquet(
        "a footer of 4 GB",
        edited(overwrite(slice(-8, -4), struct.pack("<I", 2**32 - 1))),
        "cannot be read as Parquet",
        stops=True,
    ),
    parquet(
        "a footer of garbage",
        edited(overwrite(slice(-400, -8), b"\xff" * 392)),
        "cannot be read as Parquet",
        stops=True,
    ),
    parquet(
        "pages of garbage", edited(overwrite(slice(4000, 5000), b"\xff" * 1000), 40), "files/damaged stretch", kept=BOTH
    ),
    parquet(
        "first page of garbage", edited(overwrite(slice(4, 100), b"\xff" * 96)), "cannot be read as Parquet", stops=True
    ),
    parquet(
        "the magic bytes alone", lambda path: path.write_bytes(b"PAR1PAR1"), "cannot be read as Parquet", stops=True
    ),
    parquet("an empty file", lambda path: path.write_bytes(b""), "files/empty", kept=NONE),
    parquet("JSON lines", lambda path: path.write_bytes(lines_of(*GOOD)), "cannot be read as Parquet", stops=True),
]
