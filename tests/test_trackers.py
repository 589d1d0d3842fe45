"""Trackers: curves as TensorBoard reads them, over a kill too; how runs are called; and trackers that fail."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tiny_models import make_pairs
from helpers.trainings import FAST, assert_curve_is_table, changed
from transformers import TrainerCallback

from backtranslation.jobs.checkpoints import latest_checkpoint, step_of
from backtranslation.jobs.trackers import Tracker, open_trackers
from backtranslation.models.chat import with_user_turns
from backtranslation.models.loading import load_tokenizer
from backtranslation.models.pairs import encode_forward
from backtranslation.models.prompts import PromptSet
from backtranslation.models.training import fine_tune
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.training import TrackedRun

KEY = "0123456789abcdef"


@pytest.fixture
def train(base: BaseModelSettings, prompts: PromptSet, tmp_path: Path) -> Callable[..., Path]:
    """Train in this process, with TensorBoard and further callbacks; the table of the training."""
    tokenizer = load_tokenizer(base.path, base, prompts)
    shown = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    pairs = [encode_forward(shown, row, FAST.max_length) for row in make_pairs(32)]

    def run(*more: TrainerCallback) -> Path:
        tracked = TrackedRun(model="M1", tensorboard=str(tmp_path / "tensorboard"))
        work, table = tmp_path / KEY, tmp_path / "M1.tsv"
        trackers = [*open_trackers(["tensorboard"], tracked, work), *more]
        fine_tune(pairs, base, changed(FAST, epochs=6), tokenizer, tmp_path / "M1", work, table, 1, trackers)
        return table

    return run


class KilledAfterCheckpoint(TrainerCallback):
    """Saves after the 2nd step, and is killed when the 4th has been drawn."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = state.global_step == 2
        if state.global_step == 4:
            raise KeyboardInterrupt


def test_the_curve_of_a_killed_training_goes_on_and_is_its_table(train: Callable[..., Path], tmp_path: Path) -> None:
    """Steps 3 and 4 are drawn twice, and shown once."""
    with pytest.raises(KeyboardInterrupt):
        train(KilledAfterCheckpoint())
    checkpoint = latest_checkpoint(tmp_path / KEY)
    assert checkpoint is not None and step_of(checkpoint) == 2
    table = train()
    assert "\n3\t" in table.read_text()
    [curve] = (tmp_path / "tensorboard").iterdir()
    assert curve.name == "M1-01234567", "the name of the model, and the beginning of the key"
    assert len(list(curve.iterdir())) == 2
    assert_curve_is_table(curve, table)


class Recorder(TrainerCallback):
    """A tracker that remembers what it is told; from `fails_at` on it has no network."""

    def __init__(self, fails_at: str = "") -> None:
        self.told: list[str] = []
        self.fails_at = fails_at

    def tell(self, event: str, args: Any) -> None:
        if event == self.fails_at:
            raise ConnectionError("no network")
        self.told.append(f"{event} {args.project} {args.run_name}")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tell("begin", args)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tell("log", args)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tell("end", args)


def run_events(tracker: Tracker, first_process: bool = True) -> None:
    """What the Trainer does in a training of two points."""
    args = SimpleNamespace(project="huggingface", run_name=None)
    state = SimpleNamespace(is_world_process_zero=first_process, global_step=0)
    tracker.on_train_begin(args, state, None)  # type: ignore[arg-type]
    for _ in range(2):
        tracker.on_log(args, state, None)  # type: ignore[arg-type]
    tracker.on_train_end(args, state, None)  # type: ignore[arg-type]


def test_a_tracker_hears_of_a_training_under_our_names() -> None:
    recorder = Recorder()
    run_events(Tracker("wandb", lambda step: recorder, "results", "M1-01234567"))
    assert recorder.told == [f"{event} results M1-01234567" for event in ("begin", "log", "log", "end")]


def test_only_the_first_process_tells_a_tracker() -> None:
    recorder = Recorder()
    run_events(Tracker("wandb", lambda step: recorder, "results", "M1"), first_process=False)
    assert recorder.told == []


@pytest.mark.parametrize(("event", "heard"), [("begin", 0), ("log", 1), ("end", 3)])
def test_a_tracker_that_fails_is_left_alone(event: str, heard: int, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(fails_at=event)
    with caplog.at_level(logging.WARNING, logger="backtranslation"):
        run_events(Tracker("wandb", lambda step: recorder, "results", "M1"))
    assert len(recorder.told) == heard
    assert caplog.messages == ["wandb fails, and the training goes on without it: ConnectionError: no network"]


def test_a_tracker_that_cannot_even_be_opened_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(step: int) -> TrainerCallback:
        raise ImportError("no module named wandb")

    run_events(Tracker("wandb", fail, "results", "M1"))
    assert "the training goes on without it" in caplog.text
