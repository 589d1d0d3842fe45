"""Measure a run on the miniature world against its truth; writes a JSON list of measures with 95 % intervals."""

import argparse
from itertools import chain

from backtranslation.files import DataError, read_rows, write_json
from backtranslation.miniature.truth import (
    as_rows,
    judge_answers,
    judge_candidates,
    measure_answers,
    measure_candidates,
    measure_selection,
)
from backtranslation.progress import log, run_script, start_job


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", required=True, help="the truth of the world, .jsonl")
    parser.add_argument("--candidates", nargs="*", default=[], help="candidates of all shards")
    parser.add_argument("--curated", nargs="*", default=[], help="the selections, from iteration 1 on")
    parser.add_argument("--models", required=True, nargs="+", help="names of the models: M0, M1, ..., unselected")
    parser.add_argument("--answers", required=True, nargs="+", help="their answers, in the same order")
    parser.add_argument("--random-seed", type=int, default=1, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--output", required=True, help="output: measures, .json")
    args = parser.parse_args()
    start_job("measure_truth")
    if len(args.models) != len(args.answers):
        raise DataError(f"{len(args.models)} models but {len(args.answers)} files of answers")

    truth = list(read_rows(args.truth))
    judged = judge_candidates(truth, list(chain.from_iterable(map(read_rows, args.candidates))))
    measures = measure_candidates(judged)
    for iteration, path in enumerate(args.curated, start=1):
        measures += measure_selection(judged, [row["id"] for row in read_rows(path)], iteration, args.random_seed)
    rights = {
        model: judge_answers(truth, list(read_rows(path)))
        for model, path in zip(args.models, args.answers, strict=True)
    }
    measures += measure_answers(rights, args.random_seed)
    write_json(args.output, as_rows(measures))
    for row in measures:
        interval = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        log.info(f"{row.measure}, {row.model_or_iteration}: {interval}, n = {row.n}")


if __name__ == "__main__":
    run_script(main)
