"""Read the scores out of what a model wrote about the candidates of a shard.

Writes rows {"id", "raw", "score", "failure", "expected_score"}: a score from 1 to 5, or the reason why there is none.
Stops, with counts and examples, if too many cannot be read.
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.progress import run_script, start_job
from backtranslation.score_parsing import check_unparsable, parse_judgement
from backtranslation.settings import Slice


class Spec(Slice):
    """Settings of this stage."""

    max_unparsable_share: float


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--judgements", required=True, help="texts of the scorer, .jsonl.zst")
    parser.add_argument("--scores", required=True, help="output, .jsonl.zst")
    args = parser.parse_args()
    start_job("parse_scores", args.judgements)
    spec = Spec.model_validate_json(args.spec)

    scores = [parse_judgement(row) for row in read_rows(args.judgements)]
    check_unparsable(scores, spec.max_unparsable_share)
    write_rows(args.scores, scores)


if __name__ == "__main__":
    run_script(main)
