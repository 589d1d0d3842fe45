"""Small trainings for tests: settings, the command line of scripts/train_model.py, and how to compare two of them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from backtranslation.files import write_rows
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import spec
from backtranslation.settings.training import TrackedRun, Training
from helpers.tiny_models import ROOT, make_pairs

FAST = Training(
    learning_rate=2e-3,
    final_learning_rate=5e-4,
    max_length=256,
    batch_size=8,
    epochs=4,
    min_steps=1,
    rows_per_device=4,
    dropout=0.1,
)


def changed(training: Training, **values: Any) -> Training:
    return Training.model_validate({**training.model_dump(), **values})


FIVE_ROWS = changed(FAST, dropout=None, batch_size=14)  # a step has 5 rows, which no layout but one at a time divides


def command_builder(base: BaseModelSettings, prompt_settings: Prompts, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of scripts/train_model.py on 32 pairs, with a results folder `name` of its own."""
    write_rows(tmp_path / "seed.jsonl.zst", make_pairs(32))

    def build(name: str, training: Training, *more: str, task: str = "forward", threads: int = 1) -> list[str]:
        tags = prompt_settings.only(*Tags.model_fields)
        settings = spec(
            loading=base.loading(), hub_name=None, training=training, limits=Limits(), tags=tags, task=task,
            random_seed=1,
        )  # fmt: skip
        tracked = TrackedRun(tensorboard=str(tmp_path / name / "logs/tensorboard"))
        files = {
            "--base": base.path, "--seed": tmp_path / "seed.jsonl.zst", "--prompt": getattr(prompt_settings, task),
            "--chat-template": prompt_settings.chat_template, "--store": tmp_path / name / "store",
            "--model": tmp_path / name / "model", "--losses": tmp_path / name / "model.tsv",
            "--pairs": tmp_path / name / "model.pairs.json",
        }  # fmt: skip
        return [
            sys.executable, str(ROOT / "scripts/train_model.py"), "--spec", settings, f"--threads={threads}",
            "--execution", json.dumps({"training": training.execution(), "tracked_run": tracked.execution()}),
            *(f"{option}={path}" for option, path in files.items()), *more,
        ]  # fmt: skip

    return build


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_training(one: Path, other: Path) -> None:
    """The same steps, losses and weights but for rounding.

    float32 has 1e-7, and sums in another order differ by a few times that: losses by 3e-7. AdamW divides a gradient by
    its size, so that one near zero moves its weight by more (5e-6 measured; a step moves weights by up to 2e-3). Where
    every batch is averaged by itself, losses differ by 1e-2 and weights by 1e-2.
    """
    tables = [pd.read_csv(folder.with_suffix(".tsv"), sep="\t") for folder in (one, other)]
    assert tables[0].step.is_unique and tables[0].step.tolist() == tables[1].step.tolist()
    assert tables[0].tokens.tolist() == tables[1].tokens.tolist()
    assert tables[0].loss.tolist() == pytest.approx(tables[1].loss.tolist(), rel=1e-5)
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    for key in expected:
        torch.testing.assert_close(expected[key], found[key], rtol=0, atol=1e-4)


def assert_curve_is_table(curve: Path, table: Path) -> None:
    """What TensorBoard reads in the folder of a training is the table of the training, each step once.

    Numbers are float32 there, and have seven digits here.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(curve))
    read.Reload()
    rows = pd.read_csv(table, sep="\t").dropna(axis="columns")  # mfu, without a GPU
    for column in rows.columns.drop("step"):
        points = read.Scalars(f"train/{column}")
        assert [point.step for point in points] == rows.step.tolist()
        assert [point.value for point in points] == pytest.approx(rows[column].tolist(), rel=1e-6)
