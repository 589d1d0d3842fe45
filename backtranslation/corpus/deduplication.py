"""Exact and near duplicates over a stream of texts: the first of several stays.

Near duplicates are found by MinHash over word n-grams and locality-sensitive hashing; candidates are confirmed by
comparing whole signatures. The verdict on a text depends on the texts before it, never on those after it or on how the
stream is cut into batches. About 400 bytes of memory per kept text.
"""

from collections.abc import Sequence

import numpy as np

from backtranslation.corpus.ngrams import ngram_hashes, text_hash, words
from backtranslation.settings.corpus import Deduplication

MAX_MISSED = 0.01  # probability that a pair right at the threshold shares no band
SIGNATURE_SEED = 1


class DuplicateFinder:
    """Remembers the texts that were kept."""

    def __init__(self, settings: Deduplication) -> None:
        self.settings = settings
        self.rows_per_band = rows_per_band(settings.permutations, settings.threshold)
        self.exact: set[int] = set()
        self.index = _BandIndex()
        # The low byte of each MinHash is enough to compare signatures (Li and König, b-bit minwise hashing, 2010).
        self.signatures = np.empty((1024, settings.permutations), np.uint8)
        self.kept = 0

    def judge(self, texts: Sequence[str]) -> list[str | None]:
        """For each text in turn "duplicate", "near duplicate" or None, which means that it is kept."""
        tokens = [words(text) for text in texts]
        verdicts: list[str | None] = []
        for text in texts:
            key = text_hash(text)
            verdicts.append("duplicate" if key in self.exact else None)
            self.exact.add(key)
        if self.settings.near:
            self._judge_near(tokens, verdicts)
        return verdicts

    def _judge_near(self, tokens: list[list[str]], verdicts: list[str | None]) -> None:
        """Mark the near duplicates among those that are no exact ones, and remember the others."""
        fresh = [number for number, verdict in enumerate(verdicts) if verdict is None]
        if not fresh:
            return
        grams = [ngram_hashes(tokens[number], self.settings.ngram) for number in fresh]
        digests = minhash_digests(grams, self.settings.permutations)
        bands = band_keys(digests, self.rows_per_band)
        earlier = self.index.find(bands)
        in_batch: dict[int, list[int]] = {}
        for row, number in enumerate(fresh):
            signature, keys = digests[row].astype(np.uint8), bands[row].tolist()
            candidates = earlier.get(row, set()).union(*(in_batch.get(key, ()) for key in keys))
            if self._resembles_any(signature, candidates):
                verdicts[number] = "near duplicate"
                continue
            for key in keys:
                in_batch.setdefault(key, []).append(self.kept)
            self._remember(signature)
        self.index.add(in_batch)

    def _resembles_any(self, signature: np.ndarray, candidates: set[int]) -> bool:
        if not candidates:
            return False
        likeness = (self.signatures[sorted(candidates)] == signature).mean(axis=1)
        return bool((likeness >= self.settings.threshold).any())

    def _remember(self, signature: np.ndarray) -> None:
        if self.kept == len(self.signatures):
            self.signatures = np.concatenate([self.signatures, np.empty_like(self.signatures)])
        self.signatures[self.kept] = signature
        self.kept += 1


class _BandIndex:
    """Which texts have which band, as sorted arrays of (32-bit key, 32-bit text number) packed into 64 bits."""

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def find(self, bands: np.ndarray) -> dict[int, set[int]]:
        """Rows of `bands` (texts, bands; uint32) that share a key with texts added before -> numbers of those texts."""
        first = bands.astype(np.uint64) << np.uint64(32)
        last = first | np.uint64(0xFFFFFFFF)
        found: dict[int, set[int]] = {}
        for run in self.runs:
            low, high = np.searchsorted(run, first, "left"), np.searchsorted(run, last, "right")
            for row, band in np.argwhere(high > low).tolist():
                texts = run[low[row, band] : high[row, band]] & np.uint64(0xFFFFFFFF)
                found.setdefault(row, set()).update(texts.tolist())
        return found

    def add(self, texts_by_key: dict[int, list[int]]) -> None:
        """Add texts. Runs of like length are merged, so that few remain."""
        packed = [key << 32 | text for key, texts in texts_by_key.items() for text in texts]
        self.runs.append(np.sort(np.array(packed, np.uint64)))
        while len(self.runs) > 1 and 2 * len(self.runs[-1]) >= len(self.runs[-2]):
            self.runs[-2:] = [np.sort(np.concatenate(self.runs[-2:]), kind="stable")]


def rows_per_band(permutations: int, threshold: float) -> int:
    """The longest bands with which hardly any pair at the threshold is missed."""
    for rows in range(permutations, 1, -1):
        if (1 - threshold**rows) ** (permutations // rows) <= MAX_MISSED:
            return rows
    return 1


def minhash_digests(grams: list[np.ndarray], permutations: int) -> np.ndarray:
    """MinHash signatures (texts, permutations; uint32) of sets of hashes."""
    from rensa import RMinHash

    offsets = np.cumsum([0, *map(len, grams)]).tolist()
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(grams), offsets, permutations, SIGNATURE_SEED)
    return np.array(matrix.to_rows(), np.uint32)


def band_keys(digests: np.ndarray, rows: int) -> np.ndarray:
    """32-bit hashes (texts, bands; uint32) of each band of a signature."""
    count = digests.shape[1] // rows
    bands = digests[:, : count * rows].reshape(len(digests), count, rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, count + 1, dtype=np.uint64), bands.shape[:2]).copy()
    for column in range(rows):
        keys = (keys ^ bands[:, :, column]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return (keys >> np.uint64(32)).astype(np.uint32)
