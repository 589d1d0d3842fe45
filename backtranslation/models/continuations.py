"""Where several continuations of a text part, in token ids: each is told apart there from the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from backtranslation.models.chat import encode_text
from backtranslation.models.engine import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAST_CHARACTERS = 64


class Parting(NamedTuple):
    """The ids that a text has with every choice behind it, the ids by which the choices differ next, and how many of
    the common ids are not the text's own: tokens that the choices begin with, such as a space.
    """

    common: list[int]
    firsts: list[int]
    begun: int


def find_parting(tokenizer: "PreTrainedTokenizerBase", row_id: str, text: str, choices: Sequence[str]) -> Parting:
    """Where the choices part behind a text. Raises EngineError if two of them begin with the same token."""
    alone, variants = encode_continued(tokenizer, text, choices)
    common = common_prefix(variants)
    firsts = [variant[len(common)] for variant in variants if len(variant) > len(common)]
    if len(set(firsts)) < len(choices):
        raise EngineError(f"row {row_id}: the choices {', '.join(choices)} do not differ in their first token")
    begun = len(common) - len(alone)
    return Parting(common, firsts, min(max(0, begun), len(common) - 1))


def encode_continued(
    tokenizer: "PreTrainedTokenizerBase", text: str, choices: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Ids of a text, and of the text with every choice behind it.

    A long text is encoded twice and not for every choice, which would take longer than a small model does: what changes
    lies in its last words. That these can be encoded by themselves is checked on the text, alone and with one choice.
    """
    alone, first = encode_text(tokenizer, text), encode_text(tokenizer, text + choices[0])
    words = text[max(0, text.rfind(" ", 0, max(0, len(text) - LAST_CHARACTERS))) :]
    ends = [encode_text(tokenizer, words + choice) for choice in ("", *choices)]
    before = alone[: len(alone) - len(ends[0])]
    if [before + ends[0], before + ends[1]] == [alone, first]:
        return alone, [before + end for end in ends[1:]]
    return alone, [first, *(encode_text(tokenizer, text + choice) for choice in choices[1:])]


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list that all begin with: what the first and the last of them in sorted order have in common."""
    first, last = min(sequences), max(sequences)
    differing = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differing, min(len(first), len(last)))]
