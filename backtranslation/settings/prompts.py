"""Settings of what models are shown: template files and tags."""

from typing import Literal

from pydantic import Field

from backtranslation.settings.slices import Slice

PROMPT_FILES = ("backward", "forward", "score", "judge", "chat_template")


class Tags(Slice):
    """Sentences that tell a forward model where a pair comes from (paper, section 2.3)."""

    seed_tag: str = Field(
        "Answer in the style of an AI Assistant.", description="added to the instructions of human-written pairs"
    )
    augmented_tag: str = Field(
        "Answer with knowledge from web search.", description="added to the instructions of augmented pairs"
    )
    answer_tag: Literal["seed", "augmented", "both"] = Field(
        "both", description="tag in the evaluation: seed, augmented, or both, one after the other, as in the paper"
    )


class Prompts(Tags):
    """Every text that a model is shown: Jinja templates, and tags, sentences that mark where a pair comes from."""

    backward: str = Field(
        "prompts/backward.jinja", description="asks for the instruction to a response; variable: response"
    )
    forward: str = Field("prompts/forward.jinja", description="asks for an answer; variables: instruction, tag")
    score: str = Field(
        "prompts/score-additive.jinja",
        description="asks for a score; variables: instruction, response; sets the label before the score",
    )
    judge: str = Field(
        "prompts/judge.jinja",
        description="asks for the better of two answers; variables: instruction, first, second; sets the label before "
        "its number",
    )
    chat_template: str = Field("prompts/chat.jinja", description="for a tokenizer without a chat template of its own")
