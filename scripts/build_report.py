"""Gather the results of a run into one HTML page that opens offline, with its figures inside."""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from backtranslation.files import DataError, Row, read_rows, replace_file
from backtranslation.progress import run_script, start_job
from backtranslation.report import (
    CandidateSurvey,
    Report,
    Sample,
    funnel_steps,
    render_report,
    sample_answers,
    sample_ids,
    survey_candidates,
    truth_measures,
)
from backtranslation.settings import Slice, load_settings
from backtranslation.statistics import (
    Comparison,
    LossEstimate,
    compare_answers,
    compare_losses,
    overlaps,
    pair_lengths,
    summarise_scores,
)

PAIR_SAMPLES = 6
ANSWER_SAMPLES = 8


class Spec(Slice):
    """Settings of this stage."""

    random_seed: int


def main() -> None:
    """Command line."""
    args = parse_arguments()
    start_job("build_report")
    seed = Spec.model_validate_json(args.spec).random_seed

    iterations = [summarise_scores(pd.read_parquet(path)) for path in args.scores]
    curated_ids, unselected_ids = set(), set()
    if iterations:
        last_table = pd.read_parquet(args.scores[-1], columns=["id", "selected"])
        curated_ids = set(sample_ids(last_table.loc[last_table["selected"], "id"], PAIR_SAMPLES, seed))
        unselected_ids = set(sample_ids(last_table.loc[~last_table["selected"], "id"], PAIR_SAMPLES, seed))
    survey = survey_candidates(_all_rows(args.candidates), curated_ids | unselected_ids, seed)
    complete_samples(survey, args.segments, args.last_scores)
    answers = {model: list(read_rows(path)) for model, path in zip(args.models, args.answers, strict=True)}
    selection_names = [f"selection {number}" for number in range(1, len(iterations) + 1)]
    report = Report(
        seed=pair_lengths("seed", read_rows(args.seed_train)),
        held_out=pair_lengths("held-out", read_rows(args.held_out)),
        pool=survey.pool,
        settings_yaml=_settings_yaml(args.settings),
        trainings=_training_logs(args),
        funnel=funnel_steps(pd.read_csv(args.funnel, sep="\t")) if args.funnel else [],
        rejections=survey.rejections,
        iterations=iterations,
        selections=[
            pair_lengths(name, read_rows(path)) for name, path in zip(selection_names, args.curated, strict=True)
        ],
        overlaps=overlaps({name: summary.selected for name, summary in zip(selection_names, iterations, strict=True)}),
        losses=_losses(args, seed),
        comparisons=[_comparison(path, answers, seed) for path in args.judgements],
        truth=truth_measures(_read_json(args.truth)) if args.truth else [],
        curated_samples=[survey.wanted[row_id] for row_id in sorted(curated_ids)],
        unselected_samples=[survey.wanted[row_id] for row_id in sorted(unselected_ids)],
        rejected_samples=[survey.rejected[reason] for reason in sorted(survey.rejected)],
        answer_samples=sample_answers(answers, ANSWER_SAMPLES, seed),
    )
    with replace_file(args.output) as stream:
        stream.write(render_report(report))


def parse_arguments() -> argparse.Namespace:
    """The command line; lists stand in the order of iterations or of --models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--settings", required=True, help='settings of the whole run, .json with the key "settings"')
    parser.add_argument("--seed-train", required=True, help="seed pairs, .jsonl.zst")
    parser.add_argument("--held-out", required=True, help="held-out pairs, .jsonl.zst")
    parser.add_argument("--candidates", nargs="*", default=[], help="candidates of every shard, .jsonl.zst")
    parser.add_argument("--segments", nargs="*", default=[], help="segments of every shard, for page addresses")
    parser.add_argument("--funnel", nargs="?", help="counts of the extraction, .tsv")
    parser.add_argument("--scores", nargs="*", default=[], help="score table of every iteration, .parquet")
    parser.add_argument(
        "--last-scores", nargs="*", default=[], help="last iteration's scores of every shard, .jsonl.zst"
    )
    parser.add_argument("--curated", nargs="*", default=[], help="selected pairs of every iteration, .jsonl.zst")
    parser.add_argument("--backward-log", nargs="?", help="training table of the backward model, .tsv")
    parser.add_argument("--models", nargs="+", required=True, help="names of the forward models, M0 first")
    parser.add_argument("--training-logs", nargs="+", required=True, help="training table of every model, .tsv")
    parser.add_argument("--losses", nargs="+", required=True, help="held-out losses of every model, .json")
    parser.add_argument("--answers", nargs="+", required=True, help="answers of every model, .jsonl.zst")
    parser.add_argument("--judgements", nargs="*", default=[], help="files called <first>-vs-<second>.jsonl.zst")
    parser.add_argument("--truth", nargs="?", help="measures against the known truth, .json")
    parser.add_argument("--output", required=True, help="output, .html")
    return parser.parse_args()


def complete_samples(survey: CandidateSurvey, segment_files: list[str], score_files: list[str]) -> None:
    """Add page addresses and scores to the sampled pairs, in one pass over the files."""
    for row, sample in _wanted(segment_files, survey.wanted):
        sample.url = row["url"]
    for row, sample in _wanted(score_files, survey.wanted):
        sample.raw, sample.score, sample.expected_score = row["raw"], row["score"], row["expected_score"]


def _wanted(paths: Iterable[str], samples: dict[str, Sample]) -> Iterator[tuple[Row, Sample]]:
    return ((row, samples[row["id"]]) for row in _all_rows(paths) if row["id"] in samples)


def _all_rows(paths: Iterable[str]) -> Iterator[Row]:
    for path in paths:
        yield from read_rows(path)


def _training_logs(args: argparse.Namespace) -> dict[str, pd.DataFrame]:
    logs = {"backward": args.backward_log} if args.backward_log else {}
    logs |= dict(zip(args.models, args.training_logs, strict=True))
    return {name: pd.read_csv(path, sep="\t") for name, path in logs.items()}


def _losses(args: argparse.Namespace, random_seed: int) -> list[LossEstimate]:
    losses = {}
    for model, path in zip(args.models, args.losses, strict=True):
        pairs = _read_json(path)["pairs"]
        losses[model] = [pair["loss"] for pair in pairs], [pair["tokens"] for pair in pairs]
    return compare_losses(losses, random_seed)


def _comparison(path: str, answers: dict[str, list[Row]], random_seed: int) -> Comparison:
    """One file of judgements, with the lengths of both models' answers."""
    first, _, second = Path(path).name.split(".")[0].partition("-vs-")
    if first not in answers or second not in answers:
        raise DataError(f"{path}: its name must be <first>-vs-<second> with two of the models {', '.join(answers)}")
    lengths = [{row["id"]: len(row["answer"]) for row in answers[model]} for model in (first, second)]
    return compare_answers(first, second, list(read_rows(path)), (lengths[0], lengths[1]), random_seed)


def _settings_yaml(path: str) -> str:
    """All settings in the order of the method."""
    settings = load_settings(_read_json(path)["settings"]).model_dump(mode="json")
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100)


def _read_json(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_script(main)
