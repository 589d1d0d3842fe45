"""Measure one model on the held-out pairs, and let it answer their instructions.

Writes a JSON object {"loss": nats per target token, "tokens", "pairs": [{"id", "loss", "tokens", "failure"}, ...]}, and
rows {"id", "instruction", "reference", "answer", "failure"}. A pair that is too long for the model has no loss or no
answer, and says so as its failure.
"""

import sys
from functools import partial
from pathlib import Path

from backtranslation.files import Row, read_rows, write_json, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    tags: Tags
    generation: Generation
    sampling: Sampling
    limits: Limits
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

    write_json(loss, measure_loss(str(model), pairs, prompts, spec))
    journal = workplace.folder / "answers.jsonl"
    write_rows(answers, answer(str(model), pairs[: spec.max_answers], prompts, spec, journal))


def measure_loss(model_path: str, pairs: list[Row], settings: Prompts, spec: Spec) -> Row:
    """Losses of all pairs, told as seed pairs are told in training."""
    from backtranslation.method.evaluation import PairLoss, held_out_losses, mean_loss
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.loading import load_for_inference, load_tokenizer, max_positions
    from backtranslation.models.pairs import encode_forward, encode_usable
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(settings)
    tokenizer = with_user_turns(load_tokenizer(model_path, spec.loading, prompts), prompts.forward_turn("seed"))
    model = load_for_inference(model_path, spec.loading)
    max_length = max_positions(model.config) or sys.maxsize
    encode = partial(encode_forward, tokenizer, max_length=max_length)
    usable, left_out = encode_usable(pairs, encode, spec.limits)
    measured = {pair.id: pair for pair in held_out_losses(model, usable)}
    losses = [measured.get(pair["id"]) or PairLoss(pair["id"], None, 0, left_out[pair["id"]]) for pair in pairs]
    loss, tokens = mean_loss(losses)
    return {"loss": loss, "tokens": tokens, "pairs": [vars(pair) for pair in losses]}


def answer(model_path: str, pairs: list[Row], settings: Prompts, spec: Spec, journal: Path) -> list[Row]:
    """Answers to the instructions of the pairs."""
    from backtranslation.method.evaluation import answer_instructions
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(settings)
    engine, tokenizer = load_engine(spec.generation, model_path, spec.loading, prompts)
    tokenizer = with_user_turns(tokenizer, prompts.forward_turn("answer"))
    return answer_instructions(engine, tokenizer, pairs, spec.sampling, spec.random_seed, journal, spec.limits)


if __name__ == "__main__":
    run_stage(evaluate_model)
