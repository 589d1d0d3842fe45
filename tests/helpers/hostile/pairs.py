"""Hostile files of human-written pairs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from helpers.hostile.cases import MEGABYTE, Case, read_seed
from helpers.hostile.rows import no_utf8_name, strings

PAIRS = [{"instruction": f"Garden {number}", "response": f"Answer {number}"} for number in (1, 2)]


def pairs(name: str, *lines: bytes, expected: str = "rows/", pair_format: str = "auto", stops: bool = False) -> Case:
    """A case of hostile lines between two good pairs."""

    def build(folder: Path) -> Path:
        path = folder / "seed.jsonl"
        path.write_bytes(b"\n".join([json.dumps(PAIRS[0]).encode(), *lines, json.dumps(PAIRS[1]).encode()]) + b"\n")
        return path

    return Case(name, "seed", build, read_seed(pair_format), expected, stops)


def seed_file(name: str, suffix: str, write: Callable[[Path], object], expected: str, **more: Any) -> Case:
    """A case of a whole file."""

    def build(folder: Path) -> Path:
        path = folder / f"seed{suffix}"
        write(path)
        return path

    return Case(name, "seed", build, read_seed(), expected, **more)


def row(instruction: Any = "How?", response: Any = "So.", **more: Any) -> bytes:
    """A pair as a line."""
    return json.dumps({"instruction": instruction, "response": response, **more}).encode()


def rows(**fields: Any) -> Callable[[Path], object]:
    """A file of one row of another format."""
    return lambda path: path.write_text(json.dumps(fields) + "\n")


def undecodable(path: Path) -> None:
    """A table of a pair that is no UTF-8."""
    cells = {name: [b"Garden 1", b"\xff\xfe", b"Garden 2"] for name in ("instruction", "response")}
    pq.write_table(pa.table({name: strings(values) for name, values in cells.items()}), path)


PAIR_CASES = [
    pairs("no instruction", b'{"response": "a"}'),
    pairs("null", row(None)),
    pairs("an empty response", row(response=" \n ")),
    pairs("a number", row(5)),
    pairs("a list", row(["a"])),
    pairs("an object", row(response={"a": 1})),
    pairs("no object", b"[1, 2]"),
    pairs("half an object", b'{"instruction": "a'),
    pairs("no UTF-8", b'{"instruction": "\xff", "response": "a"}'),
    pairs("NULs", bytes(100)),
    pairs("an empty line", b"", expected="fine"),
    pairs("half a surrogate pair", row("\ud800")),
    pairs("half a surrogate pair in a key", row(**{"\udfff": 1}), expected="fine"),
    pairs("a million brackets", b"[" * MEGABYTE),
    pairs("a number of a million digits", b'{"instruction": ' + b"9" * MEGABYTE + b', "response": "a"}'),
    pairs("no number", b'{"instruction": NaN, "response": "a"}'),
    pairs("escape sequences", row("\x1b[2J", "\x07"), expected="fine"),
    pairs("an instruction of 9 MB", row("a " * 4_500_000), expected="fine"),
    pairs("messages without roles", row(messages=[{}]), expected="fine"),
    seed_file("messages: a string", ".jsonl", rows(messages="hello"), "seed.", stops=True),
    seed_file("messages: an object", ".jsonl", rows(messages={"a": 1}), "seed.", stops=True),
    seed_file("messages: null", ".jsonl", rows(messages=None), "seed.", stops=True),
    seed_file("messages of numbers", ".jsonl", rows(messages=[1, 2]), "seed.", stops=True),
    seed_file(
        "messages with a list as text",
        ".jsonl",
        rows(messages=[{"role": "user", "content": [{}]}, {"role": "assistant", "content": "a"}]),
        "row 1",
        stops=True,
    ),
    seed_file(
        "messages with a list as role",
        ".jsonl",
        rows(messages=[{"role": ["user"], "content": "a"}]),
        "row 1",
        stops=True,
    ),
    seed_file("messages: none", ".jsonl", rows(messages=[]), "holds no pairs", stops=True),
    seed_file("conversations of nothing", ".jsonl", rows(conversations=[None, None]), "seed.", stops=True),
    seed_file("a tree without replies", ".jsonl", rows(prompt={"text": "a", "lang": "en"}), "seed.", stops=True),
    seed_file(
        "a tree of null replies",
        ".jsonl",
        rows(prompt={"text": "a", "lang": "en", "replies": None}),
        "row 1",
        stops=True,
    ),
    seed_file("an empty file", ".jsonl", lambda path: path.write_bytes(b""), "seed.jsonl", stops=True),
    seed_file("garbage", ".jsonl", lambda path: path.write_bytes(bytes(range(256)) * 100), "seed.jsonl", stops=True),
    seed_file("a file of one pair", ".jsonl", rows(**PAIRS[0]), "held_out.size is 1", stops=True),
    seed_file("gzip that is none", ".jsonl.gz", lambda path: path.write_bytes(b"garbage"), "seed.jsonl.gz", stops=True),
    seed_file(
        "zstandard that is none", ".jsonl.zst", lambda path: path.write_bytes(b"garbage"), "seed.jsonl.zst", stops=True
    ),
    seed_file(
        "Parquet that is none", ".parquet", lambda path: path.write_bytes(b"garbage"), "seed.parquet", stops=True
    ),
    seed_file(
        "Parquet without rows",
        ".parquet",
        lambda path: pq.write_table(pa.table({"instruction": pa.array([], pa.string())}), path),
        "seed.parquet",
        stops=True,
    ),
    seed_file("Parquet with a name that is no UTF-8", ".parquet", no_utf8_name, "seed.parquet", stops=True),
    seed_file("Parquet that is no UTF-8", ".parquet", undecodable, "rows/"),
    seed_file(
        "Parquet of numbers",
        ".parquet",
        lambda path: pq.write_table(pa.table({"instruction": [1], "response": [2]}), path),
        "row 1",
        stops=True,
    ),
    seed_file(
        "Parquet with dates before all time",
        ".parquet",
        lambda path: pq.write_table(
            pa.table({"instruction": pa.array([-(2**62)], pa.timestamp("us")), "response": ["a"]}), path
        ),
        "seed.parquet",
        stops=True,
    ),
]
