"""Generated tokens per second of one job: transformers' `generate`, the engine, and every server that can run here.

    make .venv/installed-for-servers build/vllm/installed
    python benchmarks/servers.py [--threads 1] [--requests 64]

All complete the same prompts greedily with a random Llama (6 layers, width 512, 32-bit weights), and have as many
threads; what asks a server runs beside it. Two jobs: a rubric of 300 tokens in front of 20 to 120 that differ, and 24
new ones; and 20 to 120 without a rubric, and replies that end by themselves after up to 128. Each has
done a few other requests before: servers are running, and have seen neither the rubric nor a prompt.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from backtranslation.jobs.process import start_job

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from backtranslation.models.engine import Engine, Request
    from backtranslation.models.engines.transformers_engine import TransformersEngine

BATCHES = (16, 64)  # rows in a batch of `generate`
POSITIONS = 1024
# A random Llama repeats itself, and does not end. With layers so many times stronger it wanders through its vocabulary,
# and with so many times the weights its end is the likeliest token once in some 40.
LAYER_SCALE, END_SCALE = 3.0, 1.6

Replies = dict[str, tuple[str, int]]  # text and number of tokens, by request


class Job(NamedTuple):
    """Requests to a model, others to warm up with, and how many tokens a reply may have."""

    name: str
    model: Path
    requests: "list[Request]"
    warm_up: "list[Request]"
    limit: int


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads of each (default: 1)")
    parser.add_argument("--requests", type=int, default=64, help="prompts of a job (default: 64)")
    args = parser.parse_args()
    start_job("benchmark", "servers", args.threads)
    sys.path.append(str(Path(__file__).parent.parent / "tests"))  # how the servers are found and started
    with tempfile.TemporaryDirectory() as folder:
        for job in make_jobs(Path(folder), args.requests):
            compare(job, args.threads)


def make_jobs(folder: Path, requests: int) -> list[Job]:
    """Both jobs, each with a model of its own."""

    def make_job(name: str, end_scale: float, rubric_tokens: int, limit: int) -> Job:
        tokenizer = build_model(folder / name, end_scale)
        asked = make_requests(tokenizer, requests, rubric_tokens, seed=0)
        others = make_requests(tokenizer, 4, rubric_tokens, seed=1)
        return Job(name, folder / name, asked, others, limit)

    return [make_job("rubric", 0.0, 300, 24), make_job("lengths", END_SCALE, 0, 128)]


def build_model(folder: Path, end_scale: float) -> "PreTrainedTokenizerBase":
    """Write a random Llama with the tokenizer of the miniature's base, which is returned."""
    import torch
    from random_model import LlamaShape, build_llama
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from backtranslation.shipped import PACKAGE

    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "miniature/base")
    build_llama(folder, LlamaShape(512, 1536, 6, 8, 8, len(tokenizer)), tokenizer)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.max_position_embeddings = POSITIONS
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            weight *= LAYER_SCALE if weight.dim() == 2 else 1.0
        model.lm_head.weight[tokenizer.eos_token_id] *= end_scale
    model.save_pretrained(folder)
    return tokenizer


def make_requests(tokenizer: "PreTrainedTokenizerBase", count: int, rubric_tokens: int, seed: int) -> "list[Request]":
    """Prompts of random words, each of which is one token."""
    from backtranslation.models.engine import Request

    generator = random.Random(seed)
    words = sorted(word for word in tokenizer.get_vocab() if word.startswith("Ġ") and word[1:].isalpha())

    def text(tokens: int) -> str:
        return "".join(f" {word[1:]}" for word in generator.choices(words, k=tokens))

    rubric = text(rubric_tokens)
    return [Request(str(number), rubric + text(generator.randint(20, 120)), number) for number in range(count)]


def compare(job: Job, threads: int) -> None:
    """Let everything do a job, and print its table."""
    from helpers.real_servers import SERVERS, find_server

    from backtranslation.models.engines.transformers_engine import TransformersEngine

    engine = load(job.model, {})
    assert isinstance(engine, TransformersEngine)
    batches = {rows: timed(partial(generate_in_batches, engine, rows), job) for rows in BATCHES}
    rows, (expected, plain_seconds) = min(batches.items(), key=lambda found: found[1][1])
    lengths = [tokens for _, tokens in expected.values()]
    print(
        f"\n{job.name}: {len(job.requests)} requests, {sum(lengths):,} new tokens ({min(lengths)} to {max(lengths)}"
        f" each, median {statistics.median(lengths):.0f}), threads of each: {threads}"
    )
    print(f"{'':40}{'tokens/s':>12}{'ratio':>8}{'same texts':>12}")

    def tell(name: str, replies: Replies, seconds: float) -> None:
        same = sum(replies[row_id] == reply for row_id, reply in expected.items())
        print(f"{name:40}{sum(lengths) / seconds:12,.0f}{plain_seconds / seconds:8.2f}{same:12}", flush=True)

    tell(f"generate, batches of {rows}", expected, plain_seconds)
    tell("engine: transformers", *timed(partial(complete, engine), job))
    for preset in SERVERS:
        server = find_server(preset)
        if server.why_not:
            print(f"{f'engine: server, {preset}':40}{server.why_not}")
            continue
        with started(job.model, server.generation()) as served:
            tell(f"engine: server, {preset}", *timed(partial(complete, served), job))


def load(model: Path, generation: dict[str, object]) -> "Engine":
    """The engine of these settings."""
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet
    from backtranslation.settings.base_model import ModelLoading
    from backtranslation.settings.generation import Generation
    from backtranslation.settings.prompts import Prompts

    return load_engine(Generation(**generation), str(model), ModelLoading(), PromptSet(Prompts()))[0]


@contextmanager
def started(model: Path, generation: dict[str, object]) -> "Iterator[Engine]":
    """An engine whose server lives as long as it is used."""
    from backtranslation.models.engines.server_engine import ServerEngine

    engine = load(model, generation)
    assert isinstance(engine, ServerEngine)
    try:
        yield engine
    finally:
        engine.connection.stop()


def timed(answer: "Callable[[list[Request], int], Replies]", job: Job) -> tuple[Replies, float]:
    """The replies of a job, and the seconds that they took."""
    answer(job.warm_up, job.limit)
    start = time.monotonic()
    replies = answer(job.requests, job.limit)
    return replies, time.monotonic() - start


def complete(engine: "Engine", requests: "list[Request]", limit: int) -> Replies:
    """All replies through the engine."""
    from backtranslation.settings.generation import Sampling

    done = engine.generate(requests, Sampling(temperature=0, max_new_tokens=limit))
    return {reply.id: (reply.text, reply.tokens) for reply in done}


def generate_in_batches(engine: "TransformersEngine", rows: int, requests: "list[Request]", limit: int) -> Replies:
    """All replies through `model.generate`, in left-padded batches in order of length."""
    tokenizer = engine.tokenizer
    tokenizer.padding_side = "left"
    rest = iter(sorted(requests, key=lambda request: len(request.prompt)))
    replies: Replies = {}
    while batch := list(islice(rest, rows)):
        inputs = tokenizer([request.prompt for request in batch], return_tensors="pt", padding=True)
        whole = engine.model.generate(
            **inputs, max_new_tokens=limit, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        for request, ids in zip(batch, whole[:, inputs["input_ids"].shape[1] :], strict=True):
            tokens = int((ids != tokenizer.eos_token_id).cumprod(0).sum())
            replies[request.id] = str(tokenizer.decode(ids[:tokens])), tokens
    return replies


if __name__ == "__main__":
    main()
