"""Pairs that show, without labels, whether a scorer tells right from wrong: human-written ones, and what spoils them.

Of each held-out pair one right row is made and up to four wrong ones, each wrong in one way alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from random import Random

import numpy as np
from numpy.typing import NDArray

from backtranslation.corpus.filters import ENDED_LINE
from backtranslation.corpus.ngrams import text_hash, words
from backtranslation.corpus.seed import draw_pairs
from backtranslation.files import Row, row_hash
from backtranslation.jobs.progress import log

COMPARED = 10  # other pairs, drawn at random, of which the one with an instruction of the nearest length is taken
MIN_WORDS = 8  # a shorter response cannot be cut so that it shows
# Why a text was dropped that stands around others; other reasons are faults of passages.
AROUND_TEXTS = ("boilerplate", "navigation", "symbols", "no sentences")
MIN_CHARS, MAX_CHARS = 60, 200  # of the boilerplate on either side
MAX_LINES = 1000  # of the corpus, from which boilerplate is drawn


def make_audit_rows(pairs: Sequence[Row], dropped: Iterable[Row], max_pairs: int, random_seed: int) -> list[Row]:
    """Rows {"id", "instruction", "response", "rejection": None, "kind", "pair"} of at most so many pairs, pair by pair.

    Kinds are right, other_instruction (the response under another pair's instruction of like length),
    similar_instruction (under the most similar one by TF-IDF cosine), cut_in_half, and boilerplate (the response
    between texts that this corpus's pages have around theirs). A pair has no row of a kind that cannot be made of it;
    the log says how many have one.
    """
    lines = boilerplate_lines(dropped)
    similar = similar_instructions(pairs)
    makers: dict[str, Callable[[Row, Random], tuple[str, str] | None]] = {
        "right": lambda pair, _: (pair["instruction"], pair["response"]),
        "other_instruction": lambda pair, random: _under(instruction_of_like_length(pair, pairs, random), pair),
        "similar_instruction": lambda pair, _: _under(similar(pair), pair),
        "cut_in_half": lambda pair, _: _with(pair, cut_in_half(pair["response"])),
        "boilerplate": lambda pair, random: _with(pair, between_boilerplate(pair["response"], lines, random)),
    }
    audited = draw_pairs(pairs, min(max_pairs, len(pairs)), random_seed)
    rows = [
        _audit_row(pair, kind, *made)
        for pair in audited
        for kind, make in makers.items()
        if (made := make(pair, Random(row_hash(random_seed, pair["id"], kind))))
    ]
    counts = Counter(row["kind"] for row in rows)
    for kind in makers:
        log.info("%s: %d of %d held-out pairs have such a row", kind, counts[kind], len(audited))
    return rows


def _audit_row(pair: Row, kind: str, instruction: str, response: str) -> Row:
    return {
        "id": f"{pair['id']}/{kind}",
        "instruction": instruction,
        "response": response,
        "rejection": None,
        "kind": kind,
        "pair": pair["id"],
    }


def _under(instruction: str | None, pair: Row) -> tuple[str, str] | None:
    return None if instruction is None else (instruction, pair["response"])


def _with(pair: Row, response: str | None) -> tuple[str, str] | None:
    return None if response is None else (pair["instruction"], response)


def is_other(pair: Row, other: Row) -> bool:
    """Whether two pairs have other instructions and other responses, whatever their case, spaces and punctuation."""
    return all(text_hash(pair[part]) != text_hash(other[part]) for part in ("instruction", "response"))


def instruction_of_like_length(pair: Row, pairs: Sequence[Row], random: Random) -> str | None:
    """Of a few other pairs' instructions, drawn at random, the one whose length is nearest; None if there is none."""
    drawn = (pairs[place] for place in random.sample(range(len(pairs)), len(pairs)))
    others = [other["instruction"] for other in islice((other for other in drawn if is_other(pair, other)), COMPARED)]
    return min(others, key=lambda other: abs(len(other) - len(pair["instruction"])), default=None)


def similar_instructions(pairs: Sequence[Row]) -> Callable[[Row], str | None]:
    """A function from a pair to the other pairs' instruction most similar to its own, None if none is at all.

    Similarity is the cosine of TF-IDF vectors of words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(words(pair["instruction"]) for pair in pairs):
        return lambda pair: None
    vectors = TfidfVectorizer(analyzer=words).fit_transform([pair["instruction"] for pair in pairs])
    places = {pair["id"]: place for place, pair in enumerate(pairs)}

    def find_similar(pair: Row) -> str | None:
        similarities: NDArray[np.float64] = (vectors @ vectors[places[pair["id"]]].T).toarray()[:, 0]
        nearest_first = (place for place in np.argsort(-similarities, kind="stable") if similarities[place] > 0)
        return next((pairs[place]["instruction"] for place in nearest_first if is_other(pair, pairs[place])), None)

    return find_similar


def cut_in_half(response: str) -> str | None:
    """The first half, to the end of a word, and not of a sentence where that can be; None if it is too short."""
    if len(words(response)) < MIN_WORDS:
        return None
    half = response[: len(response) // 2]
    ends = [place for place in range(len(half), 0, -1) if response[place].isspace() and not half[place - 1].isspace()]
    ends = ends or [len(half)]  # a script without spaces
    cuts = (response[:end] for end in ends)
    return next((cut for cut in cuts if not ENDED_LINE.search(cut)), response[: ends[0]])


def boilerplate_lines(dropped: Iterable[Row]) -> list[str]:
    """Distinct lines that stand around the texts of pages, from dropped texts {"text", "reason"}, drawn by hash."""
    return nsmallest(MAX_LINES, set(_lines(dropped)), key=row_hash)


def _lines(dropped: Iterable[Row]) -> Iterator[str]:
    for row in dropped:
        if row["reason"] in AROUND_TEXTS:
            yield from filter(None, (" ".join(line.split()) for line in row["text"].splitlines()))


def between_boilerplate(response: str, lines: Sequence[str], random: Random) -> str | None:
    """The response with some of the lines, drawn at random, before and others after it; None if there are no two."""
    drawn = iter(random.sample(lines, len(lines)))
    before, after = _take_lines(drawn), _take_lines(drawn)
    return f"{before}\n\n{response}\n\n{after}" if before and after else None


def _take_lines(lines: Iterator[str]) -> str:
    """Lines until there are enough characters; what is too long is cut after a word."""
    taken = ""
    while len(taken) < MIN_CHARS and (line := next(lines, None)):
        taken = f"{taken}\n{line}".lstrip()
    return taken if len(taken) <= MAX_CHARS else taken[:MAX_CHARS].rpartition(" ")[0] or taken[:MAX_CHARS]
