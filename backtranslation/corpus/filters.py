"""Why a passage is not wanted: its header, symbols, broken lines, repetition, language (paper, appendix E).

Judges one passage at a time; duplicates among many are the work of `deduplication`.
"""

import re
from bisect import bisect_left
from functools import lru_cache
from typing import Any

from backtranslation.corpus.ngrams import words
from backtranslation.corpus.segments import Passage
from backtranslation.letters import MARKS
from backtranslation.settings.corpus import SegmentFilters
from backtranslation.settings.slices import SettingsError

FENCE = re.compile(r"[ >]*`{3,4}")
INLINE_CODE = re.compile(r"`[^`\n]*+`")
LINE_MARKUP = re.compile(r"^[ \t]*(?:>[ \t]*|[-*+][ \t]+|\d+[.)][ \t]+|#{1,6}[ \t]+|\|.*$)+", re.MULTILINE)
WIDE_STOPS = "\u3002\uff01\uff1f"  # Chinese and Japanese, where no space follows a sentence
STOPS = f".!?{WIDE_STOPS}"
SENTENCE_END = re.compile(rf"(?<=[{STOPS}])\s+|\n|(?<=[{WIDE_STOPS}])")
ENDED_LINE = re.compile(rf"[{STOPS}:;][\"'\u201d\u2019)]*$")
NEITHER_LETTER_NOR_SPACE = re.compile(rf"[^\w\s{MARKS}]|[\d_]")
LANGUAGE_SAMPLE = 200  # characters, from the beginning, middle and end: translations may stop or alternate


def reason_to_drop(passage: Passage, filters: SegmentFilters) -> str | None:
    """The first filter that the passage fails, cheap ones first, or None."""
    reason = header_fault(passage.heading_path, filters)
    if reason:
        return reason
    if passage.text.endswith(":"):  # what it announces was left out
        return "unfinished"
    prose = prose_of(passage.text)
    if symbol_share(prose) > filters.max_symbol_share:
        return "symbols"
    if sentence_share(prose) < filters.min_sentence_share:
        return "no sentences"
    if repeats_sentences(prose, filters.repeated_sentence_ngram, filters.max_sentence_similarity):
        return "repeated sentences"
    if filters.languages and not speaks(prose, filters.languages, filters.min_language_probability):
        return "language"
    return None


def header_fault(heading_path: tuple[str, ...], filters: SegmentFilters) -> str | None:
    """What is wrong with a passage's own header."""
    if not heading_path:
        return "no header" if filters.require_header else None
    letters = [letter for letter in heading_path[-1] if letter.isalpha()]
    if not letters:
        return "empty header"
    if sum(map(str.isupper, letters)) > filters.max_header_capitals * len(letters):
        return "capitals in header"
    return None


def navigation_pattern(phrases: list[str]) -> re.Pattern[str]:
    """Matches headers, as `words` joined with spaces, that are navigation.

    A phrase of several words may stand anywhere in the header; a single word only in a header of at most two words: so
    "Forum" and "Search results" are navigation, "How to search for files" is not.
    """
    cleaned = [" ".join(words(phrase)) for phrase in phrases]
    anywhere = [rf"(?<!\S){re.escape(phrase)}s?(?!\S)" for phrase in cleaned if " " in phrase]
    alone = [rf"^(?:\S+ )?{re.escape(phrase)}s?(?: \S+)?$" for phrase in cleaned if " " not in phrase]
    return re.compile("|".join([*anywhere, *alone]) or r"(?!)")


def prose_of(text: str) -> str:
    """The text without code, tables and the markup at the start of lines."""
    return LINE_MARKUP.sub("", INLINE_CODE.sub("", _without_listings(text)))


def _without_listings(text: str) -> str:
    """The text without code blocks, each of which ends with the line that it begins with; in one pass."""
    lines = text.split("\n")
    fences: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        if FENCE.fullmatch(line):
            fences.setdefault(line, []).append(number)
    kept = []
    number = 0
    while number < len(lines):
        ends = fences.get(lines[number], [])
        closing = bisect_left(ends, number + 2)
        if closing < len(ends):
            kept.append("")
            number = ends[closing]
        else:
            kept.append(lines[number])
        number += 1
    return "\n".join(kept)


def symbol_share(prose: str) -> float:
    """Share of characters that are neither letters nor white space; 1 where there is no prose."""
    return len(NEITHER_LETTER_NOR_SPACE.findall(prose)) / len(prose) if prose.strip() else 1.0


def sentence_share(prose: str) -> float:
    """Share of characters in lines that end like a sentence."""
    lines = [line.strip() for line in prose.splitlines()]
    ended = sum(len(line) for line in lines if ENDED_LINE.search(line))
    return ended / max(sum(map(len, lines)), 1)


def repeats_sentences(prose: str, n: int, max_similarity: float) -> bool:
    """Whether two sentences of 2 n words or more have word n-grams in common beyond `max_similarity` (Jaccard)."""
    sentences = [words(sentence) for sentence in SENTENCE_END.split(prose)]
    grams = [set(zip(*(tokens[k:] for k in range(n)), strict=False)) for tokens in sentences if len(tokens) >= 2 * n]
    grams.sort(key=len)
    for index, short in enumerate(grams):
        for long in grams[index + 1 :]:
            if len(short) < max_similarity * len(long):  # too long to be alike, and so are all that follow
                break
            if len(short & long) > max_similarity * len(short | long):
                return True
    return False


def speaks(prose: str, languages: list[str], min_probability: float) -> bool:
    """Whether the most probable language of every sample is one of these, and probable enough."""
    prose = " ".join(prose.split())
    last = max(len(prose) - LANGUAGE_SAMPLE, 0)
    samples = (prose[start : start + LANGUAGE_SAMPLE] for start in sorted({0, last // 2, last}))
    verdicts = map(_identifier().classify, samples)
    return all(language in languages and probability >= min_probability for language, probability in verdicts)


def check_languages(languages: list[str]) -> None:
    """Raise SettingsError for codes that the language identifier does not know."""
    if unknown := sorted(set(languages) - set(_identifier().labels)):
        raise SettingsError(f"corpus.filters.languages: no such ISO 639-1 code: {', '.join(unknown)}")


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
