"""Measure whether the instructions of held-out responses lead back to them, by the likelihood of a forward model.

Writes a JSON object {"top_1": share of the responses that came first, "mean_reciprocal_rank", "pairs": [{"id", "rank",
"candidates", "failure"}, ...]}. A response whose instruction cannot be used counts as not retrieved.
"""

from functools import partial
from statistics import fmean

from backtranslation.files import read_rows, write_json
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    tags: Tags
    generation: Generation
    limits: Limits
    random_seed: int


def measure_round_trip(
    model: Input,
    instructions: Input,
    held_out: Input,
    prompt: Input,
    round_trip: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Rank every response among others by its instruction, told as seed pairs are told in training.

    model: folder of a forward model
    instructions: instructions for held-out responses, with a verdict, .jsonl.zst
    held_out: held-out pairs, .jsonl.zst
    prompt: template that shows an instruction, .jinja
    round_trip: ranks, .json
    """
    from backtranslation.method.round_trip import make_round_trips
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.engine import load_engine
    from backtranslation.models.pairs import encode_forward
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts(forward=str(prompt), **spec.tags.model_dump()))
    engine, tokenizer = load_engine(spec.generation, str(model), spec.loading, prompts)
    tokenizer = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    encode = partial(encode_forward, tokenizer, max_length=engine.room(""))
    responses = {pair["id"]: pair["response"] for pair in read_rows(held_out)}
    written = list(read_rows(instructions))
    found = make_round_trips(engine, encode, written, responses, spec.random_seed, workplace.folder, spec.limits)
    top_1, reciprocal = fmean(row.rank == 1 for row in found), fmean(row.reciprocal_rank for row in found)
    log.info(f"{top_1:.3f} of {len(found):,} responses came first, mean reciprocal rank {reciprocal:.3f}")
    write_json(round_trip, {"top_1": top_1, "mean_reciprocal_rank": reciprocal, "pairs": [vars(row) for row in found]})


if __name__ == "__main__":
    run_stage(measure_round_trip)
