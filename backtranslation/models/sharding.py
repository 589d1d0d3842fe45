"""Several processes of one training, and trainings larger than one GPU, which are spread over several (FSDP2).

The spreading itself is the Trainer's and accelerate's work. Knows nothing of rows, steps and losses.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, broadcast_object_list
from peft import PeftModel
from transformers import PreTrainedModel, Trainer

from backtranslation.errors import UserError
from backtranslation.models.loading import device
from backtranslation.settings.training import Training

# Shares of a GPU's memory. Beside the state of a training stand activations, logits, and what FSDP gathers.
SHARDED_FROM = 0.7
CHECKPOINTED_FROM = 1 / 3

Found = TypeVar("Found")


class ShardingError(UserError):
    """A checkpoint cannot be read under the present setting."""


def state_bytes(model: torch.nn.Module) -> int:
    """Memory of a training but for activations: weights, and of trained ones gradients and the moments of AdamW."""
    return sum(weight.nbytes * (4 if weight.requires_grad else 1) for weight in model.parameters())


def gpu_bytes() -> int | None:
    """Memory of the first process's GPU; None where there is none."""
    return ask_first_process(
        lambda: torch.cuda.get_device_properties().total_memory if torch.cuda.is_available() else None
    )


def is_sharded(checkpoint: Path) -> bool:
    """Whether the processes that left a checkpoint each wrote a part of it."""
    return any(checkpoint.glob("pytorch_model_fsdp*"))


def needs_torchrun(training: Training, checkpoint: Path | None) -> bool:
    """Whether a training is one of several processes, or a sharded one, which takes torchrun even for one process.

    Raises ShardingError if the setting contradicts the checkpoint from which the training would go on.
    """
    if checkpoint is not None and training.sharding == ("never" if is_sharded(checkpoint) else "always"):
        raise ShardingError(
            f"sharding is {training.sharding}, and {checkpoint} was made otherwise: set auto, or delete the folder"
        )
    goes_on_sharded = checkpoint is not None and is_sharded(checkpoint)
    return training.processes > 1 or training.sharding == "always" or goes_on_sharded


def choose_sharding(training: Training, state: int, memory: int | None, checkpoint: Path | None) -> bool:
    """Whether to shard a training whose state, and the memory of one GPU, are so many bytes."""
    if training.sharding != "auto":
        return training.sharding == "always"
    if training.quantized_keys:
        return False
    if checkpoint is not None:
        return is_sharded(checkpoint)
    return training.processes > 1 and memory is not None and state > SHARDED_FROM * memory


def choose_checkpointing(training: Training, state: float, memory: int | None) -> bool:
    """Whether activations are computed twice rather than kept; `state` and memory are bytes of one GPU."""
    if training.gradient_checkpointing != "auto":
        return training.gradient_checkpointing
    return memory is not None and state > CHECKPOINTED_FROM * memory


def start_processes() -> PartialState:
    """Meet the other processes of this training, if there are any."""
    # The others may wait for the first to read a large model from a slow disk.
    return PartialState(cpu=device().type == "cpu", timeout=timedelta(hours=1))


def end_processes(processes: PartialState) -> None:
    """Part from the other processes, when all are ready."""
    if torch.distributed.is_initialized():
        processes.wait_for_everyone()
        # gloo's thread needs the interpreter lock to drop the barrier; freed before that, both would wait for ever.
        time.sleep(1)
        processes.destroy_process_group()


def ask_first_process(question: Callable[[], Found]) -> Found:
    """The answer that the first process finds, in all processes."""
    answer = [question() if PartialState().is_main_process else None]
    return broadcast_object_list(answer)[0]


def sharding_arguments() -> dict[str, Any]:
    """The Trainer's arguments for FSDP2: a shard for every block of the transformer, loaded by the first process."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "cpu_ram_efficient_loading": True,
            "state_dict_type": "SHARDED_STATE_DICT",
        },
    }


def allow_sharding_on_processor() -> None:
    """Let accelerate, which offers FSDP to GPUs alone, use it on processors: gloo can do what it takes."""
    if PartialState().distributed_type == DistributedType.MULTI_CPU:
        PartialState().distributed_type = DistributedType.MULTI_GPU


def gather_weights(trainer: Trainer, empty: PreTrainedModel | PeftModel) -> PreTrainedModel | PeftModel:
    """The empty model, on the processor of the first process, with the weights of the sharded one that was trained."""
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.is_world_process_zero():
        empty.load_state_dict(weights, assign=True)
        empty.tie_weights()
    return empty
