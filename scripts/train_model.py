"""Fine-tune the base model on pairs: reversed (task backward) or forward, where each kind carries its tag sentence.

Writes a model folder (Hugging Face format, safetensors, tokenizer with its chat template) and a table of the training
(tab-separated: step, loss in nats per reply token, learning_rate, tokens, seconds, tokens_per_second).
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from backtranslation.errors import DataError, UserError
from backtranslation.files import read_rows
from backtranslation.jobs.progress import log, report_to, run_script, start_job
from backtranslation.jobs.stage import (
    Input,
    Output,
    command_line,
    die_with_parent,
    full_disk_noticed,
    run_stage,
    stage_parser,
)
from backtranslation.settings.base_model import BaseModelSettings, HubName, ModelLoading
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import SettingsError, Slice
from backtranslation.settings.training import Training

if TYPE_CHECKING:
    from backtranslation.models.pairs import EncodedPair

LAUNCHER = "BACKTRANSLATION_LAUNCHER"  # environment of a worker: the process that started it
# SIGTERM is for the workers: left to itself, torchrun kills them half a minute later, whether they are ready or not.
TORCHRUN = f"""
import os, signal, torch.distributed.run
os.environ["{LAUNCHER}"] = str(os.getpid())
signal.signal(signal.SIGTERM, lambda *_: None)
torch.distributed.run.main()
"""
# What the Trainer would take for several processes; some platforms set it for every program.
DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Spec(Slice):
    """Settings of this stage; the base model is a folder, an input, or has a name on the hub."""

    loading: ModelLoading
    hub_name: HubName | None
    training: Training
    tags: Tags
    task: Literal["backward", "forward"]
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--base", type=Input, nargs="?", help="folder of the base model, if it is not on the hub")
    parser.add_argument("--seed", type=Input, required=True, help="seed pairs, .jsonl.zst")
    parser.add_argument("--augmented", type=Input, nargs="*", default=[], help="curated or candidate pairs, .jsonl.zst")
    parser.add_argument("--prompt", type=Input, required=True, help="template of the task, .jinja")
    parser.add_argument("--chat-template", type=Input, required=True, help="for a model that has none, .jinja")
    parser.add_argument("--model", type=Output, required=True, help="output, a folder")
    parser.add_argument("--log", type=Output, required=True, help="output, .tsv")
    return parser


def train(args: argparse.Namespace) -> None:
    """Train in this process, or in several that it starts."""
    spec = Spec.model_validate_json(args.spec)
    training = spec.training.completed(args.execution)
    if 0 < args.gpus < training.processes:
        raise SettingsError(
            f"config: training.{spec.task}.processes: {training.processes} processes, and --gpus {args.gpus} for them"
        )

    from backtranslation.jobs.checkpoints import latest_checkpoint
    from backtranslation.models.loading import load_tokenizer
    from backtranslation.models.pairs import encode_backward, encode_forward
    from backtranslation.models.prompts import PromptSet
    from backtranslation.models.sharding import needs_torchrun
    from backtranslation.models.training import train_model

    if LAUNCHER not in os.environ:
        for name in DISTRIBUTED:
            os.environ.pop(name, None)
        if needs_torchrun(training, latest_checkpoint(args.work)):
            launch(training.processes, args)
            return

    prompts = PromptSet(Prompts(**{spec.task: args.prompt}, chat_template=args.chat_template, **spec.tags.model_dump()))
    base = base_model(args.base, spec)
    tokenizer = load_tokenizer(base.path, base, prompts)
    if spec.task == "backward":
        pairs = [encode_backward(tokenizer, prompts, row, training.max_length) for row in read_rows(args.seed)]
    else:
        encode = partial(encode_forward, tokenizer, prompts, max_length=training.max_length)
        pairs = [encode(row, "seed") for row in read_rows(args.seed)]
        pairs += encode_augmented(args.augmented, encode)
    train_model(pairs, base, training, tokenizer, Path(args.model), args.work, Path(args.log), spec.random_seed)


def base_model(folder: str | None, spec: Spec) -> BaseModelSettings:
    """Where the base model is, and how it is loaded."""
    if folder is not None:
        return BaseModelSettings(path=folder, **spec.loading.model_dump())
    if spec.hub_name is None:
        raise SettingsError("--base is missing, and the spec names no model on the hub")
    return BaseModelSettings(**spec.hub_name.model_dump(), **spec.loading.model_dump())


def encode_augmented(paths: list[str], encode: Callable[..., "EncodedPair"]) -> "Iterator[EncodedPair]":
    """Augmented pairs; rejected candidates, and pages too long for a row whatever is cut, are passed over."""
    too_long = 0
    for row in chain.from_iterable(read_rows(path) for path in paths):
        if row.get("rejection") is not None:
            continue
        try:
            yield encode(row, "augmented")
        except DataError as error:
            too_long += 1
            if too_long == 1:
                log.warning(f"passed over: {error} (further ones are only counted)")
    if too_long:
        log.warning(f"{too_long} augmented pairs passed over")


def launch(processes: int, args: argparse.Namespace) -> None:
    """Run this script in several processes that train together. They die with this one, which holds the lock."""
    torchrun = [sys.executable, "-c", TORCHRUN, "--standalone", f"--nproc-per-node={processes}"]
    torchrun += ["--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"]
    threads = max(1, args.threads // processes)
    command = [*torchrun, "--", __file__, *command_line(argparse.Namespace(**vars(args) | {"threads": threads}))]
    launcher = subprocess.Popen(command, preexec_fn=partial(die_with_parent, os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: pass_on_sigterm(launcher.pid))
    returncode = launcher.wait()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if returncode:
        raise UserError(f"a training in {processes} processes failed (exit code {returncode})")
    if not Path(args.model).exists():
        from backtranslation.jobs.checkpoints import StoppedError

        raise StoppedError


def pass_on_sigterm(launcher: int) -> None:
    """Send SIGTERM to the workers, which torchrun keeps in sessions of their own; end torchrun if it has none yet."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(launcher)
        for worker in process.children(recursive=True):
            worker.terminate()
        if not process.children():
            process.kill()


def work_for_parent() -> None:
    """Train as one of several processes: the one that started them keeps the result, and tells of its end."""
    die_with_parent(int(os.environ[LAUNCHER]))
    args = build_parser().parse_args()
    start_job("train_model", args.model, args.threads)
    if os.environ["RANK"] == "0":
        report_to(args.work)
    else:
        log.setLevel(logging.WARNING)
    from backtranslation.jobs.checkpoints import StoppedError

    with full_disk_noticed(args.work), suppress(StoppedError):
        train(args)


if __name__ == "__main__":
    if LAUNCHER in os.environ:
        run_script(work_for_parent)
    else:
        run_stage(__file__, build_parser(), train)
