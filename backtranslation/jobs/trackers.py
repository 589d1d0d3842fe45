"""Trackers, which draw the curves of a training while it runs: TensorBoard, trackio, wandb, by transformers' callbacks.

No result depends on them. Whether trackio and wandb send what they are told, and where to, their own environment
variables say.
"""

import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backtranslation.jobs.progress import log
from backtranslation.settings.training import TrackedRun

KEY_LETTERS = 8  # of the key of a result, in the name of its curve


class Tracker(TrainerCallback):
    """The callback of a tracker in the first process, under a name of ours; after an error it is told no more.

    `create` is given the step from which the training goes on.
    """

    def __init__(self, name: str, create: Callable[[int], TrainerCallback], project: str, run: str) -> None:
        self.name, self.create, self.project, self.run = name, create, project, run
        self.callback: TrainerCallback | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin the curve, or go on with it."""
        if state.is_world_process_zero:
            self._attempt(lambda: self._begin(args, state, control, **kwargs))

    def _begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.args = copy(args)
        self.args.project, self.args.run_name = self.project, self.run
        self.args.trackio_space_id = None  # earlier releases of transformers make a public Space otherwise
        self.callback = self.create(state.global_step)
        self.callback.on_train_begin(self.args, state, control, **kwargs)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Draw the next point."""
        if self.callback:
            callback = self.callback
            self._attempt(lambda: callback.on_log(self.args, state, control, **kwargs))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End the curve, unless the training goes on later."""
        if self.callback:
            callback = self.callback
            self._attempt(lambda: callback.on_train_end(self.args, state, control, **kwargs))

    def _attempt(self, tell: Callable[[], object]) -> None:
        """Tell the tracker something: no error of it, such as a network that is away, is worth a training."""
        try:
            tell()
        except Exception as error:  # each tracker raises what its client does
            self.callback = None
            log.warning(f"{self.name} fails, and the training goes on without it: {type(error).__name__}: {error}")


def open_trackers(names: Sequence[str], run: TrackedRun, work: Path) -> list[Tracker]:
    """The trackers of a training, whose work folder bears its key: what is trained anew otherwise is another curve."""
    name = f"{run.model}-{work.name[:KEY_LETTERS]}"
    openers: dict[str, Callable[[int], TrainerCallback]] = {
        "tensorboard": lambda step: _open_tensorboard(Path(run.tensorboard, name), step),
        "trackio": lambda step: _open_trackio(),
        "wandb": lambda step: _open_wandb(run.project, work.name),
    }
    return [Tracker(tracker, openers[tracker], run.project, name) for tracker in names]


def _open_tensorboard(folder: Path, step: int) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    # What a killed training drew after its last checkpoint is drawn again, and so shall not be shown.
    return TensorBoardCallback(SummaryWriter(folder, purge_step=step + 1))


def _open_trackio() -> TrainerCallback:
    from transformers.integrations import TrackioCallback

    return TrackioCallback()


def _open_wandb(project: str, key: str) -> TrainerCallback:
    from transformers.integrations import WandbCallback

    for name, value in {"WANDB_PROJECT": project, "WANDB_RUN_ID": key, "WANDB_RESUME": "allow"}.items():
        os.environ.setdefault(name, value)
    return WandbCallback()
