"""Thresholds, the best n, and empty selections."""

import pytest

from backtranslation.files import DataError
from backtranslation.selection import Scored, select_candidates
from backtranslation.settings import Selection

SCORED = [
    Scored("a", 5.0, 4.2),
    Scored("b", 4.5, 4.6),
    Scored("c", 4.0, 4.9),
    Scored("d", None, 4.8),
    Scored("e", 5.0, 4.4),
]


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (Selection(threshold=4.5), "abe"),
        (Selection(threshold=4), "abce"),
        (Selection(threshold=5), "ae"),
        (Selection(by="expected", threshold=4.5), "bcd"),
        (Selection(threshold=4, top_n=1), "e"),  # a tie on the score, the higher expectation wins
        (Selection(by="expected", threshold=1, top_n=2), "cd"),
        (Selection(threshold=4.5, top_n=10), "abe"),
    ],
)
def test_selection(selection: Selection, kept: str) -> None:
    assert select_candidates(SCORED, selection) == set(kept)


def test_a_missing_score_is_not_a_low_score() -> None:
    assert "d" not in select_candidates(SCORED, Selection(threshold=1))


def test_nothing_kept_is_an_error_with_counts() -> None:
    with pytest.raises(DataError, match="keeps none of 2 candidates: the highest parsed score is 4, 1 have none"):
        select_candidates(SCORED[2:4], Selection(threshold=4.5))
    with pytest.raises(DataError, match="none has a score"):
        select_candidates(SCORED[3:4], Selection(threshold=4.5))
