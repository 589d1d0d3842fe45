"""The table of a training: loss, speed, padding and MFU by step; what trackers and `status` are told of it."""

import math
import time
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backtranslation.files import replace_file
from backtranslation.jobs.progress import count_tokens, log, report
from backtranslation.models.training_steps import Layout, PackedRow, TrainingError

TABLE_COLUMNS = ("step", "loss", "learning_rate", "tokens", "seconds", "tokens_per_second", "padding", "mfu")
TABLE_ROWS = 200
TELL_SECONDS = 10.0


class Logbook(TrainerCallback):
    """Completes the Trainer's log to the columns TABLE_COLUMNS, and tells how far the training is.

    `rows` are those of all steps, spare ones too, spread by the layout. `tokens_at_peak` are the tokens/s with which
    all GPUs together would do nothing but the model's operations; None where that is not known.
    """

    def __init__(self, rows: Sequence[PackedRow], layout: Layout, tokens_at_peak: float | None) -> None:
        self.tokens = _sums_by_step([sum(len(pair.ids) for pair in row) for row in rows], layout.places)
        self.places = _sums_by_step(_batch_places(rows, layout.rows_per_device), layout.processes * layout.accumulation)
        self.tokens_at_peak = tokens_at_peak

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock, or go on from the time of the checkpoint."""
        self.last = (_table_rows(state) or [dict.fromkeys(TABLE_COLUMNS, 0.0)])[-1]
        self.started = time.monotonic() - self.last["seconds"]
        self.told = time.monotonic()
        count_tokens(int(self.last["tokens"]))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log about TABLE_ROWS times, always at the last step."""
        interval = max(1, state.max_steps // TABLE_ROWS)
        control.should_log = state.global_step % interval == 0 or state.global_step == state.max_steps

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add what the Trainer does not know. Raises TrainingError when the loss is not finite."""
        row = state.log_history[-1]
        if "loss" not in row:
            return
        if not math.isfinite(row["loss"]):
            raise TrainingError(f"the loss is {row['loss']} at step {row['step']}; lower the learning rate")
        row["tokens"] = self.tokens[state.global_step - 1]
        row["seconds"] = time.monotonic() - self.started
        tokens = row["tokens"] - self.last["tokens"]
        speed = tokens / max(row["seconds"] - self.last["seconds"], 1e-9)
        row["tokens_per_second"] = speed
        row["padding"] = 1 - row["tokens"] / self.places[state.global_step - 1]
        if self.tokens_at_peak is not None:
            row["mfu"] = speed / self.tokens_at_peak
        told = {column: row[column] for column in TABLE_COLUMNS if column != "step" and column in row}
        kwargs["logs"].update(told)  # for trackers
        count_tokens(int(tokens))
        self.last = row
        finished = row["step"] == state.max_steps
        if state.is_world_process_zero and (finished or time.monotonic() - self.told >= TELL_SECONDS):
            self.told = time.monotonic()
            left = row["seconds"] / row["step"] * (state.max_steps - row["step"])
            utilization = f", MFU {row['mfu']:.2f}" if "mfu" in row else ""
            log.info(
                f"step {row['step']:,} of {state.max_steps:,}, loss {row['loss']:.3f}, {speed:,.0f} tokens/s,"
                f" {row['padding']:.0%} padding{utilization}, {left:,.0f} s left"
            )
            report(state.global_step, state.max_steps, "steps", state.global_step / max(row["seconds"], 1e-9), speed)


def write_table(path: Path, state: TrainerState) -> None:
    """Write the log as tab-separated values with the columns TABLE_COLUMNS; what is not known is empty."""
    with replace_file(path) as stream:
        print(*TABLE_COLUMNS, sep="\t", file=stream)
        for row in _table_rows(state):
            print(*(f"{row[column]:.7g}" if column in row else "" for column in TABLE_COLUMNS), sep="\t", file=stream)


def _table_rows(state: TrainerState) -> list[dict[str, float]]:
    """The rows of the Trainer's log that tell of training steps."""
    return [row for row in state.log_history if "loss" in row]


def _batch_places(rows: Sequence[PackedRow], rows_per_batch: int) -> list[int]:
    """Places for tokens in every batch, whose rows are as wide as the longest of them."""
    widths = [sum(len(pair.ids) for pair in row) for row in rows]
    starts = range(0, len(rows), rows_per_batch)
    return [rows_per_batch * max(1, *widths[start : start + rows_per_batch]) for start in starts]


def _sums_by_step(counts: Sequence[int], counts_per_step: int) -> list[int]:
    """What has come together after every step."""
    return list(accumulate(counts))[counts_per_step - 1 :: counts_per_step]
