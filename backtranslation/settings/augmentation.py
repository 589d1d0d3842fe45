"""Settings of step 4, self-augmentation: the backward model writes an instruction for every segment."""

from pydantic import Field

from backtranslation.settings.generation import Sampling
from backtranslation.settings.slices import PositiveInt, Share, Slice


class InstructionFilters(Slice):
    """Which generated instructions are dropped; the report counts them by reason."""

    min_chars: PositiveInt = Field(10, description="fewest characters of an instruction")
    max_chars: PositiveInt = Field(1000, description="most characters of an instruction")
    max_copied_share: Share = Field(
        0.7, description="largest share of the instruction's word 4-grams that also occur in the segment"
    )
    max_prompt_share: Share = Field(0.5, description="largest share of its word 4-grams that also occur in the prompt")
    unseen_text: list[str] = Field(
        ["this article", "this text", "this passage", "this page", "this post", "this section", "this document",
         "the article", "the passage", "the text above", "the given text", "according to the", "the author",
         "mentioned above", "the following text", "summarize the text"],
        description="phrases that refer to a text which the reader cannot see; instructions with one are dropped",
    )  # fmt: skip


class Augmentation(Slice):
    """Step 4: the backward model writes one instruction for every segment (paper, section 2.2)."""

    sampling: Sampling = Field(Sampling(max_new_tokens=256), description="How the instructions are sampled.")
    filters: InstructionFilters = InstructionFilters()
