"""Turns as the text and the token ids a model sees, in training and in generation alike.

The tokenizer's chat template (its own, or the file named in the settings) puts the turns together. Knows nothing of
what they ask.
"""

import copy
from bisect import bisect_right
from typing import TYPE_CHECKING

from backtranslation.models.chat_templates import shape_user_turns
from backtranslation.models.prompts import PromptError, PromptSet, UserTurn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prepare_tokenizer(tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet) -> "PreTrainedTokenizerBase":
    """Give a tokenizer one chat template, and the padding token that it may lack; its vocabulary stays as it is.

    Raises PromptError when it has no end-of-sequence token, since a reply could not be closed, or when it names several
    chat templates and none of them "default".
    """
    if tokenizer.eos_token is None:
        raise PromptError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token")
    tokenizer.chat_template = _own_template(tokenizer) or prompts.chat_template
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _own_template(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """The chat template that came with a tokenizer; of several, the one called default."""
    try:
        return tokenizer.get_chat_template() if tokenizer.chat_template else None
    except ValueError:
        names = ", ".join(sorted(tokenizer.chat_template))
        raise PromptError(
            f"{_template_name(tokenizer)} is one of several ({names}), and none of them is called default"
        ) from None


def with_user_turns(tokenizer: "PreTrainedTokenizerBase", turn: UserTurn) -> "PreTrainedTokenizerBase":
    """The tokenizer with a chat template that shows what a user says as `turn` does."""
    shaped = copy.copy(tokenizer)
    shaped.chat_template = shape_user_turns(tokenizer.get_chat_template(), turn)
    return shaped


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


def cut_text(tokenizer: "PreTrainedTokenizerBase", text: str, tokens: int) -> str:
    """The longest beginning of a text that has at most so many tokens by itself."""
    ends = range(len(text) + 1)
    return text[: bisect_right(ends, tokens, key=lambda end: len(encode_text(tokenizer, text[:end]))) - 1]


def _apply_chat_template(
    tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]], add_generation_prompt: bool
) -> str:
    """Render turns; a reasoning model's empty block of thoughts becomes part of the prompt.

    A template that came with a model is a program of a stranger. transformers renders it in Jinja's sandbox; whatever
    happens there is a PromptError.
    """
    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
        )
    except Exception as error:  # a template can raise anything: a range too large, a wrong type, no memory
        raise PromptError(f"{_template_name(tokenizer)} cannot be used: {str(error) or repr(error)}") from None
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
