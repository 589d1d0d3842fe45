"""Settings of the human-written pairs, and of those that are held out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import PositiveInt, Slice


class PairFormat(Slice):
    """How a file of human-written pairs is read; see backtranslation/corpus/seed.py."""

    format: Literal["auto", "pairs", "messages", "sharegpt", "oasst"] = Field(
        "auto", description="pairs: two fields; messages: chat; sharegpt: conversations; oasst: OASST1 trees"
    )
    instruction_field: str = Field("instruction", description="pairs: field of the instruction")
    response_field: str = Field("response", description="pairs: field of the response")
    language: str | None = Field(None, description="oasst: keep prompts and replies of this language, such as en")


class Pairs(PairFormat):
    """A file of human-written instruction-response pairs."""

    path: str = Field(description="JSONL (.jsonl, .jsonl.gz, .jsonl.zst) or Parquet")


class SeedPairs(Pairs):
    """The seed data."""

    size: PositiveInt | None = Field(
        None,
        description="keep so many pairs, drawn with the random seed; null keeps all; fewer than that is an error",
    )


class HeldOut(Slice):
    """Pairs that no model is trained on; set aside before anything else."""

    size: PositiveInt | None = Field(None, description="set so many seed pairs aside; null only with a file of its own")
    pairs: Pairs | None = Field(None, description="a file of its own, used instead of a part of the seed")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.size is None) == (self.pairs is None):
            raise ValueError("give either size or pairs")
        return self
