"""Measure a run on the miniature world against its truth; writes a JSON list of measures with 95 % intervals."""

import argparse
from itertools import chain

from backtranslation.errors import DataError
from backtranslation.files import read_rows, write_json
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.miniature.truth import (
    as_rows,
    judge_answers,
    judge_candidates,
    measure_answers,
    measure_candidates,
    measure_selection,
)
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    models: list[str]
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line; answers stand in the order of the models."""
    parser = stage_parser(__doc__)
    parser.add_argument("--truth", type=Input, required=True, help="the truth of the world, .jsonl")
    parser.add_argument("--candidates", type=Input, nargs="*", default=[], help="candidates of all shards")
    parser.add_argument("--curated", type=Input, nargs="*", default=[], help="the selections, from iteration 1 on")
    parser.add_argument("--answers", type=Input, required=True, nargs="+", help="answers of every model")
    parser.add_argument("--output", type=Output, required=True, help="output: measures, .json")
    return parser


def measure_truth(args: argparse.Namespace) -> None:
    """Measure candidates, selections and answers, and tell the measures to the log."""
    spec = Spec.model_validate_json(args.spec)
    if len(spec.models) != len(args.answers):
        raise DataError(f"{len(spec.models)} models but {len(args.answers)} files of answers")

    truth = list(read_rows(args.truth))
    judged = judge_candidates(truth, list(chain.from_iterable(map(read_rows, args.candidates))))
    measures = measure_candidates(judged)
    for iteration, path in enumerate(args.curated, start=1):
        measures += measure_selection(judged, [row["id"] for row in read_rows(path)], iteration, spec.random_seed)
    rights = {
        model: judge_answers(truth, list(read_rows(path)))
        for model, path in zip(spec.models, args.answers, strict=True)
    }
    measures += measure_answers(rights, spec.random_seed)
    write_json(args.output, as_rows(measures))
    for row in measures:
        interval = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        log.info(f"{row.measure}, {row.model_or_iteration}: {interval}, n = {row.n}")


if __name__ == "__main__":
    run_stage(__file__, build_parser(), measure_truth)
