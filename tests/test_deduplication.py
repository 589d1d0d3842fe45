"""Duplicates and near duplicates, the order they are judged in, and segments that give held-out texts away."""

import random

import pytest
from helpers.languages import LANGUAGES, Language

from backtranslation.corpus.decontamination import ContaminationFinder
from backtranslation.corpus.deduplication import DuplicateFinder, rows_per_band
from backtranslation.corpus.ngrams import ngram_hashes, text_hash, words
from backtranslation.settings.corpus import Decontamination, Deduplication


def random_text(seed: int, length: int = 200) -> list[str]:
    return random.Random(seed).choices([f"word{number}" for number in range(3000)], k=length)


def changed(text: list[str], replaced: int, seed: int = 0) -> list[str]:
    """The text with so many words replaced, spread evenly."""
    result = list(text)
    for number in range(replaced):
        result[(2 * number + 1) * len(text) // (2 * replaced)] = f"other{seed}x{number}"
    return result


def test_first_of_several_stays() -> None:
    first, other = random_text(1), random_text(2)
    texts = [first, changed(first, 2), other, first, other, changed(other, 1)]
    verdicts = DuplicateFinder(Deduplication()).judge([" ".join(text) for text in texts])
    assert verdicts == [None, "near duplicate", None, "duplicate", "duplicate", "near duplicate"]


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_duplicates_in_scripts_without_spaces(language: Language) -> None:
    text = language.text
    others = [other.text for other in LANGUAGES.values() if other is not language]
    verdicts = DuplicateFinder(Deduplication()).judge([text, *others, text, text.replace(text[9], "", 1), text[:60]])
    assert verdicts == [None, None, None, "duplicate", "near duplicate", None]


def test_case_spaces_and_punctuation_make_no_difference() -> None:
    verdicts = DuplicateFinder(Deduplication(near=False)).judge(
        ["One two, three!", "one  TWO\n\nthree", "one two four"]
    )
    assert verdicts == [None, "duplicate", None]


def test_near_duplicates_stay_when_only_exact_ones_go() -> None:
    text = random_text(1)
    verdicts = DuplicateFinder(Deduplication(near=False)).judge([" ".join(text), " ".join(changed(text, 1))])
    assert verdicts == [None, None]


def test_what_resembles_only_a_dropped_text_is_kept() -> None:
    start = random_text(1)
    chain = [start, changed(start, 4, seed=1)]  # 20 of 196 5-grams differ: similarity 0.81
    chain.append(changed(chain[1], 5, seed=2))
    verdicts = DuplicateFinder(Deduplication(threshold=0.72)).judge([" ".join(text) for text in chain])
    assert verdicts == [None, "near duplicate", None]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_verdicts_do_not_depend_on_batches_or_on_what_follows(batch: int) -> None:
    numbers = random.Random(0)
    texts = [" ".join(changed(random_text(numbers.randrange(60)), numbers.randrange(9), seed)) for seed in range(300)]
    whole = DuplicateFinder(Deduplication()).judge(texts)
    assert {None, "near duplicate"} <= set(whole)
    finder = DuplicateFinder(Deduplication())
    verdicts = [
        verdict
        for start in range(0, 200, batch)
        for verdict in finder.judge(texts[start : start + batch][: 200 - start])
    ]
    assert verdicts == whole[:200]


def test_estimate_follows_true_similarity() -> None:
    """Pairs well above the threshold are found, those well below are not."""
    finder = DuplicateFinder(Deduplication(threshold=0.8))
    found = {2: 0, 12: 0}
    for seed in range(100):
        text = random_text(seed)
        for replaced in found:
            pair = [" ".join(text), " ".join(changed(text, replaced))]
            found[replaced] += DuplicateFinder(finder.settings).judge(pair)[1] == "near duplicate"
    assert found[2] >= 98  # similarity 0.90
    assert found[12] == 0  # similarity 0.53


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_hardly_miss_a_pair_at_the_threshold(threshold: float) -> None:
    rows = rows_per_band(128, threshold)
    assert (1 - threshold**rows) ** (128 // rows) <= 0.01


def test_short_and_empty_texts() -> None:
    verdicts = DuplicateFinder(Deduplication()).judge(["", "one", "...", "two words", "one"])
    assert verdicts == [None, None, "duplicate", None, "duplicate"]


def test_hashes_are_the_same_everywhere() -> None:
    assert words("It's 日本 ok") == ["it", "s", "日", "本", "ok"]
    assert text_hash("One, two") == text_hash("one two") == 0xE711D9AE071DD050
    assert len(ngram_hashes(words("a b c d"), 2)) == 3
    assert len(ngram_hashes(words("a b a b"), 2)) == 2
    assert len(ngram_hashes(words("a b"), 5)) == 1


HELD_OUT = [
    "Explain in a few words how a tree gets water from its roots up to the highest leaves in summer",
    "How do trees drink water?",
    "Write a poem",
]


@pytest.mark.parametrize(
    ("text", "contaminated"),
    [
        ("Some words before. " + HELD_OUT[0] + ", and some after.", True),
        ("A page asks: HOW DO TREES DRINK WATER? It says.", True),
        ("Explain in a few words how a tree gets water, and then something else entirely about stones", False),
        ("Write a poem about how trees drink", False),
        ("", False),
    ],
)
def test_contamination(text: str, contaminated: bool) -> None:
    assert ContaminationFinder(HELD_OUT, Decontamination()).is_contaminated(text) is contaminated


def test_overlap_is_a_share_of_the_held_out_text() -> None:
    half = " ".join(HELD_OUT[0].split()[:15])  # 8 of 12 8-grams
    for max_overlap, contaminated in ((0.6, True), (0.7, False)):
        finder = ContaminationFinder(HELD_OUT, Decontamination(max_overlap=max_overlap))
        assert finder.is_contaminated("x " + half + " y") is contaminated
