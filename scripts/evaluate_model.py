"""Measure one model on the held-out pairs, and let it answer their instructions.

Writes a JSON object {"loss": nats per target token, "tokens", "pairs": [{"id", "loss", "tokens"}, ...]}, and rows
{"id", "instruction", "reference", "answer"}.
"""

import argparse
import sys
from itertools import islice

from backtranslation.files import Row, read_rows, write_json, write_rows
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    tags: Tags
    generation: Generation
    sampling: Sampling
    max_answers: int | None
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--held-out", type=Input, required=True, help="held-out pairs, .jsonl.zst")
    parser.add_argument("--model", type=Input, required=True, help="folder of the model")
    parser.add_argument("--prompt", type=Input, required=True, help="template that shows an instruction, .jinja")
    parser.add_argument("--loss", type=Output, required=True, help="output: losses, .json")
    parser.add_argument("--answers", type=Output, required=True, help="output: answers, .jsonl.zst")
    return parser


def evaluate_model(args: argparse.Namespace) -> None:
    """Measure the loss first: it is quick, and a model that cannot be loaded fails at once."""
    spec = Spec.model_validate_json(args.spec)
    prompts = Prompts(forward=args.prompt, **spec.tags.model_dump())
    pairs = list(read_rows(args.held_out))

    write_json(args.loss, measure_loss(args.model, pairs, prompts, spec.loading))
    write_rows(args.answers, answer(args, list(islice(pairs, spec.max_answers)), prompts, spec))


def measure_loss(model_path: str, pairs: list[Row], settings: Prompts, loading: ModelLoading) -> Row:
    """Losses of all pairs, told as seed pairs are told in training."""
    from backtranslation.method.evaluation import held_out_losses, mean_loss
    from backtranslation.models.loading import load_for_inference, load_tokenizer, max_positions
    from backtranslation.models.pairs import encode_forward
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(settings)
    tokenizer = load_tokenizer(model_path, loading, prompts)
    model = load_for_inference(model_path, loading)
    max_length = max_positions(model.config) or sys.maxsize
    losses = held_out_losses(model, [encode_forward(tokenizer, prompts, pair, "seed", max_length) for pair in pairs])
    loss, tokens = mean_loss(losses)
    return {"loss": loss, "tokens": tokens, "pairs": [vars(pair) for pair in losses]}


def answer(args: argparse.Namespace, pairs: list[Row], settings: Prompts, spec: Spec) -> list[Row]:
    """Answers to the instructions of the pairs."""
    from backtranslation.method.evaluation import answer_instructions
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(settings)
    engine, tokenizer = load_engine(spec.generation.completed(args.execution), args.model, spec.loading, prompts)
    journal = args.work / "answers.jsonl"
    return answer_instructions(engine, tokenizer, prompts, pairs, spec.sampling, spec.random_seed, journal)


if __name__ == "__main__":
    run_stage(__file__, build_parser(), evaluate_model)
