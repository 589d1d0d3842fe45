"""Measure how well the scorers of one iteration tell right pairs from wrong ones, and warn if the one in use cannot.

Writes one JSON object: "can_tell" says whether the score that candidates are selected by can tell anything (null: too
few pairs to say), "gate" by which measure; "measures" has one for every scorer, score and kind of wrong pair, with
"auc", "paired" and their 95 % intervals.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.files import count_rows, join_rows, write_json
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.score_names import COLUMNS, ScoreName
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    from backtranslation.report.audit import Audit, AuditMeasure


class Spec(Slice):
    """Settings of this stage: the scorers in the order of their files, the run's own first, and its `selection.by`."""

    iteration: int
    scorers: list[str]
    selected_by: ScoreName
    random_seed: int


def measure_audit(pairs: Input, scores: list[Input], measures: Output, spec: Spec) -> None:
    """Measure all scores that there are.

    pairs: right and wrong pairs, .jsonl.zst
    scores: their scores by every scorer, .jsonl.zst
    measures: how well each tells them apart, .json
    """
    from backtranslation.report.audit import Audit, audit_value, find_gate

    selected = COLUMNS[spec.selected_by]
    found: list[AuditMeasure] = []
    for scorer, path in zip(spec.scorers, scores, strict=True):
        found += _measure_scorer(scorer, pairs, path, [selected] if scorer == spec.scorers[0] else [], spec.random_seed)
    audit = Audit(spec.iteration, count_rows(pairs), find_gate(found, spec.scorers[0], selected), found)
    tell(audit)
    write_json(measures, audit_value(audit))


def _measure_scorer(
    scorer: str, pairs: Path, scores: Path, always: list[str], random_seed: int
) -> "list[AuditMeasure]":
    """Measures of every score of a scorer, but for those that it never gives, unless they are `always` told."""
    from backtranslation.report.audit import audit_scorer, is_scored, scores_by_kind

    rows = list(join_rows(pairs, scores))
    by_column = {column: scores_by_kind(rows, column) for column in COLUMNS.values()}
    told = {column: by_kind for column, by_kind in by_column.items() if column in always or is_scored(by_kind)}
    return [
        measure for column, by_kind in told.items() for measure in audit_scorer(scorer, column, by_kind, random_seed)
    ]


def tell(audit: "Audit") -> None:
    """Say what was measured, and warn of a score that tells nothing."""
    for one in audit.measures:
        interval = f"AUC {one.auc.value:.3f} ({one.auc.low:.3f} to {one.auc.high:.3f})"
        log.info(
            f"{one.scorer}, {one.score}, {one.kind}: {interval}, {one.pairs} pairs, {one.unscored} without a score"
        )
    gate = audit.gate
    if gate and gate.can_tell is False:
        log.warning(
            f"iteration {audit.iteration}: this scorer cannot tell a right pair from a wrong one: AUC of {gate.score}"
            f" is {gate.auc.value:.3f} ({gate.auc.low:.3f} to {gate.auc.high:.3f}) on responses under another"
            f" instruction, {gate.pairs} pairs, {gate.unscored} without a score (docs/selection.md)"
        )


if __name__ == "__main__":
    run_stage(measure_audit)
