"""Thresholds, the best n, and empty selections."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtranslation.errors import DataError
from backtranslation.method.selection import select_rows
from backtranslation.settings.selection import Selection

Candidate = tuple[str, float | None, float]  # id, score, expected score
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
    rated = [(row[1] if by == "parsed" else row[2], row[2], row[0]) for row in scored]
    best = sorted((-value, -expected, row_id) for value, expected, row_id in rated if value is not None)[:top_n]
    if best:
        selection = Selection.model_validate({"by": by, "threshold": 1, "top_n": top_n})
        assert select_ids(scored, selection) == {row_id for _, _, row_id in best}


def test_nothing_kept_is_an_error_with_counts() -> None:
    with pytest.raises(DataError, match="keeps none of 2 candidates: the highest parsed score is 4, 1 have none"):
        select_ids(SCORED[2:4], Selection(threshold=4.5))
    with pytest.raises(DataError, match="none has a score"):
        select_ids(SCORED[3:4], Selection(threshold=4.5))
