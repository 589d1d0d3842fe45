"""Gather the results of a run into one HTML page that opens offline, with its figures inside."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from backtranslation.files import Row, read_rows, replace_file
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.score_names import COLUMNS
from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    from backtranslation.report.page import CandidateSurvey, Judge, Sample
    from backtranslation.report.statistics import Comparison, LossEstimate

PAIR_SAMPLES = 6
EXTREME_SAMPLES = 10
ANSWER_SAMPLES = 8


class Spec(Slice):
    """Settings of this stage: those of the whole run, and models and comparisons in the order of the arguments."""

    settings: dict[str, Any]
    models: list[str]
    trained_models: list[str]
    comparisons: list[tuple[str, str]]
    judge: str
    random_seed: int


def build_report(
    template: Input,
    seed_train: Input,
    held_out: Input,
    candidates: list[Input],
    segments: list[Input],
    funnel: Input | None,
    scores: list[Input],
    last_scores: list[Input],
    curated: list[Input],
    audits: list[Input],
    training_logs: list[Input],
    training_pairs: list[Input],
    losses: list[Input],
    backward_loss: Input | None,
    backward_instructions: Input | None,
    round_trip: Input | None,
    answers: list[Input],
    judgements: list[Input],
    truth: Input | None,
    costs: Input,
    page: Output,
    spec: Spec,
) -> None:
    """Gather, draw and write. Lists stand in the order of iterations, models or comparisons.

    template: the page, .html.jinja
    seed_train: seed pairs, .jsonl.zst
    held_out: held-out pairs, .jsonl.zst
    candidates: candidates of every shard, .jsonl.zst
    segments: their segments, for page addresses, .jsonl.zst
    funnel: counts of the extraction, .tsv
    scores: table of scores of every iteration, .parquet
    last_scores: the last iteration's scores of every shard, .jsonl.zst
    curated: selected pairs of every iteration, .jsonl.zst
    audits: audit of the scorers of every iteration, .json
    training_logs: training tables of the trained models, .tsv
    training_pairs: how many pairs they learnt from, .json
    losses: held-out losses of every model, .json
    backward_loss: held-out losses of the backward model, .json
    backward_instructions: what it wrote for held-out responses, .jsonl.zst
    round_trip: whether these lead back to the responses, .json
    answers: answers of every model, .jsonl.zst
    judgements: judgements of every comparison, .jsonl.zst
    truth: measures against the known truth, .json
    costs: what the other results cost when they were made, .json
    page: the report, .html
    """
    import pandas as pd
    import pyarrow.parquet as pq

    from backtranslation.report.audit import read_audit
    from backtranslation.report.page import (
        Report,
        count_training_pairs,
        describe_backward_model,
        funnel_steps,
        lowest_ids,
        render_report,
        sample_answers,
        sample_ids,
        stage_costs,
        survey_candidates,
        truth_measures,
        with_seconds,
    )
    from backtranslation.report.statistics import overlaps, pair_lengths, summarise_scores

    seed = spec.random_seed

    iterations = [summarise_scores(pq.read_table(path, pre_buffer=False)) for path in scores]
    column = COLUMNS[load_settings(spec.settings).selection.by]
    curated_ids = sorted(sample_ids(_selected_ids(scores[-1:]), PAIR_SAMPLES, seed))
    highest, lowest = (lowest_ids(_scores(scores[-1:], column, sign), EXTREME_SAMPLES, seed) for sign in (-1, 1))
    wanted = {*curated_ids, *highest, *lowest}
    survey = survey_candidates(_all_rows(candidates), wanted, seed)
    complete_samples(survey, segments, last_scores)
    answer_rows = {model: list(read_rows(path)) for model, path in zip(spec.models, answers, strict=True)}
    logs, pairs = (zip(spec.trained_models, paths, strict=True) for paths in (training_logs, training_pairs))
    backward = None
    if backward_loss and backward_instructions and round_trip:
        (loss,) = _losses({"backward": backward_loss}, seed)
        asked = list(read_rows(backward_instructions))
        backward = describe_backward_model(loss, survey, asked, _read_json(round_trip))
    selection_names = [f"selection {number}" for number in range(1, len(iterations) + 1)]
    report = Report(
        seed=pair_lengths("seed", read_rows(seed_train)),
        held_out=pair_lengths("held-out", read_rows(held_out)),
        pool=survey.pool,
        settings_yaml=_settings_yaml(spec.settings),
        trainings={model: pd.read_csv(path, sep="\t") for model, path in logs},
        training_pairs={model: count_training_pairs(_read_json(path)) for model, path in pairs},
        funnel=funnel_steps(pd.read_csv(funnel, sep="\t")) if funnel else [],
        rejections=survey.rejections,
        iterations=iterations,
        selections=[pair_lengths(name, read_rows(path)) for name, path in zip(selection_names, curated, strict=True)],
        overlaps=overlaps({name: summary.selected for name, summary in zip(selection_names, iterations, strict=True)}),
        audits=[with_seconds(read_audit(_read_json(path)), _read_json(costs)) for path in audits],
        losses=_losses(dict(zip(spec.models, losses, strict=True)), spec.random_seed),
        backward=backward,
        comparisons=_comparisons(judgements, answer_rows, spec),
        judge=_judge(judgements, spec),
        truth=truth_measures(_read_json(truth)) if truth else [],
        costs=stage_costs(_read_json(costs)),
        curated_samples=[survey.wanted[row_id] for row_id in curated_ids],
        highest_samples=[survey.wanted[row_id] for row_id in highest],
        lowest_samples=[survey.wanted[row_id] for row_id in lowest if row_id not in highest],
        rejected_samples=[survey.rejected[reason] for reason in sorted(survey.rejected)],
        answer_samples=sample_answers(answer_rows, ANSWER_SAMPLES, seed),
    )
    with replace_file(page) as stream:
        stream.write(render_report(report, template))


def _selected_ids(tables: list[Path]) -> Iterator[str]:
    """Ids of the candidates in tables of scores that were selected."""
    import pyarrow.parquet as pq

    for path in tables:
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "selected"]):
            yield from batch["id"].filter(batch["selected"]).to_pylist()


def _scores(tables: list[Path], column: str, sign: int) -> Iterator[tuple[str, float]]:
    """Ids and scores of the candidates in tables that have one, times 1 or -1."""
    import pyarrow.parquet as pq

    for path in tables:
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", column]):
            found = zip(batch["id"].to_pylist(), batch[column].to_pylist(), strict=True)
            yield from ((row_id, sign * score) for row_id, score in found if score is not None)


def complete_samples(survey: "CandidateSurvey", segment_files: list[Path], score_files: list[Path]) -> None:
    """Add page addresses and scores to the sampled pairs, in one pass over the files."""
    for row, sample in _wanted(segment_files, survey.wanted):
        sample.url = row["url"]
    for row, sample in _wanted(score_files, survey.wanted):
        sample.texts = row["texts"] or []
        sample.scores = {name: row[name] for name in COLUMNS.values() if row[name] is not None}


def _wanted(paths: Iterable[Path], samples: "dict[str, Sample]") -> "Iterator[tuple[Row, Sample]]":
    return ((row, samples[row["id"]]) for row in _all_rows(paths) if row["id"] in samples)


def _all_rows(paths: Iterable[Path]) -> Iterator[Row]:
    for path in paths:
        yield from read_rows(path)


def _losses(paths: dict[str, Path], random_seed: int) -> "list[LossEstimate]":
    from backtranslation.report.statistics import compare_losses

    losses = {}
    for model, path in paths.items():
        pairs = _read_json(path)["pairs"]
        losses[model] = [pair["loss"] for pair in pairs], [pair["tokens"] for pair in pairs]
    return compare_losses(losses, random_seed)


def _comparisons(paths: list[Path], answers: dict[str, list[Row]], spec: Spec) -> "list[Comparison]":
    """Every file of judgements, with the lengths of both models' answers."""
    from backtranslation.report.statistics import compare_answers

    lengths = {model: {row["id"]: len(row["answer"]) for row in rows} for model, rows in answers.items()}
    return [
        compare_answers(first, second, list(read_rows(path)), (lengths[first], lengths[second]), spec.random_seed)
        for (first, second), path in zip(spec.comparisons, paths, strict=True)
    ]


def _judge(paths: list[Path], spec: Spec) -> "Judge":
    """The judge of all comparisons; if it is at a server, with where that is and the tokens that it counted."""
    from backtranslation.report.page import Judge

    server = load_settings(spec.settings).evaluation.judge_server
    if server is None:
        return Judge(spec.judge)
    tokens = [(row["input_tokens"] or 0, row["output_tokens"] or 0) for path in paths for row in read_rows(path)]
    return Judge(spec.judge, server.url, sum(read for read, _ in tokens), sum(written for _, written in tokens))


def _settings_yaml(settings: dict[str, Any]) -> str:
    """All settings that results depend on, in the order of the method."""
    return yaml.safe_dump(load_settings(settings).identity(), sort_keys=False, allow_unicode=True, width=100)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_stage(build_report)
