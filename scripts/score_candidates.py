"""Let a forward model judge every candidate of a shard by the rubric.

Writes rows {"id", "raw", "digit_probabilities"}: what the model wrote, and the probabilities of the digits 1..5 at the
place of its score (they sum to 1).
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.progress import run_script, start_job
from backtranslation.settings import Generation, ModelLoading, Prompts, Sampling, Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    prompts: Prompts
    sampling: Sampling
    generation: Generation
    random_seed: int


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--candidates", required=True, help="candidates of the shard, .jsonl.zst")
    parser.add_argument("--model", required=True, help="folder of the model that scores")
    parser.add_argument("--judgements", required=True, help="output, .jsonl.zst")
    args = parser.parse_args()
    start_job("score_candidates", args.candidates, args.threads)
    spec = Spec.model_validate_json(args.spec)

    from backtranslation.engine import Request, load_engine, row_seed
    from backtranslation.prompts import PromptSet, render_prompt, score_message
    from backtranslation.scoring import SCORE_CHOICES, text_before_score

    prompts = PromptSet(spec.prompts)
    engine, tokenizer = load_engine(spec.generation, args.model, spec.loading, prompts)
    requests = [
        Request(
            row["id"],
            render_prompt(tokenizer, score_message(prompts, row["instruction"], row["response"])),
            row_seed(spec.random_seed, row["id"]),
        )
        for row in read_rows(args.candidates)
        if row["rejection"] is None
    ]
    raw = {completion.id: completion.text for completion in engine.generate(requests, spec.sampling)}
    until_score = [(request.id, request.prompt + text_before_score(raw[request.id])) for request in requests]
    probabilities = dict(engine.choose(until_score, SCORE_CHOICES))
    write_rows(
        args.judgements,
        ({"id": row.id, "raw": raw[row.id], "digit_probabilities": probabilities[row.id]} for row in requests),
    )


if __name__ == "__main__":
    run_script(main)
