"""Pairs as the token ids a model learns from: the prompt as generation sees it, and the reply."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.jobs.progress import log
from backtranslation.models.chat import encode_text, render_pair
from backtranslation.settings.limits import Limits
from backtranslation.tally import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_LABEL = -100


class PairError(DataError):
    """Nothing can be learnt from a pair; the message names it, `reason` is for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


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


def encode_usable(
    rows: Iterable[Row], encode: Callable[[Row], EncodedPair], limits: Limits
) -> tuple[list[EncodedPair], dict[str, str]]:
    """The pairs of rows, and by id why others are left out: nothing can be learnt from them.

    The log names the first of these. Raises DataError if they are clearly more than may be unusable.
    """
    tally = Tally()
    pairs: list[EncodedPair] = []
    left_out: dict[str, str] = {}
    for row in rows:
        try:
            pairs.append(encode(row))
        except PairError as error:
            tally.refuse(error.reason, str(error))
            left_out[row["id"]] = error.reason
    total = len(pairs) + tally.refused.total()
    tally.check(total, "pairs", limits.max_unusable_share)
    if left_out:
        log.warning(f"{tally.refused.total():,} of {total:,} pairs are left out")
    return pairs, left_out


def encode_forward(tokenizer: "PreTrainedTokenizerBase", pair: Row, max_length: int) -> EncodedPair:
    """A row {"id", "instruction", "response"} as a forward model learns it; a long instruction is cut.

    The tokenizer is one of `chat.with_user_turns`. Raises as `encode_pair` does.
    """
    return encode_pair(tokenizer, pair["id"], pair["instruction"], pair["response"], max_length)


def encode_backward(tokenizer: "PreTrainedTokenizerBase", pair: Row, max_length: int) -> EncodedPair:
    """A row {"id", "instruction", "response"} as the backward model learns it; a long response is cut.

    The tokenizer is one of `chat.with_user_turns`. Raises as `encode_pair` does.
    """
    return encode_pair(tokenizer, pair["id"], pair["response"], pair["instruction"], max_length)


def encode_pair(
    tokenizer: "PreTrainedTokenizerBase", row_id: str, source: str, target: str, max_length: int
) -> EncodedPair:
    """Token ids and labels of what a user says and the reply to it, at most `max_length` tokens together.

    The prompt is tokenized apart from the reply, since generation sees it alone. A row that is too long loses words at
    the end of its source, never of its target. Raises PairError when the target is empty, or does not fit even so.
    """
    if not target.strip():
        raise PairError("empty_target", f"row {row_id}: the target is empty, there is nothing to learn")
    while True:
        prompt, reply = render_pair(tokenizer, source, target)
        prompt_ids, reply_ids = encode_text(tokenizer, prompt), encode_text(tokenizer, reply)
        excess = len(prompt_ids) + len(reply_ids) - max_length
        if excess <= 0:
            return EncodedPair(row_id, array("i", prompt_ids + reply_ids), len(prompt_ids))
        source = _shorten(source, excess / len(encode_text(tokenizer, source)) if source else 1)
        if not source:
            raise PairError(
                "target_too_long",
                f"row {row_id}: its target of {len(reply_ids)} tokens and the words around it do not fit into"
                f" max_length ({max_length} tokens)",
            )


def _shorten(text: str, share: float) -> str:
    """The text without (at least) this share of its characters, cut between words, or within the only one.

    A text of a script without spaces is one word.
    """
    kept = int(len(text) * (1 - min(share, 1)))
    head = text[: min(kept, len(text) - 1)]
    return head.rsplit(maxsplit=1)[0] if len(head.split()) > 1 else head
