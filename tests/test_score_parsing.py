"""What counts as a score, and what must never become one."""

import pytest

from backtranslation.errors import DataError
from backtranslation.method.score_parsing import check_unparsable, expected_score, parse_judgement, parse_score
from backtranslation.models.choices import text_before_score

LABEL = "Score:"


@pytest.mark.parametrize(
    ("raw", "score"),
    [
        ("It is complete.\nScore: 4", 4),
        ("Score: 4.5", 4.5),
        ("Score: 4,5", 4.5),
        ("score = 3", 3),
        ("**Score:** 5", 5),
        ("**Score: 5**", 5),
        ("Score: 5/5", 5),
        ("Score: 4 out of 5", 4),
        ("A first guess is Score: 2, but it is complete.\nScore: 4", 4),
        ("Score: 3.", 3),
        ("Score: 4 because it is focused", 4),
        ("It lists 10 items.\nScore: 1\n", 1),
    ],
)
def test_scores(raw: str, score: float) -> None:
    assert parse_score(raw, LABEL) == (score, None)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("A fine answer, I would say 4.", "no_score"),
        ("The underscore: 4", "no_score"),
        ("Score: good", "no_number"),
        ("Score:", "no_number"),
        ("Score: 45", "out_of_range"),
        ("Score: 10502", "out_of_range"),
        ("Score: 10", "out_of_range"),
        ("Score: 0", "out_of_range"),
        ("Score: -3", "out_of_range"),
        ("Score: 5.5", "out_of_range"),
        ("Score: 8/10", "other_scale"),
        ("Score: 4/10", "other_scale"),
        ("Score: 4-5", "ambiguous"),
        ("Score: 4 or 5", "ambiguous"),
        ("Score: 3 to 4", "ambiguous"),
        ("Score: 4th", "ambiguous"),
        ("Score: 5%", "ambiguous"),
        ("Score: 4\nScore: none", "no_number"),
        ("Score\uff1a4", "no_score"),
    ],
)
def test_what_is_no_score_has_a_reason(raw: str, reason: str) -> None:
    assert parse_score(raw, LABEL) == (None, reason)


@pytest.mark.parametrize(
    ("label", "raw", "before"),
    [
        ("Punktzahl:", "Das ist gut.\n**punktzahl**: 4", "Das ist gut.\n**punktzahl**:"),
        ("Punktzahl:", "Gesamtpunktzahl: 2\nPunktzahl = 4", "Gesamtpunktzahl: 2\nPunktzahl ="),
        ("Note :", "C'est bien.\nNote : 4", "C'est bien.\nNote :"),
        ("评分\uff1a", "回答很好。我的评分\uff1a4", "回答很好。我的评分\uff1a"),
        ("评分\uff1a", "回答很好。\n**评分**: 4", "回答很好。\n**评分**:"),
        ("评分:", "评分\uff1a 4", "评分\uff1a"),
        ("คะแนน:", "ฉันให้คะแนน: 4", "ฉันให้คะแนน:"),
        ("점수:", "좋다.\n점수: 4", "좋다.\n점수:"),
        ("अंक:", "अच्छा।\nअंक: 4", "अच्छा।\nअंक:"),
        ("Rating", "Rating 4", "Rating"),
    ],
)
def test_labels_of_other_languages(label: str, raw: str, before: str) -> None:
    assert parse_score(raw, label) == (4, None)
    assert text_before_score("", raw, label) == before
    assert text_before_score("", "4", label) == f"4\n{label}"
    assert parse_score("4", label) == (None, "no_score")


def test_place_of_the_digit() -> None:
    assert text_before_score("Rate it.\n", "Fine.\nScore: 4", LABEL) == "Rate it.\nFine.\nScore:"
    assert text_before_score("", "Score: 2? No.\nScore: 4 of 5", LABEL) == "Score: 2? No.\nScore:"
    assert text_before_score("", "It is fine. ", LABEL) == "It is fine.\nScore:"


def test_expected_score() -> None:
    assert expected_score([0, 0, 0, 0.5, 0.5]) == 4.5
    assert expected_score([1, 0, 0, 0, 0]) == 1


def test_judgement_keeps_raw_text_and_expectation_without_a_score() -> None:
    row = parse_judgement({"id": "a", "raw": "no idea", "digit_probabilities": [0.2] * 5, "failure": None}, LABEL)
    assert row == {"id": "a", "raw": "no idea", "score": None, "failure": "no_score", "expected_score": 3.0}


def test_too_many_unparsable_scores_stop_the_run() -> None:
    good = {"id": "g", "raw": "Score: 4", "failure": None}
    bad = [{"id": f"b{n}", "raw": f"text {n}", "failure": "no_score"} for n in range(40)]
    check_unparsable([good] * 10 + bad[:2], 0.2)
    with pytest.raises(DataError, match=r"40 of 50 scores cannot be read \(40 no_score\)") as error:
        check_unparsable([good] * 10 + bad, 0.5)
    assert [f"b{n} " in str(error.value) for n in range(4)] == [True, True, True, False]  # three examples


def test_a_small_shard_is_not_stopped_by_chance() -> None:
    good = {"id": "g", "raw": "Score: 4", "failure": None}
    bad = {"id": "b", "raw": "?", "failure": "no_score"}
    check_unparsable([good, good, bad], 0.2)
    check_unparsable([], 0.2)
    with pytest.raises(DataError):
        check_unparsable([good, good, bad] * 50, 0.2)


@pytest.mark.parametrize(
    ("label", "raw"), [("评分\uff1a", "评分\uff1a4分"), ("評価:", "評価: 4です"), ("คะแนน:", "คะแนน: 4ครับ")]
)
def test_a_letter_behind_the_number_is_no_unit_where_words_are_not_separated(label: str, raw: str) -> None:
    assert parse_score(raw, label) == (4, None)
