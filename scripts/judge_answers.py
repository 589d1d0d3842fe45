"""Let a model judge the answers of two others to the held-out instructions, in both orders.

Writes rows {"id", "first_wins_forward", "first_wins_reversed"}: the probability that the first model's answer is the
better one when it is shown first, and when it is shown second.
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.progress import run_script, start_job
from backtranslation.settings import Generation, ModelLoading, Prompts, Slice


class Spec(Slice):
    """Settings of this stage."""

    judge: str | None
    loading: ModelLoading
    prompts: Prompts
    generation: Generation


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--judge", nargs="?", help="folder of the model that judges; without one, the spec names it")
    parser.add_argument("--first", required=True, help="answers of the first model, .jsonl.zst")
    parser.add_argument("--second", required=True, help="answers of the second model, .jsonl.zst")
    parser.add_argument("--judgements", required=True, help="output, .jsonl.zst")
    args = parser.parse_args()
    start_job("judge_answers", args.judgements, args.threads)
    spec = Spec.model_validate_json(args.spec)
    judge: str | None = args.judge or spec.judge
    if judge is None:
        parser.error("--judge is missing, and the spec names none")

    from backtranslation.engine import load_engine
    from backtranslation.evaluation import judge_answers
    from backtranslation.prompts import PromptSet

    prompts = PromptSet(spec.prompts)
    engine, tokenizer = load_engine(spec.generation, judge, spec.loading, prompts)
    first, second = list(read_rows(args.first)), list(read_rows(args.second))
    write_rows(args.judgements, judge_answers(engine, tokenizer, prompts, first, second))


if __name__ == "__main__":
    run_script(main)
