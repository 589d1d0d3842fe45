"""How good a run on the miniature world is, measured against the truth and not by the judgement of a model.

Shares come with 95 % Wilson intervals, ratios and differences with 95 % paired bootstrap intervals. Knows no files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from backtranslation.errors import DataError
from backtranslation.miniature.recognition import answers, normalise, recognise_request
from backtranslation.report.statistics import Floats, bootstrap_draws, estimate

Row = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval. `n`: cases behind it; `target`: the least value hoped for, if there is one."""

    measure: str
    model_or_iteration: str
    value: float
    low: float
    high: float
    n: int
    target: float | None = None


@dataclass(frozen=True)
class JudgedCandidate:
    """The truth about one candidate: is its passage clean, is its instruction of the right subject and kind?"""

    clean: bool
    right_subject: bool
    right_kind: bool
    in_pool: bool

    @property
    def good(self) -> bool:
        return self.clean and self.right_subject and self.right_kind


def judge_candidates(truth: Sequence[Row], candidates: Sequence[Row]) -> dict[str, JudgedCandidate]:
    """The truth about every candidate, by id; one whose text is not a whole passage of the world is not clean."""
    passages = {row["key"]: row for row in truth if row["type"] == "passage"}
    judged = {}
    for candidate in candidates:
        passage = passages.get(normalise(candidate["response"]))
        asked = recognise_request(candidate["instruction"] or "")
        named = set(filter(None, (passage["subject"], passage["other"]))) if passage else set()
        judged[candidate["id"]] = JudgedCandidate(
            clean=passage is not None and passage["defect"] is None,
            right_subject=passage is not None and set(asked.subjects) == named,
            right_kind=passage is not None and asked.kind == passage["kind"],
            in_pool=candidate["rejection"] is None,
        )
    return judged


def mark_answers(truth: Sequence[Row], rows: Sequence[Row]) -> list[bool]:
    """Whether each answer is right, in the order of the rows. Raises DataError for an instruction without a truth."""
    known = {row["instruction"]: row for row in truth if row["type"] == "held_out"}
    for row in rows:
        if row["instruction"] not in known:
            raise DataError(f"row {row['id']}: the truth knows no instruction {row['instruction']!r}")
    return [
        answers(known[row["instruction"]]["kind"], known[row["instruction"]]["facts"], row["answer"]) for row in rows
    ]


def measure_candidates(judged: Mapping[str, JudgedCandidate]) -> list[Measure]:
    """How well the backward model asks, on clean segments; and the share of good pairs in the pool."""
    clean = [candidate for candidate in judged.values() if candidate.clean]
    pool = [candidate for candidate in judged.values() if candidate.in_pool]
    return [
        share("instruction names the right subject", "backward", [c.right_subject for c in clean], 0.9),
        share("instruction is of the right kind", "backward", [c.right_kind for c in clean], 0.6),
        share("clean segments in the pool", "pool", [c.clean for c in pool]),
        share("good pairs in the pool", "pool", [c.good for c in pool]),
    ]


def measure_selection(
    judged: Mapping[str, JudgedCandidate], selected: Sequence[str], iteration: int, random_seed: int
) -> list[Measure]:
    """Precision and recall of a selection (ids), and its precision as a multiple of the pool's share of good pairs."""
    name, chosen = f"iteration {iteration}", set(selected)
    if unknown := chosen - judged.keys():
        raise DataError(f"{name}: row {min(unknown)} is selected but no candidate")
    pool = [key for key, candidate in judged.items() if candidate.in_pool]
    good = np.array([judged[key].good for key in pool], dtype=float)
    taken = np.array([key in chosen for key in pool], dtype=float)

    def times_better(draws: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without any good pair has no ratio: nan
            return draws @ (good * taken) * len(pool) / ((draws @ taken) * (draws @ good))

    return [
        share("precision of the selection", name, [judged[key].good for key in pool if key in chosen]),
        share("recall of the selection", name, [key in chosen for key in pool if judged[key].good]),
        _bootstrapped("precision over the pool's share", name, times_better, len(pool), random_seed, 2.0),
    ]


def measure_answers(rights: Mapping[str, Sequence[bool]], random_seed: int) -> list[Measure]:
    """Share of right answers of every model (`rights` in the order of training: M0, M1, ..., then the controls).

    Also how far the last model is ahead of M0, unless it is M0, and of every control.
    """
    measures = [share("right answers", model, right) for model, right in rights.items()]
    numbered = [model for model in rights if model.startswith("M")]
    others = ["M0", *(model for model in rights if model not in numbered)]
    last = numbered[-1]
    measures += [_difference(last, other, rights, random_seed) for other in others if other != last]
    return measures


def _difference(first: str, second: str, rights: Mapping[str, Sequence[bool]], random_seed: int) -> Measure:
    """The difference of two models, paired by instruction; the target is to be above zero."""
    ahead = np.array(rights[first], dtype=float) - np.array(rights[second], dtype=float)
    name = f"{first} - {second}"
    return _bootstrapped(
        "difference in right answers", name, lambda draws: draws @ ahead / len(ahead), len(ahead), random_seed, 0.0
    )


def share(measure: str, name: str, hits: Sequence[bool], target: float | None = None) -> Measure:
    """A share with its Wilson interval; without cases it is nan, and its interval goes from 0 to 1."""
    n = len(hits)
    if n == 0:
        return Measure(measure, name, float("nan"), 0.0, 1.0, 0, target)
    interval = binomtest(sum(hits), n).proportion_ci(method="wilson")
    return Measure(measure, name, sum(hits) / n, interval.low, interval.high, n, target)


def _bootstrapped(
    measure: str, name: str, statistic: Callable[[Floats], Floats], n: int, random_seed: int, target: float
) -> Measure:
    """A statistic of n rows with its interval; it gets weights of the rows, shape (draws, n), and gives one a draw."""
    if n == 0:
        return Measure(measure, name, float("nan"), float("nan"), float("nan"), 0, target)
    found = estimate(statistic(np.ones((1, n)))[0], statistic(bootstrap_draws(n, random_seed)))
    return Measure(measure, name, found.value, found.low, found.high, n, target)


def as_rows(measures: Sequence[Measure]) -> list[Row]:
    """The measures as JSON rows, without those that had no cases and so have no value."""
    return [asdict(measure) for measure in measures if not np.isnan(measure.value)]
