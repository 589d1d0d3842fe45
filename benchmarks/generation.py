"""Generated tokens per second of a scoring job: the engine, and transformers' own `generate` in batches.

    python benchmarks/generation.py [--threads 1] [--requests 128]

Both complete the same prompts with the same random Llama (4 layers, width 256), greedily: 512 tokens that all have in
common, 20 to 120 of their own, and 24 new ones.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.jobs.process import start_job

if TYPE_CHECKING:
    from backtranslation.models.engine import Request
    from backtranslation.models.engines.transformers_engine import TransformersEngine

NEW_TOKENS = 24
BATCH_ROWS = 64


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--requests", type=int, default=128, help="number of prompts")
    args = parser.parse_args()
    start_job("benchmark", "generation", args.threads)

    from random_model import build_model, random_text

    from backtranslation.models.engine import Request, load_engine
    from backtranslation.models.prompts import PromptSet
    from backtranslation.settings.base_model import BaseModelSettings
    from backtranslation.settings.generation import Generation, Sampling
    from backtranslation.settings.prompts import Prompts

    generator = random.Random(0)
    rubric = random_text(generator, 512)
    requests = [
        Request(str(number), f"{rubric} {random_text(generator, generator.randint(20, 120))}", number)
        for number in range(args.requests)
    ]
    with tempfile.TemporaryDirectory() as folder:
        build_model(Path(folder), hidden_size=256, layers=4)
        base = BaseModelSettings(path=folder)
        engine, _ = load_engine(Generation(), folder, base, PromptSet(Prompts()))
    greedy = Sampling(temperature=0, max_new_tokens=NEW_TOKENS)
    list(engine.generate(requests[:4], greedy))
    start = time.monotonic()
    ours = {done.id: done.text for done in engine.generate(requests, greedy)}
    middle = time.monotonic()
    theirs = dict(generate_plainly(engine, requests))  # type: ignore[arg-type]
    end = time.monotonic()
    tokens = args.requests * NEW_TOKENS
    slow, fast = tokens / (end - middle), tokens / (middle - start)
    print(f"{args.requests} requests, {tokens:,} new tokens, {args.threads} threads")
    print(f"same text: {sum(ours[key] == theirs[key] for key in ours)} of {args.requests}")
    print(f"{'':32}{'tokens/s':>12}{'ratio':>8}")
    print(f"{f'generate, batches of {BATCH_ROWS}':32}{slow:12,.0f}{1:8.2f}")
    print(f"{'engine, shared prefix':32}{fast:12,.0f}{fast / slow:8.2f}")


def generate_plainly(engine: "TransformersEngine", requests: "list[Request]") -> Iterator[tuple[str, str]]:
    """Left-padded batches in order of length through `model.generate`."""
    tokenizer, rest = engine.tokenizer, iter(sorted(requests, key=lambda request: len(request.prompt)))
    tokenizer.padding_side = "left"
    while batch := list(islice(rest, BATCH_ROWS)):
        inputs = tokenizer([request.prompt for request in batch], return_tensors="pt", padding=True).to(
            engine.model.device
        )
        whole = engine.model.generate(
            **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=engine.end_ids.tolist(),
        )  # fmt: skip
        for request, ids in zip(batch, whole[:, inputs["input_ids"].shape[1] :], strict=True):
            yield request.id, str(tokenizer.decode(ids, skip_special_tokens=True))


if __name__ == "__main__":
    main()
