"""Where several continuations of a text part, in token ids: each is told apart there from the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from backtranslation.models.chat import encode_text
from backtranslation.models.engine import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Parting(NamedTuple):
    """The ids that a text has with every choice behind it, the ids by which the choices differ next, and how many of
    the common ids are not the text's own: tokens that the choices begin with, such as a space.
    """

    common: list[int]
    firsts: list[int]
    begun: int


def find_parting(tokenizer: "PreTrainedTokenizerBase", row_id: str, text: str, choices: Sequence[str]) -> Parting:
    """Where the choices part behind a text. Raises EngineError if two of them begin with the same token."""
    variants = [encode_text(tokenizer, text + choice) for choice in choices]
    common = common_prefix(variants)
    firsts = [variant[len(common)] for variant in variants if len(variant) > len(common)]
    if len(set(firsts)) < len(choices):
        raise EngineError(f"row {row_id}: the choices {', '.join(choices)} do not differ in their first token")
    begun = len(common) - len(encode_text(tokenizer, text))
    return Parting(common, firsts, min(max(0, begun), len(common) - 1))


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list that all begin with: what the first and the last of them in sorted order have in common."""
    first, last = min(sequences), max(sequences)
    differing = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differing, min(len(first), len(last)))]
