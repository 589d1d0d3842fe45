"""The audit of scorers: its numbers against scikit-learn, its intervals on synthetic scores, and the gate."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from backtranslation.errors import DataError
from backtranslation.files import Row, write_rows
from backtranslation.report.audit import AuditMeasure, audit_scorer, read_audit, scores_by_kind
from backtranslation.report.statistics import NO_ESTIMATE, Estimate
from scripts.measure_audit import Spec, measure_audit


def measure(right: NDArray[np.float64], wrong: NDArray[np.float64], random_seed: int = 1) -> AuditMeasure:
    scores = {
        kind: {str(number): float(score) for number, score in enumerate(values)}
        for kind, values in (("right", right), ("other_instruction", wrong))
    }
    (found,) = audit_scorer("own", "score", scores, random_seed)
    return found


@pytest.mark.parametrize("digits", [0, 6], ids=["many ties", "hardly a tie"])
def test_the_area_is_that_of_scikit_learn(digits: int) -> None:
    generator = np.random.default_rng(3)
    right, wrong = (np.round(generator.normal(mean, 1, 80), digits) for mean in (0.5, 0))
    found = measure(right, wrong)
    labels = np.repeat([1, 0], 80)
    assert found.auc.value == pytest.approx(roc_auc_score(labels, np.concatenate([right, wrong])))
    assert found.auc.low < found.auc.value < found.auc.high
    assert found.paired.value == np.mean((right > wrong) + 0.5 * (right == wrong))


def test_resampled_areas_are_those_of_scikit_learn() -> None:
    """A drawn pair counts with its right and its wrong row, as often as it is drawn."""
    generator = np.random.default_rng(4)
    right, wrong = np.round(generator.normal(0.7, 1, 30), 1), np.round(generator.normal(0, 1, 30), 1)
    draws = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=1000)
    areas = [
        roc_auc_score(np.repeat([1, 0], 30), np.concatenate([right, wrong]), sample_weight=np.tile(draw, 2))
        for draw in draws
    ]
    found = measure(right, wrong)
    assert (found.auc.low, found.auc.high) == pytest.approx(tuple(np.percentile(areas, [2.5, 97.5])))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Scores of a pair's two rows have its difficulty in common, so that rows are no independent draws."""
    generator = np.random.default_rng(7)
    area, paired = norm.cdf(0.8 / math.sqrt(2 * (1 + 1))), norm.cdf(0.8 / math.sqrt(2))
    covered = np.zeros(2)
    for trial in range(200):
        difficulty = generator.normal(0, 1, 60)
        right, wrong = (difficulty + generator.normal(mean, 1, 60) for mean in (0.8, 0))
        found = measure(right, wrong, trial)
        covered += [found.auc.low <= area <= found.auc.high, found.paired.low <= paired <= found.paired.high]
    assert ((covered / 200 >= 0.88) & (covered / 200 <= 0.99)).all()


def test_pairs_without_a_score_are_counted_and_left_out() -> None:
    scores: dict[str, dict[str, float | None]] = {
        "right": {"a": 2.0, "b": 3.0, "c": None, "d": 1.0},
        "cut_in_half": {"a": 1.0, "b": None, "c": 5.0},
        "boilerplate": {"d": None},
    }
    half, around = audit_scorer("own", "score", scores, random_seed=1)
    assert (half.pairs, half.unscored, half.auc, half.paired) == (1, 2, Estimate(1, 1, 1), Estimate(1, 1, 1))
    assert (around.kind, around.pairs, around.unscored) == ("boilerplate", 0, 1)
    assert math.isnan(around.auc.value) and math.isnan(around.paired.low)
    assert (
        audit_scorer("own", "score", {"right": {"a": 1.0}}, random_seed=1) == audit_scorer("own", "score", {}, 1) == []
    )


def test_no_number_is_no_score() -> None:
    row = {"kind": "right", "pair": "a"}
    for scored in ({}, {"score": None}, {"score": math.nan}):
        assert scores_by_kind([(row, scored)], "score") == {"right": {"a": None}}
    assert scores_by_kind([(row, {"score": -math.inf})], "score") == {"right": {"a": -math.inf}}


@pytest.mark.parametrize(
    ("auc", "pairs", "unscored", "can_tell"),
    [
        (Estimate(0.7, 0.51, 0.9), 40, 0, True),
        (Estimate(0.7, 0.5, 0.9), 40, 0, False),
        (Estimate(0.3, 0.2, 0.4), 40, 0, False),
        (Estimate(1.0, 1.0, 1.0), 9, 0, None),
        (Estimate(1.0, 1.0, 1.0), 2, 40, False),
        (NO_ESTIMATE, 0, 40, False),
        (NO_ESTIMATE, 0, 0, None),
    ],
)
def test_the_gate(auc: Estimate, pairs: int, unscored: int, can_tell: bool | None) -> None:
    assert AuditMeasure("own", "score", "other_instruction", auc, auc, pairs, unscored).can_tell is can_tell


def write_audit(folder: Path, scores: list[tuple[float | None, float | None]]) -> None:
    """Audit pairs, and the scores (right, wrong) of every one; the expected score always tells them apart."""
    pairs: list[Row] = []
    scored: list[Row] = []
    for number, both in enumerate(scores):
        for kind, score, expected in zip(("right", "other_instruction"), both, (4.5, 1.5), strict=True):
            row_id = f"{number}/{kind}"
            pairs.append({"id": row_id, "kind": kind, "pair": str(number)})
            scored.append({"id": row_id, "score": score, "expected_score": expected, "likelihood": None})
    write_rows(folder / "pairs.jsonl", pairs)
    write_rows(folder / "own.jsonl", scored)
    write_rows(folder / "other.jsonl", [{"id": row["id"], "expected_score": row["expected_score"]} for row in scored])


def run_measure(folder: Path, selected_by: str, scorers: tuple[str, ...] = ("own", "other")) -> Row:
    spec = Spec(iteration=2, scorers=list(scorers), selected_by=selected_by, random_seed=1)
    paths = [folder / f"{scorer}.jsonl" for scorer in scorers]
    measure_audit(folder / "pairs.jsonl", paths, folder / "measures.json", spec)
    found: Row = json.loads((folder / "measures.json").read_text())
    return found


def test_a_score_that_tells_nothing_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_audit(tmp_path, [(1.0, 2.0), (2.0, 1.0)] * 10)
    found = run_measure(tmp_path, "parsed")
    assert found["can_tell"] is False
    (said,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)
    assert said.startswith(
        "iteration 2: this scorer cannot tell a right pair from a wrong one: AUC of score is 0.500 ("
    )
    caplog.clear()
    assert run_measure(tmp_path, "expected")["can_tell"] is True
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_every_scorer_is_measured_by_the_scores_that_it_gives(tmp_path: Path) -> None:
    write_audit(tmp_path, [(5.0, 2.0), (None, 1.0)] * 10)
    found = run_measure(tmp_path, "likelihood")
    measures = found["measures"]
    assert [(row["scorer"], row["score"], row["pairs"], row["unscored"]) for row in measures] == [
        ("own", "score", 10, 10), ("own", "expected_score", 20, 0), ("own", "likelihood", 0, 20),
        ("other", "expected_score", 20, 0),
    ]  # fmt: skip
    assert measures[2]["auc"] is None and found["can_tell"] is False  # it is selected by what nothing has
    assert (measures[1]["auc"], measures[1]["auc_low"], measures[1]["paired"]) == (1, 1, 1)
    audit = read_audit(found)
    assert audit.gate is not None and math.isnan(audit.gate.auc.low) and len(audit.measures) == 4
    assert audit.measures[1].auc == Estimate(1, 1, 1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_of_few_pairs_nothing_is_said(tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture) -> None:
    write_audit(tmp_path, [(1.0, 5.0)] * count)
    assert run_measure(tmp_path, "parsed")["can_tell"] is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_scores_of_other_pairs_are_refused(tmp_path: Path) -> None:
    write_audit(tmp_path, [(1.0, 2.0)] * 10)
    write_rows(tmp_path / "other.jsonl", [{"id": "else", "score": 1.0}])
    with pytest.raises(DataError, match="do not belong together: 0/right against else"):
        run_measure(tmp_path, "parsed")
