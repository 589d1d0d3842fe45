"""The combined scorer: a logistic regression on what rubric and likelihoods say of a pair.

It is fitted on the pairs of the audit, of which it is known which are right and which are wrong. Each half of them is
scored by a fit on the other half, so that what the audit reports was never learnt.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from backtranslation.errors import DataError
from backtranslation.files import Row, row_hash
from backtranslation.method.gains import likelihood_gain
from backtranslation.method.score_parsing import expected_score
from backtranslation.method.scores import Findings

MIN_PAIRS = 20
RIGHT = "right"


class Fit(BaseModel):
    """A logistic regression: the log odds that a pair is right are the intercept and the weighted features."""

    intercept: float
    weights: list[float]


class Weights(BaseModel):
    """The fit on all audited pairs, and those on its halves; `half_of` says in which half a row of the audit is."""

    features: list[str]
    whole: Fit
    halves: list[Fit]
    half_of: dict[str, int]

    def score(self, row_id: str, values: Mapping[str, float]) -> float:
        """The score of a pair; a row of the audit is scored by the fit on the half that it is not in."""
        fit = self.whole if row_id not in self.half_of else self.halves[1 - self.half_of[row_id]]
        log_odds = fit.intercept + sum(
            weight * values[name] for weight, name in zip(fit.weights, self.features, strict=True)
        )
        return float(1 / (1 + np.exp(-log_odds)))


def features_of(found: Findings) -> dict[str, float] | None:
    """The numbers that are weighed; None for a pair that could not be asked about or measured."""
    judgement, forward, backward = found.judgement, found.forward, found.backward
    if found.failure or not (judgement and forward and backward):
        return None
    (sample,) = judgement["samples"]
    return {
        "expected_score": expected_score(sample["label_probabilities"]),
        "response_gain": likelihood_gain(forward),
        "response_begin_gain": likelihood_gain(forward, "begin"),
        "response_tail_gain": likelihood_gain(forward, "tail"),
        "response_mean": forward["given"]["mean"],
        "response_begin": forward["given"]["begin"],
        "response_tail": forward["given"]["tail"],
        "response_end": forward["given"]["end"],
        "response_end_alone": forward["alone"]["end"],
        "instruction_gain": likelihood_gain(backward),
        "instruction_mean": backward["given"]["mean"],
    }


def combined_score(row_id: str, found: Findings, weights: Weights) -> float | None:
    """The score of a pair from 0 to 1, or None where not all is known of it that is weighed."""
    values = features_of(found)
    return None if values is None else round(weights.score(row_id, values), 6)


def fit_weights(audited: Sequence[Row], features: Mapping[str, Mapping[str, float]], random_seed: int) -> Weights:
    """Fit on rows of the audit {"id", "pair", "kind"}; `features` by id lack those that could not be measured.

    The halves hold whole pairs, each right row together with the wrong ones that were made from it. Raises DataError if
    fewer than MIN_PAIRS pairs can be used.
    """
    rows = [row for row in audited if row["id"] in features]
    pairs = sorted({row["pair"] for row in rows}, key=lambda pair: row_hash(random_seed, "combination", pair))
    if len(pairs) < MIN_PAIRS:
        raise DataError(
            f"scoring.method combined is fitted on at least {MIN_PAIRS} pairs of the audit, and"
            f" {len(pairs)} can be used: raise held_out.size or audit.max_pairs, or choose another method"
        )
    half_of_pair = {pair: number % 2 for number, pair in enumerate(pairs)}
    half_of = {row["id"]: half_of_pair[row["pair"]] for row in rows}
    names = list(next(iter(features.values())))
    values = np.array([[features[row["id"]][name] for name in names] for row in rows])
    right = np.array([row["kind"] == RIGHT for row in rows])
    halves = np.array([half_of[row["id"]] for row in rows])
    return Weights(
        features=names,
        whole=_fit(values, right),
        halves=[_fit(values[halves == half], right[halves == half]) for half in (0, 1)],
        half_of=half_of,
    )


def _fit(values: NDArray[np.float64], right: NDArray[np.bool_]) -> Fit:
    """A fit in which right and wrong rows weigh the same, on features as they are, not standardised ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")).fit(values, right)
    scaler, regression = model[0], model[1]
    weights = regression.coef_[0] / scaler.scale_
    return Fit(intercept=float(regression.intercept_[0] - weights @ scaler.mean_), weights=weights.tolist())
