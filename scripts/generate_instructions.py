"""Let the backward model write one instruction for every segment of a shard.

Writes rows {"id", "raw", "tokens", "finished", "failure"}: what the model wrote, its length in tokens, whether it came
to an end. A segment that is too long for the model has an empty text, and the failure prompt_too_long.
"""

from collections.abc import Iterator
from pathlib import Path

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.jobs.work_files import COMPLETIONS
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    sampling: Sampling
    generation: Generation
    limits: Limits
    random_seed: int


def generate_instructions(
    segments: Input, model: Input, prompt: Input, instructions: Output, spec: Spec, workplace: Workplace
) -> None:
    """Ask for all instructions and write them down in the order of the segments.

    segments: segments of the shard, .jsonl.zst
    model: folder of the backward model
    prompt: template that asks for an instruction, .jinja
    instructions: what the model wrote, .jsonl.zst
    """
    if workplace.is_idle:
        write_rows(instructions, [])
        return

    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.engine import generate_all, load_engine, make_requests
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts(backward=str(prompt)))
    engine, tokenizer = load_engine(spec.generation, str(model), spec.loading, prompts)
    tokenizer = with_user_turns(tokenizer, prompts.backward_turn())
    texts = ((row["id"], row["text"]) for row in rows_to_ask_about(segments))
    requests = make_requests(tokenizer, texts, spec.random_seed, "generate_instructions")
    journal = workplace.folder / COMPLETIONS
    completions = generate_all(engine, requests, spec.sampling, journal, spec.limits)
    write_rows(
        instructions,
        (
            {"id": row.id, "raw": row.text, "tokens": row.tokens, "finished": row.finished, "failure": row.failure}
            for row in (completions[request.id] for request in requests)
        ),
    )


def rows_to_ask_about(segments: Path) -> Iterator[Row]:
    """All segments of the shard."""
    return read_rows(segments)


if __name__ == "__main__":
    run_stage(generate_instructions, rows_to_ask_about)
