"""Fit the weights of the combined score on the pairs of the audit.

Writes a JSON object {"features", "whole", "halves", "half_of"} as `method.combination.Weights` says.
"""

from backtranslation.files import write_json
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    random_seed: int


def fit_combined_score(
    candidates: Input,
    judgements: Input,
    likelihoods: Input,
    backward_likelihoods: Input,
    weights: Output,
    spec: Spec,
) -> None:
    """Fit on all audited pairs, and on either half of them.

    candidates: pairs of the audit, .jsonl.zst
    judgements: what the scorer said of them by the rubric, .jsonl.zst
    likelihoods: likelihoods of their responses, .jsonl.zst
    backward_likelihoods: likelihoods of their instructions, .jsonl.zst
    weights: weights of the features, .json
    """
    from backtranslation.method.combination import features_of, fit_weights
    from backtranslation.method.scores import read_findings

    found = list(read_findings(candidates, judgements, likelihoods, backward_likelihoods))
    features = {row["id"]: values for row, findings in found if (values := features_of(findings)) is not None}
    fitted = fit_weights([row for row, _ in found], features, spec.random_seed)
    log.info(f"{len(fitted.half_of):,} of {len(found):,} audited pairs, right and wrong ones, could be used")
    write_json(weights, fitted.model_dump())


if __name__ == "__main__":
    run_stage(fit_combined_score)
