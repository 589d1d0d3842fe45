"""The pairs by which scorers are audited: what is wrong with each kind, and that any held-out pairs give some."""

import logging
from pathlib import Path
from random import Random

import pytest
from helpers.configurations import smallest

from backtranslation.corpus.filters import ENDED_LINE
from backtranslation.corpus.ngrams import words
from backtranslation.files import Row, read_rows, row_hash, write_rows
from backtranslation.method.audit import (
    boilerplate_lines,
    cut_in_half,
    instruction_of_like_length,
    make_audit_rows,
    similar_instructions,
)
from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import SettingsError
from scripts.make_audit_pairs import Spec, make_audit_pairs

SUBJECTS = (
    "tulip",
    "drum",
    "kettle",
    "pony",
    "ladder",
    "lantern",
    "violin",
    "basket",
    "anchor",
    "stove",
    "canoe",
    "owl",
)
WRONG = ("other_instruction", "similar_instruction", "cut_in_half", "boilerplate")
MENU = "Home Forum Shop About us Contact and more pages of this site that nobody reads to the end"
NOTICE = "We use cookies to improve your visit, and the visits of all our partners. Accept all"
DROPPED: list[Row] = [
    {"id": "1", "text": MENU, "reason": "boilerplate", "url": "u"},
    {"id": "2", "text": NOTICE, "reason": "boilerplate", "url": "u"},
    {
        "id": "3",
        "text": "Diese Seite gibt es nur auf Deutsch, und das wird so bleiben.",
        "reason": "language",
        "url": "u",
    },
]


def pair(instruction: str, response: str) -> Row:
    return {"id": row_hash(instruction, response), "instruction": instruction, "response": response}


def about(subject: str) -> list[Row]:
    """Two pairs about a subject, with instructions of different lengths."""
    return [
        pair(
            f"What is a {subject}?", f"A {subject} is a thing. It is old, and many people like a {subject} very much."
        ),
        pair(
            f"How do I look after a {subject} in the winter, step by step?",
            f"First clean the {subject}, then dry it with a soft cloth. At last put the {subject} into a box.",
        ),
    ]


PAIRS = [one for subject in SUBJECTS for one in about(subject)]


def test_every_kind_is_wrong_in_its_own_way() -> None:
    rows = make_audit_rows(PAIRS, DROPPED, max_pairs=10, random_seed=1)
    by_pair = {one["id"]: one for one in PAIRS}
    instructions = {one["instruction"] for one in PAIRS}
    assert len(rows) == 50
    for row in rows:
        held_out = by_pair[row["pair"]]
        assert list(row) == ["id", "instruction", "response", "rejection", "kind", "pair"]
        assert row["id"] == f"{row['pair']}/{row['kind']}" and row["rejection"] is None
        same = row["instruction"] == held_out["instruction"], row["response"] == held_out["response"]
        if row["kind"] == "right":
            assert same == (True, True)
        elif row["kind"] in ("other_instruction", "similar_instruction"):
            assert same == (False, True) and row["instruction"] in instructions
        elif row["kind"] == "cut_in_half":
            assert same == (True, False) and held_out["response"].startswith(row["response"])
        else:
            before, response, after = row["response"].split("\n\n")
            assert same == (True, False) and response == held_out["response"] and {before, after} == {MENU, NOTICE}
    assert [row["kind"] for row in rows[:5]] == ["right", *WRONG]


def test_the_most_similar_instruction_is_about_the_same_subject() -> None:
    find = similar_instructions(PAIRS)
    rare = [*PAIRS, pair("Is a theremin loud?", "Yes, very."), pair("Who plays the theremin today?", "Few people do.")]
    assert similar_instructions(rare)(rare[-1]) == "Is a theremin loud?"
    assert all(find(one) not in (None, one["instruction"]) for one in PAIRS)


def test_the_other_instruction_is_of_like_length() -> None:
    for one in PAIRS:
        other = instruction_of_like_length(one, PAIRS, Random(1))
        assert other is not None and other != one["instruction"]
        assert abs(len(other) - len(one["instruction"])) < 10


def test_rows_follow_from_the_seed_and_not_from_the_order_of_what_was_dropped() -> None:
    rows = make_audit_rows(PAIRS, DROPPED, 10, random_seed=1)
    assert make_audit_rows(PAIRS, DROPPED[::-1], 10, random_seed=1) == rows
    assert make_audit_rows(PAIRS, DROPPED, 10, random_seed=2) != rows
    assert {row["pair"] for row in rows} < {row["pair"] for row in make_audit_rows(PAIRS, DROPPED, 12, random_seed=1)}


@pytest.mark.parametrize(
    "response",
    [
        "One two three four. Five six seven eight nine.",
        "One two three four five six seven eight. Nine. Ten.",
        "Yes.\n\nNo.\n\nYes.\n\nNo.\n\nYes.\n\nNo.\n\nYes.\n\nNo.",
        "\u8336\u662f\u7528\u8336\u6811\u7684\u53f6\u5b50\u505a\u7684\u996e\u6599\u3002\u5b83\u6765\u81ea\u4e2d\u56fd\u3002",
    ],
)
def test_a_response_is_cut_within_its_words_of_any_script(response: str) -> None:
    cut = cut_in_half(response)
    assert cut and response.startswith(cut) and len(cut) <= len(response) // 2
    assert cut == cut.rstrip()
    assert words(response)[: len(words(cut))] == words(cut)  # no word is cut
    if "Yes" not in response:  # else every word ends a sentence
        assert not ENDED_LINE.search(cut)


@pytest.mark.parametrize("response", ["", " ", "One two three.", "...", "a b c d e f g"])
def test_a_short_response_is_not_cut(response: str) -> None:
    assert cut_in_half(response) is None


def test_boilerplate_is_no_passage_that_was_dropped_for_its_language() -> None:
    assert boilerplate_lines(DROPPED) == sorted([MENU, NOTICE], key=row_hash)
    long = {"id": "4", "text": "link " * 300, "reason": "navigation", "url": "u"}
    rows = make_audit_rows(PAIRS, [*DROPPED[:1], long], 1, random_seed=1)
    assert max(map(len, rows[-1]["response"].split("\n\n"))) <= 200


HARDLY_ANY: dict[str, list[Row]] = {
    "none": [],
    "one": PAIRS[:1],
    "two": PAIRS[:2],
    "equal instructions": [pair("What is it?", f"It is {subject} number one.") for subject in SUBJECTS],
    "equal responses": [pair(f"What is a {subject}?", "A thing.") for subject in SUBJECTS],
    "empty responses": [pair(f"What is a {subject}?", "") for subject in SUBJECTS],
    "no words": [pair("?" * number, "!" * number) for number in range(1, 5)],
    "empty": [pair("", "")],
}


@pytest.mark.parametrize("pairs", HARDLY_ANY.values(), ids=HARDLY_ANY)
@pytest.mark.parametrize("dropped", [DROPPED, DROPPED[:1], []], ids=["dropped", "one dropped", "nothing dropped"])
def test_kinds_that_cannot_be_made_are_missing_and_counted(
    pairs: list[Row], dropped: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "backtranslation")
    rows = make_audit_rows(pairs, dropped, 100, random_seed=1)
    kinds = [row["kind"] for row in rows]
    assert kinds.count("right") == len(pairs)
    assert len({row["id"] for row in rows}) == len(rows)
    by_pair = {one["id"]: one for one in pairs}
    for row in rows:
        right = by_pair[row["pair"]]
        is_right = (row["instruction"], row["response"]) == (right["instruction"], right["response"])
        assert is_right == (row["kind"] == "right")
    if len(dropped) < 2:
        assert "boilerplate" not in kinds
        assert f"boilerplate: 0 of {len(pairs)} held-out pairs" in caplog.text
    if len(pairs) < 2 or pairs[0]["instruction"] == pairs[1]["instruction"]:
        assert "other_instruction" not in kinds and "similar_instruction" not in kinds


def test_the_stage_reads_the_dropped_texts_of_all_shards(tmp_path: Path) -> None:
    write_rows(tmp_path / "held_out.jsonl", PAIRS)
    shards = [tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "empty.jsonl"]
    for path, rows in zip(shards, ([DROPPED[0]], DROPPED[1:], []), strict=True):
        write_rows(path, rows)
    make_audit_pairs(tmp_path / "held_out.jsonl", shards, tmp_path / "pairs.jsonl", Spec(max_pairs=5, random_seed=1))
    assert list(read_rows(tmp_path / "pairs.jsonl")) == make_audit_rows(PAIRS, DROPPED, 5, random_seed=1)


def test_a_scorer_has_a_name_of_its_own() -> None:
    with pytest.raises(SettingsError, match=r"config: audit.scorers: 'own' is the name of the run's own scorer"):
        load_settings(smallest(audit={"scorers": {"own": {}}}))
    with pytest.raises(SettingsError, match=r"config: audit.scorers.categories.methd: no such setting; did you mean"):
        load_settings(smallest(audit={"scorers": {"categories": {"methd": "direct"}}}))
    with pytest.raises(SettingsError, match="config: audit.scorers"):
        load_settings(smallest(audit={"scorers": {"../up": {}}}))
