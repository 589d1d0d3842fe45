"""How fast text is generated: the engine, and transformers' own `generate` at its best batch size.

    python benchmarks/generation.py [--model backtranslation/miniature/base] [--requests 128] [--threads 1]

Both do the same jobs with the same model, greedily, on prompts cut from human-written texts:

    varied lengths     prompts of 20 to 120 tokens; replies of 2 to 128 tokens, drawn for each row
    shared rubric, N   512 tokens that all prompts begin with, 20 to 120 of their own, at most N new ones
    digits alone       the same prompts; how probable the five scores are, for which `generate` writes one token

`generate` is tried with batches of 128 rows, 64, 32 and so on, in order of length, until two sizes in a row were slower
than the best. Seconds are of the processor: other work on the machine does not count. Texts are compared row by row;
rounding differs with the batch, so rows may part where two tokens are nearly as probable.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtranslation.jobs.process import start_job

if TYPE_CHECKING:
    from backtranslation.models.engines.transformers_engine import TransformersEngine

BATCH_ROWS = (128, 64, 32, 16, 8, 4, 2, 1)
TEXTS = Path(__file__).parent.parent / "examples" / "real" / "human_seed.jsonl"
Replies = dict[int, list[int]] | Iterator[tuple[int, list[int]]]
DIGITS = (" 1", " 2", " 3", " 4", " 5")


@dataclass
class Job:
    """Prompts, and how many tokens at most follow each; whether probabilities of the digits are wanted instead."""

    name: str
    prompts: list[str]
    limits: list[int]
    digits: bool = False


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="backtranslation/miniature/base", help="folder (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=128, help="number of prompts of every job")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    args = parser.parse_args()
    start_job("benchmark", "generation", args.threads)

    from backtranslation.models.engine import load_engine
    from backtranslation.models.engines.transformers_engine import TransformersEngine
    from backtranslation.models.prompts import PromptSet
    from backtranslation.settings.base_model import BaseModelSettings
    from backtranslation.settings.generation import Generation
    from backtranslation.settings.prompts import Prompts

    base = BaseModelSettings(path=args.model)
    engine, _ = load_engine(Generation(), args.model, base, PromptSet(Prompts()))
    assert isinstance(engine, TransformersEngine)
    print(f"{args.model}: {args.requests} requests, {args.threads} threads, rows per second of the processor")
    print(f"{'':20}{'generate':>10}{'at rows':>9}{'engine':>10}{'ratio':>8}{'new tokens/s':>14}{'same texts':>12}")
    for job in make_jobs(engine, args.requests):
        compare(engine, job)


def make_jobs(engine: "TransformersEngine", count: int) -> Iterator[Job]:
    """All jobs; what is random is the same in every run."""
    from backtranslation.files import read_rows
    from backtranslation.models.chat import cut_text

    generator = random.Random(0)
    texts = [row["response"] for row in read_rows(TEXTS)]

    def text(tokens: int) -> str:
        return cut_text(engine.tokenizer, " ".join(generator.choices(texts, k=tokens)), tokens)

    own = [text(generator.randint(20, 120)) for _ in range(count)]
    yield Job("varied lengths", own, [generator.randint(2, 128) for _ in own])
    rubric = text(512)
    with_rubric = [f"{rubric}\n\n{prompt}" for prompt in own]
    for limit in (24, 60):
        yield Job(f"shared rubric, {limit}", with_rubric, [limit] * count)
    yield Job("digits alone", [f"{prompt}\nScore:" for prompt in with_rubric], [1] * count, digits=True)


def compare(engine: "TransformersEngine", job: Job) -> None:
    """Do a job both ways and print a line."""
    run_engine(engine, Job("", job.prompts[:4], job.limits[:4], job.digits))
    seconds, ours = timed(lambda: run_engine(engine, job))
    rows, best, theirs = find_best_size(engine, job)
    speeds = f"{len(ours) / best:10.2f}{rows:9}{len(ours) / seconds:10.2f}{best / seconds:8.2f}"
    if job.digits:
        print(f"{job.name:20}{speeds}", flush=True)
        return
    same = sum(ours[row] == theirs[row] for row in ours)
    tokens = sum(map(len, ours.values())) / seconds
    print(f"{job.name:20}{speeds}{tokens:14,.0f}{f'{same} of {len(ours)}':>12}", flush=True)


def run_engine(engine: "TransformersEngine", job: Job) -> dict[int, list[int]]:
    """The tokens of every reply, by row; none where probabilities are read."""
    from backtranslation.models.chat import encode_text
    from backtranslation.settings.generation import Sampling

    if job.digits:
        asked = [(str(row), prompt) for row, prompt in enumerate(job.prompts)]
        return {int(choice.id): [] for choice in engine.choose(asked, DIGITS)}
    assert engine.slots is not None
    prompts = [encode_text(engine.tokenizer, prompt) for prompt in job.prompts]
    greedy = Sampling(temperature=0, max_new_tokens=max(job.limits))
    replies = engine.slots.complete(prompts, job.limits, range(len(prompts)), greedy)
    return {row: tokens for row, tokens, _ in replies}


def find_best_size(engine: "TransformersEngine", job: Job) -> tuple[int, float, dict[int, list[int]]]:
    """The batch size that is fastest for `generate`, its seconds and its replies."""
    best, replies, slower = (0, float("inf")), dict[int, list[int]](), 0
    for rows in [size for size in BATCH_ROWS if size < 2 * len(job.prompts)]:
        seconds, written = timed(partial(generate_plainly, engine, job, rows))
        if seconds < best[1]:
            best, replies, slower = (rows, seconds), written, 0
        elif (slower := slower + 1) == 2:
            break
    return *best, replies


def generate_plainly(engine: "TransformersEngine", job: Job, size: int) -> Iterator[tuple[int, list[int]]]:
    """Left-padded batches in order of length through `model.generate`."""
    import torch
    from transformers import StoppingCriteriaList

    tokenizer = engine.tokenizer
    tokenizer.padding_side = "left"
    order = sorted(range(len(job.prompts)), key=lambda row: len(job.prompts[row]))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        inputs = tokenizer(
            [job.prompts[row] for row in rows], return_tensors="pt", padding=True, add_special_tokens=False
        )
        width, limits = inputs["input_ids"].shape[1], torch.tensor([job.limits[row] for row in rows])

        def is_long_enough(
            ids: torch.Tensor, _: Any, width: int = width, limits: torch.Tensor = limits
        ) -> torch.Tensor:
            return ids.shape[1] - width >= limits

        whole = engine.model.generate(
            **inputs, max_new_tokens=int(limits.max()), do_sample=False, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=engine.end_ids, stopping_criteria=StoppingCriteriaList([is_long_enough]),
        )  # fmt: skip
        for row, ids in zip(rows, whole[:, width:].tolist(), strict=True):
            reply = ids[: job.limits[row]]
            ends = [place for place, token in enumerate(reply) if token in engine.end_ids]
            yield row, reply[: ends[0]] if ends else reply


def timed(work: Callable[[], Replies]) -> tuple[float, dict[int, list[int]]]:
    """The seconds of the processor that some work took, and what it gave."""
    start = time.process_time()
    given = dict(work())
    return time.process_time() - start, given


if __name__ == "__main__":
    main()
