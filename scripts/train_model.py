"""Fine-tune the base model on pairs: reversed (task backward) or forward, where each kind carries its tag sentence.

Writes a model folder (Hugging Face format, safetensors, tokenizer with its chat template) and a table of the training
(tab-separated: step, loss in nats per reply token, learning_rate, tokens, seconds, tokens_per_second).
"""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from backtranslation.files import DataError, read_rows
from backtranslation.progress import log, run_script, start_job
from backtranslation.settings import BaseModelSettings, Prompts, Slice, Training

if TYPE_CHECKING:
    from backtranslation.prompts import EncodedPair


class Spec(Slice):
    """Settings of this stage."""

    base_model: BaseModelSettings
    training: Training
    prompts: Prompts
    task: Literal["backward", "forward"]
    random_seed: int


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--threads", type=int, default=1, help="processor threads, all processes together")
    parser.add_argument("--seed", required=True, help="seed pairs, .jsonl.zst")
    parser.add_argument("--augmented", nargs="*", default=[], help="curated or candidate pairs, .jsonl.zst")
    parser.add_argument("--model-folder", required=True, type=Path, help="output, a folder")
    parser.add_argument("--log", required=True, type=Path, help="output, .tsv")
    parser.add_argument("--work", required=True, type=Path, help="folder for checkpoints")
    args = parser.parse_args()
    spec = Spec.model_validate_json(args.spec)
    processes = spec.training.processes
    start_job("train_model", str(args.model_folder), max(1, args.threads // processes))
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        launch(processes)
    if os.environ.get("RANK", "0") != "0":
        log.setLevel(logging.WARNING)

    from backtranslation.models import load_tokenizer
    from backtranslation.prompts import PromptSet, encode_backward, encode_forward
    from backtranslation.training import train_model

    prompts = PromptSet(spec.prompts)
    tokenizer = load_tokenizer(spec.base_model.path, spec.base_model, prompts)
    max_length = spec.training.max_length
    if spec.task == "backward":
        pairs = [encode_backward(tokenizer, prompts, row, max_length) for row in read_rows(args.seed)]
    else:
        pairs = [encode_forward(tokenizer, prompts, row, "seed", max_length) for row in read_rows(args.seed)]
        pairs += encode_augmented(args.augmented, partial(encode_forward, tokenizer, prompts, max_length=max_length))
    train_model(
        pairs, spec.base_model, spec.training, tokenizer, args.model_folder, args.work, args.log, spec.random_seed
    )


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


def launch(processes: int) -> NoReturn:
    """Run this same command in several processes that train together; exit as they do."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    sys.exit(subprocess.run([*torchrun, "--", *sys.argv]).returncode)


if __name__ == "__main__":
    run_script(main)
