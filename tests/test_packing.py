"""Packing wastes little room, and a packed batch is laid out as transformers expects it."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtranslation.models.packing import collate, pack
from backtranslation.models.pairs import NO_LABEL, EncodedPair


def pair(*ids: int, prompt_tokens: int = 1) -> EncodedPair:
    return EncodedPair(str(ids), array("i", ids), prompt_tokens)


@given(st.lists(st.integers(1, 100), max_size=200))
def test_every_example_stands_in_one_row_that_holds_it(lengths: list[int]) -> None:
    rows = pack(lengths, 100)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 100 for row in rows)
    # A row is opened only for what fits into no other, so at most one row stays half empty.
    assert len(rows) <= 2 * sum(lengths) / 100 + 1


def test_the_best_fitting_row_is_taken() -> None:
    assert pack([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


def test_an_example_longer_than_a_row_is_an_error() -> None:
    with pytest.raises(ValueError, match="example 1 has 11 tokens, a row holds 10"):
        pack([3, 11], 10)


def test_positions_restart_and_prompts_and_padding_have_no_labels() -> None:
    batch = collate([[pair(7, 8, 9), pair(4, 5, prompt_tokens=1)], [pair(6, 6, 6, prompt_tokens=2)]])
    assert batch["input_ids"].tolist() == [[7, 8, 9, 4, 5], [6, 6, 6, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 0, 1]]
    none = NO_LABEL
    assert batch["labels"].tolist() == [[none, 8, 9, none, 5], [none, none, 6, none, none]]
    assert set(batch) == {"input_ids", "labels", "position_ids"}


def test_an_empty_row_has_no_labels_and_costs_no_more_than_the_others() -> None:
    batch = collate([[pair(7, 8, 9, prompt_tokens=1)], []])
    assert batch["labels"].tolist() == [[NO_LABEL, 8, 9], [NO_LABEL] * 3]
    assert {name: values.tolist() for name, values in collate([[]]).items()} == {
        "input_ids": [[0]], "labels": [[NO_LABEL]], "position_ids": [[0]]
    }  # fmt: skip
