"""Read the scores out of what a model wrote about the candidates of a shard.

Writes rows {"id", "raw", "score", "failure", "expected_score"}: a score from 1 to 5, or the reason why there is none.
Stops, with counts and examples, if too many cannot be read.
"""

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.method.score_parsing import check_unparsable, parse_judgement
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    max_unparsable_share: float


def parse_scores(judgements: Input, scores: Output, spec: Spec) -> None:
    """Read every score, and stop before writing if too many cannot be read.

    judgements: texts of the scorer, .jsonl.zst
    scores: a score or the reason why there is none, .jsonl.zst
    """
    rows = [parse_judgement(row) for row in read_rows(judgements)]
    check_unparsable(rows, spec.max_unparsable_share)
    write_rows(scores, rows)


if __name__ == "__main__":
    run_stage(parse_scores)
