"""Fine-tuning of a causal language model on encoded pairs: the reply alone is learnt (paper, section 3.1).

transformers' Trainer over packed rows, full or with low-rank adapters, in one process or several (torchrun). Knows
nothing of where pairs come from or what the model is for.
"""

import math
import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
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
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import CausalLMOutput

from backtranslation.errors import UserError
from backtranslation.files import replace_file
from backtranslation.jobs.checkpoints import Checkpoints, latest_checkpoint, step_of
from backtranslation.jobs.process import StoppedError
from backtranslation.jobs.progress import count_tokens, log, report
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
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.training import Training

TABLE_COLUMNS = ("step", "loss", "learning_rate", "tokens", "seconds", "tokens_per_second")
TABLE_ROWS = 200
# epochs: auto makes the paper's steps for 3,200 pairs (section 3.1), in so many passes at least and at most.
AUTO_STEPS = 500
AUTO_PASSES = (1, 10)
TELL_SECONDS = 10.0

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
    seconds since the start; tokens per second since the row before. The trackers are told the same. A killed training
    goes on from its last whole checkpoint in `work`, a folder that no other training uses. Under torchrun every process
    calls this with the same arguments. Raises TrainingError when there are no pairs or too few steps, `max_length` is
    more than the model can hold, or the loss is not finite; StoppedError after SIGTERM, as soon as a checkpoint is
    whole.
    """
    if not pairs:
        raise TrainingError("there are no pairs to train on")
    # Too few steps are refused before a model is loaded.
    count_steps(training, len(pairs), len(pack_pairs(pairs, training.max_length, apart=True)))
    processes = start_processes()
    checkpoint = latest_checkpoint(work)
    loaded = load_for_training(base, training, checkpoint, processes, random_seed)
    apart = ask_first_process(lambda: keeps_examples_apart(loaded.model, pairs))
    packed = pack_pairs(pairs, training.max_length, apart)
    plan = count_steps(training, len(pairs), len(packed))
    layout = spread_rows(plan.rows_per_step, training.rows_per_device, processes.num_processes)
    rows = order_rows(packed, plan, random_seed)
    checkpoints = Checkpoints(work, seconds=training.save_minutes * 60)
    trainer = _RowTrainer(
        rates=learning_rates(training, plan.steps),
        model=loaded.model,
        args=_trainer_arguments(training, plan, layout, loaded.sharded, checkpoints.folder, random_seed),
        train_dataset=fill_steps(rows, plan, layout),
        data_collator=collate,
        compute_loss_func=step_loss,
        # Trackers come after what they are to be told, and before what must hear SIGTERM in their place.
        callbacks=[_Logbook(_tokens_until_step(rows, plan)), *trackers, checkpoints],
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
    model = empty if sharded and not processes.is_main_process else load_trainable(base, training, load_model)
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
    """Whether a pair packed behind another, the two shortest, gives the logits that it has alone, but for rounding."""
    shortest = sorted(pairs, key=lambda pair: len(pair.ids))[:2]
    first, second = shortest[0], shortest[-1]
    was_training = model.training
    model.eval()
    alone, behind = (
        model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits.float()
        for batch in (collate([[second]]), collate([[first, second]]))
    )
    model.train(was_training)
    rounding = 1e-3 if model.dtype == torch.float32 else 5e-2
    difference = (behind[0, len(first.ids) :] - alone[0]).abs().max()
    return bool(difference <= rounding * alone.abs().max())


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


def step_loss(outputs: CausalLMOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor) -> torch.Tensor:
    """This batch's share of the mean loss of a step, in nats per reply token: a sum over all reply tokens of the step.

    The Trainer counts them over all processes. Left to the model, some architectures average every batch by itself.
    """
    logits = cast(torch.Tensor, outputs.logits)
    return ForCausalLMLoss(logits, labels, logits.shape[-1], num_items_in_batch)


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


class _Logbook(TrainerCallback):
    """Completes the Trainer's log: tokens, seconds, speed; and tells how far the training is."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = tokens

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
        kwargs["logs"].update({column: row[column] for column in TABLE_COLUMNS if column != "step"})  # for trackers
        count_tokens(int(tokens))
        self.last = row
        finished = row["step"] == state.max_steps
        if state.is_world_process_zero and (finished or time.monotonic() - self.told >= TELL_SECONDS):
            self.told = time.monotonic()
            left = row["seconds"] / row["step"] * (state.max_steps - row["step"])
            log.info(
                f"step {row['step']:,} of {state.max_steps:,}, loss {row['loss']:.3f}, {speed:,.0f} tokens/s,"
                f" {left:,.0f} s left"
            )
            report(state.global_step, state.max_steps, "steps", state.global_step / max(row["seconds"], 1e-9), speed)


def _table_rows(state: TrainerState) -> list[dict[str, float]]:
    """The rows of the Trainer's log that tell of training steps."""
    return [row for row in state.log_history if "loss" in row]


def write_table(path: Path, state: TrainerState) -> None:
    """Write the log as tab-separated values with the columns TABLE_COLUMNS."""
    with replace_file(path) as stream:
        print(*TABLE_COLUMNS, sep="\t", file=stream)
        for row in _table_rows(state):
            print(*(f"{row[column]:.7g}" for column in TABLE_COLUMNS), sep="\t", file=stream)


def _tokens_until_step(rows: Sequence[PackedRow], plan: TrainingSteps) -> list[int]:
    """Tokens, without padding, that have been seen after every step."""
    sums = list(accumulate(sum(len(pair.ids) for pair in row) for row in rows))
    return sums[plan.rows_per_step - 1 :: plan.rows_per_step]


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
