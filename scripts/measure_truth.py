"""Measure a run on the miniature world against its truth; writes a JSON list of measures with 95 % intervals."""

from itertools import chain

from backtranslation.errors import DataError
from backtranslation.files import read_rows, write_json
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    models: list[str]
    random_seed: int


def measure_truth(
    truth: Input,
    candidates: list[Input],
    curated: list[Input],
    answers: list[Input],
    measures: Output,
    spec: Spec,
) -> None:
    """Measure candidates, selections and answers, and tell the measures to the log.

    truth: the truth of the world, .jsonl
    candidates: candidates of all shards
    curated: the selections, from iteration 1 on
    answers: answers of every model, in the order of the models
    measures: shares with their intervals, .json
    """
    from backtranslation.miniature.truth import (
        as_rows,
        judge_candidates,
        mark_answers,
        measure_answers,
        measure_candidates,
        measure_selection,
    )

    if len(spec.models) != len(answers):
        raise DataError(f"{len(spec.models)} models but {len(answers)} files of answers")

    facts = list(read_rows(truth))
    judged = judge_candidates(facts, list(chain.from_iterable(map(read_rows, candidates))))
    found = measure_candidates(judged)
    for iteration, path in enumerate(curated, start=1):
        found += measure_selection(judged, [row["id"] for row in read_rows(path)], iteration, spec.random_seed)
    rights = {
        model: mark_answers(facts, list(read_rows(path))) for model, path in zip(spec.models, answers, strict=True)
    }
    found += measure_answers(rights, spec.random_seed)
    write_json(measures, as_rows(found))
    for row in found:
        interval = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        log.info(f"{row.measure}, {row.model_or_iteration}: {interval}, n = {row.n}")


if __name__ == "__main__":
    run_stage(measure_truth)
