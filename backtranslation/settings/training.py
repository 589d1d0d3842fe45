"""Settings of the trainings of the backward and the forward models."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import Count, PositiveInt, Share, Slice


class Lora(Slice):
    """Low-rank adaptation (peft)."""

    rank: PositiveInt = Field(16, description="of the two added matrices")
    alpha: PositiveInt = Field(32, description="their product is scaled by alpha / rank")
    dropout: Share = Field(0.05, description="before the added matrices")
    target_modules: str | list[str] = Field("all-linear", description="all-linear, or names of modules")


class ScheduleRow(Slice):
    """Batch size and steps for one size of the training set (paper, table 18)."""

    examples: PositiveInt = Field(description="size of the training set")
    batch_size: PositiveInt = Field(description="examples per step")
    steps: PositiveInt = Field(description="steps of the optimizer")


class Training(Slice):
    """One fine-tuning of the base model."""

    execution_keys = ("gradient_checkpointing", "rows_per_device", "save_minutes", "processes", "sharding")

    method: Literal["full", "lora"] = Field(
        "full", description="train all weights, or adapters that are merged at the end"
    )
    lora: Lora = Lora()
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="at the first step after the warm-up")
    final_learning_rate: Annotated[float, Field(ge=0)] = Field(9e-6, description="reached linearly at the last step")
    warmup_steps: Count = Field(0, description="steps in which the learning rate rises from 0")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="of AdamW")
    dropout: Share | None = Field(0.1, description="null keeps the model's own")
    max_gradient_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="larger gradients are scaled down")
    max_length: PositiveInt = Field(
        2048, description="tokens of a packed row; longer pairs are shortened at the source"
    )
    batch_size: PositiveInt = Field(32, description="examples per step, all processes together")
    epochs: Annotated[float, Field(gt=0)] = Field(3, description="passes over the data")
    schedule: list[ScheduleRow] = Field(
        [],
        description="used instead of batch_size and epochs: the batch size of the largest listed size not above "
        "the data's; passes over the data interpolated between neighbouring rows",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU that has it")
    gradient_checkpointing: bool | Literal["auto"] = Field(
        "auto",
        description="less memory, about a third slower; auto: where weights, gradients and moments take more than a "
        "third of a GPU",
    )
    rows_per_device: PositiveInt = Field(1, description="packed rows in memory at once; the rest is accumulated")
    save_minutes: Annotated[float, Field(gt=0)] = Field(10, description="minutes between checkpoints for resuming")
    processes: PositiveInt = Field(1, description="worker processes of one training, one GPU each where there are GPUs")
    sharding: Literal["auto", "always", "never"] = Field(
        "auto",
        description="spread weights, gradients and moments over the processes (FSDP2); auto: where they would take "
        "more than 70 % of a GPU, but a training that was stopped goes on as it began",
    )

    @model_validator(mode="after")
    def _decays(self) -> Self:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate ({self.final_learning_rate}) is larger than learning_rate ({self.learning_rate})"
            )
        return self


class Trainings(Slice):
    """The two kinds of fine-tuning."""

    backward: Training = Training()
    forward: Training = Training()
