"""Measure one model on the held-out pairs, and let it answer their instructions.

Writes a JSON object {"loss": nats per target token, "tokens", "pairs": [{"id", "loss", "tokens"}, ...]}, and rows
{"id", "instruction", "reference", "answer"}.
"""

import sys
from pathlib import Path

from backtranslation.files import Row, read_rows, write_json, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
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


def evaluate_model(
    model: Input,
    held_out: Input,
    prompt: Input,
    loss: Output,
    answers: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Measure the loss first: it is quick, and a model that cannot be loaded fails at once.

    model: folder of the model
    held_out: held-out pairs, .jsonl.zst
    prompt: template that shows an instruction, .jinja
    loss: losses, .json
    answers: answers, .jsonl.zst
    """
    prompts = Prompts(forward=str(prompt), **spec.tags.model_dump())
    pairs = list(read_rows(held_out))

    write_json(loss, measure_loss(str(model), pairs, prompts, spec.loading))
    journal = workplace.folder / "answers.jsonl"
    write_rows(answers, answer(str(model), pairs[: spec.max_answers], prompts, spec, journal))


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


def answer(model_path: str, pairs: list[Row], settings: Prompts, spec: Spec, journal: Path) -> list[Row]:
    """Answers to the instructions of the pairs."""
    from backtranslation.method.evaluation import answer_instructions
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(settings)
    engine, tokenizer = load_engine(spec.generation, model_path, spec.loading, prompts)
    return answer_instructions(engine, tokenizer, prompts, pairs, spec.sampling, spec.random_seed, journal)


if __name__ == "__main__":
    run_stage(evaluate_model)
