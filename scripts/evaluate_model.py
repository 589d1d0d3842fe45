"""Measure one model on the held-out pairs, and let it answer their instructions.

Writes a JSON object {"loss": nats per target token, "tokens", "pairs": [{"id", "loss", "tokens"}, ...]}, and rows
{"id", "instruction", "reference", "answer"}.
"""

import argparse
import sys
from itertools import islice

from backtranslation.files import Row, read_rows, write_json, write_rows
from backtranslation.progress import run_script, start_job
from backtranslation.settings import Generation, ModelLoading, Prompts, Sampling, Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    prompts: Prompts
    generation: Generation
    sampling: Sampling
    max_answers: int | None
    random_seed: int


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--held-out", required=True, help="held-out pairs, .jsonl.zst")
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument("--loss", required=True, help="output: losses, .json")
    parser.add_argument("--answers", required=True, help="output: answers, .jsonl.zst")
    args = parser.parse_args()
    start_job("evaluate_model", args.model, args.threads)
    spec = Spec.model_validate_json(args.spec)
    pairs = list(read_rows(args.held_out))

    write_json(args.loss, measure_loss(args.model, pairs, spec))
    write_rows(args.answers, answer(args.model, list(islice(pairs, spec.max_answers)), spec))


def measure_loss(model_path: str, pairs: list[Row], spec: Spec) -> Row:
    """Losses of all pairs, told as seed pairs are told in training."""
    from backtranslation.evaluation import held_out_losses, mean_loss
    from backtranslation.models import device, load_model, load_tokenizer, max_positions, resolve_precision
    from backtranslation.prompts import PromptSet, encode_forward

    prompts = PromptSet(spec.prompts)
    tokenizer = load_tokenizer(model_path, spec.loading, prompts)
    model = load_model(model_path, spec.loading, resolve_precision(spec.loading.dtype))
    model.to(device=device())  # type: ignore[call-arg]
    max_length = max_positions(model.config) or sys.maxsize
    losses = held_out_losses(model, [encode_forward(tokenizer, prompts, pair, "seed", max_length) for pair in pairs])
    loss, tokens = mean_loss(losses)
    return {"loss": loss, "tokens": tokens, "pairs": [vars(pair) for pair in losses]}


def answer(model_path: str, pairs: list[Row], spec: Spec) -> list[Row]:
    """Answers to the instructions of the pairs."""
    from backtranslation.engine import load_engine
    from backtranslation.evaluation import answer_instructions
    from backtranslation.prompts import PromptSet

    prompts = PromptSet(spec.prompts)
    engine, tokenizer = load_engine(spec.generation, model_path, spec.loading, prompts)
    return answer_instructions(engine, tokenizer, prompts, pairs, spec.sampling, spec.random_seed)


if __name__ == "__main__":
    run_script(main)
