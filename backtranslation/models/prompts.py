"""Every text that a model is asked: template files render the user's turn. Knows nothing of tokenizers and models."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
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


@dataclass(frozen=True)
class UserTurn:
    """How a model is shown what a user says: the source of a template, its variable for that, and its other values."""

    path: str
    source: str
    variable: str
    others: Mapping[str, str]

    def show(self, text: str) -> str:
        """What stands in the turn of a user who says a text."""
        return render_template(_compile_template(self.path, self.source), **{self.variable: text}, **self.others)


class PromptSet:
    """The templates and tag sentences of a run. A file is read when it is first used, so a stage needs only its own.

    Reading raises PromptError naming the file when it is missing, is not valid Jinja, does not use its variables, or
    does not set its label.
    """

    def __init__(self, settings: Prompts) -> None:
        self.settings = settings

    def backward_turn(self) -> UserTurn:
        """A response, shown so as to ask for the instruction that it answers (paper, section 2.2)."""
        return _load_user_turn(self.settings.backward, "response", {})

    def forward_turn(self, kind: Kind) -> UserTurn:
        """An instruction, shown with the tag sentence of its kind (paper, section 2.3)."""
        return _load_user_turn(self.settings.forward, "instruction", {"tag": self.tag(kind)})

    @cached_property
    def score(self) -> jinja2.Template:
        """Asks for a score by the rubric, and where `reasons` is true for an explanation before it."""
        return _load_template(self.settings.score, {"instruction", "response"}, {"reasons"})

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

    def read_all_of(self, name: str) -> None:
        """Read the template of a name (`settings.prompts.PROMPT_FILES`), and its label if it must have one."""
        if name == "backward":
            self.backward_turn()
        elif name == "forward":
            self.forward_turn("seed")
        else:
            for part in {"score": ("score", "score_label"), "judge": ("judge", "judge_label")}.get(name, (name,)):
                getattr(self, part)

    def tag(self, kind: Kind) -> str:
        """The tag sentence of a kind of pair; `answer` is the evaluation."""
        kind_shown = self.settings.answer_tag if kind == "answer" else kind
        sentences = {"seed": self.settings.seed_tag, "augmented": self.settings.augmented_tag}
        return " ".join(sentences.values()) if kind_shown == "both" else sentences[kind_shown]


def score_message(prompts: PromptSet, instruction: str, response: str, reasons: bool = True) -> str:
    """What a scorer is asked: a rating of one pair by the rubric (paper, section 2.3), with reasons or without."""
    return render_template(prompts.score, instruction=instruction, response=response, reasons=reasons)


def judge_message(prompts: PromptSet, instruction: str, first: str, second: str) -> str:
    """What a judge is asked: which of two responses is better."""
    return render_template(prompts.judge, instruction=instruction, first=first, second=second)


def _load_user_turn(path: str, variable: str, others: Mapping[str, str]) -> UserTurn:
    _load_template(path, {variable, *others})
    return UserTurn(path, _read_template(path), variable, others)


def _load_template(path: str, variables: set[str], optional: Collection[str] = ()) -> jinja2.Template:
    """Compile a template that must use exactly these variables, and may use the optional ones, and try it."""
    source = _read_template(path)
    template = _compile_template(path, source)
    used = jinja2.meta.find_undeclared_variables(_parse_template(path, source))
    if used.difference(optional) != variables:
        found = ", ".join(sorted(used)) or "none"
        raise PromptError(f"{path}: must use the variables {', '.join(sorted(variables))} (found: {found})")
    render_template(template, **dict.fromkeys([*variables, *optional], "text"))
    return template


@cache
def _compile_template(path: str, source: str) -> jinja2.Template:
    try:
        template = ENVIRONMENT.from_string(_parse_template(path, source))
    except jinja2.TemplateSyntaxError as error:  # an unknown filter or test
        raise PromptError(f"{path}: line {error.lineno}: {error.message}") from None
    template.name = path
    return template


def render_template(template: jinja2.Template, **values: object) -> str:
    """Render a template. Raises PromptError naming its file for whatever happens in it: a template is a program."""
    try:
        return template.render(values)
    except Exception as error:  # division, recursion, a range too large: whatever its author wrote
        raise PromptError(f"{template.name}: cannot be rendered ({str(error) or repr(error)})") from None


def _read_label(path: str, example: str) -> str:
    """The label that a template sets, without white space around it."""
    labels = [
        node.node.value
        for node in _parse_template(path, _read_template(path)).iter_child_nodes()
        if isinstance(node, Assign) and node.target == Name("label", "store") and isinstance(node.node, Const)
    ]
    if not labels or not isinstance(labels[-1], str) or not re.search(r"\w", labels[-1]):
        raise PromptError(f'{path}: must set a label; its first line may be {{% set label = "{example}" -%}}')
    return labels[-1].strip()


def _parse_template(path: str, source: str) -> Template:
    try:
        return ENVIRONMENT.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise PromptError(f"{path}: line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise PromptError(f"{path}: nested too deep") from None


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: cannot be read ({error})") from None
