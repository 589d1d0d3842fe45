"""Settings of what models are shown: template files and tag sentences."""

from typing import Literal

from pydantic import Field

from backtranslation.settings.slices import Slice

PROMPT_FILES = ("backward", "forward", "score", "judge", "chat_template")


class Tags(Slice):
    """The tag sentences."""

    seed_tag: str = Field("Answer in the style of an AI Assistant.", description="marks human-written pairs")
    augmented_tag: str = Field("Answer with knowledge from web search.", description="marks augmented pairs")
    answer_tag: Literal["seed", "augmented", "both"] = Field(
        "both", description="the tag sentence at evaluation; the paper reports both, one after the other"
    )


class Prompts(Tags):
    """Every text a model is shown: Jinja template files, and the tag sentences."""

    backward: str = Field("prompts/backward.jinja", description="variables: response")
    forward: str = Field("prompts/forward.jinja", description="variables: instruction, tag")
    score: str = Field("prompts/score-additive.jinja", description="variables: instruction, response")
    judge: str = Field("prompts/judge.jinja", description="variables: instruction, first, second")
    chat_template: str = Field(
        "prompts/chat.jinja", description="chat template of a tokenizer that has none of its own"
    )
