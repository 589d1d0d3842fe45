"""Read the scores out of what a model wrote about the candidates of a shard.

Writes rows {"id", "raw", "score", "failure", "expected_score"}: a score from 1 to 5, or the reason why there is none.
Stops, with counts and examples, if too many cannot be read.
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.method.score_parsing import check_unparsable, parse_judgement
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    max_unparsable_share: float


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--judgements", type=Input, required=True, help="texts of the scorer, .jsonl.zst")
    parser.add_argument("--prompt", type=Input, required=True, help="template with the rubric, .jinja")
    parser.add_argument("--scores", type=Output, required=True, help="output, .jsonl.zst")
    return parser


def parse_scores(args: argparse.Namespace) -> None:
    """Read every score, and stop before writing if too many cannot be read."""
    spec = Spec.model_validate_json(args.spec)

    label = PromptSet(Prompts(score=args.prompt)).score_label
    scores = [parse_judgement(row, label) for row in read_rows(args.judgements)]
    check_unparsable(scores, spec.max_unparsable_share)
    write_rows(args.scores, scores)


if __name__ == "__main__":
    run_stage(__file__, build_parser(), parse_scores)
