"""Every text that a model is asked: template files render the user's turn. Knows nothing of tokenizers and models."""

import re
from functools import cached_property
from pathlib import Path
from typing import Literal

import jinja2
import jinja2.meta
from jinja2.nodes import Assign, Const, Name, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backtranslation.errors import UserError
from backtranslation.settings.prompts import Prompts

Kind = Literal["seed", "augmented", "answer"]
ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)


class PromptError(UserError):
    """A template cannot be used; the message names it."""


class PromptSet:
    """The templates and tag sentences of a run. A file is read when it is first used, so a stage needs only its own.

    Reading raises PromptError naming the file when it is missing, is not valid Jinja, does not use its variables, or
    does not set its label.
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
    def score_label(self) -> str:
        """What stands before the number in a scorer's text."""
        return _read_label(self.settings.score, "Score:")

    @cached_property
    def judge_label(self) -> str:
        """What stands before the number of the response that a judge prefers."""
        return _read_label(self.settings.judge, "Better:")

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
    return render_template(prompts.backward, response=response)


def forward_message(prompts: PromptSet, instruction: str, kind: Kind) -> str:
    """What a forward model is asked: an instruction, with the tag sentence of its kind (paper, section 2.3)."""
    return render_template(prompts.forward, instruction=instruction, tag=prompts.tag(kind))


def score_message(prompts: PromptSet, instruction: str, response: str) -> str:
    """What a scorer is asked: a rating of one pair by the rubric (paper, section 2.3)."""
    return render_template(prompts.score, instruction=instruction, response=response)


def judge_message(prompts: PromptSet, instruction: str, first: str, second: str) -> str:
    """What a judge is asked: which of two responses is better."""
    return render_template(prompts.judge, instruction=instruction, first=first, second=second)


def _load_template(path: str, variables: set[str]) -> jinja2.Template:
    """Compile a template that must use exactly these variables, and try it."""
    tree = _parse_template(path)
    try:
        used = jinja2.meta.find_undeclared_variables(tree)
        template = ENVIRONMENT.from_string(tree)
    except jinja2.TemplateSyntaxError as error:  # an unknown filter or test
        raise PromptError(f"{path}: line {error.lineno}: {error.message}") from None
    if used != variables:
        found = ", ".join(sorted(used)) or "none"
        raise PromptError(f"{path}: must use the variables {', '.join(sorted(variables))} (found: {found})")
    template.name = path
    render_template(template, **dict.fromkeys(variables, "text"))
    return template


def render_template(template: jinja2.Template, **values: str) -> str:
    """Render a template. Raises PromptError naming its file for whatever happens in it: a template is a program."""
    try:
        return template.render(values)
    except Exception as error:  # division, recursion, a range too large: whatever its author wrote
        raise PromptError(f"{template.name}: cannot be rendered ({str(error) or repr(error)})") from None


def _read_label(path: str, example: str) -> str:
    """The label that a template sets, without white space around it."""
    labels = [
        node.node.value
        for node in _parse_template(path).iter_child_nodes()
        if isinstance(node, Assign) and node.target == Name("label", "store") and isinstance(node.node, Const)
    ]
    if not labels or not isinstance(labels[-1], str) or not re.search(r"\w", labels[-1]):
        raise PromptError(f'{path}: must set a label; its first line may be {{% set label = "{example}" -%}}')
    return labels[-1].strip()


def _parse_template(path: str) -> Template:
    try:
        return ENVIRONMENT.parse(_read_template(path))
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{path}: line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise PromptError(f"{path}: nested too deep") from None


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: cannot be read ({error})") from None
