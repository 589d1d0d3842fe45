"""Let the backward model write one instruction for every segment of a shard.

Writes rows {"id", "raw", "tokens", "finished"}: what the model wrote, its length in tokens, whether it came to an end.
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    sampling: Sampling
    generation: Generation
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--segments", type=Input, required=True, help="segments of the shard, .jsonl.zst")
    parser.add_argument("--model", type=Input, required=True, help="folder of the backward model")
    parser.add_argument("--prompt", type=Input, required=True, help="template that asks for an instruction, .jinja")
    parser.add_argument("--instructions", type=Output, required=True, help="output, .jsonl.zst")
    return parser


def generate_instructions(args: argparse.Namespace) -> None:
    """Ask for all instructions and write them down in the order of the segments."""
    spec = Spec.model_validate_json(args.spec)

    from backtranslation.models.chat import render_prompt
    from backtranslation.models.engine import Request, generate_all, load_engine, row_seed
    from backtranslation.models.prompts import PromptSet, backward_message

    prompts = PromptSet(Prompts(backward=args.prompt))
    engine, tokenizer = load_engine(spec.generation.completed(args.execution), args.model, spec.loading, prompts)
    requests = [
        Request(
            segment["id"],
            render_prompt(tokenizer, backward_message(prompts, segment["text"])),
            row_seed(spec.random_seed, segment["id"], "generate_instructions"),
        )
        for segment in read_rows(args.segments)
    ]
    completions = generate_all(engine, requests, spec.sampling, args.work / "completions.jsonl")
    write_rows(
        args.instructions,
        (
            {"id": request.id, "raw": done.text, "tokens": done.tokens, "finished": done.finished}
            for request in requests
            for done in [completions[request.id]]
        ),
    )


if __name__ == "__main__":
    run_stage(__file__, build_parser(), generate_instructions)
