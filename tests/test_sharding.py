"""Whether a training is sharded, and whether activations are kept: by memory, by setting, by what a checkpoint is."""

from pathlib import Path

import pytest
import torch

from backtranslation.models.loading import build_empty_model, load_model
from backtranslation.models.sharding import (
    ShardingError,
    choose_checkpointing,
    choose_sharding,
    needs_torchrun,
    state_bytes,
)
from backtranslation.models.training import load_trainable
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.training import Lora, Training

GPU = 80_000_000_000


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "sharded/pytorch_model_fsdp_0").mkdir(parents=True)
    (tmp_path / "whole").mkdir()
    return {"sharded": tmp_path / "sharded", "whole": tmp_path / "whole"}


def test_a_trained_weight_takes_four_times_its_size_and_a_frozen_one_its_own(base: BaseModelSettings) -> None:
    """float32: 4 bytes each for weight, gradient and two moments."""
    model = load_model(base.path, base, torch.float32)
    assert state_bytes(model) == 16 * model.num_parameters()
    lora = Training(method="lora", lora=Lora(rank=2), max_length=256)
    adapted = load_trainable(base, lora, load_model)
    added = adapted.num_parameters(only_trainable=True)
    assert 0 < added == adapted.num_parameters() - model.num_parameters()
    assert state_bytes(adapted) == 4 * model.num_parameters() + 16 * added


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_empty_model_is_the_loaded_one_but_for_its_weights(method: str, base: BaseModelSettings) -> None:
    training = Training(method=method, max_length=256)
    empty, loaded = (load_trainable(base, training, load) for load in (build_empty_model, load_model))
    shapes = [
        {name: (weight.shape, weight.dtype, weight.requires_grad) for name, weight in model.named_parameters()}
        for model in (empty, loaded)
    ]
    assert shapes[0] == shapes[1]
    for (name, buffer), (other, loaded_buffer) in zip(empty.named_buffers(), loaded.named_buffers(), strict=True):
        assert name == other and torch.equal(buffer, loaded_buffer)
    assert empty.config.attention_dropout == loaded.config.attention_dropout == 0.1


@pytest.mark.parametrize(
    ("processes", "state", "memory", "expected"),
    [
        (4, 108_000_000_000, GPU, True),
        (4, 57_000_000_000, GPU, True),
        (4, 55_000_000_000, GPU, False),
        (1, 108_000_000_000, GPU, False),
        (4, 108_000_000_000, None, False),
    ],
)
def test_auto_shards_what_is_too_large_for_one_gpu(
    processes: int, state: int, memory: int | None, expected: bool
) -> None:
    assert choose_sharding(Training(processes=processes), state, memory, None) == expected


def test_a_checkpoint_decides_where_the_setting_is_auto(checkpoints: dict[str, Path]) -> None:
    for processes in (1, 2):
        training = Training(processes=processes)
        assert choose_sharding(training, 1, None, checkpoints["sharded"])
        assert not choose_sharding(training, 2 * GPU, GPU, checkpoints["whole"])


def test_the_setting_decides_otherwise() -> None:
    assert choose_sharding(Training(sharding="always"), 1, None, None)
    assert not choose_sharding(Training(sharding="never", processes=4), 2 * GPU, GPU, None)


def test_one_process_takes_torchrun_only_to_be_sharded(checkpoints: dict[str, Path]) -> None:
    assert not needs_torchrun(Training(), None) and not needs_torchrun(Training(), checkpoints["whole"])
    assert needs_torchrun(Training(), checkpoints["sharded"]) and needs_torchrun(Training(sharding="always"), None)
    assert needs_torchrun(Training(processes=2), None)


@pytest.mark.parametrize(("sharding", "checkpoint"), [("never", "sharded"), ("always", "whole")])
def test_a_checkpoint_that_the_setting_forbids_is_an_error(
    sharding: str, checkpoint: str, checkpoints: dict[str, Path]
) -> None:
    training = Training.model_validate({"sharding": sharding, "processes": 2})
    with pytest.raises(ShardingError, match=f"sharding is {sharding}, and .*{checkpoint} was made otherwise"):
        needs_torchrun(training, checkpoints[checkpoint])


def test_activations_are_computed_twice_where_memory_is_short() -> None:
    assert choose_checkpointing(Training(), 27_000_000_000, GPU)
    assert not choose_checkpointing(Training(), 26_000_000_000, GPU)
    assert not choose_checkpointing(Training(), 10 * GPU, None)
    assert choose_checkpointing(Training(gradient_checkpointing=True), 1, None)
    assert not choose_checkpointing(Training(gradient_checkpointing=False), GPU, GPU)
