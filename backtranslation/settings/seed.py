"""Settings of step 2: the human-written pairs, and those of them that are held out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import PositiveInt, Slice


class PairFormat(Slice):
    """How a file of human-written pairs is read."""

    format: Literal["auto", "pairs", "messages", "sharegpt", "oasst"] = Field(
        "auto",
        description="pairs (two fields), messages (chat), sharegpt (conversations), oasst (OASST1 trees), or auto (by "
        "the fields of the first row)",
    )
    instruction_field: str = Field("instruction", description="format pairs: field of the instruction")
    response_field: str = Field("response", description="format pairs: field of the response")
    language: str | None = Field(
        None, description="format oasst: language of the pairs that are kept, such as en; null: all"
    )


class Pairs(PairFormat):
    """A file of human-written instruction-response pairs."""

    path: str = Field(description="file: JSONL (.jsonl, .jsonl.gz, .jsonl.zst) or Parquet")


class SeedPairs(Pairs):
    """Step 2: the seed, human-written pairs that every model is trained on."""

    size: PositiveInt | None = Field(
        None,
        description="use only so many pairs, drawn with random_seed; null: all",
    )


class HeldOut(Slice):
    """Pairs for the evaluation, on which no model is trained. Give either size or pairs."""

    size: PositiveInt | None = Field(
        None, description="number of seed pairs that are set aside, drawn with random_seed"
    )
    pairs: Pairs | None = Field(None, description="a separate file of pairs, instead of a part of the seed")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.size is None) == (self.pairs is None):
            raise ValueError("give either size or pairs")
        return self
