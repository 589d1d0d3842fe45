"""Measure how much likelier the response of every candidate becomes by its instruction, or backwards.

Writes rows {"id", "given", "alone", "failure"}: the likelihood of the reply after what it replies to, and after
nothing, each {"tokens", "mean", "begin", "tail", "end"} as `method.likelihood.condense` says; null, with the reason as
failure, for a reply that is empty, does not fit into the model, or has no finite likelihood.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    task: Literal["forward", "backward"]
    tags: Tags = Tags()
    generation: Generation
    limits: Limits


def measure_likelihood(
    candidates: Input, model: Input, prompt: Input, likelihoods: Output, spec: Spec, workplace: Workplace
) -> None:
    """Measure every candidate that was not rejected, shown as a seed pair is in training.

    candidates: candidates of the shard, .jsonl.zst
    model: folder of the model
    prompt: template of the task, .jinja
    likelihoods: likelihoods of the replies, .jsonl.zst
    """
    if workplace.is_idle:
        write_rows(likelihoods, [])
        return

    from backtranslation.method.likelihood import measure_likelihoods
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.engine import load_engine
    from backtranslation.models.pairs import encode_backward, encode_forward
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts.model_validate({spec.task: str(prompt)} | spec.tags.model_dump()))
    engine, tokenizer = load_engine(spec.generation, str(model), spec.loading, prompts)
    turn = prompts.backward_turn() if spec.task == "backward" else prompts.forward_turn("seed")
    encode = encode_backward if spec.task == "backward" else encode_forward
    encode_row = partial(encode, with_user_turns(tokenizer, turn), max_length=engine.room(""))
    rows = list(rows_to_measure(candidates))
    write_rows(likelihoods, measure_likelihoods(engine, encode_row, rows, spec.task, workplace.folder, spec.limits))


def rows_to_measure(candidates: Path) -> Iterator[Row]:
    """Candidates that were not rejected."""
    return (row for row in read_rows(candidates) if row["rejection"] is None)


if __name__ == "__main__":
    run_stage(measure_likelihood, rows_to_measure)
