"""Put together the scores of the candidates of a shard: read from a model's texts, its probabilities, and likelihoods.

Writes rows {"id", "texts", "finished", "label_mass", "score", "expected_score", "likelihood", "backward_likelihood",
"combined", "failures"}: numbers, null where there is none, and for each score the reason why there is none, or null.
Stops, with counts and examples, if too many candidates have no score.
"""

from backtranslation.files import write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.method.scores import NEVER_ASKED, check_unscored, read_findings, score_candidate
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage; `checked` is the score that selects, without which too many candidates must not be."""

    reasoned: bool
    min_label_mass: float
    checked: str
    max_unparsable_share: float


def compute_scores(
    candidates: Input,
    judgements: Input | None,
    likelihoods: Input | None,
    backward_likelihoods: Input | None,
    weights: Input | None,
    prompt: Input,
    scores: Output,
    spec: Spec,
) -> None:
    """Compute every score that the files are there for, and stop before writing if too many candidates have none.

    candidates: candidates of the shard, .jsonl.zst
    judgements: what a scorer said by the rubric, .jsonl.zst
    likelihoods: likelihoods of the responses, .jsonl.zst
    backward_likelihoods: likelihoods of the instructions, .jsonl.zst
    weights: those of the combined score, .json
    prompt: template with the rubric, which names the label before the score, .jinja
    scores: the scores, or the reasons why there are none, .jsonl.zst
    """
    label = PromptSet(Prompts(score=str(prompt))).score_label if spec.reasoned else None
    found = list(read_findings(candidates, judgements, likelihoods, backward_likelihoods))
    rows = [score_candidate(row["id"], findings, label, spec.min_label_mass) for row, findings in found]
    if weights:
        from backtranslation.method.combination import Weights, combined_score

        fitted = Weights.model_validate_json(weights.read_bytes())
        for scored, (_, findings) in zip(rows, found, strict=True):
            scored["combined"] = combined_score(scored["id"], findings, fitted)
            if scored["combined"] is None:
                scored["failures"]["combined"] = findings.failure
    asked = [scored for scored in rows if not set(scored["failures"].values()) & NEVER_ASKED]
    check_unscored(asked, spec.checked, spec.max_unparsable_share)
    write_rows(scores, rows)


if __name__ == "__main__":
    run_stage(compute_scores)
