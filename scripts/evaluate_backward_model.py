"""Measure the backward model on the held-out pairs, and let it write instructions for held-out responses.

Writes a JSON object {"loss": nats per token of the instruction, "tokens", "pairs": [{"id", "loss", "tokens",
"failure"}, ...]}, and rows {"id", "instruction", "response", "rejection"} as candidates are.
"""

from functools import partial

from backtranslation.corpus.seed import draw_pairs
from backtranslation.files import read_rows, write_json, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.jobs.work_files import COMPLETIONS
from backtranslation.method.augmentation import build_candidate
from backtranslation.settings.augmentation import InstructionFilters
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    sampling: Sampling
    filters: InstructionFilters
    generation: Generation
    limits: Limits
    backward_pairs: int
    random_seed: int


def evaluate_backward_model(
    model: Input,
    held_out: Input,
    prompt: Input,
    loss: Output,
    instructions: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Measure the loss, then ask for instructions as the segments are asked about.

    model: folder of the backward model
    held_out: held-out pairs, .jsonl.zst
    prompt: template that asks for an instruction, .jinja
    loss: losses, .json
    instructions: what it wrote for some of the held-out responses, with a verdict, .jsonl.zst
    """
    from backtranslation.method.evaluation import measure_losses
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.engine import generate_all, load_engine, make_requests
    from backtranslation.models.pairs import encode_backward
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts(backward=str(prompt)))
    engine, tokenizer = load_engine(spec.generation, str(model), spec.loading, prompts)
    tokenizer = with_user_turns(tokenizer, prompts.backward_turn())
    pairs = list(read_rows(held_out))
    encode = partial(encode_backward, tokenizer, max_length=engine.room(""))
    write_json(loss, measure_losses(engine, pairs, encode, workplace.folder / "losses.jsonl", spec.limits))

    asked = draw_pairs(pairs, min(spec.backward_pairs, len(pairs)), spec.random_seed)
    texts = ((pair["id"], pair["response"]) for pair in asked)
    requests = make_requests(tokenizer, texts, spec.random_seed, "evaluate_backward_model")
    written = generate_all(engine, requests, spec.sampling, workplace.folder / COMPLETIONS, spec.limits)
    template = prompt.read_text(encoding="utf-8")
    rows = []
    for pair in asked:
        found = written[pair["id"]]
        generated = {"raw": found.text, "finished": found.finished, "failure": found.failure}
        rows.append(build_candidate({"id": pair["id"], "text": pair["response"]}, generated, template, spec.filters))
    write_rows(instructions, rows)


if __name__ == "__main__":
    run_stage(evaluate_backward_model)
