"""How well scorers tell held-out pairs from wrong ones that are made of them, and whether the one in use does at all.

Intervals are 95 % percentile intervals of a bootstrap over held-out pairs: a pair is drawn with its right and its wrong
row, since both have the same response or the same instruction.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

import numpy as np

from backtranslation.files import Row
from backtranslation.report.statistics import NO_ESTIMATE, Estimate, bootstrap_draws, estimate

RIGHT = "right"
EASIEST = "other_instruction"  # who cannot tell these from right pairs can tell nothing
FEWEST_PAIRS = 10  # of fewer, an interval says nothing: that of one pair has no width

ScoresByKind = Mapping[str, Mapping[str, float | None]]  # kind -> held-out pair -> score


@dataclass(frozen=True)
class AuditMeasure:
    """How well one score of a scorer tells right pairs from those of one wrong kind.

    `auc`: probability that a right row has a higher score than a wrong one, whichever held-out pairs they are made of;
    `paired`: share of held-out pairs whose right row has a higher score than their wrong one. Ties count one half. Of
    the held-out pairs that have such a wrong row, `unscored` lack one of the two scores, and are in neither number.
    """

    scorer: str
    score: str
    kind: str
    auc: Estimate
    paired: Estimate
    pairs: int
    unscored: int

    @property
    def can_tell(self) -> bool | None:
        """Whether the interval of the AUC lies above one half; None where there are too few pairs to say."""
        if self.pairs + self.unscored < FEWEST_PAIRS:
            return None
        return self.pairs >= FEWEST_PAIRS and self.auc.low > 0.5


@dataclass(frozen=True)
class Audit:
    """The audit of the scorers of one iteration on so many rows, right and wrong.

    `gate` is about the score that candidates were selected by, `seconds` by scorer and score what a thousand rows took.
    """

    iteration: int
    rows: int
    gate: AuditMeasure | None
    measures: list[AuditMeasure]
    seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)


def scores_by_kind(rows: Iterable[tuple[Row, Row]], column: str) -> ScoresByKind:
    """Scores of audit pairs, each given with its row of a scores file; None where there is no score or no column."""
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for row, scored in rows:
        score = scored.get(column)
        found[row["kind"]][row["pair"]] = None if score is None or isnan(score) else score
    return found


def is_scored(scores: ScoresByKind) -> bool:
    """Whether there is any score."""
    return any(score is not None for by_pair in scores.values() for score in by_pair.values())


def audit_scorer(scorer: str, score: str, scores: ScoresByKind, random_seed: int) -> list[AuditMeasure]:
    """One measure for each wrong kind, in the order of the kinds."""
    right = scores.get(RIGHT, {})
    return [
        _measure(scorer, score, kind, [(right.get(pair), value) for pair, value in wrong.items()], random_seed)
        for kind, wrong in scores.items()
        if kind != RIGHT
    ]


def _measure(
    scorer: str, score: str, kind: str, rows: list[tuple[float | None, float | None]], random_seed: int
) -> AuditMeasure:
    """The measure of the scores (right, wrong) of every held-out pair."""
    scored = [(right, wrong) for right, wrong in rows if right is not None and wrong is not None]
    pairs, unscored = len(scored), len(rows) - len(scored)
    if not pairs:
        return AuditMeasure(scorer, score, kind, NO_ESTIMATE, NO_ESTIMATE, pairs, unscored)
    right, wrong = np.array(scored, float).T
    above = (np.sign(right[:, None] - wrong[None, :]) + 1) / 2  # 1: the right row i is above the wrong row j; ties: 1/2
    draws = bootstrap_draws(pairs, random_seed)
    auc = estimate(above.mean(), ((draws @ above) * draws).sum(axis=1) / pairs**2)
    paired = estimate(above.diagonal().mean(), draws @ above.diagonal() / pairs)
    return AuditMeasure(scorer, score, kind, auc, paired, pairs, unscored)


def find_gate(measures: Iterable[AuditMeasure], scorer: str, score: str) -> AuditMeasure | None:
    """The measure that says whether this score can tell anything; None where there are no such rows."""
    return next((one for one in measures if (one.scorer, one.score, one.kind) == (scorer, score, EASIEST)), None)


def audit_value(audit: Audit) -> dict[str, Any]:
    """The audit as JSON; `read_audit` reads it. Numbers of no pair are null."""
    return {
        "iteration": audit.iteration,
        "rows": audit.rows,
        "can_tell": audit.gate.can_tell if audit.gate else None,
        "gate": _measure_value(audit.gate) if audit.gate else None,
        "measures": [_measure_value(measure) for measure in audit.measures],
    }


def _measure_value(measure: AuditMeasure) -> dict[str, Any]:
    numbers = {
        f"{name}{end}": None if isnan(number) else number
        for name, of in (("auc", measure.auc), ("paired", measure.paired))
        for end, number in (("", of.value), ("_low", of.low), ("_high", of.high))
    }
    names = {"scorer": measure.scorer, "score": measure.score, "kind": measure.kind}
    return names | numbers | {"pairs": measure.pairs, "unscored": measure.unscored}


def read_audit(value: Mapping[str, Any]) -> Audit:
    """The audit from what `audit_value` made."""
    gate = value["gate"]
    measures = [_read_measure(row) for row in value["measures"]]
    return Audit(value["iteration"], value["rows"], _read_measure(gate) if gate else None, measures)


def _read_measure(row: Mapping[str, Any]) -> AuditMeasure:
    auc, paired = (
        Estimate(*(nan if row[f"{name}{end}"] is None else row[f"{name}{end}"] for end in ("", "_low", "_high")))
        for name in ("auc", "paired")
    )
    return AuditMeasure(row["scorer"], row["score"], row["kind"], auc, paired, row["pairs"], row["unscored"])
