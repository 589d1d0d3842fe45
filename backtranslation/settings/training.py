"""Settings of steps 3 and 6: the training of the backward and the forward models."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import Count, PositiveInt, Share, Slice


class Lora(Slice):
    """Low-rank adapters (peft), used where method is lora."""

    rank: PositiveInt = Field(16, description="rank of the two matrices that are added to a weight matrix")
    alpha: PositiveInt = Field(32, description="the product of the two matrices is scaled by alpha / rank")
    dropout: Share = Field(0.05, description="dropout before the two matrices")
    target_modules: str | list[str] = Field("all-linear", description="all-linear, or a list of names of modules")
    quantization: Literal["none", "4bit"] = Field(
        "none",
        description="4bit: the frozen base is held in 4 bits a weight (QLoRA: nf4, scales quantized too); the adapters "
        "are merged into the base as it was. Needs the extra quantization",
    )


class ScheduleRow(Slice):
    """Batch size and number of steps for one size of the training set (paper, table 18)."""

    examples: PositiveInt = Field(description="size of the training set")
    batch_size: PositiveInt = Field(description="examples per optimizer step")
    steps: PositiveInt = Field(description="number of optimizer steps")


class Training(Slice):
    """How the base model is fine-tuned."""

    execution_keys = (
        "min_steps", "gradient_checkpointing", "rows_per_device", "save_minutes", "processes", "sharding", "trackers",
    )  # fmt: skip

    method: Literal["full", "lora"] = Field(
        "full", description="full trains all weights; lora trains adapters, which are merged into the model at the end"
    )
    lora: Lora = Lora()
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="at the first step after the warm-up")
    final_learning_rate: Annotated[float, Field(ge=0)] = Field(9e-6, description="at the last step, reached linearly")
    warmup_steps: Count = Field(0, description="optimizer steps in which the learning rate rises from 0")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw",
        description="adamw: torch's fused one; adamw_8bit: with moments of 8 bits, in a quarter of the memory. Needs "
        "the extra quantization",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="weight decay of AdamW")
    dropout: Share | None = Field(0.1, description="dropout of the model; null keeps the model's own")
    max_gradient_norm: Annotated[float, Field(gt=0)] = Field(
        1.0, description="gradients with a larger norm are scaled down to it"
    )
    max_length: PositiveInt = Field(
        2048,
        description="tokens of a packed row; of a longer pair, the text to reply to is shortened, never the reply",
    )
    batch_size: PositiveInt = Field(32, description="examples per optimizer step, all processes together")
    epochs: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto",
        description="passes over the data; auto: as many as make 500 optimizer steps, what the paper took for its "
        "3,200 pairs, but at least 1 and at most 10",
    )
    steps: PositiveInt | None = Field(
        None,
        description="optimizer steps (elsewhere max_steps), instead of epochs, which then stays auto; null: those of "
        "the epochs",
    )
    min_steps: PositiveInt = Field(
        20, description="a training of fewer optimizer steps is refused: its model would have learnt next to nothing"
    )
    schedule: list[ScheduleRow] = Field(
        [],
        description="instead of batch_size and epochs: rows of examples, batch_size and steps, as in "
        "configs/humpback-7b.yaml; the batch size is that of the last row whose examples the training set reaches, "
        "the passes over the data are interpolated between rows",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="what is computed and saved in; trained weights stay float32 meanwhile. float32, bfloat16 "
        "(autocast), or auto: bfloat16 on a GPU that has it, else float32",
    )
    gradient_checkpointing: bool | Literal["auto"] = Field(
        "auto",
        description="compute activations twice instead of keeping them: saves memory, and is about a third slower; "
        "auto: where weights, gradients and optimizer moments take more than a third of a GPU's memory",
    )
    rows_per_device: PositiveInt = Field(
        1, description="packed rows in memory at once; larger steps accumulate gradients"
    )
    save_minutes: Annotated[float, Field(gt=0)] = Field(
        10, description="minutes between checkpoints, from which a stopped training resumes"
    )
    processes: PositiveInt = Field(1, description="worker processes of one training, one GPU each where there are GPUs")
    sharding: Literal["auto", "always", "never"] = Field(
        "auto",
        description="spread weights, gradients and optimizer moments over the processes (FSDP2); auto: where they "
        "would take more than 70 % of a GPU's memory; a training that resumes goes on as it began",
    )
    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = Field(
        [],
        description="what draws the curves of a training while it runs: any of tensorboard (files in "
        "<results>/logs/tensorboard), trackio and wandb; each must be installed",
    )

    @model_validator(mode="after")
    def _decays(self) -> Self:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate ({self.final_learning_rate}) is larger than learning_rate ({self.learning_rate})"
            )
        return self

    @model_validator(mode="after")
    def _quantizes_what_it_can(self) -> Self:
        if self.lora.quantization != "none" and self.method != "lora":
            raise ValueError(f"lora.quantization ({self.lora.quantization}) needs method lora (found: {self.method})")
        if self.quantized_keys and self.sharding == "always":
            raise ValueError(f"{self.quantized_keys[0]} cannot be sharded: set sharding to auto or never")
        return self

    @property
    def quantized_keys(self) -> list[str]:
        """The settings that ask for numbers of few bits, which bitsandbytes computes with."""
        asked = {"lora.quantization": self.lora.quantization != "none", "optimizer": self.optimizer == "adamw_8bit"}
        return [key for key, is_asked in asked.items() if is_asked]

    @model_validator(mode="after")
    def _says_its_length_once(self) -> Self:
        if self.steps is not None and self.schedule:
            raise ValueError(f"steps ({self.steps}) and a schedule both say how long to train; leave out one of them")
        if self.steps is not None and self.epochs != "auto":
            raise ValueError(
                f"steps ({self.steps}) and epochs ({self.epochs:g}) both say how long to train; set steps to null or"
                " epochs to auto"
            )
        return self


class TrackedRun(Slice):
    """How trackers call a training, and where its files for TensorBoard lie."""

    execution_keys = ("project", "model", "tensorboard")

    project: str = "results"
    model: str = "model"
    tensorboard: str = "tensorboard"


class Trainings(Slice):
    """Steps 3 and 6: fine-tuning. Every model is trained from the base model anew."""

    backward: Training = Field(
        Training(), description="The backward model, which writes the instruction to a response."
    )
    forward: Training = Field(Training(), description="The forward models M0, M1, ..., which answer instructions.")
