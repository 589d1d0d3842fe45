"""Files of rows: whole or not there, and damage that is named."""

import gzip
from pathlib import Path

import pytest

from backtranslation.errors import DataError
from backtranslation.files import join_rows, read_rows, replace_file, write_rows

ROWS = [{"id": "a", "text": "Grüße \u2028 neue Zeile\n"}, {"id": "b", "text": "日本"}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.zst"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    assert write_rows(tmp_path / "new folder" / name, ROWS) == 2
    assert list(read_rows(tmp_path / "new folder" / name)) == ROWS


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.jsonl.zst", "two.jsonl.zst"):
        write_rows(tmp_path / name, ROWS)
    assert (tmp_path / "one.jsonl.zst").read_bytes() == (tmp_path / "two.jsonl.zst").read_bytes()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, ROWS)
    with pytest.raises(RuntimeError), replace_file(path) as stream:
        stream.write("half a row")
        raise RuntimeError
    assert list(read_rows(path)) == ROWS
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("cut", [1, 5, 2000])
def test_truncated_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.jsonl.zst"
    write_rows(path, [{"id": str(number), "text": f"{number * 7919}" * 50} for number in range(20_000)])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"rows\.jsonl\.zst"):
        list(read_rows(path))


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    packed = bytearray(gzip.compress(b"".join(b'{"id": "%d"}\n' % (number * 7919) for number in range(5000))))
    packed[200:400] = b"\xff" * 200
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"rows\.jsonl\.gz"):
        list(read_rows(path))


def test_join_checks_that_rows_belong_together(tmp_path: Path) -> None:
    left = tmp_path / "left.jsonl"
    right = tmp_path / "right.jsonl"
    write_rows(left, [{"id": "a"}, {"id": "b", "skip": True}, {"id": "c"}])
    write_rows(right, [{"id": "a"}, {"id": "c"}])
    joined = join_rows(left, right, lambda row: not row.get("skip"))
    assert [(a["id"], b["id"]) for a, b in joined] == [("a", "a"), ("c", "c")]
    with pytest.raises(DataError, match="do not belong together: b against c"):
        list(join_rows(left, right))
    write_rows(right, [{"id": "a"}])
    with pytest.raises(DataError, match="c against the end"):
        list(join_rows(left, right, lambda row: not row.get("skip")))
