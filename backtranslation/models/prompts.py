"""Everything that turns data into the text and the token ids a model sees, in training and in generation alike.

A template file renders the user's turn; the reply is the assistant's turn; the tokenizer's chat template (its own, or
the file named in the settings) puts the two together. Knows nothing of models, batches or devices.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backtranslation.errors import DataError, UserError
from backtranslation.files import Row
from backtranslation.settings.prompts import Prompts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["seed", "augmented", "answer"]
NO_LABEL = -100
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


@dataclass(frozen=True)
class EncodedPair:
    """One training example: the token ids of prompt and reply (32-bit: a training set holds millions)."""

    id: str
    ids: "array[int]"
    prompt_tokens: int

    @property
    def labels(self) -> list[int]:
        """The ids of the reply; NO_LABEL in place of the prompt, of which nothing is learnt."""
        return [NO_LABEL] * self.prompt_tokens + self.ids[self.prompt_tokens :].tolist()


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


def prepare_tokenizer(tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet) -> "PreTrainedTokenizerBase":
    """Give a tokenizer the chat template and the padding token that it lacks; its vocabulary stays as it is.

    Raises PromptError when it has no end-of-sequence token, since a reply could not be closed.
    """
    if tokenizer.eos_token is None:
        raise PromptError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = prompts.chat_template
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render_prompt(tokenizer: "PreTrainedTokenizerBase", message: str) -> str:
    """The text of the user's turn, up to the place where the reply begins."""
    return _apply_chat_template(tokenizer, [_turn(tokenizer, "user", message)], add_generation_prompt=True)


def render_pair(tokenizer: "PreTrainedTokenizerBase", message: str, target: str) -> tuple[str, str]:
    """The prompt as `render_prompt` gives it, and the reply with the token that ends it.

    Raises PromptError when the chat template renders the prompt differently once there is a reply, or does not close
    a reply with a special token.
    """
    prompt = render_prompt(tokenizer, message)
    turns = [_turn(tokenizer, "user", message), _turn(tokenizer, "assistant", target)]
    both = _apply_chat_template(tokenizer, turns, add_generation_prompt=False)
    if not both.startswith(prompt):
        raise PromptError(f"{_template_name(tokenizer)} renders a prompt differently once there is a reply")
    reply = both[len(prompt) :].rstrip()
    if not any(reply.endswith(token) for token in _special_tokens(tokenizer)):
        raise PromptError(f"{_template_name(tokenizer)} does not close a reply with a special token")
    return prompt, reply


def end_token_ids(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Ids of the tokens that end a reply: end of sequence, and the end of turn of the chat template."""
    _, reply = render_pair(tokenizer, "message", "reply")
    return {tokenizer.eos_token_id, encode_text(tokenizer, reply)[-1]}


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of rendered text; the chat template has already written every special token."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode_forward(
    tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet, pair: Row, kind: Kind, max_length: int
) -> EncodedPair:
    """A row {"id", "instruction", "response"} as a forward model learns it; a long instruction is cut.

    Raises as `encode_pair` does.
    """
    message = partial(forward_message, prompts, kind=kind)
    return encode_pair(tokenizer, pair["id"], message, pair["instruction"], pair["response"], max_length)


def encode_backward(
    tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet, pair: Row, max_length: int
) -> EncodedPair:
    """A row {"id", "instruction", "response"} as the backward model learns it; a long response is cut.

    Raises as `encode_pair` does.
    """
    message = partial(backward_message, prompts)
    return encode_pair(tokenizer, pair["id"], message, pair["response"], pair["instruction"], max_length)


def encode_pair(
    tokenizer: "PreTrainedTokenizerBase",
    row_id: str,
    message: Callable[[str], str],
    source: str,
    target: str,
    max_length: int,
) -> EncodedPair:
    """Token ids and labels of `message(source)` and its reply `target`, at most `max_length` tokens together.

    The prompt is tokenized apart from the reply, since generation sees it alone. A row that is too long loses words at
    the end of its source, never of its target. Raises DataError naming the row when the target is empty, or does not
    fit even so.
    """
    if not target.strip():
        raise DataError(f"row {row_id}: the target is empty, there is nothing to learn")
    while True:
        prompt, reply = render_pair(tokenizer, message(source), target)
        prompt_ids, reply_ids = encode_text(tokenizer, prompt), encode_text(tokenizer, reply)
        excess = len(prompt_ids) + len(reply_ids) - max_length
        if excess <= 0:
            return EncodedPair(row_id, array("i", prompt_ids + reply_ids), len(prompt_ids))
        source = _shorten(source, excess / len(encode_text(tokenizer, source)) if source else 1)
        if not source:
            raise DataError(
                f"row {row_id}: its target of {len(reply_ids)} tokens and the words around it do not fit into"
                f" max_length ({max_length} tokens)"
            )


def _shorten(text: str, share: float) -> str:
    """The text without (at least) this share of its characters, cut between words; empty if no word is left."""
    kept = int(len(text) * (1 - min(share, 1)))
    head = text[: min(kept, len(text) - 1)]
    return head.rsplit(maxsplit=1)[0] if len(head.split()) > 1 else ""


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


def _apply_chat_template(
    tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]], add_generation_prompt: bool
) -> str:
    """Render turns; a reasoning model's empty block of thoughts becomes part of the prompt."""
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
        )
    except jinja2.TemplateError as error:
        raise PromptError(f"{_template_name(tokenizer)} cannot be used: {error}") from None
    return str(text)


def _turn(tokenizer: "PreTrainedTokenizerBase", role: str, content: str) -> dict[str, str]:
    """A turn whose content, which may come from a web page, cannot pass for a special token."""
    for token in _special_tokens(tokenizer):
        if token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return {"role": role, "content": content}


def _special_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    return [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]


def _template_name(tokenizer: "PreTrainedTokenizerBase") -> str:
    return f"the chat template of {tokenizer.name_or_path}"
