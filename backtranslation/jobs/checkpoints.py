"""Checkpoints of a training that may be killed at any moment: saved by the clock and on SIGTERM, used only when whole.

The Trainer writes a folder `checkpoint-<step>`; when it is complete and on disk it is renamed to `whole-<step>`, and
older ones go. Knows nothing of what a checkpoint holds.
"""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backtranslation.jobs.work_files import CHECKPOINTS, WHOLE


class Checkpoints(TrainerCallback):
    """The checkpoints of one training, in its work folder."""

    def __init__(self, work: Path, seconds: float) -> None:
        self.folder, self.seconds = work / CHECKPOINTS, seconds
        self.saved = time.monotonic()
        self.terminated = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on SIGTERM, which a cluster sends ahead of a time limit, waits for the end of the step in hand."""
        self.earlier_handler = signal.signal(signal.SIGTERM, self._note_sigterm)

    def _note_sigterm(self, *_: object) -> None:
        self.terminated = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint when it is time, and for the end after SIGTERM: all processes if it is so for any."""
        due = time.monotonic() - self.saved >= self.seconds
        asked = torch.tensor([due or self.terminated, self.terminated], dtype=torch.int32, device=args.device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        if state.global_step < state.max_steps:
            control.should_save, control.should_training_stop = map(bool, asked)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """SIGTERM ends the process at once again."""
        signal.signal(signal.SIGTERM, self.earlier_handler)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Every process has written its part: give the checkpoint its name, drop all others."""
        self.saved = time.monotonic()
        PartialState().wait_for_everyone()
        if not state.is_world_process_zero:
            return
        whole = self.folder / f"{WHOLE}{state.global_step}"
        os.sync()
        (self.folder / f"checkpoint-{state.global_step}").rename(whole)
        for other in self.folder.iterdir():
            if other != whole:
                shutil.rmtree(other, ignore_errors=True)


def latest_checkpoint(work: Path) -> Path | None:
    """The last whole checkpoint of the training in a work folder, if there is one."""
    return max((work / CHECKPOINTS).glob(f"{WHOLE}*"), key=step_of, default=None)


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was saved."""
    return int(folder.name.rpartition("-")[2])
