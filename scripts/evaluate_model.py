"""Measure one model on the held-out pairs, and let it answer their instructions.

Writes a JSON object {"loss": nats per target token, "tokens", "pairs": [{"id", "loss", "tokens", "failure"}, ...]}, and
rows {"id", "instruction", "reference", "answer", "failure"}. A pair that is too long for the model has no loss or no
answer, and says so as its failure.
"""

from functools import partial

from backtranslation.files import read_rows, write_json, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import HubName, ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage; the base model as it is may have a name on the hub in place of a folder."""

    loading: ModelLoading
    hub_name: HubName | None = None
    tags: Tags
    generation: Generation
    sampling: Sampling
    limits: Limits
    max_answers: int | None
    random_seed: int


def evaluate_model(
    model: Input | None,
    held_out: Input,
    prompt: Input,
    chat_template: Input | None,
    loss: Output,
    answers: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Measure the loss, told as seed pairs are told in training, then ask for answers.

    model: folder of the model, if it is not on the hub
    held_out: held-out pairs, .jsonl.zst
    prompt: template that shows an instruction, .jinja
    chat_template: for a base model that has none, .jinja
    loss: losses, .json
    answers: answers, .jsonl.zst
    """
    from backtranslation.method.evaluation import answer_instructions, measure_losses
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.engine import load_engine
    from backtranslation.models.loading import locate_model
    from backtranslation.models.pairs import encode_forward
    from backtranslation.models.prompts import PromptSet

    templates = {"forward": str(prompt)} | ({"chat_template": str(chat_template)} if chat_template else {})
    prompts = PromptSet(Prompts.model_validate(templates | spec.tags.model_dump()))
    measured = locate_model(model, spec.hub_name, spec.loading)
    engine, tokenizer = load_engine(spec.generation, measured.path, measured, prompts)
    pairs = list(read_rows(held_out))
    as_seed = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    encode = partial(encode_forward, as_seed, max_length=engine.room(""))
    write_json(loss, measure_losses(engine, pairs, encode, workplace.folder / "losses.jsonl", spec.limits))
    as_asked = with_user_turns(tokenizer, prompts.forward_turn("answer"))
    asked, journal = pairs[: spec.max_answers], workplace.folder / "answers.jsonl"
    rows = answer_instructions(engine, as_asked, asked, spec.sampling, spec.random_seed, journal, spec.limits)
    write_rows(answers, rows)


if __name__ == "__main__":
    run_stage(evaluate_model)
