"""Self-augmentation: which of the instructions that the backward model wrote can be used (paper, section 2.2).

Knows nothing of how text is generated.
"""

from collections.abc import Iterator

from backtranslation.corpus.decontamination import ContaminationFinder
from backtranslation.corpus.ngrams import words
from backtranslation.files import Row
from backtranslation.settings.augmentation import InstructionFilters

NGRAM = 4


def build_candidate(
    segment: Row,
    generated: Row,
    backward_template: str,
    filters: InstructionFilters,
    contamination: ContaminationFinder | None = None,
) -> Row:
    """Join a segment with the instruction written for it: {"id", "instruction", "response", "rejection"}.

    Where the backward model could not be asked, the instruction is empty and the reason is that. An instruction that
    can be used, but overlaps with a held-out text (`contamination`), is rejected too.
    """
    instruction = generated["raw"].strip()
    reason = generated["failure"] or rejection_reason(
        instruction, generated["finished"], segment["text"], backward_template, filters
    )
    if reason is None and contamination and contamination.is_contaminated(instruction):
        reason = "overlaps_held_out"
    return {"id": segment["id"], "instruction": instruction, "response": segment["text"], "rejection": reason}


def rejection_reason(
    instruction: str, finished: bool, segment_text: str, backward_template: str, filters: InstructionFilters
) -> str | None:
    """Why an instruction cannot be used, or None if it can. The first reason that applies is the one counted."""
    tokens = words(instruction)
    if not tokens:
        return "empty"
    if not finished:
        return "unfinished"
    if len(instruction) < filters.min_chars:
        return "too_short"
    if len(instruction) > filters.max_chars:
        return "too_long"
    if shared_ngrams(tokens, words(backward_template)) > filters.max_prompt_share:
        return "echoes_prompt"
    if shared_ngrams(tokens, words(segment_text)) > filters.max_copied_share:
        return "copies_segment"
    plain = f" {' '.join(tokens)} "
    if any(f" {' '.join(words(phrase))} " in plain for phrase in filters.unseen_text):
        return "refers_to_unseen_text"
    return None


def shared_ngrams(tokens: list[str], others: list[str]) -> float:
    """Share of the word 4-grams of one text that also stand in the other; 0 for fewer than 4 words."""
    ngrams = list(_ngrams(tokens))
    found = set(_ngrams(others)) if ngrams else set()
    return sum(ngram in found for ngram in ngrams) / len(ngrams) if ngrams else 0.0


def _ngrams(tokens: list[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(NGRAM)), strict=False)
