"""Memory and time of the loss: over target tokens in chunks, as `fine_tune` has it, and from the logits of all tokens.

    python benchmarks/target_loss.py [--threads 1]

One step, forward and backward, of a random Llama (4 layers, width 256) on a row of 2,048 tokens, three quarters of
them targets; each in a process of its own, whose peak memory counts from before the step. Seconds are of the
processor, the best of 3.
"""

import argparse
import random
import time
from array import array
from multiprocessing import get_context
from resource import RUSAGE_SELF, getrusage

from backtranslation.jobs.process import start_job

TOKENS = 2048
ROUNDS = 3
VOCABULARIES = (32_000, 128_256)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    args = parser.parse_args()
    print(f"{'vocabulary':>10}  {'loss':8}{'MiB':>8}{'seconds':>10}{'nats':>10}")
    for vocabulary in VOCABULARIES:
        for way in ("all", "chunks"):
            with get_context("spawn").Pool(1) as pool:
                memory, seconds, loss = pool.apply(measure_step, (vocabulary, way, args.threads))
            print(f"{vocabulary:10,}  {way:8}{memory / 2**20:8,.0f}{seconds:10.2f}{loss:10.5f}", flush=True)


def measure_step(vocabulary: int, way: str, threads: int) -> tuple[int, float, float]:
    """Bytes that a step needs beside model and gradients, its seconds, and its loss in nats per target."""
    start_job("benchmark", f"target_loss {vocabulary} {way}", threads)
    import torch
    from random_model import LlamaShape, random_ids
    from transformers import AutoModelForCausalLM

    from backtranslation.models.packing import collate
    from backtranslation.models.pairs import EncodedPair
    from backtranslation.models.target_loss import chunked_loss, return_target_loss, whole_loss

    torch.manual_seed(0)
    shape = LlamaShape(256, 768, layers=4, heads=4, key_value_heads=4, vocabulary=vocabulary)
    model = AutoModelForCausalLM.from_config(shape.config(end_id=1))
    return_target_loss(model, chunked_loss if way == "chunks" else whole_loss)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    batch = collate([[EncodedPair("0", array("i", random_ids(random.Random(0), TOKENS)), TOKENS // 4)]])
    targets = batch.pop("labels")
    before, best, loss = getrusage(RUSAGE_SELF).ru_maxrss, float("inf"), torch.zeros(())
    for _ in range(ROUNDS):
        started = time.process_time()
        loss = model(**batch, targets=targets).loss
        loss.backward()
        best = min(best, time.process_time() - started)
    return (getrusage(RUSAGE_SELF).ru_maxrss - before) * 1024, best, loss.item() / (TOKENS - TOKENS // 4)


if __name__ == "__main__":
    main()
