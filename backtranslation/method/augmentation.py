"""Self-augmentation: what the backward model is asked, and which of its instructions can be used (paper, section 2.2).

Knows nothing of how text is generated.
"""

import re
from collections.abc import Iterator

from backtranslation.files import Row
from backtranslation.settings.augmentation import InstructionFilters

NGRAM = 4
WORD = re.compile(r"\w+")


def build_candidate(segment: Row, generated: Row, backward_template: str, filters: InstructionFilters) -> Row:
    """Join a segment with the instruction written for it: {"id", "instruction", "response", "rejection"}."""
    instruction = generated["raw"].strip()
    reason = rejection_reason(instruction, generated["finished"], segment["text"], backward_template, filters)
    return {"id": segment["id"], "instruction": instruction, "response": segment["text"], "rejection": reason}


def rejection_reason(
    instruction: str, finished: bool, segment_text: str, backward_template: str, filters: InstructionFilters
) -> str | None:
    """Why an instruction cannot be used, or None if it can. The first reason that applies is the one counted."""
    words = _words(instruction)
    if not words:
        return "empty"
    if not finished:
        return "unfinished"
    if len(instruction) < filters.min_chars:
        return "too_short"
    if len(instruction) > filters.max_chars:
        return "too_long"
    if shared_ngrams(words, _words(backward_template)) > filters.max_prompt_share:
        return "echoes_prompt"
    if shared_ngrams(words, _words(segment_text)) > filters.max_copied_share:
        return "copies_segment"
    plain = f" {' '.join(words)} "
    if any(f" {' '.join(_words(phrase))} " in plain for phrase in filters.unseen_text):
        return "refers_to_unseen_text"
    return None


def shared_ngrams(words: list[str], others: list[str]) -> float:
    """Share of the 4-grams of `words` that also stand in `others`; 0 for fewer than 4 words."""
    ngrams = list(_ngrams(words))
    found = set(_ngrams(others)) if ngrams else set()
    return sum(ngram in found for ngram in ngrams) / len(ngrams) if ngrams else 0.0


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _ngrams(words: list[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(NGRAM)), strict=False)
