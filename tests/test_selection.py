"""Thresholds, the best n, and empty selections."""

import re

import numpy as np
import pyarrow as pa
import pytest
import yaml
from helpers.configurations import ROOT
from hypothesis import given
from hypothesis import strategies as st

from backtranslation.errors import DataError
from backtranslation.method.selection import distribution, select_rows
from backtranslation.settings.selection import Selection

Candidate = tuple[str, float | None, float | None]  # id, score, expected score
SCORED: list[Candidate] = [
    ("a", 5.0, 4.2),
    ("b", 4.5, 4.6),
    ("c", 4.0, 4.9),
    ("d", None, 4.8),
    ("e", 5.0, 4.4),
]


def select_ids(scored: list[Candidate], selection: Selection) -> set[str]:
    """Ids of what is kept, of candidates in two shards."""
    kinds = pa.schema({"id": pa.string(), "score": pa.float64(), "expected_score": pa.float64()})
    rows = [dict(zip(kinds.names, row, strict=True)) for row in scored]
    shards = [pa.Table.from_pylist(part, schema=kinds) for part in (rows[:2], rows[2:])]
    kept = select_rows(pa.concat_tables(shards), selection)
    return {row[0] for row, is_kept in zip(scored, kept, strict=True) if is_kept}


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
        (Selection(by="expected", quantile=0.5), "bcd"),  # the better half of five, rounded up
        (Selection(by="expected", quantile=0.6), "cd"),
        (Selection(by="expected", quantile=0.75), "cd"),
        (Selection(by="expected", quantile=0), "abcde"),
        (Selection(by="expected", quantile=0.5, threshold=4.7), "cd"),
        (Selection(by="expected", quantile=0.5, top_n=1), "c"),
        (Selection(by="parsed", quantile=0.5), "ae"),  # of the four candidates with a score
    ],
)
def test_selection(selection: Selection, kept: str) -> None:
    assert select_ids(SCORED, selection) == set(kept)


def test_a_missing_score_is_not_a_low_score() -> None:
    assert "d" not in select_ids(SCORED, Selection(threshold=1))


@given(
    st.lists(
        st.tuples(st.text(min_size=1), st.sampled_from([None, 4.0, 4.5, 5.0]), st.sampled_from([3.9, 4.4, 4.9])),
        unique_by=lambda row: row[0],
        min_size=1,
    ),
    st.sampled_from(["parsed", "expected"]),
    st.integers(1, 9),
)
def test_ties_are_broken_by_expected_score_and_id(scored: list[Candidate], by: str, top_n: int) -> None:
    """As Python sorts them: best first, then ids in the order of their characters."""
    rated = [(row[1] if by == "parsed" else row[2], row[2] or 0.0, row[0]) for row in scored]
    best = sorted((-value, -expected, row_id) for value, expected, row_id in rated if value is not None)[:top_n]
    if best:
        selection = Selection.model_validate({"by": by, "threshold": 1, "top_n": top_n})
        assert select_ids(scored, selection) == {row_id for _, _, row_id in best}


def test_a_threshold_that_keeps_nothing_is_an_error_with_the_distribution() -> None:
    with pytest.raises(DataError) as error:
        select_ids([*SCORED[2:4], ("f", 2.0, 1.5), ("g", 2.0, 4.7)], Selection(threshold=4.5))
    assert str(error.value).splitlines() == [
        "selection.threshold 4.5 keeps none of 4 candidates by their parsed scores:",
        "  score 2: 2",
        "  score 4: 1",
        "  no score: 1",
        "Lower selection.threshold to 4 or less, or set selection.by to another score (docs/selection.md)",
    ]
    expected = [("a", 5.0, 1.0), ("b", 5.0, 4.4966), ("c", 5.0, 4.5 - 1e-9), ("d", None, 2.0), ("e", None, None)]
    with pytest.raises(DataError) as error:
        select_ids(expected, Selection(by="expected", threshold=4.5))
    assert str(error.value).splitlines()[1:] == [
        "  1 to 1.5: 1",
        "  2 to 2.5: 1",
        "  4 to 4.5: 2",
        "  no score: 1",
        "Lower selection.threshold to 4.49 or less, or set selection.by to another score (docs/selection.md)",
    ]


def test_without_any_score_or_candidate_the_threshold_is_not_blamed() -> None:
    with pytest.raises(DataError, match="no score: 1\nNo threshold helps: see in the scores"):
        select_ids(SCORED[3:4], Selection(threshold=4.5))
    with pytest.raises(DataError, match="there are no candidates to select from"):
        select_ids([], Selection(threshold=4.5))


def test_the_threshold_that_is_proposed_keeps_something() -> None:
    expected: list[Candidate] = [("a", None, 4.431237), ("b", None, 1.0)]
    with pytest.raises(DataError) as error:
        select_ids(expected, Selection(by="expected", threshold=4.5))
    proposed = float(re.findall(r"to (\S+) or less", str(error.value))[0])
    assert select_ids(expected, Selection(by="expected", threshold=proposed)) == {"a"}


@pytest.mark.parametrize(("others", "is_few"), [(98, False), (99, False), (100, True)])
def test_less_than_one_percent_is_a_warning_with_the_distribution(
    others: int, is_few: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What top_n leaves out of those above the threshold was wanted."""
    rows: list[Candidate] = [("best", 5.0, 4.9), *((str(number), 3.0, 3.2) for number in range(others))]
    assert select_ids(rows, Selection(threshold=4)) == {"best"}
    assert (
        "keeps 1 of 101 candidates by their parsed scores:\n  score 3: 100\n  score 5: 1\n" in caplog.text
    ) == is_few
    caplog.clear()
    assert len(select_ids(rows, Selection(threshold=3, top_n=1))) == 1
    assert caplog.text == ""


def test_few_scores_without_a_threshold_are_a_warning_that_blames_none(caplog: pytest.LogCaptureFixture) -> None:
    rows: list[Candidate] = [("best", None, 4.9), *((str(number), None, None) for number in range(100))]
    assert select_ids(rows, Selection(by="expected", quantile=0.5)) == {"best"}
    assert "selection keeps 1 of 101 candidates by their expected scores" in caplog.text
    assert "why others have none" in caplog.text and "threshold" not in caplog.text


def test_bins_hold_every_score_at_their_lower_end_and_the_last_one_five_too() -> None:
    values = np.array([1.0, 1.49, 1.5, 4.5, 5.0, np.nan])
    assert distribution(values, "expected") == {"1 to 1.5": 2, "1.5 to 2": 1, "4.5 to 5": 2, "no score": 1}


def test_the_papers_configuration_selects_by_what_the_scorer_wrote() -> None:
    settings = yaml.safe_load((ROOT / "configs/humpback-7b.yaml").read_text())
    assert settings["selection"] == {"by": "parsed", "threshold": 4.5}
