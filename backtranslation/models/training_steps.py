"""The plan of a training: how many steps it takes, which rows each has, and at what learning rate.

Knows nothing of models: the same plan holds on any machine.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backtranslation.errors import UserError
from backtranslation.models.pairs import EncodedPair
from backtranslation.settings.training import Training

# epochs: auto makes the paper's steps for 3,200 pairs (section 3.1), in so many passes at least and at most.
AUTO_STEPS = 500
AUTO_PASSES = (1, 10)

PackedRow = list[EncodedPair]


class TrainingError(UserError):
    """A training cannot be run, or fails in a way that the settings can mend."""


@dataclass(frozen=True)
class TrainingSteps:
    """How many steps a training takes, and how many packed rows one step has, all processes together."""

    steps: int
    rows_per_step: int


@dataclass(frozen=True)
class Layout:
    """How the rows of one step are spread: in memory at once, one batch after the other, over processes."""

    processes: int
    rows_per_device: int
    accumulation: int

    @property
    def places(self) -> int:
        """Rows that one step has room for."""
        return self.processes * self.rows_per_device * self.accumulation


def count_steps(training: Training, examples: int, rows: int) -> TrainingSteps:
    """Steps and their rows. A batch size in examples becomes the share of the packed rows that holds as many.

    Raises TrainingError for fewer than `min_steps`, and where the warm-up leaves none: such a model would not be worth
    what reads it.
    """
    batch_size, passes = _batch_size_and_passes(training, examples)
    rows_per_step = max(1, round(batch_size * rows / examples))
    steps = training.steps or max(1, round(passes * rows / rows_per_step))
    if steps < training.min_steps:
        raise TrainingError(
            f"{examples:,} pairs make {_count(steps)}, fewer than min_steps ({training.min_steps}): use more pairs,"
            f" raise {_length_keys(training)}, or lower min_steps"
        )
    if steps <= training.warmup_steps:
        raise TrainingError(
            f"{examples:,} pairs make {_count(steps)}, no more than warmup_steps ({training.warmup_steps}): use more"
            f" pairs, raise {_length_keys(training)}, or lower warmup_steps"
        )
    return TrainingSteps(steps, rows_per_step)


def _count(steps: int) -> str:
    return f"{steps:,} optimizer step{'s' * (steps != 1)}"


def _length_keys(training: Training) -> str:
    """The settings that make a training longer."""
    if training.schedule:
        return "the steps of its schedule"
    return "steps" if training.steps else "epochs, lower batch_size"


def spread_rows(rows_per_step: int, rows_per_device: int, processes: int) -> Layout:
    """The layout with at most `rows_per_device` rows at once that has the fewest places to spare."""
    accumulation = math.ceil(rows_per_step / (processes * rows_per_device))
    return Layout(processes, math.ceil(rows_per_step / (processes * accumulation)), accumulation)


def _batch_size_and_passes(training: Training, examples: int) -> tuple[int, float]:
    """Examples per step and passes over the data, by the settings or their schedule (paper, table 18)."""
    if not training.schedule:
        if training.epochs != "auto":
            return training.batch_size, training.epochs
        return training.batch_size, float(np.clip(AUTO_STEPS * training.batch_size / examples, *AUTO_PASSES))
    schedule = sorted(training.schedule, key=lambda row: row.examples)
    reached = [row for row in schedule if row.examples <= examples] or schedule[:1]
    sizes = np.log([row.examples for row in schedule])
    passes = [row.steps * row.batch_size / row.examples for row in schedule]
    return reached[-1].batch_size, float(np.interp(math.log(examples), sizes, passes))


def order_rows(packed: Sequence[PackedRow], plan: TrainingSteps, random_seed: int) -> list[PackedRow]:
    """Exactly the rows of all steps: one shuffled pass after the other, so that no step is ever a partial one."""
    shuffled = random.Random(random_seed)
    rows: list[PackedRow] = []
    while len(rows) < plan.steps * plan.rows_per_step:
        rows += shuffled.sample(packed, len(packed))
    return rows[: plan.steps * plan.rows_per_step]


def fill_steps(rows: Sequence[PackedRow], plan: TrainingSteps, layout: Layout) -> list[PackedRow]:
    """The rows, with empty ones after those of each step where its layout has places to spare."""
    spare: list[PackedRow] = [[]] * (layout.places - plan.rows_per_step)
    starts = range(0, len(rows), plan.rows_per_step)
    return [row for start in starts for row in [*rows[start : start + plan.rows_per_step], *spare]]


def learning_rates(training: Training, steps: int) -> list[float]:
    """The learning rate of every step: up in `warmup_steps`, then linearly to `final_learning_rate` at the last."""
    top, last = training.learning_rate, training.final_learning_rate
    warmup = training.warmup_steps
    up = [top * (step + 1) / (warmup + 1) for step in range(warmup)]
    return up + np.linspace(top, last, steps - warmup).tolist()
