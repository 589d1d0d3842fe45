"""Gather the results of a run into one HTML page that opens offline, with its figures inside."""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from backtranslation.files import Row, read_rows, replace_file
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    import pandas as pd

    from backtranslation.report.page import CandidateSurvey, Sample
    from backtranslation.report.statistics import Comparison, LossEstimate

PAIR_SAMPLES = 6
ANSWER_SAMPLES = 8


class Spec(Slice):
    """Settings of this stage: those of the whole run, and models and comparisons in the order of the arguments."""

    settings: dict[str, Any]
    models: list[str]
    comparisons: list[tuple[str, str]]
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line; lists stand in the order of iterations, models or comparisons."""
    parser = stage_parser(__doc__)
    parser.add_argument("--template", type=Input, required=True, help="the page, .html.jinja")
    parser.add_argument("--seed-train", type=Input, required=True, help="seed pairs, .jsonl.zst")
    parser.add_argument("--held-out", type=Input, required=True, help="held-out pairs, .jsonl.zst")
    parser.add_argument("--candidates", type=Input, nargs="*", default=[], help="candidates of every shard")
    parser.add_argument("--segments", type=Input, nargs="*", default=[], help="their segments, for page addresses")
    parser.add_argument("--funnel", type=Input, nargs="?", help="counts of the extraction, .tsv")
    parser.add_argument("--scores", type=Input, nargs="*", default=[], help="score tables, .parquet")
    parser.add_argument("--last-scores", type=Input, nargs="*", default=[], help="last iteration's, of every shard")
    parser.add_argument("--curated", type=Input, nargs="*", default=[], help="selected pairs of every iteration")
    parser.add_argument("--backward-log", type=Input, nargs="?", help="training table of the backward model, .tsv")
    parser.add_argument("--training-logs", type=Input, nargs="+", required=True, help="those of the models, .tsv")
    parser.add_argument("--losses", type=Input, nargs="+", required=True, help="held-out losses, .json")
    parser.add_argument("--answers", type=Input, nargs="+", required=True, help="answers of every model, .jsonl.zst")
    parser.add_argument("--judgements", type=Input, nargs="*", default=[], help="of every comparison, .jsonl.zst")
    parser.add_argument("--truth", type=Input, nargs="?", help="measures against the known truth, .json")
    parser.add_argument("--page", type=Output, required=True, help="output, .html")
    return parser


def build_report(args: argparse.Namespace) -> None:
    """Gather, draw and write."""
    import pandas as pd
    import pyarrow.parquet as pq

    from backtranslation.report.page import (
        Report,
        funnel_steps,
        render_report,
        sample_answers,
        sample_ids,
        survey_candidates,
        truth_measures,
    )
    from backtranslation.report.statistics import overlaps, pair_lengths, summarise_scores

    spec = Spec.model_validate_json(args.spec)
    seed = spec.random_seed

    iterations = [summarise_scores(pq.read_table(path, pre_buffer=False)) for path in args.scores]
    curated_ids, unselected_ids = (
        set(sample_ids(_scored_ids(args.scores[-1:], selected), PAIR_SAMPLES, seed)) for selected in (True, False)
    )
    survey = survey_candidates(_all_rows(args.candidates), curated_ids | unselected_ids, seed)
    complete_samples(survey, args.segments, args.last_scores)
    answers = {model: list(read_rows(path)) for model, path in zip(spec.models, args.answers, strict=True)}
    selection_names = [f"selection {number}" for number in range(1, len(iterations) + 1)]
    report = Report(
        seed=pair_lengths("seed", read_rows(args.seed_train)),
        held_out=pair_lengths("held-out", read_rows(args.held_out)),
        pool=survey.pool,
        settings_yaml=_settings_yaml(spec.settings),
        trainings=_training_logs(args, spec.models),
        funnel=funnel_steps(pd.read_csv(args.funnel, sep="\t")) if args.funnel else [],
        rejections=survey.rejections,
        iterations=iterations,
        selections=[
            pair_lengths(name, read_rows(path)) for name, path in zip(selection_names, args.curated, strict=True)
        ],
        overlaps=overlaps({name: summary.selected for name, summary in zip(selection_names, iterations, strict=True)}),
        losses=_losses(args, spec),
        comparisons=_comparisons(args.judgements, answers, spec),
        truth=truth_measures(_read_json(args.truth)) if args.truth else [],
        curated_samples=[survey.wanted[row_id] for row_id in sorted(curated_ids)],
        unselected_samples=[survey.wanted[row_id] for row_id in sorted(unselected_ids)],
        rejected_samples=[survey.rejected[reason] for reason in sorted(survey.rejected)],
        answer_samples=sample_answers(answers, ANSWER_SAMPLES, seed),
    )
    with replace_file(args.page) as stream:
        stream.write(render_report(report, Path(args.template)))


def _scored_ids(tables: list[str], selected: bool) -> Iterator[str]:
    """Ids of the candidates in tables of scores that were selected, or those that were not."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in tables:
        for batch in pq.ParquetFile(path).iter_batches(columns=["id", "selected"]):
            yield from batch["id"].filter(pc.equal(batch["selected"], selected)).to_pylist()


def complete_samples(survey: "CandidateSurvey", segment_files: list[str], score_files: list[str]) -> None:
    """Add page addresses and scores to the sampled pairs, in one pass over the files."""
    for row, sample in _wanted(segment_files, survey.wanted):
        sample.url = row["url"]
    for row, sample in _wanted(score_files, survey.wanted):
        sample.raw, sample.score, sample.expected_score = row["raw"], row["score"], row["expected_score"]


def _wanted(paths: Iterable[str], samples: "dict[str, Sample]") -> "Iterator[tuple[Row, Sample]]":
    return ((row, samples[row["id"]]) for row in _all_rows(paths) if row["id"] in samples)


def _all_rows(paths: Iterable[str]) -> Iterator[Row]:
    for path in paths:
        yield from read_rows(path)


def _training_logs(args: argparse.Namespace, models: list[str]) -> "dict[str, pd.DataFrame]":
    import pandas as pd

    logs = {"backward": args.backward_log} if args.backward_log else {}
    logs |= dict(zip(models, args.training_logs, strict=True))
    return {name: pd.read_csv(path, sep="\t") for name, path in logs.items()}


def _losses(args: argparse.Namespace, spec: Spec) -> "list[LossEstimate]":
    from backtranslation.report.statistics import compare_losses

    losses = {}
    for model, path in zip(spec.models, args.losses, strict=True):
        pairs = _read_json(path)["pairs"]
        losses[model] = [pair["loss"] for pair in pairs], [pair["tokens"] for pair in pairs]
    return compare_losses(losses, spec.random_seed)


def _comparisons(paths: list[str], answers: dict[str, list[Row]], spec: Spec) -> "list[Comparison]":
    """Every file of judgements, with the lengths of both models' answers."""
    from backtranslation.report.statistics import compare_answers

    lengths = {model: {row["id"]: len(row["answer"]) for row in rows} for model, rows in answers.items()}
    return [
        compare_answers(first, second, list(read_rows(path)), (lengths[first], lengths[second]), spec.random_seed)
        for (first, second), path in zip(spec.comparisons, paths, strict=True)
    ]


def _settings_yaml(settings: dict[str, Any]) -> str:
    """All settings that results depend on, in the order of the method."""
    return yaml.safe_dump(load_settings(settings).identity(), sort_keys=False, allow_unicode=True, width=100)


def _read_json(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_stage(__file__, build_parser(), build_report)
