"""Numbers of the report on cases that can be worked out by hand, and against numpy."""

import math

import numpy as np
import pyarrow as pa
import pytest

from backtranslation.files import Row
from backtranslation.report.statistics import (
    PairLengths,
    ScoreBars,
    bootstrap_draws,
    compare_answers,
    compare_losses,
    estimate,
    length_controlled_rates,
    overlaps,
    pair_lengths,
    summarise_scores,
)

WHOLE: Row = {"cut": False, "failure": None}  # of a judgement


def test_pair_lengths_are_numpys() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(0, 3000, size=(50, 2))
    lengths = pair_lengths("x", ({"instruction": "i" * a, "response": "r" * b} for a, b in sizes))
    assert lengths.count == 50
    assert lengths.instruction.mean == pytest.approx(sizes[:, 0].mean())
    assert lengths.response.deviation == pytest.approx(sizes[:, 1].std(ddof=1))


def test_lengths_of_nothing_and_of_one() -> None:
    assert math.isnan(PairLengths("x").response.mean)
    one = pair_lengths("x", [{"instruction": "ab", "response": "abc"}])
    assert one.response.mean == 3
    assert math.isnan(one.response.deviation)


SCORES = pa.table(
    {
        "id": list("abcdefg"),
        "score": [5.0, 5.0, None, None, None, 4.5, 2.0],
        "failure": [None, None, "no_score", "no_score", "ambiguous", None, None],
        "expected_score": [4.9, 4.5, 1.0, 5.0, 3.0, 4.0, 2.1],
        "likelihood": [2.0, 1.9, 0.1, None, -1.2, 1.95, 2.0],
        "selected": [True, True, False, False, False, True, False],
        **{name: pa.nulls(7, pa.float64()) for name in ("backward_likelihood", "combined")},
    }
)


def test_score_summary() -> None:
    summary = summarise_scores(SCORES)
    assert summary.rows == 7
    assert summary.failures == {"no_score": 2, "ambiguous": 1}
    assert summary.unparsable_share == 3 / 7
    assert list(summary.bars["score"].counts.items()) == [(2.0, (0, 1)), (4.5, (1, 0)), (5.0, (2, 0))]
    expected = {1.0: (0, 1), 2.0: (0, 1), 3.0: (0, 1), 4.0: (1, 0), 4.5: (1, 0), 4.75: (1, 1)}
    assert summary.bars["expected_score"] == ScoreBars(0.25, expected)
    likelihood = summary.bars["likelihood"]
    assert likelihood.width == pytest.approx(3.2 / 16)
    assert list(likelihood.counts.values()) == [(0, 1), (0, 1), (3, 1)], "the last bin begins at 1.8"
    assert set(summary.bars) == {"score", "expected_score", "likelihood"}, "of the others, there are none"
    assert summary.expected_by_parsed[5.0] == pytest.approx((4.7, np.std([4.9, 4.5], ddof=1)))
    assert summary.selected.to_pylist() == ["a", "b", "f"]


def test_score_summary_where_nothing_can_be_read() -> None:
    summary = summarise_scores(SCORES.slice(2, 3))
    assert "score" not in summary.bars
    assert summary.unparsable_share == 1
    assert len(summary.selected) == 0


def test_candidates_that_were_not_scored_are_in_no_bar() -> None:
    """An expected score of nan would otherwise fall into the highest bin."""
    table = pa.table({
        "id": ["a", "b"], "score": pa.array([None, 4.0], pa.float64()), "failure": ["prompt_too_long", None],
        "expected_score": pa.array([None, 3.9], pa.float64()), "selected": [False, True],
        **{name: pa.nulls(2, pa.float64()) for name in ("likelihood", "backward_likelihood", "combined")},
    })  # fmt: skip
    summary = summarise_scores(table)
    assert {name: bars.counts for name, bars in summary.bars.items()} == {
        "score": {4.0: (1, 0)}, "expected_score": {3.75: (1, 0)},
    }  # fmt: skip
    assert summary.failures == {"prompt_too_long": 1}
    nothing = summarise_scores(table.slice(0, 1))
    assert (nothing.bars, nothing.expected_by_parsed) == ({}, {})
    empty = summarise_scores(table.slice(0, 0))
    assert (empty.rows, empty.bars, empty.unparsable_share) == (0, {}, 0)


def test_overlaps() -> None:
    found = overlaps({"1": pa.array("abc"), "2": pa.array("bcde"), "3": pa.array([], pa.string())})
    assert [(one.first, one.second) for one in found] == [("1", "2"), ("1", "3"), ("2", "3")]
    assert (found[0].shared, found[0].only_first, found[0].only_second) == (2, 1, 2)
    assert found[0].jaccard == 2 / 5
    assert found[1].jaccard == 0


def test_losses_are_weighted_by_tokens_and_differences_are_paired() -> None:
    worse, better = ([2.0, 1.0], [1, 3]), ([1.5, 0.5], [1, 3])
    first, second = compare_losses({"M0": worse, "M1": better}, random_seed=1)
    assert first.loss.value == pytest.approx((2 + 3) / 4)
    assert first.difference is None
    assert second.difference is not None
    # Every pair lies exactly 0.5 lower, so that drawing other pairs changes the losses but never the difference.
    assert second.difference.value == pytest.approx(-0.5)
    assert second.difference.low == pytest.approx(second.difference.high)
    assert first.loss.low < first.loss.high


def test_pairs_that_one_model_has_no_loss_for_are_left_out_of_all() -> None:
    losses: dict[str, tuple[list[float | None], list[int]]] = {
        "M0": ([2.0, 9.0, None], [1, 5, 0]), "M1": ([1.0, None, 3.0], [1, 0, 5])
    }  # fmt: skip
    first, second = compare_losses(losses, random_seed=1)
    assert [(one.pairs, one.left_out, one.tokens) for one in (first, second)] == [(1, 2, 1)] * 2
    assert (first.loss.value, second.loss.value) == (2, 1)


@pytest.mark.parametrize("losses", [[], [None, None]])
def test_a_loss_of_no_pair_is_no_number(losses: list[float | None]) -> None:
    found = compare_losses({"M0": (losses, [0] * len(losses)), "M1": (losses, [0] * len(losses))}, random_seed=1)
    assert all(math.isnan(one.loss.value) and math.isnan(one.loss.low) for one in found)
    assert found[1].difference is not None and math.isnan(found[1].difference.value)


def test_what_was_not_judged_counts_for_no_one() -> None:
    row: Row = {"first_wins_forward": 0.9, "first_wins_reversed": 0.8, "failure": None}
    missing = {"first_wins_forward": None, "first_wins_reversed": None, "cut": False, "failure": "no_answer"}
    judgements: list[Row] = [{"id": "a", **row, "cut": True}, {"id": "b", **row, "cut": False}, {"id": "c", **missing}]
    lengths = ({"a": 10, "b": 10}, {"a": 10, "b": 10})
    found = compare_answers("M1", "M0", judgements, lengths, random_seed=1)
    assert (found.rows, found.cut, found.not_judged, found.win_rate.value) == (2, 1, 1, 1)
    for rows, not_judged in (([], 0), (judgements[2:], 1)):
        found = compare_answers("M1", "M0", rows, lengths, random_seed=1)
        assert (found.rows, found.cut, found.not_judged) == (0, 0, not_judged)
        assert math.isnan(found.win_rate.value) and math.isnan(found.length_controlled.low)


def test_win_rate_by_hand() -> None:
    judgements: list[Row] = [
        {"id": "wins twice", "first_wins_forward": 0.9, "first_wins_reversed": 0.8, **WHOLE},
        {"id": "wins on average", "first_wins_forward": 0.9, "first_wins_reversed": 0.4, **WHOLE},
        {"id": "draw", "first_wins_forward": 0.7, "first_wins_reversed": 0.3, **WHOLE},
        {"id": "loses", "first_wins_forward": 0.2, "first_wins_reversed": 0.1, **WHOLE},
    ]
    lengths = ({row["id"]: 10 for row in judgements}, {row["id"]: 30 for row in judgements})
    found = compare_answers("M1", "M0", judgements, lengths, random_seed=1)
    assert found.win_rate.value == 2.5 / 4
    assert found.consistency == 2 / 4
    assert found.shown_first == pytest.approx(np.mean([0.9, 0.2, 0.9, 0.6, 0.7, 0.7, 0.2, 0.9]))
    assert (found.first_length, found.second_length, found.rows) == (10, 30, 4)
    # All differences in length are equal: there is nothing to control for.
    assert found.length_controlled.value == pytest.approx(2.5 / 4, abs=0.01)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for trial in range(200):
        wins = (generator.random(100) < 0.6).astype(float)
        interval = estimate(wins.mean(), bootstrap_draws(100, trial) @ wins / 100)
        covered += interval.low <= 0.6 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_length_control_takes_away_what_length_bought() -> None:
    """Answers are equally good, but one model's are longer and the judge likes that."""
    generator = np.random.default_rng(3)
    difference = generator.normal(200, 200, size=4000)
    chance = 1 / (1 + np.exp(-np.tanh(difference / difference.std())))
    wins = (generator.random(4000) < chance).astype(float)
    controlled = length_controlled_rates(wins, difference, np.ones((1, 4000)))[0]
    assert wins.mean() > 0.6
    assert controlled == pytest.approx(0.5, abs=0.05)


def test_length_control_stays_finite_when_every_answer_wins() -> None:
    controlled = length_controlled_rates(np.ones(50), np.arange(50.0), np.ones((1, 50)))[0]
    assert 0.9 < controlled < 1
