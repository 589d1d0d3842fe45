"""Talk to a model in the terminal, as anybody uses a model: plain chat messages, the chat template and the sampling
that lie in its folder.

Answers go to standard output while they are written; all else that is said goes to standard error.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from backtranslation.commands.model_files import inspect_model
from backtranslation.errors import UserError
from backtranslation.jobs.process import printable
from backtranslation.settings.base_model import ModelLoading

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ANSWER_TOKENS = 1024  # the longest answer of a model whose generation_config names none
HELP = "An empty line or Ctrl-D ends the chat; Ctrl-C stops an answer."


class MessageTooLongError(UserError):
    """A message alone leaves no room for an answer."""


@dataclass
class Conversation:
    """A model and what was said: turns of the user and the model by turns, as chat templates take them."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    turns: list[dict[str, str]] = field(default_factory=list)


def open_conversation(path: str, loading: ModelLoading) -> Conversation:
    """Load a model of a folder or the hub, on the GPU if there is one. Raises UserError where that cannot be done."""
    if faults := inspect_model(path).faults:
        raise UserError("; ".join(faults))
    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils.logging import set_verbosity_error

    from backtranslation.models.loading import load_for_inference, load_tokenizer
    from backtranslation.models.prompts import PromptSet
    from backtranslation.settings.prompts import Prompts

    set_verbosity_error()
    enable_progress_bars()  # of downloads; what loads models for jobs turns them off
    return Conversation(load_for_inference(path, loading), load_tokenizer(path, loading, PromptSet(Prompts())))


def converse(conversation: Conversation, name: str) -> None:
    """Answer line by line until the user has enough."""
    _enable_line_editing()
    _say(f"{name} on {conversation.model.device}. {HELP}")
    for message in _read_messages():
        try:
            answer_message(conversation, message)
        except KeyboardInterrupt:
            _say("\n(stopped)")
        except MessageTooLongError as error:
            _say(str(error))


def answer_message(conversation: Conversation, message: str) -> None:
    """Print the answer to a message while it is written, and keep both; of one that is stopped, what was printed.

    Raises MessageTooLongError, and UserError where the chat template cannot be used; these keep nothing.
    """
    turns, prompt, room = _fit_turns(conversation, message)
    written: list[str] = []

    def write(text: str) -> None:
        written.append(text)
        print(printable(text), end="", flush=True)

    try:
        _generate(conversation, prompt, room, write)
        print(flush=True)
    finally:
        conversation.turns = [*turns, {"role": "assistant", "content": "".join(written).strip()}]


def _fit_turns(conversation: Conversation, message: str) -> tuple[list[dict[str, str]], "dict[str, torch.Tensor]", int]:
    """The turns with a new one, without the oldest where they are too many; encoded; and the tokens left to answer.

    Room is kept for the longest answer, or for half of what the model can hold.
    """
    from backtranslation.models.loading import max_positions

    longest = conversation.model.generation_config.max_new_tokens or ANSWER_TOKENS
    positions = max_positions(conversation.model.config)
    turns = [*conversation.turns, {"role": "user", "content": message}]
    prompt = _encode(conversation, turns)
    if positions is not None:
        reserve = min(longest, positions // 2)
        while len(turns) > 1 and _length(prompt) > positions - reserve:
            turns = turns[2:]
            prompt = _encode(conversation, turns)
        longest = min(longest, positions - _length(prompt))
    if longest < 1:
        raise MessageTooLongError(
            f"this message has {_length(prompt):,} tokens, and the model holds {positions:,}: shorten it"
        )
    if left_out := (len(conversation.turns) + 1 - len(turns)) // 2:
        what = "oldest message and its answer are" if left_out == 1 else f"{left_out} oldest messages and answers are"
        _say(f"(the {what} left out from here on: the model holds {positions:,} tokens)")
    return turns, prompt, longest


def _encode(conversation: Conversation, turns: list[dict[str, str]]) -> "dict[str, torch.Tensor]":
    tokenizer = conversation.tokenizer
    try:
        encoded: Any = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
    except Exception as error:  # a template is a program of its own, and can raise anything
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} cannot be used: {str(error) or repr(error)}"
        ) from None
    return {name: encoded[name].to(conversation.model.device) for name in ("input_ids", "attention_mask")}


def _length(prompt: "dict[str, torch.Tensor]") -> int:
    return prompt["input_ids"].shape[1]


def _generate(
    conversation: Conversation, prompt: "dict[str, torch.Tensor]", room: int, write: Callable[[str], None]
) -> None:
    """Write an answer of at most so many tokens, sampled as the model's own generation_config says."""
    from transformers import TextStreamer

    class Streamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            write(text)

    streamer = Streamer(conversation.tokenizer, skip_prompt=True, skip_special_tokens=True)
    model: Any = conversation.model
    model.generate(**prompt, streamer=streamer, max_new_tokens=room)


def _read_messages() -> Iterator[str]:
    """What the user types, line by line, up to an empty line, Ctrl-D or Ctrl-C."""
    with suppress(EOFError, KeyboardInterrupt):
        while message := input("> ").strip():
            yield message
        return
    _say("")


def _enable_line_editing() -> None:
    """Let `input` edit lines and recall earlier ones, where Python has the means."""
    with suppress(ImportError):
        import_module("readline")


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
