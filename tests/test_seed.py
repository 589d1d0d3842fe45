"""Reading human-written pairs in every format, and setting the held-out part aside."""

import gzip
import json
import os
import random
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow
import pytest
import yaml
from helpers.configurations import smallest
from pyarrow import parquet

from backtranslation.corpus.seed import draw_pairs, drop_repeated, iterate_pairs, pair_id, read_pairs, set_aside
from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows
from backtranslation.settings.limits import Limits
from backtranslation.settings.run import load_settings
from backtranslation.settings.seed import HubDataset, PairFormat
from backtranslation.tally import Tally

ROOT = Path(__file__).parent.parent

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
        ({"instruction": "Why?", "input": "", "output": "Because."}, AUTO),
        ({"instruction": "Why?", "output": "Because."}, PairFormat(format="alpaca")),
        ({"prompt": "Why?", "completion": "Because."}, AUTO),
        (
            {
                "prompt": [{"role": "user", "content": "Why?"}],
                "completion": [{"role": "assistant", "content": "Because."}],
            },
            AUTO,
        ),
        ({"prompt": "Why?", "answer": "Because."}, PairFormat(instruction_field="prompt", response_field="answer")),
    ],
    ids=[
        "pairs", "named fields", "messages", "sharegpt", "oasst", "alpaca", "alpaca without input", "prompt-completion",
        "prompt-completion of messages", "pairs with a field prompt",
    ],
)  # fmt: skip
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


@pytest.mark.parametrize("pair_format", [AUTO, PairFormat(response_field="output"), PairFormat(format="alpaca")])
def test_alpacas_input_follows_its_instruction_after_a_blank_line(tmp_path: Path, pair_format: PairFormat) -> None:
    row = {"instruction": "Translate. ", "input": "\nle thé", "output": "tea"}
    assert texts(read_pairs(store(tmp_path / "a.jsonl", row), pair_format)) == [("Translate.\n\nle thé", "tea")]


def test_a_context_that_is_passed_over_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = {"instruction": "Translate.", "context": "le thé", "response": "tea"}
    assert texts(read_pairs(store(tmp_path / "a.jsonl", row), AUTO)) == [("Translate.", "tea")]
    assert "format pairs reads instruction and response alone, not context" in caplog.text


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_a_json_array(tmp_path: Path, name: str) -> None:
    text = json.dumps([{"instruction": "Why?", "response": "Because."}, 5, {"instruction": "How?", "response": "So."}])
    (tmp_path / name).write_bytes(
        gzip.compress(text.encode()) if name.endswith(".gz") else b"\xef\xbb\xbf \n" + text.encode()
    )
    assert texts(read_pairs(tmp_path / name, AUTO)) == [("Why?", "Because."), ("How?", "So.")]


# OASST1

TURNS = [  # text, language, rank, deleted, replies
    ("Why?", "en", None, False, [
        ("Dunno.", "en", 1, False, []), ("Because.", "en", 0, False, [("Really?", "en", None, False, [])]),
    ]),
    ("How?", "en", None, False, [("So.", "en", 0, True, []), ("Thus.", "en", None, False, [])]),
    ("Warum?", "de", None, False, [("Darum.", "de", 0, False, [])]),
    ("Spam!", "en", None, True, [("No.", "en", 0, False, [])]),
    ("Who?", "en", None, False, []),
    ("When?", "en", None, False, [("Maintenant.", "fr", 0, False, []), ("Now.", "en", 0, False, [])]),
]  # fmt: skip


def message_of(turn: Any, parent: str | None, root: str) -> Row:
    text, language, rank, deleted, _ = turn
    return {
        "message_id": f"id of {text}", "parent_id": parent, "message_tree_id": root, "text": text, "lang": language,
        "rank": rank, "deleted": deleted, "role": "assistant" if rank is not None else "prompter",
        "review_result": True, "tree_state": "ready_for_export",
    }  # fmt: skip


def as_tree(turn: Any, parent: str | None = None, root: str = "") -> Row:
    message = message_of(turn, parent, root)
    return message | {"replies": [as_tree(reply, message["message_id"], root) for reply in turn[4]]}


def as_messages(turn: Any, parent: str | None = None, root: str = "") -> list[Row]:
    message = message_of(turn, parent, root)
    return [message, *(row for reply in turn[4] for row in as_messages(reply, message["message_id"], root))]


@pytest.mark.parametrize("language", ["en", None])
def test_flat_messages_of_oasst_give_the_pairs_of_its_trees(tmp_path: Path, language: str | None) -> None:
    trees = [{"message_tree_id": turn[0], "prompt": as_tree(turn, root=turn[0])} for turn in TURNS]
    messages = [row for turn in TURNS for row in as_messages(turn, root=turn[0])]
    pd.DataFrame(messages).astype({"rank": "Int32"}).to_parquet(tmp_path / "messages.parquet")
    wanted = PairFormat(language=language)
    from_trees = read_pairs(store(tmp_path / "trees.jsonl", *trees), wanted)
    expected = [("Why?", "Because."), ("Warum?", "Darum."), ("When?", "Now.")]
    assert texts(from_trees) == [pair for pair in expected if language is None or pair[0] != "Warum?"]
    assert read_pairs(tmp_path / "messages.parquet", wanted) == from_trees
    assert read_pairs(store(tmp_path / "messages.jsonl", *messages), wanted) == from_trees
    random.Random(1).shuffle(messages)
    shuffled = read_pairs(store(tmp_path / "shuffled.jsonl", *messages), wanted)
    assert sorted(texts(shuffled)) == sorted(texts(from_trees))


# The page about formats


def examples_of_the_page() -> list[tuple[str, list[str], Row]]:
    """Format, rows and their pair, for every example in docs/seed.md."""
    page = (ROOT / "docs" / "seed.md").read_text(encoding="utf-8")
    found, rows, name = [], [], ""
    for line in page.splitlines():
        if line.startswith("### "):
            name = line.removeprefix("### ")
        elif line.startswith("    {"):
            rows.append(line.strip())
        elif line.startswith("    -> "):
            found.append((name, rows, json.loads(line.removeprefix("    -> "))))
            rows = []
    return found


def test_the_page_has_an_example_of_every_format() -> None:
    formats = get_args(PairFormat.model_fields["format"].annotation)
    assert {name for name, _, _ in examples_of_the_page()} == set(formats) - {"auto"}


@pytest.mark.parametrize(("name", "rows", "pair"), examples_of_the_page())
def test_the_examples_of_the_page(tmp_path: Path, name: str, rows: list[str], pair: Row) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    for pair_format in (AUTO, PairFormat.model_validate({"format": name})):
        assert texts(read_pairs(tmp_path / "a.jsonl", pair_format)) == texts([pair])


def test_the_configuration_of_the_page() -> None:
    page = (ROOT / "docs" / "seed.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^    seed:\n(?:     .*\n)+", page, re.MULTILINE)
    settings = load_settings(smallest(**yaml.safe_load(textwrap.dedent(block))))
    assert settings.seed.dataset == HubDataset(name="OpenAssistant/oasst1") and settings.seed.language == "en"


# Rows that cannot be used

GOOD = {"instruction": "Why?", "response": "Because."}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"instruction": "Why?"', "not JSON"),
        (b'{"instruction": "\xff", "response": "So."}', "not JSON"),
        (b'{"a":' * 100_000, "not JSON"),
        (b"5", "not a JSON object"),
        (b'{"instruction": "Why?"}', "not in the format pairs"),
        (b'{"prompt": "Why?", "completion": "So."}', "not in the format pairs"),
        (b"{}", "not in the format pairs"),
        (b'{"instruction": "Why?", "response": "  "}', "response is empty"),
        (b'{"instruction": null, "response": "So."}', "instruction is empty"),
        (b'{"instruction": 5, "response": "So."}', "instruction is not a text"),
        (b'{"instruction": "Why?", "response": ["So."]}', "response is not a text"),
        (b'{"instruction": "\\ud800", "response": "So."}', "instruction is not valid Unicode"),
    ],
)
@pytest.mark.parametrize("place", [0, 3])
def test_a_bad_row_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes, reason: str, place: int
) -> None:
    lines = [json.dumps(GOOD).encode(), b"", *[json.dumps(GOOD).encode()] * 10]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([*lines[:place], line, *lines[place:]]))
    tally = Tally()
    assert len(list(iterate_pairs(tmp_path / "a.jsonl", AUTO, tally))) == 11
    assert tally.counts["rows/read"] == 12 and tally.refused == {f"rows/{reason}": 1}
    assert f"skipped, rows/{reason}: row {place + 1} of a.jsonl" in caplog.text


@pytest.mark.parametrize("row", [{"messages": ["Hi"]}, {"messages": None}, {"conversations": ["Why?", "So."]}])
def test_conversations_of_another_form_are_refused(tmp_path: Path, row: Row) -> None:
    tally = Tally()
    assert list(iterate_pairs(store(tmp_path / "a.jsonl", row), AUTO, tally)) == []
    assert tally.refused.total() == 1 and "which has the fields" in tally.examples[0]


def test_invalid_utf8_in_parquet(tmp_path: Path) -> None:
    responses = pyarrow.Array.from_buffers(
        pyarrow.string(), 3, pyarrow.array([b"So.", b"\xff\xfe", b"Thus."], pyarrow.binary()).buffers()
    )
    table = pyarrow.table({"instruction": ["Why?", "How?", "Who?"], "response": responses})
    parquet.write_table(table, tmp_path / "a.parquet")
    tally = Tally()
    pairs = list(iterate_pairs(tmp_path / "a.parquet", AUTO, tally))
    assert texts(pairs) == [("Why?", "So."), ("Who?", "Thus.")]
    assert tally.refused == {"rows/values that cannot be read": 1} and "row 2 of a.parquet" in tally.examples[0]


def test_too_many_bad_rows_stop_with_counts_and_examples(tmp_path: Path) -> None:
    path = store(tmp_path / "a.jsonl", *[GOOD] * 10, *[{}] * 20, *[GOOD | {"response": ""}] * 10)
    with pytest.raises(DataError) as error:
        read_pairs(path, AUTO)
    first, *examples = str(error.value).splitlines()
    assert "30 of 40 rows" in first and "20 rows/not in the format pairs, 10 rows/response is empty" in first
    assert len(examples) == 3
    assert len(read_pairs(path, AUTO, Limits(max_unusable_share=0.9))) == 10


def test_the_stage_goes_on_after_a_bad_row_and_stops_at_the_bound(tmp_path: Path) -> None:
    rows = [{"instruction": f"What is {n}?", "response": f"{n}."} for n in range(20)]
    store(tmp_path / "a.jsonl", *rows, {}, {}, {})
    spec: dict[str, Any] = {"seed": {}, "size": None, "held_out": None, "held_out_size": 5, "random_seed": 1}
    outputs = ("--train", str(tmp_path / "train.jsonl.zst"), "--held-out", str(tmp_path / "held_out.jsonl.zst"))
    command = [
        sys.executable, str(ROOT / "scripts/prepare_seed.py"), "--spec", json.dumps(spec), "--store",
        str(tmp_path / "store"), "--seed-pairs", str(tmp_path / "a.jsonl"), *outputs, "--execution",
    ]  # fmt: skip
    strict = json.dumps({"limits": {"max_unusable_share": 0.01}})
    stopped = subprocess.run([*command, strict], capture_output=True, text=True, timeout=60)
    assert stopped.returncode == 1 and "3 of 23 rows" in stopped.stderr and "Traceback" not in stopped.stderr
    done = subprocess.run([*command, "{}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "20 pairs in 23 rows; 0 left out, 3 cannot be used" in done.stderr
    assert len(list(read_rows(tmp_path / "train.jsonl.zst"))) == 15


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "holds no pairs"),
        ("a.jsonl", b'{"messages": [{"role": "assistant", "content": "Hi"}]}', "holds no pairs; it has 1 rows"),
        ("a.jsonl", b'{"question": "Why?"}', "its first rows have the fields 'question', which is no known format"),
        ("a.json", b'[{"instruction": "Why?"', "begins as a JSON array, but is not valid JSON"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"instruction": "Why?", "response": "So."}\n' * 999, mtime=0)[:-9],
            "damaged after row .*; get the file anew",
        ),
        ("a.csv", b"instruction,response", "its suffix is none of .jsonl, .*, .parquet"),
        ("a.parquet", b"no", "not a Parquet file"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        read_pairs(tmp_path / name, AUTO)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    for path in (tmp_path / "a.jsonl", Path("/dev/zero"), tmp_path):
        with pytest.raises(DataError, match="is no regular file"):
            read_pairs(path, AUTO)
    with pytest.raises(DataError, match="no such file"):
        read_pairs(tmp_path / "none.jsonl", AUTO)


# A data set of the package `datasets`


def test_a_data_set_in_the_cache(tmp_path: Path) -> None:
    """Read in offline mode from where `datasets` keeps what it has loaded from the hub."""
    datasets = pytest.importorskip("datasets")
    rows = [{"instruction": "Translate.", "input": "le thé", "output": "tea"}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    files = {"test": str(tmp_path / "rows.parquet")}
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "made"))
    (made,) = (tmp_path / "made" / "parquet").iterdir()
    cache = tmp_path / "cache" / "owner___pairs"
    cache.mkdir(parents=True)
    made.rename(cache / "default")  # the name of the subset, in the path as in what is noted beside the rows
    for path in list(cache.rglob("dataset_info.json")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"config_name": "default"}))
        (path.parent / "parquet-test.arrow").rename(path.parent / "pairs-test.arrow")
    call = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from backtranslation.corpus.seed import read_pairs\n"
        "from backtranslation.settings.seed import PairFormat\n"
        "for split in ('test', 'none'):\n"
        "    wanted = {'dataset': {'name': 'owner/pairs', 'split': split}}\n"
        "    print([pair['instruction'] for pair in read_pairs(None, PairFormat.model_validate(wanted))])\n"
    )
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["['Translate.\\n\\nle thé']"], done.stderr
    assert "DataError: owner/pairs: cannot be loaded" in done.stderr and 'Unknown split "none"' in done.stderr


def test_a_data_set_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"owner/pairs: needs the package datasets: pip install"):
        read_pairs(None, PairFormat(dataset=HubDataset(name="owner/pairs")))


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
