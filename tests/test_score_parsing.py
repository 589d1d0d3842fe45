"""What counts as a score, and what must never become one."""

import pytest

from backtranslation.method.score_parsing import expected_score, parse_score
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
        ("Score: <4>", 4),
        ("Score: [4]", 4),
        ('Score: "4"', 4),
        ("Score: \u201c4\u201d", 4),
        ("Score: (4)", 4),
        ("Score: `4`/5", 4),
        ("Score: **4**/5", 4),
        ("Score: **4.5 / 5**", 4.5),
        ("Score:\n[3]", 3),
        ("Fine.\nScore: 4\n\nInstruction: Sing.\nResponse: La.\nScore: 2", 4),  # invented after the score
        ("Fine.\n**Score:** 4/5.\nThe next pair: Score: 1", 4),
        ("Score: 4\nScore: none", 4),
        ("Score: 3 points for being relevant.\nScore: 5\nScore: 1", 5),
        ("Score: 4\n\n- 5 points for clarity", 4),
        ("Score: 4\n-5", 4),
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
        ("Score: 4 so far.\nScore: none", "no_number"),
        ("Score: [4-5]", "ambiguous"),
        ("Score: <4> or <5>", "ambiguous"),
        ("Score: [1, 2, 3, 4, 5]", "ambiguous"),
        ("Score: <score>", "no_number"),
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
    assert text_before_score("Rate.\n", "", label) == f"Rate.\n{label}"
    assert parse_score("4", label) == (None, "no_score")


def test_place_of_the_digit() -> None:
    assert text_before_score("Rate it.\n", "Fine.\nScore: 4", LABEL) == "Rate it.\nFine.\nScore:"
    assert text_before_score("", "Score: 2? No.\nScore: 4 of 5", LABEL) == "Score: 2? No.\nScore:"
    assert text_before_score("", "It is fine. ", LABEL) == "It is fine.\nScore:"


def test_expected_score() -> None:
    assert expected_score([0, 0, 0, 0.5, 0.5]) == 4.5
    assert expected_score([1, 0, 0, 0, 0]) == 1


@pytest.mark.parametrize(
    ("label", "raw"), [("评分\uff1a", "评分\uff1a4分"), ("評価:", "評価: 4です"), ("คะแนน:", "คะแนน: 4ครับ")]
)
def test_a_letter_behind_the_number_is_no_unit_where_words_are_not_separated(label: str, raw: str) -> None:
    assert parse_score(raw, label) == (4, None)
