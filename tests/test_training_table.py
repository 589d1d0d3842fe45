"""What the table of a training says beside the loss: padding as batches have it, and MFU on GPUs that are known."""

from array import array
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from backtranslation.models.packing import collate
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.training_steps import Layout, PackedRow, TrainingSteps, fill_steps
from backtranslation.models.training_table import TABLE_COLUMNS, Logbook, write_table
from backtranslation.models.utilization import PEAKS, peak_operations, training_operations


def row(*lengths: int) -> PackedRow:
    return [EncodedPair(str(length), array("i", [5] * length), 1) for length in lengths]


def log_steps(logbook: Logbook, steps: int) -> TrainerState:
    """What the Trainer would log, with a loss of 2 at every step."""
    state, arguments = TrainerState(max_steps=steps), TrainingArguments(use_cpu=True)
    logbook.on_train_begin(arguments, state, TrainerControl())
    for step in range(1, steps + 1):
        state.global_step = step
        state.log_history.append({"step": step, "loss": 2.0, "learning_rate": 1e-5})
        logbook.on_log(arguments, state, TrainerControl(), logs={})
    return state


@pytest.mark.parametrize(
    "layout",
    [Layout(processes=1, rows_per_device=4, accumulation=1), Layout(2, 1, 2), Layout(1, 1, 3), Layout(1, 2, 2)],
)
def test_padding_is_what_the_batches_have(layout: Layout) -> None:
    """Of two steps of three rows, with as many empty rows beside them as the layout has places to spare."""
    plan = TrainingSteps(steps=2, rows_per_step=3)
    rows = fill_steps([row(7, 2), row(4), row(5), row(9), row(3, 3), row(8)], plan, layout)
    log = log_steps(Logbook(rows, layout, None), plan.steps).log_history
    starts = range(0, len(rows), layout.rows_per_device)
    places = [collate(rows[start : start + layout.rows_per_device])["input_ids"].numel() for start in starts]
    assert [entry["tokens"] for entry in log] == [18, 41]
    assert log[0]["padding"] == pytest.approx(1 - 18 / sum(places[: len(places) // 2]))
    assert log[1]["padding"] == pytest.approx(1 - 41 / sum(places))


def test_utilization_is_the_share_of_the_tokens_at_the_peak(tmp_path: Path) -> None:
    rows, layout = [row(6), row(4)], Layout(1, 1, 1)
    state = log_steps(Logbook(rows, layout, tokens_at_peak=1e6), 2)
    for entry in state.log_history:
        assert entry["mfu"] == pytest.approx(entry["tokens_per_second"] / 1e6)
    write_table(tmp_path / "table.tsv", state)
    lines = [line.split("\t") for line in (tmp_path / "table.tsv").read_text().splitlines()]
    assert lines[0] == list(TABLE_COLUMNS) and len(lines) == 3 and all(len(line) == len(lines[0]) for line in lines)


def test_peaks_are_found_by_whole_words() -> None:
    assert peak_operations("NVIDIA H100 80GB HBM3") == PEAKS["H100"]
    assert peak_operations("NVIDIA H100 PCIe") == PEAKS["H100 PCIe"] < PEAKS["H100"]
    assert peak_operations("NVIDIA A100-SXM4-80GB") == PEAKS["A100"]
    assert peak_operations("NVIDIA L40S") == PEAKS["L40S"] and peak_operations("NVIDIA L4") == PEAKS["L4"]
    assert peak_operations("Tesla T4") is None and peak_operations("NVIDIA L40") is None


def test_a_frozen_weight_takes_two_thirds_of_the_operations() -> None:
    model = torch.nn.Linear(10, 3)
    assert training_operations(model) == 6 * 33
    model.weight.requires_grad_(False)
    assert training_operations(model) == 4 * 30 + 6 * 3
