"""Settings of how text is generated, in every step."""

from typing import Annotated, Literal

from pydantic import Field

from backtranslation.settings.slices import Count, PositiveInt, Slice


class Sampling(Slice):
    """Nucleus sampling. Random seeds belong to rows: (random_seed, row id)."""

    temperature: Annotated[float, Field(ge=0)] = Field(0.7, description="0 takes the most probable token")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="probability mass that is sampled from")
    max_new_tokens: PositiveInt = Field(512, description="longer texts are cut and count as unfinished")


class Generation(Slice):
    """How text is generated, for all stages alike."""

    execution_keys = ("batch_tokens", "gpus")

    engine: Literal["transformers"] = Field("transformers", description="what runs the model")
    gpus: Count = Field(
        1, description="GPUs of a job, on a machine that has any; several hold a model too large for one"
    )
    batch_tokens: PositiveInt | None = Field(
        None, description="tokens (prompts and room for answers) in a batch; null: by the memory at hand"
    )
