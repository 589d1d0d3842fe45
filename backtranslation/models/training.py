"""Fine-tuning of a causal language model on encoded pairs: the reply alone is learnt (paper, section 3.1).

transformers' Trainer over packed rows, full or with low-rank adapters, in one process or several (torchrun). Knows
nothing of where pairs come from or what the model is for.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel, get_peft_model
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.modeling_outputs import CausalLMOutput

from backtranslation.jobs.checkpoints import Checkpoints, latest_checkpoint, step_of
from backtranslation.jobs.process import StoppedError
from backtranslation.jobs.progress import log
from backtranslation.models.chat import end_token_ids
from backtranslation.models.loading import (
    build_empty_model,
    device,
    load_config,
    load_model,
    max_positions,
    resolve_precision,
)
from backtranslation.models.packaging import ADAPTER
from backtranslation.models.packing import collate, pack
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.quantization import (
    OPTIMIZERS,
    check_quantization,
    copy_adapters,
    quantization_config,
    switch_off_dropout,
)
from backtranslation.models.sharding import (
    allow_sharding_on_processor,
    ask_first_process,
    choose_checkpointing,
    choose_sharding,
    end_processes,
    gather_weights,
    gpu_bytes,
    sharding_arguments,
    start_processes,
    state_bytes,
)
from backtranslation.models.target_loss import chunked_loss, has_separate_head, return_target_loss, whole_loss
from backtranslation.models.training_steps import (
    Layout,
    PackedRow,
    TrainingError,
    TrainingSteps,
    count_steps,
    fill_steps,
    learning_rates,
    order_rows,
    spread_rows,
)
from backtranslation.models.training_table import Logbook, write_table
from backtranslation.models.utilization import peak_operations, training_operations
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.training import Training


def fine_tune(
    pairs: Sequence[EncodedPair],
    base: BaseModelSettings,
    training: Training,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    work: Path,
    table: Path,
    random_seed: int,
    trackers: Sequence[TrainerCallback] = (),
) -> None:
    """Fine-tune the base model on the pairs; write the model folder `output` and the `table` of the training.

    The folder is in Hugging Face format, adapters merged, safetensors in the precision of the training. The table has
    the columns TABLE_COLUMNS: the mean loss in nats per reply token since the row before; tokens (without padding) and
    seconds since the start; tokens per second since the row before; padding, as a share of all that was computed since
    the start; mfu since the row before, against the bfloat16 peak, empty without a known GPU. The trackers are told
    the same.

    A killed training goes on from its last whole checkpoint in `work`, a folder that no other training uses. Under
    torchrun every process calls this with the same arguments. Raises TrainingError when there are no pairs or too few
    steps, `max_length` is more than the model can hold, or the loss is not finite; StoppedError after SIGTERM, as soon
    as a checkpoint is whole.
    """
    if not pairs:
        raise TrainingError("there are no pairs to train on")
    # Too few steps are refused before a model is loaded.
    count_steps(training, len(pairs), len(pack_pairs(pairs, training.max_length, apart=True)))
    processes = start_processes()
    check_quantization(training)
    checkpoint = latest_checkpoint(work)
    loaded = load_for_training(base, training, checkpoint, processes, random_seed)
    switch_off_dropout(loaded.model)  # the Trainer switches it on
    apart = ask_first_process(lambda: keeps_examples_apart(loaded.model, pairs))
    learn_targets_alone(loaded, pairs)
    packed = pack_pairs(pairs, training.max_length, apart)
    plan = count_steps(training, len(pairs), len(packed))
    layout = spread_rows(plan.rows_per_step, training.rows_per_device, processes.num_processes)
    rows = fill_steps(order_rows(packed, plan, random_seed), plan, layout)
    checkpoints = Checkpoints(work, seconds=training.save_minutes * 60)
    trainer = _RowTrainer(
        rates=learning_rates(training, plan.steps),
        model=loaded.model,
        args=_trainer_arguments(training, plan, layout, loaded.sharded, checkpoints.folder, random_seed),
        train_dataset=rows,
        data_collator=collate_with_targets,
        compute_loss_func=step_loss,
        # Trackers come after what they are to be told, and before what must hear SIGTERM in their place.
        callbacks=[Logbook(rows, layout, tokens_at_peak(loaded.empty, processes)), *trackers, checkpoints],
    )
    trainer.remove_callback(PrinterCallback)
    log.info(
        f"{len(pairs):,} pairs in {len(packed):,} rows, {plan.steps:,} steps of {plan.rows_per_step} rows,"
        f" {loaded.empty.num_parameters(only_trainable=True):,} trained parameters"
        f"{f', sharded over {processes.num_processes} processes' if loaded.sharded else ''}"
    )
    if checkpoint is not None:
        log.info(f"going on from step {step_of(checkpoint):,}")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finished = trainer.state.global_step == plan.steps
    if finished:
        trained = gather_weights(trainer, loaded.empty) if loaded.sharded else loaded.model
        if processes.is_main_process:
            if training.lora.quantization != "none":
                trained = move_to_base(cast(PeftModel, trained), base, training)
            save_model(trained, base, tokenizer, output, resolve_precision(training.precision))
            write_table(table, trainer.state)
    end_processes(processes)
    if not finished:
        raise StoppedError


@dataclass(frozen=True)
class LoadedModel:
    """What is trained; `empty` is the same model on the processor, without weights of its own."""

    model: PreTrainedModel | PeftModel
    empty: PreTrainedModel | PeftModel
    sharded: bool


def load_for_training(
    base: BaseModelSettings,
    training: Training,
    checkpoint: Path | None,
    processes: PartialState,
    random_seed: int,
) -> LoadedModel:
    """Load the base model in the way that suits its size, the memory of a GPU, and the checkpoint to go on from.

    The first weights of adapters are drawn from the random seed.
    """
    empty = load_trainable(base, training, build_empty_model)
    state, memory = state_bytes(empty), gpu_bytes()
    sharded = choose_sharding(training, state, memory, checkpoint)
    torch.manual_seed(random_seed)
    # Of a sharded model, the others get their part from the first.
    load = partial(load_model, quantization=quantization_config(training, resolve_precision(base.dtype)))
    model = empty if sharded and not processes.is_main_process else load_trainable(base, training, load)
    if choose_checkpointing(training, state / (processes.num_processes if sharded else 1), memory):
        checkpoint_activations(model)
    return LoadedModel(model, empty, sharded)


def pack_pairs(pairs: Sequence[EncodedPair], max_length: int, apart: bool) -> list[PackedRow]:
    """Pairs laid end to end in rows of `max_length` tokens; one to a row where the model would not keep them apart."""
    if not apart:
        log.warning("this architecture does not see the borders of packed examples: one pair a row, which is slower")
        return [[pair] for pair in pairs]
    return [[pairs[index] for index in row] for row in pack([len(pair.ids) for pair in pairs], max_length)]


@torch.inference_mode()
def keeps_examples_apart(model: PreTrainedModel | PeftModel, pairs: Sequence[EncodedPair]) -> bool:
    """Whether a pair packed behind another, the two shortest, gives the logits that it has alone, but for rounding.

    The model has its dropout switched off.
    """
    shortest = sorted(pairs, key=lambda pair: len(pair.ids))[:2]
    first, second = shortest[0], shortest[-1]
    alone, behind = (
        model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits.float()
        for rows in ([[second]], [[first, second]])
        for batch in [{name: values.to(model.device) for name, values in collate(rows).items()}]
    )
    rounding = 1e-3 if model.dtype == torch.float32 else 5e-2
    difference = (behind[0, len(first.ids) :] - alone[0]).abs().max()
    return bool(difference <= rounding * alone.abs().max())


def load_trainable(
    base: BaseModelSettings, training: Training, load: Callable[..., PreTrainedModel]
) -> PreTrainedModel | PeftModel:
    """The base model as it is trained: whole, in float32 unless the settings say otherwise, or with adapters.

    `load` is `load_model` or `build_empty_model`.
    """
    whole = training.method == "full"
    dtype = torch.float32 if whole and base.dtype == "auto" else resolve_precision(base.dtype)
    model = load(base.path, base, dtype, training.dropout)
    positions = max_positions(model.config)
    if positions is not None and training.max_length > positions:
        raise TrainingError(f"max_length ({training.max_length} tokens) is more than the {positions} of {base.path}")
    if whole:
        return model
    lora = training.lora
    adapters = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    with warnings.catch_warnings():
        # peft asks for `is_gradient_checkpointing`, an older name.
        warnings.simplefilter("ignore", FutureWarning)
        return cast(PeftModel, get_peft_model(model, adapters))


def checkpoint_activations(model: PreTrainedModel | PeftModel) -> None:
    """Keep the input of every block alone, and compute the block again in the backward pass."""
    # transformers 5.17 knows the one name, and 5.23 warns of it.
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()


def learn_targets_alone(loaded: LoadedModel, pairs: Sequence[EncodedPair]) -> None:
    """Let the model return the loss of its targets in place of logits: of a chunk at a time, if its head allows it."""
    model = loaded.model.get_base_model() if isinstance(loaded.model, PeftModel) else loaded.model
    model = cast(PreTrainedModel, model)
    shortest = min(pairs, key=lambda pair: len(pair.ids))
    ids = torch.tensor([shortest.ids.tolist()])
    if not ask_first_process(lambda: has_separate_head(model, ids.to(model.device))):
        log.warning("this architecture's head cannot be called by itself: the logits of all tokens are held at once")
        return_target_loss(model, whole_loss)
    elif loaded.sharded:
        # Every call of a sharded head gathers its weights, and each process must make as many.
        return_target_loss(model, partial(chunked_loss, held_logits=sys.maxsize))
    else:
        return_target_loss(model, chunked_loss)


def tokens_at_peak(model: torch.nn.Module, processes: PartialState) -> float | None:
    """Tokens/s of a training that keeps all its GPUs at their peak; None without GPUs whose peak is known."""
    peak = peak_operations(torch.cuda.get_device_name()) if device().type == "cuda" else None
    return None if peak is None else peak * processes.num_processes / training_operations(model)


def collate_with_targets(rows: Sequence[PackedRow]) -> dict[str, torch.Tensor]:
    """The batch of `collate` with its labels once more: the Trainer counts those, and shows the model none of them."""
    batch = collate(rows)
    return {**batch, "targets": batch["labels"]}


def step_loss(outputs: CausalLMOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
    """This batch's share of the mean loss of a step, in nats per reply token: a sum over all reply tokens of the step.

    The Trainer counts them over all processes. Left to the model, some architectures average every batch by itself.
    """
    return cast(torch.Tensor, outputs.loss) / num_items_in_batch


def move_to_base(model: PeftModel, base: BaseModelSettings, training: Training) -> PeftModel:
    """The adapters of a quantized base on the base as it was: merged there, the weights are rounded only once."""
    whole = cast(PeftModel, load_trainable(base, training, load_model))
    copy_adapters(model, whole)
    return whole


def save_model(
    model: PreTrainedModel | PeftModel,
    base: BaseModelSettings,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    dtype: torch.dtype,
) -> None:
    """Write a model folder, weights of `dtype`. Adapters are merged; they alone lie in its folder ADAPTER, too."""
    if isinstance(model, PeftModel):
        save_adapter(model, folder / ADAPTER)
    merged = cast(PreTrainedModel, model.merge_and_unload()) if isinstance(model, PeftModel) else model
    # Its own configuration carries the dropout and the cache switch of the training.
    merged.config = load_config(base.path, base)
    merged.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(end_token_ids(tokenizer)),
        pad_token_id=tokenizer.pad_token_id,
    )
    merged.to(dtype=dtype)  # type: ignore[call-arg]
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone, in the format of peft; what base model it belongs to, `packaging` notes."""
    # Else peft notes the folder that the base model lay in, and asks the hub about it.
    model.peft_config["default"].base_model_name_or_path = ""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


class _RowTrainer(Trainer):
    """A Trainer that takes its rows in their order and its learning rates from a list."""

    def __init__(self, rates: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rates = rates

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Follow the list; it is asked once more after the last step."""
        top, rates = self.args.learning_rate, self.rates
        self.lr_scheduler = LambdaLR(
            optimizer or cast(Optimizer, self.optimizer), lambda step: rates[min(step, len(rates) - 1)] / top
        )
        return self.lr_scheduler


def _trainer_arguments(
    training: Training, plan: TrainingSteps, layout: Layout, sharded: bool, folder: Path, random_seed: int
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=layout.rows_per_device,
        gradient_accumulation_steps=layout.accumulation,
        max_steps=plan.steps,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_gradient_norm,
        optim=OPTIMIZERS[training.optimizer],
        bf16=resolve_precision(training.precision) == torch.bfloat16,
        seed=random_seed,
        use_cpu=device().type == "cpu",
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **(sharding_arguments() if sharded else {}),
    )
    # Left alone, the Trainer spreads one process over all visible GPUs (DataParallel).
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if sharded:
        allow_sharding_on_processor()
    return arguments
