"""Read the scores out of what a model wrote about the candidates of a shard.

Writes rows {"id", "raw", "score", "failure", "expected_score"}: a score from 1 to 5, or the reason why there is none.
Stops, with counts and examples, if too many cannot be read.
"""

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.method.score_parsing import check_unparsable, parse_judgement
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    max_unparsable_share: float


def parse_scores(judgements: Input, prompt: Input, scores: Output, spec: Spec) -> None:
    """Read every score, and stop before writing if too many cannot be read.

    judgements: texts of the scorer, .jsonl.zst
    prompt: template with the rubric, which names the label before the score, .jinja
    scores: a score or the reason why there is none, .jsonl.zst
    """
    label = PromptSet(Prompts(score=str(prompt))).score_label
    written = list(read_rows(judgements))
    rows = [parse_judgement(row, label) for row in written]
    asked = [score for row, score in zip(written, rows, strict=True) if row["failure"] is None]
    check_unparsable(asked, spec.max_unparsable_share)
    write_rows(scores, rows)


if __name__ == "__main__":
    run_stage(parse_scores)
