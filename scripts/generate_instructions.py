"""Let the backward model write one instruction for every segment of a shard.

Writes rows {"id", "raw", "tokens", "finished"}: what the model wrote, its length in tokens, whether it came to an end.
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.progress import run_script, start_job
from backtranslation.settings import Generation, ModelLoading, Prompts, Sampling, Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    prompts: Prompts
    sampling: Sampling
    generation: Generation
    random_seed: int


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--segments", required=True, help="segments of the shard, .jsonl.zst")
    parser.add_argument("--model", required=True, help="folder of the backward model")
    parser.add_argument("--instructions", required=True, help="output, .jsonl.zst")
    args = parser.parse_args()
    start_job("generate_instructions", args.segments, args.threads)
    spec = Spec.model_validate_json(args.spec)

    from backtranslation.engine import Request, load_engine, row_seed
    from backtranslation.prompts import PromptSet, backward_message, render_prompt

    prompts = PromptSet(spec.prompts)
    engine, tokenizer = load_engine(spec.generation, args.model, spec.loading, prompts)
    requests = [
        Request(
            segment["id"],
            render_prompt(tokenizer, backward_message(prompts, segment["text"])),
            row_seed(spec.random_seed, segment["id"]),
        )
        for segment in read_rows(args.segments)
    ]
    completions = {completion.id: completion for completion in engine.generate(requests, spec.sampling)}
    write_rows(
        args.instructions,
        (
            {"id": request.id, "raw": done.text, "tokens": done.tokens, "finished": done.finished}
            for request in requests
            for done in [completions[request.id]]
        ),
    )


if __name__ == "__main__":
    run_script(main)
