"""Reading human-written pairs in every format, and setting the held-out part aside."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from backtranslation.corpus.seed import draw_pairs, drop_repeated, pair_id, read_pairs, set_aside
from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.settings.seed import PairFormat

AUTO = PairFormat()


def store(path: Path, *rows: object) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(pairs: list[Row]) -> list[tuple[str, str]]:
    return [(pair["instruction"], pair["response"]) for pair in pairs]


def tree(text: str, *replies: tuple[str, int], lang: str = "en") -> Row:
    """An OASST1 tree of one turn."""
    return {
        "message_tree_id": text,
        "prompt": {
            "text": text,
            "lang": lang,
            "replies": [{"text": reply, "rank": rank, "lang": lang, "replies": []} for reply, rank in replies],
        },
    }


@pytest.mark.parametrize(
    ("row", "pair_format"),
    [
        ({"instruction": " Why? ", "response": "Because."}, AUTO),
        ({"q": "Why?", "a": "Because."}, PairFormat(instruction_field="q", response_field="a")),
        ({"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]}, AUTO),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]}, AUTO),
        (tree("Why?", ("No idea.", 1), ("Because.", 0)), PairFormat(language="en")),
    ],
    ids=["pairs", "named fields", "messages", "sharegpt", "oasst"],
)
def test_formats(tmp_path: Path, row: Row, pair_format: PairFormat) -> None:
    assert texts(read_pairs(store(tmp_path / "seed.jsonl", row), pair_format)) == [("Why?", "Because.")]


def test_parquet_and_gzip(tmp_path: Path) -> None:
    pd.DataFrame([{"instruction": "Why?", "response": "Because."}]).to_parquet(tmp_path / "seed.parquet")
    assert texts(read_pairs(tmp_path / "seed.parquet", AUTO)) == [("Why?", "Because.")]
    with gzip.open(tmp_path / "trees.jsonl.gz", "wt") as stream:
        stream.write(json.dumps(tree("Why?", ("Because.", 0))))
    assert texts(read_pairs(tmp_path / "trees.jsonl.gz", AUTO)) == [("Why?", "Because.")]


def test_parquet_with_messages(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    pd.DataFrame([{"messages": messages}]).to_parquet(tmp_path / "seed.parquet")
    assert texts(read_pairs(tmp_path / "seed.parquet", AUTO)) == [("Why?", "Because.")]


def test_first_turn_with_its_system_text(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Why?"), ("assistant", "Because."), ("user", "Really?")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    assert texts(read_pairs(store(tmp_path / "a.jsonl", row), AUTO)) == [("Be brief.\n\nWhy?", "Because.")]


def test_oasst_leaves_out_other_languages_and_unranked(tmp_path: Path) -> None:
    trees = [
        tree("Why?", ("Because.", 0)),
        tree("Warum?", ("Darum.", 0), lang="de"),
        tree("How?", ("So.", 1)),
        tree("Who?"),
    ]
    path = store(tmp_path / "trees.jsonl", *trees)
    assert texts(read_pairs(path, PairFormat(format="oasst", language="en"))) == [("Why?", "Because.")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no pairs"),
        ('{"instruction": "Why?", "response": "Because."}\n{"instruction": "Why?"}\n', "row 2: .*response"),
        ('{"instruction": "Why?", "response": "  "}', "row 1: response is empty"),
        ('{"instruction": null, "response": "Because."}', "row 1: instruction is empty"),
        ('{"prompt": "Why?", "completion": "Because."}', "row 1: cannot be read with format oasst"),
        ('{"question": "Why?", "answer": "Because."}', "row 1: has the fields 'question', 'answer', but none of"),
        ('{"messages": [{"role": "assistant", "content": "Hi"}]}', r"holds no pairs \(1 rows left out\)"),
        ('{"messages": ["Hi"]}', "row 1: cannot be read with format messages"),
        ('{"instruction": "Why?"', "line 1: not valid JSON"),
        ("[1]", "line 1 is not a JSON object"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "seed.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=f"seed.jsonl: .*{message}|seed.jsonl: {message}"):
        read_pairs(path, AUTO)


def test_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "seed.parquet").write_text("no")
    with pytest.raises(DataError, match="seed.parquet: not a Parquet file"):
        read_pairs(tmp_path / "seed.parquet", AUTO)


def numbered(count: int) -> list[Row]:
    rows = [(f"question {number}", f"answer {number}") for number in range(count)]
    return [{"id": pair_id(*row), "instruction": row[0], "response": row[1]} for row in rows]


def test_held_out_pairs_are_apart_and_do_not_depend_on_order() -> None:
    pairs = numbered(50)
    rest, held_out = set_aside(pairs, 10, random_seed=3)
    assert len(held_out) == 10 and len(rest) == 40
    assert sorted(row["id"] for row in rest + held_out) == sorted(row["id"] for row in pairs)
    _, again = set_aside(pairs[::-1], 10, random_seed=3)
    assert {row["id"] for row in again} == {row["id"] for row in held_out}
    _, other = set_aside(pairs, 10, random_seed=4)
    assert {row["id"] for row in other} != {row["id"] for row in held_out}


def test_too_few_pairs() -> None:
    with pytest.raises(DataError, match="held_out.size is 5, but there are only 5"):
        set_aside(numbered(5), 5, 1)
    with pytest.raises(DataError, match="seed.size is 6, but there are only 5"):
        draw_pairs(numbered(5), 6, 1)


def test_repeated_pairs_and_held_out_instructions_are_dropped() -> None:
    pairs = numbered(4)
    held_out = [{"id": "x", "instruction": " QUESTION  1", "response": "another answer"}]
    kept = drop_repeated([*pairs, pairs[0]], held_out)
    assert [pair["instruction"] for pair in kept] == ["question 0", "question 2", "question 3"]
