"""What the project reaches on one GPU, in at most ten minutes: training, generation and scoring of Llamas of 1B and 8B.

    python benchmarks/on_gpu.py [--minutes 10] [--folder /large/disk] [pages.warc.gz ...]
    python benchmarks/on_gpu.py --tiny         # the same with tiny models, on a processor too: does it still run?

The models have random weights and need 18 GB of disk; the texts are segments of the pages that are named, by default of
docs/*.md. Every job is a process of its own that leases a GPU as the jobs of a run do, and works through `fine_tune` or
the transformers engine until its share of the time is over. One that fails says why, and the next goes on. Beside each
training with LoRA, TRL's SFTTrainer does the same on the same pairs, with its packing; left out where it is missing.

tokens/s   of training: without padding, the first step left out. Of generation: new tokens, while the prompts are
           computed too. Of scoring: all tokens that the model is shown.
MFU        operations of the model in a second, as a share of the peak that the maker names (dense bfloat16). For each
           of N parameters and each token: 6 in full training (2 forward, 2 backward for activations, 2 for weights),
           4 with LoRA (frozen weights need no gradient), 2 in inference. Attention is left out.
of limit   seconds that the same work takes at the roof, by seconds that it took. The roof is measured on the spot: the
           product of two 8192 x 8192 bfloat16 matrices, F operations/s, and a copy, B bytes/s. Training takes
           6 N / F or 4 N / F a token, a prompt 2 N / F a token (what all begin with, once), and a step of generation
           for R rows with a mean context of c tokens max((2 N + R c K) / B, 2 N R / F); K are the bytes of the keys
           and values of a token.
peak       GiB that torch reserved on the GPU; without a GPU, that the process held.
freed      GiB in use on the leased GPU before and after the job, as NVML tells. More after than before is a fault.

Exit code 1 if a job failed or left memory in use.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.jobs.leases import visible_gpus
from backtranslation.jobs.process import start_job
from backtranslation.models.utilization import peak_operations

if TYPE_CHECKING:
    from gpu_jobs import Job, Outcome, Roof, Work

DOCS = Path(__file__).parent.parent / "docs"
WORKS = {
    "lora": "LoRA training", "trl": "LoRA training with TRL", "full": "full training",
    "generate": "generation", "choose": "scoring by rubric",
    "measure": "scoring by likelihood",
}  # fmt: skip
JOBS: "list[tuple[Work, str]]" = [
    ("lora", "1B"), ("trl", "1B"), ("full", "1B"), ("generate", "1B"), ("choose", "1B"), ("measure", "1B"),
    ("lora", "8B"), ("trl", "8B"), ("generate", "8B"), ("choose", "8B"), ("measure", "8B"),
]  # fmt: skip
GIB = 1 << 30
NOT_FREED = 64 << 20  # bytes; what the driver keeps for itself may change by less
FREEING_SECONDS = 10.0

Memory = dict[str, int]


class JobError(Exception):
    """A job failed; the message says why, in one line."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", default=sorted(map(str, DOCS.glob("*.md"))), help="files of pages or texts")
    parser.add_argument("--minutes", type=float, default=10, help="for all jobs together (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the models lie while it runs (default: that of the system)")
    parser.add_argument("--threads", type=int, default=4, help="processor threads (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="tiny models, and of every job the least")
    args = parser.parse_args()
    ends = time.monotonic() + args.minutes * 60
    start_job("benchmark", "on_gpu", args.threads)
    from gpu_jobs import Job

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        first = Job(
            work="prepare", model="", tiny=args.tiny, folder=Path(folder), pages=args.pages, threads=args.threads
        )
        sys.exit(0 if run_jobs(first, ends) else 1)


def run_jobs(first: "Job", ends: float) -> bool:
    """Print what all jobs reach, the first one preparing the others; whether none failed or left memory in use."""
    try:
        prepared, _ = run_job(first, ends)
    except JobError as error:
        print(f"nothing can be measured: {error}")
        return False
    roof, faults = prepared.found
    print(
        f"{roof.device}: {roof.operations / 1e12:,.4g} TFLOP/s in a bfloat16 matrix product,"
        f" {roof.bandwidth / 1e9:,.4g} GB/s in a copy; leased GPU: {', '.join(prepared.gpus) or 'none'}\n"
    )
    print("| job | tokens | seconds | tokens/s | limit, tokens/s | of limit | MFU | peak, GiB | freed, GiB |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    well = True
    for number, (work, model) in enumerate(JOBS):
        now = time.monotonic()
        share = 0 if first.tiny else (ends - now) / (len(JOBS) - number)
        job = replace(first, work=work, model=model, ends=now + share)
        try:
            if work == "trl" and find_spec("trl") is None:
                print(f"| {model} {WORKS[work]} | left out: TRL is not installed {'| ' * 8}", flush=True)
                continue
            if model in faults:
                raise JobError(faults[model])
            outcome, (before, after) = run_job(job, ends)
            print(f"| {model} {WORKS[work]} | {row_of(outcome, roof)} | {freed(outcome, before, after)} |", flush=True)
            well &= not is_left(outcome, before, after)
        except JobError as error:
            print(f"| {model} {WORKS[work]} | failed: {error} {'| ' * 8}", flush=True)
            well = False
    return well


def run_job(job: "Job", ends: float) -> "tuple[Outcome, tuple[Memory, Memory]]":
    """Do a job in a process of its own; memory in use on all GPUs before and after.

    Raises JobError if it fails, or is not done when all must end.
    """
    before = used_memory()
    # CUDA cannot be used after a fork; without it, a fork spares the imports.
    context: BaseContext = get_context("spawn" if before else "fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_outcome, args=(job, sender))  # type: ignore[attr-defined]
    process.start()
    sender.close()
    try:
        told = receiver.recv() if receiver.poll(max(0.0, ends - time.monotonic())) else "the time is over"
    except EOFError:
        process.join()
        told = f"its process ended with exit code {process.exitcode}"
    # It has nothing left to do; a training that is too late would save a checkpoint at SIGTERM.
    process.kill()
    process.join()
    after = wait_until_freed(before)
    if isinstance(told, str):
        raise JobError(told)
    return told, (before, after)


def send_outcome(job: "Job", sender: Connection) -> None:
    """In the process of a job: do it, and send what came out, or a line that says why nothing did."""
    from gpu_jobs import do_job

    start_job("on_gpu", f"{job.model} {job.work}", job.threads)
    try:
        sender.send(do_job(job))
    except Exception as error:  # no memory, no disk, a faulty driver: all are rows of the table
        sender.send(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def used_memory() -> Memory:
    """Bytes in use on every GPU that can be leased."""
    import pynvml

    gpus = visible_gpus()
    if gpus:
        pynvml.nvmlInit()
    handles = {
        gpu: pynvml.nvmlDeviceGetHandleByIndex(int(gpu)) if gpu.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(gpu)
        for gpu in gpus
    }
    return {gpu: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for gpu, handle in handles.items()}


def wait_until_freed(before: Memory) -> Memory:
    """What is in use once it is no more than before, at the latest after FREEING_SECONDS."""
    until = time.monotonic() + FREEING_SECONDS
    while grown(before, after := used_memory()) and time.monotonic() < until:
        time.sleep(0.2)
    return after


def grown(before: Memory, after: Memory) -> set[str]:
    """The GPUs of which more is in use than before."""
    return {gpu for gpu, used in after.items() if used > before[gpu] + NOT_FREED}


def is_left(outcome: "Outcome", before: Memory, after: Memory) -> bool:
    """Whether a job that has ended still holds memory of its GPUs."""
    return not grown(before, after).isdisjoint(outcome.gpus)


def freed(outcome: "Outcome", before: Memory, after: Memory) -> str:
    """The cell that tells what was in use before and after a job."""
    told = ", ".join(f"{before[gpu] / GIB:.2f} -> {after[gpu] / GIB:.2f}" for gpu in outcome.gpus) or "-"
    return f"**not freed** {told}" if is_left(outcome, before, after) else told


def row_of(outcome: "Outcome", roof: "Roof") -> str:
    """The cells that tell how fast a job was."""
    from gpu_jobs import least_seconds

    measured = outcome.found
    least, peak = least_seconds(measured, roof), peak_operations(roof.device)
    return " | ".join(
        [
            f"{measured.tokens:,}",
            f"{measured.seconds:,.1f}",
            f"{measured.tokens / measured.seconds:,.0f}",
            f"{measured.tokens / least:,.0f}",
            f"{least / measured.seconds:.2g}",
            "-" if peak is None else f"{measured.operations / measured.seconds / peak:.2f}",
            f"{outcome.peak_bytes / GIB:.1f}",
        ]
    )


if __name__ == "__main__":
    main()
