"""Hostile WARC and WET files. Each holds a good page before and after what is hostile."""

import base64
import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import zstandard

from helpers.hostile.cases import MEGABYTE, Case, extract, good_page, good_text
from helpers.warc_files import record, warc_record

# Codecs of Python that are no encodings of text, make half surrogate pairs, or take quadratic time.
CODECS = (
    "rot13", "hex", "base64", "bz2", "zip", "quopri", "uu", "idna", "punycode", "undefined", "unicode_escape",
    "raw_unicode_escape", "utf-7", "utf-8-sig", "mbcs", "charmap", "utf-32", "nul\0nul", "x" * 10_000, "../../etc",
)  # fmt: skip
# 512 MiB of zeros as brotli packs them, made with the package of that name.
BROTLI_BOMB = zlib.decompress(base64.b64decode(
    "eNo7//9/PYMKw6ONDkXv///8/5+/gcVBRqzh3V/7////M05g6DjMdGHv/+f//9szCDEURjDs+v7/z///7A5MCnzcDt//zQeqYvBgOJLI+OLe/8///"
    "8szcDZY6DDc/V3/7/9/ZgVGgXbWBdX/z0Mt2cBQMmoJYUvsAahT16c="
))  # fmt: skip
Part = bytes | Callable[[], bytes]
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def good(number: int) -> bytes:
    """A record with a good page."""
    return record(good_page(number).encode(), url=f"https://example.org/{number}")


def beside_good(*hostile: Part) -> bytes:
    """The bytes of a file that is not compressed."""
    return b"".join([good(1), *map(made, hostile), good(2)])


def made(part: Part) -> bytes:
    """The bytes themselves."""
    return part if isinstance(part, bytes) else part()


def file_of(parts: Callable[[], Iterable[bytes]], suffix: str = ".warc") -> Callable[[Path], Path]:
    """Write a file piece by piece."""

    def build(folder: Path) -> Path:
        path = folder / f"pages{suffix}"
        with path.open("wb") as stream:
            for part in parts():
                stream.write(part)
        return path

    return build


def warc(name: str, *hostile: Part, expected: str = "fine", **more: Any) -> Case:
    """A case of one or more hostile records."""
    return Case(name, "WARC", file_of(lambda: [beside_good(*hostile)]), extract("warc"), expected, **more)


def warc_made(name: str, hostile: Callable[[], Iterable[bytes]], expected: str = "fine") -> Case:
    """A case of what is too large to be there at once."""
    return Case(name, "WARC", file_of(lambda: chain([good(1)], hostile(), [good(2)])), extract("warc"), expected)


def warc_gz(name: str, *members: Part, expected: str = "fine", **more: Any) -> Case:
    """A case of hostile gzip members."""
    good_ones = gzip.compress(good(1)), gzip.compress(good(2))
    parts = file_of(lambda: [good_ones[0], *map(made, members), good_ones[1]], ".warc.gz")
    return Case(name, "WARC", parts, extract("warc"), expected, **more)


def warc_zst(name: str, *frames: Part, expected: str = "fine", **more: Any) -> Case:
    """A case of hostile zstandard frames."""
    good_ones = zstandard.compress(good(1)), zstandard.compress(good(2))
    parts = file_of(lambda: [good_ones[0], *map(made, frames), good_ones[1]], ".warc.zst")
    return Case(name, "WARC", parts, extract("warc"), expected, **more)


def only(name: str, data: Part, expected: str, suffix: str = ".warc", **more: Any) -> Case:
    """A case of a whole file."""
    return Case(name, "WARC", file_of(lambda: [made(data)], suffix), extract("warc"), expected, **more)


def in_either(name: str, hostile: Part, expected: str = "fine") -> list[Case]:
    """A case of a record in a file that is not compressed, and one of the same record as a gzip member."""
    packed_member = warc_gz(f"{name}, in a gzip member", lambda: gzip.compress(made(hostile)), expected=expected)
    return [warc(name, hostile, expected=expected), packed_member]


def packed(
    megabytes: int, unit: bytes = bytes(MEGABYTE), wbits: int = 31, before: bytes = b"", after: bytes = b""
) -> bytes:
    """So many copies of a unit, as gzip (31), zlib (15) or raw deflate (-15); the unit is packed only once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head, block, end = (packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH) for part in (before, unit, after))
    stream = head + block * megabytes + end + packer.flush()
    if wbits == -15:
        return stream
    update, checksum = (zlib.crc32, 0) if wbits == 31 else (zlib.adler32, 1)
    for part in (before, *[unit] * megabytes, after):
        checksum = update(part, checksum)
    if wbits == 15:
        return b"\x78\xda" + stream + struct.pack(">I", checksum)
    length = len(before) + megabytes * len(unit) + len(after)
    return gzip.compress(b"")[:10] + stream + struct.pack("<II", checksum, length % 2**32)


def encoded(encoding: str, body: bytes) -> bytes:
    """A record whose body is encoded."""
    return record(body, headers=f"Content-Encoding: {encoding}\r\n")


def chunked(body: bytes) -> bytes:
    """A record whose body comes in chunks."""
    return record(body, headers="Transfer-Encoding: chunked\r\n")


def with_length(length: str) -> bytes:
    """A record that declares another length than it has; None: no length."""
    return good(3).replace(b"Content-Length: ", f"Content-Length: {length}\r\nX-True-Length: ".encode(), 1)


def with_charset(charset: str, body: bytes) -> bytes:
    """A record whose bytes are no UTF-8, so that its charset is asked for."""
    return record(body, content_type=f"text/html; charset={charset}")


def in_charset(codec: str) -> list[Case]:
    """Cases of a small page and of a large one with NULs that say they are in a codec."""
    page = good_page(3).encode() + b"\xe9t\xe9 \\ud800 ~{VV~} \\x00"
    large = f"charset={codec[:20]!r}, 9 MB with NULs"
    return [
        warc(f"charset={codec[:20]!r}", with_charset(codec, page)),
        warc(large, lambda: with_charset(codec, big_page(9 * MEGABYTE) + bytes(10))),
    ]


def big_page(size: int) -> bytes:
    """Text of so many bytes that is no UTF-8."""
    return b"<h1>\xe9t\xe9</h1><p>" + b"ab-cd \xe9" * (size // 7)


def resource(body: bytes, headers: str = "WARC-Target-URI: https://example.org/r\r\n") -> bytes:
    """A record without an HTTP header."""
    return warc_record("resource", "text/html", headers, body)


def http(head: bytes, body: bytes = b"<h1>A</h1>") -> bytes:
    """A record with any bytes as its HTTP header."""
    block = head + b"\r\n\r\n" + body
    return warc_record("response", "application/http", "WARC-Target-URI: https://example.org/h\r\n", block)


def repeated(unit: bytes, size: int) -> Callable[[], Iterable[bytes]]:
    """So many bytes of a unit, piece by piece."""
    piece = unit * (MEGABYTE // len(unit) + 1)

    def parts() -> Iterable[bytes]:
        for _ in range(size // len(piece) + 1):
            yield piece

    return parts


def packed_record(body_megabytes: int) -> bytes:
    """A gzip member that holds a record with so many megabytes of zeros."""
    head = resource(b"").replace(b"Content-Length: 0", f"Content-Length: {body_megabytes * MEGABYTE}".encode())
    return packed(body_megabytes, before=head[:-4], after=b"\r\n\r\n")


def zstd_with_large_window(data: bytes) -> bytes:
    """A frame that asks the reader for a window of a gigabyte."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    packer = zstandard.ZstdCompressor(compression_params=parameters)
    stream = io.BytesIO()
    with packer.stream_writer(stream, closefd=False) as writer:
        writer.write(data)
    return stream.getvalue()


def zstd_bomb(megabytes: int) -> bytes:
    """So many megabytes of zeros as one frame."""
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([*(packer.compress(bytes(MEGABYTE)) for _ in range(megabytes)), packer.flush()])


def wet(name: str, text: Part, expected: str = "fine") -> Case:
    """A case of one hostile text."""

    def conversion(number: int, body: bytes) -> bytes:
        address = f"WARC-Target-URI: https://example.org/{number}\r\n"
        return warc_record("conversion", "text/plain", address, body)

    def parts() -> list[bytes]:
        first, last = (f"# Garden {number}\n\n{good_text(number)}".encode() for number in (1, 2))
        return [conversion(1, first), conversion(3, made(text)), conversion(2, last)]

    return Case(name, "WET", file_of(parts, ".warc.wet"), extract("wet"), expected)


FIRST = frozenset({"Garden 1"})
DAMAGED = "files/damaged stretch"

WARC_CASES = [
    *(case for codec in CODECS for case in in_charset(codec)),
    warc("bytes that are no text", record(bytes(range(256)) * 100), expected="records/not text"),
    warc("NULs alone", lambda: record(bytes(100_000)), expected="records/not text"),
    warc("NULs among text", record(b"<h1>A\0B</h1><p>" + b"word " * 1000 + b"\0</p>")),
    warc_made("60 MB of false record starts", repeated(b"WARC/1.0\r\n", 60 * MEGABYTE), DAMAGED),
    warc_made(
        "60 MB of false records",
        repeated(b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", 60 * MEGABYTE),
        "records/no address",
    ),
    warc_made("60 MB of false gzip members", repeated(b"\x1f\x8b\x08garbage", 60 * MEGABYTE), DAMAGED),
    warc_made("60 MB of false zstandard frames", repeated(b"\x28\xb5\x2f\xfdgarbage", 60 * MEGABYTE), DAMAGED),
    warc_made("60 MB of line ends", repeated(b"\r\n", 60 * MEGABYTE)),
    warc_made("60 MB without a line end", repeated(b"x", 60 * MEGABYTE), DAMAGED),
    *(
        warc(f"Content-Length: {length}", with_length(length), expected=expected)
        for length, expected in (
            ("-1", DAMAGED),
            ("-9223372036854775809", DAMAGED),
            ("18446744073709551616", DAMAGED),
            ("0x10", DAMAGED),
            ("", DAMAGED),
            ("many", DAMAGED),
            ("1", DAMAGED),
            ("1e9", DAMAGED),
            ("\u0661\u0662", DAMAGED),
        )
    ),
    warc("Content-Length of an exabyte", with_length("1000000000000000000"), expected="records/too large", kept=FIRST),
    warc("no Content-Length", good(3).replace(b"Content-Length", b"X-Length", 1), expected=DAMAGED),
    warc("a million headers of HTTP", lambda: record(b"<h1>A</h1>", headers="X-A: b\r\n" * 1_000_000)),
    warc("a million headers of WARC", lambda: resource(b"<h1>A</h1>", "X-A: b\r\n" * 1_000_000), expected=DAMAGED),
    warc("a header of HTTP of 30 MB", lambda: record(b"<h1>A</h1>", headers=f"X-A: {'b' * 30_000_000}\r\n")),
    warc("a header of WARC of 30 MB", lambda: resource(b"A", f"X-A: {'b' * 30_000_000}\r\n"), expected=DAMAGED),
    warc("a header of HTTP with NUL", record(b"<h1>A</h1>", headers="X-\0A: \0\r\n")),
    warc(
        "headers of HTTP without colons",
        http(b"HTTP/1.1 200 OK\r\n" + b"text/html\r\n" * 1000),
        expected="records/not HTML",
    ),
    warc("headers of HTTP that are no UTF-8", http(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX: \xff\xfe")),
    warc(
        "folded headers of HTTP",
        lambda: http(b"HTTP/1.1 200 OK\r\nContent-Type: text/html" + b"\r\n  folded" * 100_000),
        expected=DAMAGED,
    ),
    warc(
        "an impossible status",
        http(b"HTTP/1.1 99999999999999999999 OK\r\nContent-Type: text/html"),
        expected="records/HTTP status other than 200",
    ),
    warc(
        "a status that is no number",
        http(b"HTTP/1.1 OK\r\nContent-Type: text/html"),
        expected="records/HTTP status other than 200",
    ),
    warc("a binary HTTP header", http(bytes(range(256)) * 10), expected="records/"),
    warc("no address", record(b"<h1>A</h1>", url=None), expected="records/no address"),
    warc("an address that is no UTF-8", good(3).replace(b"example.org", b"ex\xff\xfe\xed\xa0\x80.org")),
    warc("an address of 1 MB", lambda: record(good_page(3).encode(), url=f"https://example.org/{'a' * MEGABYTE}")),
    warc("an address with escapes", record(good_page(3).encode(), url=f"https://example.org/{ESCAPE}")),
    warc("an address with NUL", record(good_page(3).encode(), url="https://example.org/\0/a")),
    warc(
        "an unwanted address with escapes", record(b"", url=f"https://example.org/{ESCAPE}"), expected="records/empty"
    ),
    warc("a WARC in a WARC", resource(beside_good())),
    warc("a WARC in a WARC, packed", encoded("gzip", gzip.compress(beside_good()))),
    warc("chunks of an exabyte", chunked(b"fffffffffffffff\r\nabc")),
    warc("chunks of negative length", chunked(b"-5\r\nabc\r\n0\r\n\r\n")),
    warc("chunks without a length", chunked(b"zzz\r\nabc")),
    warc("a million chunks", lambda: chunked(b"1\r\na\r\n" * 1_000_000 + b"0\r\n\r\n")),
    warc("a chunk header of 5 MB", lambda: chunked(b"5;" + b"x" * 5_000_000 + b"\r\nhello\r\n0\r\n\r\n")),
    warc("chunks that are none", chunked(good_page(3).encode())),
    *in_either("gzip, 1 GB of zeros", lambda: encoded("gzip", packed(1000)), expected="records/too large"),
    *in_either(
        "gzip, 1 GB of tags",
        lambda: encoded("gzip", packed(1000, b"<p>ab</p>" * 111_111)),
        expected="records/too large",
    ),
    warc("gzip, 10,000 empty members", lambda: encoded("gzip", gzip.compress(b"") * 10_000)),
    warc("gzip, cut short", encoded("gzip", gzip.compress(bytes(1000))[:-9]), expected="records/"),
    warc("gzip that is none", encoded("gzip", good_page(3).encode())),
    warc("gzip in gzip", lambda: encoded("gzip, gzip", gzip.compress(packed(1000))), expected="records/"),
    warc("a thousand encodings", encoded("gzip, " * 1000 + "gzip", gzip.compress(b"<h1>A</h1>"))),
    *in_either("zlib, 1 GB of zeros", lambda: encoded("deflate", packed(1000, wbits=15)), expected="records/too large"),
    *in_either("deflate, 1 GB of zeros", lambda: encoded("deflate", packed(1000, wbits=-15)), expected="records/"),
    *in_either("brotli, 512 MiB of zeros", encoded("br", BROTLI_BOMB), expected="records/too large"),
    warc("brotli that is none", encoded("br", b"\xff" * 1000)),
    *in_either("zstandard, 1 GB of zeros", lambda: encoded("zstd", zstd_bomb(1000)), expected="records/"),
    warc("an unknown encoding", encoded("quantum", good_page(3).encode())),
    warc("encodings that are no encodings", encoded("rot13, , ;\0", good_page(3).encode())),
    warc_gz("a gzip member of garbage", b"\x1f\x8b\x08" + b"garbage" * 1000, expected=DAMAGED),
    warc_gz("a gzip member that ends too early", gzip.compress(good(3))[:-100], expected=DAMAGED),
    warc_gz("a gzip member with a wrong checksum", gzip.compress(good(3))[:-8] + bytes(8)),
    warc_gz(
        "a gzip member with a name of 1 MB",
        lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * MEGABYTE + b"\0" + gzip.compress(good(3))[10:],
    ),
    warc_gz("a record of 1 GB of zeros", lambda: packed_record(1000), expected="records/too large"),
    warc_gz("100,000 empty gzip members", lambda: gzip.compress(b"") * 100_000),
    warc_gz("100 MB of line ends between records", lambda: packed(100, b"\r\n" * 500_000)),
    warc_gz("1 GB in one line", lambda: packed(1000, b"x" * MEGABYTE), expected=DAMAGED),
    warc_zst("a zstandard window of 1 GB", lambda: zstd_with_large_window(good(3) + bytes(20 * MEGABYTE))),
    warc_zst("zstandard, 1 GB of zeros between records", lambda: zstd_bomb(1000), expected=DAMAGED),
    warc_zst("a zstandard frame of garbage", b"\x28\xb5\x2f\xfd" + b"garbage" * 1000, expected=DAMAGED),
    warc_zst("a skippable frame that lies", b"\x50\x2a\x4d\x18\xff\xff\xff\x7f", expected=DAMAGED, kept=FIRST),
    only("a file cut off", beside_good()[:-500], "records/cut short", kept=FIRST),
    only("a file cut off in a header", beside_good()[: len(good(1)) + 50], "", kept=FIRST),
    only(
        "a gzip file cut off",
        lambda: gzip.compress(good(1)) + gzip.compress(good(2))[:-50],
        "records/cut short",
        ".warc.gz",
        kept=FIRST,
    ),
    only("line ends alone", b"\r\n" * 1000, "not a WARC file", stops=True),
    only("garbage alone", b"garbage" * 1000, "not a WARC file", stops=True),
    only("no WARC in gzip", gzip.compress(b"garbage" * 1000), "not a WARC file", ".warc.gz", stops=True),
    only("no gzip by the name of gzip", b"garbage" * 1000, "not a WARC file", ".warc.gz", stops=True),
    only("an empty file", b"", "files/empty", kept=frozenset()),
]

TEXTS: dict[str, Callable[[], bytes]] = {
    "hash signs and spaces": lambda: b"# " * 4_500_000,
    "a header of spaces": lambda: b"# a" + b" " * 9 * MEGABYTE + b"b",
    "a header of hash signs": lambda: b"# a" + b"#" * 9 * MEGABYTE + b"b",
    "headers of spaces and hash signs": lambda: b"# a" + b" #" * 4_500_000 + b"b",
    "a million headers": lambda: b"###### a\n\n" * 900_000,
    "headers that go up and down": lambda: b"".join(b"#" * (1 + k % 6) + b" a\n\n" for k in range(900_000)),
    "line ends": lambda: b"a" + b"\n" * 9 * MEGABYTE + b"b",
    "line ends and spaces": lambda: b"a" + b"\n " * 4_500_000 + b"b",
    "lines of spaces": lambda: b"a\n" + b" " * 9 * MEGABYTE + b"b\n\nc",
    "tabs and spaces": lambda: b"a\n\n" + b"\t " * 4_500_000 + b"b",
    "a million fences": lambda: b"```\n\n" * 1_500_000 + b"```",
    "backticks": lambda: b"`" * 9 * MEGABYTE,
    "one word": lambda: b"x" * 9 * MEGABYTE,
    "words": lambda: b"word " * 1_800_000,
    "a million paragraphs": lambda: b"a word\n\n" * 1_100_000,
    "paragraphs of symbols": lambda: (b"|" * 700 + b"\n\n") * 12_000,
    "nested quotations": lambda: (b">" * 2900 + b"\n\n") * 3000,
    "list marks": lambda: (b"- " * 1400 + b"\n\n") * 3000,
    "numbers": lambda: (b"1. " * 900 + b"\n\n") * 3000,
    "sentences of one word": lambda: (b"A. " * 900 + b"\n\n") * 3000,
    "questions": lambda: (b"?! " * 900 + b"\n\n") * 3000,
    "alike sentences": lambda: (b"the red lamp needs oil in the garden now. " * 70 + b"\n\n") * 3000,
    "combining marks": lambda: ("a" + "\u0301" * 1400 + "\n\n").encode() * 3000,
    "zero width joiners": lambda: ("\u200d" * 900 + "\n\n").encode() * 3000,
    "ideographs": lambda: ("\u4e00" * 900 + "\n\n").encode() * 3000,
    "right-to-left overrides": lambda: ("\u202e abc " * 300 + "\n\n").encode() * 3000,
    "carriage returns": lambda: b"a\r" * 4_500_000,
    "form feeds": lambda: b"a\f\v\x85\x1c" * 1_800_000,
    "line separators": lambda: "a\u2028b\u2029".encode() * 1_000_000,
    "private use": lambda: "\ue000 a".encode() * 1_800_000,
}

WET_CASES = [
    *(wet(name, text) for name, text in TEXTS.items()),
    wet("half surrogate pairs", b"\xed\xa0\x80 word" * 1000),
    wet("Latin 1", good_text(3).encode() + b" caf\xe9"),
    wet("NULs", b"\0" * 1000, expected="records/not text"),
    wet("UTF-16 with an odd byte", b"\xff\xfe" + good_text(3).encode("utf-16-le") + b"a"),
    wet("nothing", b"", expected="records/empty"),
    wet("escape sequences", f"# {ESCAPE}\n\n{good_text(3)}".encode()),
    wet("10 MB and one byte", b"a" * (10 * MEGABYTE + 1), expected="records/too large"),
]
