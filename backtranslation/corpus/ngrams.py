"""Words and hashed word n-grams: the common measure of likeness between texts."""

import re
from functools import lru_cache

import numpy as np
import xxhash

from backtranslation.letters import MARKS, UNSPACED

# The common case, only to be quick: Latin letters, with nothing behind them that might belong to the word.
LATIN_WORD = r"[a-z0-9_\xdf-\xf6\xf8-\xff]++(?![\xaa-\u1fff\u2070-\U0010ffff])"
SPACED_WORD = rf"[^\W{UNSPACED}]++(?:[{MARKS}]++[^\W{UNSPACED}]*+)*+"
UNSPACED_LETTER = rf"[{UNSPACED}][{MARKS}]*+"
WORD = re.compile(f"{LATIN_WORD}|{SPACED_WORD}|{UNSPACED_LETTER}")
MULTIPLIER = 0x9E3779B97F4A7C15  # odd: multiplication loses nothing modulo 2**64


def words(text: str) -> list[str]:
    """Lower-case words without punctuation; a letter that is written without spaces is one, with its marks."""
    return WORD.findall(text.lower())


@lru_cache(maxsize=200_000)
def _word_hash(word: str) -> int:
    return xxhash.xxh3_64_intdigest(word.encode())


def ngram_hashes(tokens: list[str], n: int) -> np.ndarray:
    """Distinct 64-bit hashes (uint64, sorted) of the word n-grams; of the whole text, where it is shorter than n."""
    n = min(n, len(tokens))
    if n == 0:
        return np.empty(0, np.uint64)
    hashes = np.fromiter(map(_word_hash, tokens), np.uint64, len(tokens))
    count = len(tokens) - n + 1
    combined = np.zeros(count, np.uint64)
    for offset in range(n):
        combined = combined * np.uint64(MULTIPLIER) + hashes[offset : offset + count]
    return np.unique(combined)


def text_hash(text: str) -> int:
    """64-bit hash that ignores case, white space and punctuation."""
    return xxhash.xxh3_64_intdigest(" ".join(words(text)).encode())
