"""Checkpoints of a training that may be killed at any moment: saved by the clock, used only when whole.

The Trainer writes a folder `checkpoint-<step>`; when it is complete and on disk it is renamed to `whole-<step>`, and
older ones go. Knows nothing of what a checkpoint holds.
"""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backtranslation.progress import log


class Checkpoints(TrainerCallback):
    """The checkpoints of one training, in a folder that no other training uses."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.saved = time.monotonic()

    def latest(self) -> str | None:
        """The last whole checkpoint, if there is one."""
        found = sorted(self.folder.glob("whole-*"), key=_step)
        if found:
            log.info(f"going on from step {_step(found[-1]):,}")
        return str(found[-1]) if found else None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint when it is time; the first process decides for all."""
        due = torch.tensor(time.monotonic() - self.saved >= self.seconds, device=args.device)
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(due, src=0)
        control.should_save = bool(due) and state.global_step < state.max_steps

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Every process has written its part: give the checkpoint its name, drop all others."""
        self.saved = time.monotonic()
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if not state.is_world_process_zero:
            return
        whole = self.folder / f"whole-{state.global_step}"
        os.sync()
        (self.folder / f"checkpoint-{state.global_step}").rename(whole)
        for other in self.folder.iterdir():
            if other != whole:
                shutil.rmtree(other, ignore_errors=True)


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
