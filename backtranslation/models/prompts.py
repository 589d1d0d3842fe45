"""Every text that a model is asked: template files render the user's turn. Knows nothing of tokenizers and models."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backtranslation.errors import UserError
from backtranslation.settings.prompts import Prompts

Kind = Literal["seed", "augmented", "answer"]
ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)


class PromptError(UserError):
    """A template cannot be used; the message names it."""


class PromptSet:
    """The templates and tag sentences of a run. A file is read when it is first used, so a stage needs only its own.

    Reading raises PromptError naming the file when it is missing, is not valid Jinja, or does not use its variables.
    """

    def __init__(self, settings: Prompts) -> None:
        self.settings = settings

    @cached_property
    def backward(self) -> jinja2.Template:
        """Asks for the instruction that a response answers."""
        return _load_template(self.settings.backward, {"response"})

    @cached_property
    def forward(self) -> jinja2.Template:
        """Shows an instruction and the tag sentence of its kind."""
        return _load_template(self.settings.forward, {"instruction", "tag"})

    @cached_property
    def score(self) -> jinja2.Template:
        """Asks for a score by the rubric."""
        return _load_template(self.settings.score, {"instruction", "response"})

    @cached_property
    def judge(self) -> jinja2.Template:
        """Asks which of two responses is better."""
        return _load_template(self.settings.judge, {"instruction", "first", "second"})

    @cached_property
    def chat_template(self) -> str:
        """For a tokenizer that has none of its own."""
        return _read_template(self.settings.chat_template)

    def tag(self, kind: Kind) -> str:
        """The tag sentence of a kind of pair; `answer` is the evaluation."""
        kind_shown = self.settings.answer_tag if kind == "answer" else kind
        sentences = {"seed": self.settings.seed_tag, "augmented": self.settings.augmented_tag}
        return " ".join(sentences.values()) if kind_shown == "both" else sentences[kind_shown]


def backward_message(prompts: PromptSet, response: str) -> str:
    """What the backward model is asked: the instruction that a response answers (paper, section 2.2)."""
    return prompts.backward.render(response=response)


def forward_message(prompts: PromptSet, instruction: str, kind: Kind) -> str:
    """What a forward model is asked: an instruction, with the tag sentence of its kind (paper, section 2.3)."""
    return prompts.forward.render(instruction=instruction, tag=prompts.tag(kind))


def score_message(prompts: PromptSet, instruction: str, response: str) -> str:
    """What a scorer is asked: a rating of one pair by the rubric (paper, section 2.3)."""
    return prompts.score.render(instruction=instruction, response=response)


def judge_message(prompts: PromptSet, instruction: str, first: str, second: str) -> str:
    """What a judge is asked: which of two responses is better."""
    return prompts.judge.render(instruction=instruction, first=first, second=second)


def _load_template(path: str, variables: set[str]) -> jinja2.Template:
    """Compile a template that must use exactly these variables."""
    source = _read_template(path)
    try:
        used = jinja2.meta.find_undeclared_variables(ENVIRONMENT.parse(source))
        template = ENVIRONMENT.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{path}: line {error.lineno}: {error.message}") from None
    if used != variables:
        found = ", ".join(sorted(used)) or "none"
        raise PromptError(f"{path}: must use the variables {', '.join(sorted(variables))} (found: {found})")
    return template


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: cannot be read ({error})") from None
