"""Reading corpus files: every format, what is hostile in each, names of shards."""

import gzip
import json
import logging
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from fastwarc.stream_io import BrotliWriter
from helpers.warc_files import page, record, warc_record, write_warc

from backtranslation.corpus.decoding import decode_text
from backtranslation.corpus.documents import MAX_TAGS, Document
from backtranslation.corpus.readers import read_documents
from backtranslation.corpus.shards import ShardIdentity, list_shards
from backtranslation.errors import DataError, UserError
from backtranslation.settings.corpus import Fields, Source
from backtranslation.tally import EXAMPLES_IN_LOG, Tally

HTML = page().encode()
MAX_BYTES = 100_000


def read(
    path: Path, file_format: str, split: int = 1, splits: int = 1, fields: Fields | None = None
) -> tuple[list[Document], Tally]:
    """All documents of a file, and what was counted."""
    shard = ShardIdentity.model_validate(
        {"name": "s", "source": "s", "format": file_format, "split": split, "splits": splits}
    )
    tally = Tally()
    return [document for _, document in read_documents(path, shard, fields or Fields(), MAX_BYTES, tally)], tally


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz", ".warc.zst"])
def test_warc_gives_pages_with_address_and_offset(tmp_path: Path, suffix: str) -> None:
    records = [record(HTML, url=f"https://example.org/{number}") for number in range(3)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".warc.zst":
        path.write_bytes(b"".join(map(zstandard.compress, records)))
    else:
        write_warc(path, *records)
    documents, tally = read(path, "warc")
    assert [document.url for document in documents] == [f"https://example.org/{number}" for number in range(3)]
    assert {document.content for document in documents} == {HTML.decode()}
    assert tally.counts == {"records/read": 3}
    stored = path.read_bytes()
    for document in documents:
        assert stored[document.record_offset :].startswith((b"WARC/1.0", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"))


def packed_zeros() -> bytes:
    """A megabyte packed with brotli."""
    packed = BytesIO()
    with BrotliWriter(packed) as stream:
        stream.write(b"x" * 1_000_000)
    return packed.getvalue()


HOSTILE_RECORDS = {
    "no address": (record(HTML, url=None), "records/no address"),
    "not found": (record(HTML, status="404 Not Found"), "records/HTTP status other than 200"),
    "a picture": (record(b"\x89PNG\r\n", content_type="image/png"), "records/not HTML"),
    "no content type": (record(HTML, content_type=""), "records/not HTML"),
    "plain text": (record(b"User-agent: *", content_type="text/plain"), "records/not HTML"),
    "too large": (record(b"x" * (MAX_BYTES + 1)), "records/too large"),
    "large once unpacked": (
        record(gzip.compress(b"x" * 1_000_000), headers="Content-Encoding: gzip\r\n"),
        "records/too large",
    ),
    "nothing": (record(b""), "records/empty"),
    "white space": (record(b" \r\n "), "records/empty"),
    "binary": (record(bytes(range(256)) * 20), "records/not text"),
    "packed with brotli, large once unpacked": (
        record(packed_zeros(), headers="Content-Encoding: br\r\n"),
        "records/too large",
    ),
    "packed twice, large once unpacked": (
        record(gzip.compress(gzip.compress(b"x" * 1_000_000)), headers="Content-Encoding: gzip, gzip\r\n"),
        "records/too large",
    ),
    "packed too often": (record(HTML, headers=f"Content-Encoding: {'br, ' * 1000}\r\n"), "records/damaged"),
    "a chunk longer than the record": (
        record(b"ffffffff\r\n" + HTML, headers="Transfer-Encoding: chunked\r\n"),
        "records/damaged",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_RECORDS)
def test_hostile_records_are_skipped_counted_and_named(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hostile, reason = HOSTILE_RECORDS[name]
    path = write_warc(tmp_path / "a.warc.gz", record(HTML), hostile, record(HTML))
    documents, tally = read(path, "warc")
    assert len(documents) == 2
    assert tally.counts == {"records/read": 3, reason: 1}
    assert reason in caplog.text and "a.warc.gz" in caplog.text


def test_other_records_are_no_pages(tmp_path: Path) -> None:
    path = write_warc(
        tmp_path / "a.warc.gz",
        warc_record("warcinfo", "application/warc-fields", "", b"software: test"),
        warc_record("request", "application/http; msgtype=request", "", b"GET / HTTP/1.1\r\n\r\n"),
        record(HTML),
    )
    documents, tally = read(path, "warc")
    assert len(documents) == 1
    assert tally.counts == {"records/read": 1}


def test_packed_body_is_unpacked(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", record(gzip.compress(HTML), headers="Content-Encoding: gzip\r\n"))
    documents, _ = read(path, "warc")
    assert documents[0].content == HTML.decode()


def test_body_that_was_unpacked_before_it_was_stored_is_read_as_it_is(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", record(HTML, headers="Content-Encoding: gzip\r\n"))
    documents, _ = read(path, "warc")
    assert documents[0].content == HTML.decode()


def test_what_only_looks_like_a_record_is_not_tried_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(record(HTML) + b"WARC/1.0\r\nX: y\r\n" * 200_000)
    documents, tally = read(path, "warc")
    assert [document.content for document in documents] == [HTML.decode()]
    assert tally.counts["files/damaged stretch"] == 2
    assert "the rest of a.warc" in caplog.text


def test_names_of_records_within_a_damaged_record_are_passed_over(tmp_path: Path) -> None:
    """A record whose text holds `WARC/1.0` half a million times, between two good ones, with a length that is wrong."""
    path = tmp_path / "a.warc"
    path.write_bytes(record(HTML) + record(HTML)[:-300] + b"WARC/1.0\r\n" * 500_000 + record(HTML))
    documents, tally = read(path, "warc")
    assert [document.content for document in documents][:: len(documents) - 1] == [HTML.decode()] * 2
    assert tally.counts["files/damaged stretch"] == 1


def test_the_last_record_of_a_packed_file_is_its_end_whatever_its_bytes_look_like(tmp_path: Path) -> None:
    """One frame for a whole file, in which four bytes look like the start of another."""
    frame = zstandard.compress(record(HTML) * 3)
    path = tmp_path / "a.warc.zst"
    path.write_bytes(frame + b"\x50\x2a\x4d\x18\x08\x00\x00\x00" + b"\x28\xb5\x2f\xfd" * 2)  # a skippable frame
    documents, tally = read(path, "warc")
    assert len(documents) == 3
    assert tally.counts == {"records/read": 3}


def test_empty_members_are_no_end_of_a_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    good = gzip.compress(record(HTML))
    path.write_bytes(good + gzip.compress(b"") * 100_000 + good)
    documents, tally = read(path, "warc")
    assert len(documents) == 2
    assert tally.counts["files/damaged stretch"] == 1


@pytest.mark.parametrize("cut", [30, 100])
def test_warc_cut_off_in_a_record_keeps_the_records_before(tmp_path: Path, cut: int) -> None:
    path = write_warc(tmp_path / "a.warc.gz", record(HTML), record(page(first=100).encode()))
    path.write_bytes(path.read_bytes()[:-cut])
    documents, tally = read(path, "warc")
    assert [document.content for document in documents] == [HTML.decode()]
    assert tally.counts["records/cut short"] + tally.counts["files/damaged stretch"] == 1


@pytest.mark.parametrize("suffix", [".warc", ".warc.gz"])
def test_reading_goes_on_after_damage(tmp_path: Path, suffix: str) -> None:
    records = [record(page(first=100 * number).encode(), url=f"https://example.org/{number}") for number in range(5)]
    path = write_warc(tmp_path / f"a{suffix}", *records)
    packed = [gzip.compress(data) if suffix == ".warc.gz" else data for data in records]
    start = len(packed[0]) + len(packed[1])
    damaged = bytearray(path.read_bytes())
    if suffix == ".warc.gz":  # the middle of the third member
        damaged[start + 50 : start + 150] = b"\xaa" * 100
    else:  # the head of the third record
        damaged[start : start + 40] = b"\xaa" * 40
    path.write_bytes(damaged)
    documents, tally = read(path, "warc")
    addresses = [document.url[-1] for document in documents]
    assert addresses[:2] == ["0", "1"] and addresses[-2:] == ["3", "4"] and "2" not in addresses
    assert tally.counts["files/damaged stretch"] == 1


def test_damaged_lines_are_one_clear_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    packed = bytearray(gzip.compress(b'{"text": "one"}\n'))
    packed[10:] = b"\xff" * len(packed[10:])
    path.write_bytes(packed)
    identity = ShardIdentity(name="a", source="a", format="jsonl")
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: cannot be read"):
        list(read_documents(path, identity, Fields(), 10_000, Tally()))


def test_gzip_member_that_ends_early_loses_only_itself(tmp_path: Path) -> None:
    packed = [gzip.compress(record(page(first=100 * number).encode())) for number in range(4)]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(packed[0] + packed[1][: len(packed[1]) // 2] + packed[2] + packed[3])
    documents, tally = read(path, "warc")
    assert [document.content for document in documents] == [page(first=100 * number) for number in (0, 2, 3)]
    assert tally.counts["files/damaged stretch"] + tally.counts["records/cut short"] >= 1


UNREADABLE = {
    "text called WARC": ("a.warc", b"hello world\n" * 1000, "warc"),
    "packed text called WARC": ("a.warc.gz", gzip.compress(b"hello world\n" * 1000), "warc"),
    "noise called gzip": ("a.warc.gz", b"\x1f\x8b" + bytes(range(256)) * 10, "warc"),
    "text called WET": ("a.warc.wet", b"hello world\n" * 1000, "wet"),
    "text called gzip": ("a.jsonl.gz", b'{"text": "x"}\n', "jsonl"),
    "text called zstandard": ("a.jsonl.zst", b'{"text": "x"}\n', "jsonl"),
    "text called Parquet": ("a.parquet", b"hello world\n" * 10, "parquet"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_file_that_cannot_be_read_at_all_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    file_name, content, file_format = UNREADABLE[name]
    path = tmp_path / file_name
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        read(path, file_format)


@pytest.mark.parametrize("file_format", ["warc", "wet", "jsonl", "parquet"])
def test_empty_file_is_skipped_and_counted(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "empty"
    path.touch()
    documents, tally = read(path, file_format)
    assert documents == [] and tally.counts == {"files/empty": 1}


def test_missing_file_and_folder_without_pages_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.warc", "warc")
    with pytest.raises(DataError, match="no HTML file"):
        read(tmp_path, "html")


def test_wet_gives_plain_text(tmp_path: Path) -> None:
    head = "WARC-Target-URI: https://example.org/\r\n"
    path = write_warc(tmp_path / "a.warc.wet.gz", warc_record("conversion", "text/plain", head, b"Some text.\nMore."))
    (document,), _ = read(path, "wet")
    assert (document.content, document.is_html, document.url) == ("Some text.\nMore.", False, "https://example.org/")


def test_only_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.html").write_text(page(), encoding="utf-8")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "nowhere.html").symlink_to(tmp_path / "absent")
    (tmp_path / "itself.html").symlink_to(tmp_path / "itself.html")
    os.mkfifo(tmp_path / "pipe.html")
    documents, _ = read(tmp_path, "html")
    assert [document.file for document in documents] == ["good.html"]
    for path in (tmp_path / "pipe.html", tmp_path):
        with pytest.raises(DataError, match="no file, which the format jsonl needs"):
            read(path, "jsonl")


def test_name_of_a_file_that_is_no_text_is_made_one(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.html")).write_text(page(), encoding="utf-8")
    (document,), _ = read(tmp_path, "html")
    assert document.file.encode() == document.url.encode() == b"?.html"


def test_html_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in ("b.html", "a/z.htm", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(page(), encoding="utf-8")
    (tmp_path / "large.html").write_text("x" * (MAX_BYTES + 1), encoding="utf-8")
    documents, tally = read(tmp_path, "html")
    assert [document.file for document in documents] == ["a/z.htm", "b.html"]
    assert tally.counts == {"records/read": 3, "records/too large": 1}


def test_page_of_tags_alone_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"html": "<b>" * (MAX_TAGS + 1), "url": "u"}) + "\n", encoding="utf-8")
    shard = ShardIdentity(name="s", source="s", format="jsonl")
    tally = Tally()
    assert list(read_documents(path, shard, Fields(), 10_000_000, tally)) == []
    assert tally.counts["records/too many tags"] == 1


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_json_lines_with_hostile_lines(tmp_path: Path, suffix: str) -> None:
    lines = [
        b'{"text": "one", "url": "https://example.org/1"}',
        b'{"text": "no address"}',
        b"{broken",
        b"[1, 2]",
        b"",
        b'{"text": null}',
        b'{"text": 7}',
        b'{"text": "' + b"x" * (3 * MAX_BYTES) + b'"}',
        b'{"text": "' + b"y" * (MAX_BYTES + 1) + b'"}',
        b'{"text": "\xff\xfe"}',
        b'{"text": "half a pair: \\ud800"}',
        b"[" * 100_000,
        b'{"text": "half an address", "url": "https://example.org/\\ud800"}',
        b'{"html": "<p>page</p>", "text": "less"}',
    ]
    data = b"\n".join(lines)  # the last line without its line break
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes({"": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[suffix])
    documents, tally = read(path, "jsonl")
    assert [(document.content, document.url, document.is_html) for document in documents] == [
        ("one", "https://example.org/1", False),
        ("no address", "", False),
        ("half a pair: ?", "", False),
        ("half an address", "https://example.org/?", False),
        ("<p>page</p>", "", True),
    ]
    assert tally.counts == {
        "records/read": len(lines) - 1, "records/bad JSON": 4, "records/no text": 2, "records/too large": 2,
    }  # fmt: skip
    for document in documents:
        assert json.loads(data[document.record_offset :].split(b"\n")[0])


def test_packed_json_lines_cut_off_keep_what_came_before(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": f"{number} {number * 7919 % 100_003}"}) + "\n" for number in range(20_000))
    for suffix, packed in ((".gz", gzip.compress(lines.encode())), (".zst", zstandard.compress(lines.encode()))):
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(packed[: len(packed) // 2])
        documents, tally = read(path, "jsonl")
        assert 0 < len(documents) < 20_000
        assert tally.counts["files/damaged stretch"] == 1


def test_parquet_with_chosen_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"body": ["one", None, "three"], "address": ["u", "v", None], "other": [1, 2, 3]}).to_parquet(path)
    documents, tally = read(path, "parquet", fields=Fields(text_field="body", url_field="address"))
    assert [(document.content, document.url, document.record_offset) for document in documents] == [
        ("one", "u", 0),
        ("three", "", 2),
    ]
    assert tally.counts == {"records/read": 3, "records/no text": 1}
    with pytest.raises(DataError, match="no column 'text' or 'html'"):
        read(path, "parquet")


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_license_is_a_name_and_whatever_else_is_none(tmp_path: Path, file_format: str) -> None:
    path, names = tmp_path / f"a.{file_format}", ["CC-BY-4.0", " https://example.org/terms ", "", None, "x" * 1001]
    rows: list[dict[str, object]] = [{"text": "one", "terms": name} for name in names]
    if file_format == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        rows += [{"text": "one", "terms": 7}, {"text": "one", "terms": "a \ud800"}, {"text": "one"}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents, _ = read(path, file_format, fields=Fields(license_field="terms"))
    found = [document.license for document in documents]
    assert found[:5] == ["CC-BY-4.0", "https://example.org/terms", None, None, None]
    assert found[5:] == ([] if file_format == "parquet" else [None, "a ?", None])
    assert {document.license for document in read(path, file_format)[0]} == {None}


def test_two_columns_called_license_stop_nothing(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["one"])] * 3, names=["text", "license", "license"])
    pq.write_table(table, tmp_path / "a.parquet")
    documents, _ = read(tmp_path / "a.parquet", "parquet")
    assert [(document.content, document.license) for document in documents] == [("one", None)]


def test_parquet_with_values_that_python_has_not(tmp_path: Path) -> None:
    data = pa.array([b"one", b"\xff\xff\xff", b"three \xff" + b"." * 100]).cast(pa.binary())
    texts = pa.StringArray.from_buffers(len(data), data.buffers()[1], data.buffers()[2])
    dates = pa.array([0, 2**62, 0], pa.timestamp("us"))
    pq.write_table(pa.table({"text": texts, "url": dates}), tmp_path / "a.parquet")
    documents, tally = read(tmp_path / "a.parquet", "parquet")
    assert [document.content for document in documents] == ["one", "three \ufffd" + "." * 100]
    assert tally.counts == {"records/read": 3, "records/not text": 1}


def test_parts_of_a_file_share_its_records(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc.gz", *(record(HTML, url=f"https://example.org/{n}") for n in range(10)))
    whole = {document.url for document in read(path, "warc")[0]}
    parts = [{document.url for document in read(path, "warc", split, 3)[0]} for split in (1, 2, 3)]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole) == 10


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("für".encode(), None, "für"),
        ("für".encode(), "iso-8859-1", "für"),
        ("für".encode("latin-1"), "iso-8859-1", "für"),
        ("für".encode("latin-1"), "utf-8", "für"),
        ("für".encode("latin-1"), "no-such-charset", "für"),
        ("für".encode("latin-1"), "rot13", "für"),
        ("für".encode("latin-1"), "undefined", "für"),
        ("für".encode("latin-1"), "no\0charset", "für"),
        ("f\\u00fcr ü".encode("latin-1"), "unicode_escape", "f\\u00fcr ü"),
        (b'<meta charset="iso-8859-2">' + "dług".encode("iso-8859-2"), None, '<meta charset="iso-8859-2">dług'),
        ("für".encode("utf-16"), None, "für"),
        ("für".encode("utf-8-sig"), None, "für"),
        ("日本語のページです。".encode("shift_jis"), "shift_jis", "日本語のページです。"),
        ("日本語".encode("iso-2022-jp"), "iso-2022-jp", "日本語"),
    ],
)
def test_encodings_as_declared_and_despite_it(data: bytes, charset: str | None, text: str) -> None:
    assert decode_text(data, charset).lstrip("\ufeff") == text


def test_log_names_only_the_first_of_many(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tally = Tally()
    for number in range(100):
        tally.skip("records/empty", f"page {number}")
    assert tally.counts["records/empty"] == 100
    assert len(caplog.records) == EXAMPLES_IN_LOG


TEXT = "Tea\n\nWarm the pot before you pour the tea, and wait for four minutes.\n"


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".txt", bytes), (".txt.gz", gzip.compress), (".txt.zst", zstandard.compress)],
    ids=["txt", "gz", "zst"],
)
def test_a_text_file_is_one_document(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / f"a{suffix}").write_bytes(pack(TEXT.encode()))
    documents, tally = read(tmp_path / f"a{suffix}", "text")
    assert documents == [Document(TEXT, False, f"a{suffix}", f"a{suffix}", 0)]
    assert tally.counts == {"records/read": 1}


def test_a_folder_of_text_files_and_what_is_skipped_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "b.txt").write_bytes("Thé vert".encode("latin-1") * 9)
    (folder / "a.TXT").write_text(TEXT)
    (folder / "large.txt").write_text("x" * (MAX_BYTES + 1))
    (folder / "large.txt.gz").write_bytes(gzip.compress(b"x" * (10 * MAX_BYTES)))
    (folder / "cut.txt.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    (folder / "empty.txt").touch()
    for name in ("a.html", ".hidden.txt"):
        (folder / name).write_text(TEXT)
    documents, tally = read(folder, "text")
    assert [document.file for document in documents] == ["a.TXT", "below/b.txt"]
    assert documents[1].content.startswith("Thé vert")
    skipped = {"records/too large": 2, "records/damaged": 1, "records/empty": 1}
    assert tally.counts == {"records/read": 6, **skipped}
    halves = [read(folder, "text", split, 2)[0] for split in (1, 2)]
    assert sorted(document.file for half in halves for document in half) == ["a.TXT", "below/b.txt"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no text file"):
        read(tmp_path / "none", "text")


def shard_names(*sources: Source) -> list[str]:
    return [shard.name for shard in list_shards(sources)]


def test_shard_names_follow_paths_and_stay_when_files_are_added(tmp_path: Path) -> None:
    for name in ("b/x.warc.gz", "a.warc.gz", "odd name.jsonl.zst"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = Source(name="web", paths=[f"{tmp_path}/**/*.gz", f"{tmp_path}/odd name.jsonl.zst"])
    assert shard_names(source) == ["web-a", "web-b_x", "web-odd_name"]
    (tmp_path / "aa.warc.gz").touch()
    assert shard_names(source) == ["web-a", "web-aa", "web-b_x", "web-odd_name"]
    split = Source(name="web", paths=[f"{tmp_path}/a.warc.gz"], splits=2)
    assert shard_names(split) == ["web-a.part1", "web-a.part2"]


def test_a_folder_is_one_shard_of_html(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (shard,) = list_shards([Source(name="web", paths=[f"{tmp_path}/site"])])
    assert (shard.name, shard.format) == ("web-site", "html")
    assert "path" not in shard.without_path().model_dump()
    (shard,) = list_shards([Source(name="web", paths=[f"{tmp_path}/site"], format="text")])
    assert (shard.name, shard.format) == ("web-site", "text")


def test_text_files_are_known_by_their_suffix(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt.gz"):
        (tmp_path / name).touch()
    shards = list_shards([Source(name="web", paths=[f"{tmp_path}/*"])])
    assert [(shard.name, shard.format) for shard in shards] == [("web-a", "text"), ("web-b", "text")]


def test_every_fault_of_the_sources_has_a_line(tmp_path: Path) -> None:
    sources = [Source(name=name, paths=[f"{tmp_path}/none", f"{tmp_path}/*.zip"]) for name in ("a", "b")]
    with pytest.raises(UserError) as error:
        list_shards(sources)
    assert [line.split(": ")[2] for line in str(error.value).splitlines()] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("name", [b"{shard}.jsonl", b"\xff.jsonl"])
def test_names_that_snakemake_cannot_be_given_are_refused(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(UserError, match=r"corpus\.sources: web: .*\.jsonl.*: rename it"):
        list_shards([Source(name="web", paths=[f"{tmp_path}/*"])])


def test_faults_of_sources_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.warc").touch()
    (tmp_path / "a.warc.gz").touch()
    (tmp_path / "a.pdf").touch()
    for paths, message in (
        ([f"{tmp_path}/*.zip"], "web: .*zip matches no file"),
        ([f"{tmp_path}/absent.warc"], "web: .*absent.warc does not exist"),
        (
            [f"{tmp_path}/a.pdf"],
            "web: the suffix of .*a.pdf says no format; set format to one of warc, wet, html, jsonl, parquet, text",
        ),
        (
            [f"{tmp_path}/a.warc*"],
            r"a.warc and .*a.warc.gz would both be shard web-a: give them to two sources with different names, with the"
            r" globs \*.warc and \*.warc.gz",
        ),
    ):
        with pytest.raises(UserError, match=message):
            list_shards([Source(name="web", paths=paths)])


def test_files_that_the_run_makes_need_not_exist(tmp_path: Path) -> None:
    promised = [f"{tmp_path}/made-1.warc.gz", f"{tmp_path}/made-2.warc.gz"]
    sources = [Source(name="a", paths=promised[:1]), Source(name="b", paths=[f"{tmp_path}/made-*.warc.gz"])]
    assert [shard.name for shard in list_shards(sources, promised)] == ["a-made-1", "b-made-1", "b-made-2"]
