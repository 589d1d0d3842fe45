"""Finds segments that give an evaluation text away: those that hold a large share of its word n-grams."""

from collections import Counter
from collections.abc import Iterable

from backtranslation.corpus.ngrams import ngram_hashes, words
from backtranslation.settings.corpus import Decontamination

MIN_WORDS = 4  # shorter texts ("Write a poem") say nothing about where they come from


class ContaminationFinder:
    """Holds the n-grams of the evaluation texts; a text of fewer than n words counts as one n-gram."""

    def __init__(self, texts: Iterable[str], settings: Decontamination) -> None:
        self.max_overlap = settings.max_overlap
        self.sizes: list[int] = []
        self.holders: dict[int, dict[int, list[int]]] = {}  # n -> n-gram -> numbers of the texts that hold it
        for number, tokens in enumerate(sorted({tuple(words(text)) for text in texts})):
            n = min(settings.ngram, len(tokens))
            grams = ngram_hashes(list(tokens), n).tolist() if n >= MIN_WORDS else []
            self.sizes.append(len(grams))
            for gram in grams:
                self.holders.setdefault(n, {}).setdefault(gram, []).append(number)

    def is_contaminated(self, text: str) -> bool:
        """Whether the text holds more than the allowed share of an evaluation text's n-grams."""
        tokens = words(text)
        found: Counter[int] = Counter()
        for n, holders in self.holders.items():
            if len(tokens) >= n:
                for gram in holders.keys() & set(ngram_hashes(tokens, n).tolist()):
                    found.update(holders[gram])
        return any(count > self.max_overlap * self.sizes[number] for number, count in found.items())
