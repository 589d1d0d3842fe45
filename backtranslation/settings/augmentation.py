"""Settings of self-augmentation: the backward model writes an instruction for every segment."""

from pydantic import Field

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import PositiveInt, Share, Slice


class InstructionFilters(Slice):
    """Which generated instructions are dropped; each reason is counted."""

    min_chars: PositiveInt = Field(10, description="characters, at least")
    max_chars: PositiveInt = Field(1000, description="characters, at most")
    max_copied_share: Share = Field(
        0.7, description="share of the instruction's word 4-grams that stand in the segment"
    )
    max_prompt_share: Share = Field(0.5, description="share of the instruction's word 4-grams that stand in the prompt")
    unseen_text: list[str] = Field(
        ["this article", "this text", "this passage", "this page", "this post", "this section", "this document",
         "the article", "the passage", "the text above", "the given text", "according to the", "the author",
         "mentioned above", "the following text", "summarize the text"],
        description="phrases that speak of a text the reader cannot see",
    )  # fmt: skip


class Augmentation(Slice):
    """The backward model writes one instruction for every segment (paper, section 2.2)."""

    sampling: Sampling = Sampling(max_new_tokens=256)
    filters: InstructionFilters = InstructionFilters()
