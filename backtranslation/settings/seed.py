"""Settings of step 2: the human-written pairs, and those of them that are held out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from backtranslation.settings.slices import PositiveInt, Slice


class HubDataset(Slice):
    """A data set on the Hugging Face hub, or in the cache of the package `datasets`."""

    name: str = Field(description="owner/name")
    subset: str | None = Field(None, description="which part of the data set, where it has several")
    split: str = Field("train", description="which split")
    revision: str | None = Field(None, description="branch, tag or commit; null: the main branch")


class PairFormat(Slice):
    """How human-written pairs are read."""

    dataset: HubDataset | None = Field(
        None, description="instead of path: a data set on the Hugging Face hub, read with the package datasets"
    )
    format: Literal["auto", "pairs", "alpaca", "prompt-completion", "messages", "sharegpt", "oasst"] = Field(
        "auto",
        description="pairs (two fields), alpaca, prompt-completion, messages (chat), sharegpt (conversations), oasst "
        "(OASST1, trees or messages), or auto (by the fields of the first rows); docs/seed.md has examples",
    )
    instruction_field: str = Field("instruction", description="format pairs: field of the instruction")
    response_field: str = Field("response", description="format pairs: field of the response")
    language: str | None = Field(
        None, description="format oasst: language of the pairs that are kept, such as en; null: all"
    )


class Pairs(PairFormat):
    """Human-written instruction-response pairs. Give either path or dataset."""

    path: str | None = Field(
        None, description="file: JSON lines (.jsonl), an array (.json), either also .gz or .zst, or .parquet"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path or dataset")
        return self


class SeedPairs(Pairs):
    """Step 2: the seed, human-written pairs that every model is trained on. Give either path or dataset."""

    size: PositiveInt | None = Field(
        None,
        description="use only so many pairs, drawn with random_seed; null: all",
    )


class HeldOut(Slice):
    """Pairs for the evaluation, on which no model is trained. Give either size or pairs."""

    size: PositiveInt | None = Field(
        None, description="number of seed pairs that are set aside, drawn with random_seed"
    )
    pairs: Pairs | None = Field(None, description="separate pairs, instead of a part of the seed")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.size is None) == (self.pairs is None):
            raise ValueError("give either size or pairs")
        return self
