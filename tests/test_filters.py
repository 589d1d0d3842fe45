"""Which passages are dropped, and for which reason."""

import re

import pytest
from helpers.languages import LANGUAGES, Language
from hypothesis import given, settings
from hypothesis import strategies as st

from backtranslation.corpus.filters import (
    INLINE_CODE,
    _without_listings,
    check_languages,
    navigation_pattern,
    prose_of,
    reason_to_drop,
    repeats_sentences,
    sentence_share,
    symbol_share,
)
from backtranslation.corpus.ngrams import words
from backtranslation.corpus.segments import Passage
from backtranslation.settings.corpus import SegmentFilters
from backtranslation.settings.slices import SettingsError

GOOD = (
    "Water the young plants early in the morning, before the sun dries out the soil.\n\n"
    "- Use a can with a fine rose, so that the seeds are not washed away.\n"
    "- Do it again in the evening when the week has been hot.\n\n"
    "```\nwater --litres 3 | tee {log} # [x] && (y)\n```\n\n"
    "Later in the year they need much less, because their roots reach down to where the ground stays moist."
)
GERMAN = (
    "Junge Pflanzen gießt man am besten früh am Morgen, bevor die Sonne den Boden austrocknet. Später im Jahr "
    "brauchen sie viel weniger Wasser, weil ihre Wurzeln dorthin reichen, wo die Erde feucht bleibt. "
)
REPEATED = (
    "You can find the best prices for garden tools in our shop today. "
    "You can find the best prices for garden tools in our shop today. "
)

REASONS: dict[str, tuple[str, str, dict[str, object], str | None]] = {
    "good": ("How to water plants", GOOD, {}, None),
    "empty header": ("", GOOD, {}, "empty header"),
    "header of signs": ("* * *", GOOD, {}, "empty header"),
    "capitals": ("HOW TO WATER plants", GOOD, {}, "capitals in header"),
    "capitals allowed": ("HOW TO WATER plants", GOOD, {"max_header_capitals": 1.0}, None),
    "unfinished": ("Watering", GOOD + "\n\nSee these pages:", {}, "unfinished"),
    "symbols": ("Prices", "$ 3.99 | $ 4.99 | $ 17.99 -- (10 %) *** !!! \n" * 20, {}, "symbols"),
    "code only": ("Listing", "```\nx = 1\n```", {}, "symbols"),
    "no sentences": ("Parts", "Rose\nHandle\nSpout\nLid\n" * 10, {"min_sentence_share": 0.3}, "no sentences"),
    "repeated sentences": ("Shop", GOOD + "\n\n" + REPEATED, {}, "repeated sentences"),
    "repetition allowed": ("Shop", GOOD + "\n\n" + REPEATED, {"max_sentence_similarity": 1.0}, None),
    "German": ("Gießen", GERMAN, {}, "language"),
    "German wanted": ("Gießen", GERMAN, {"languages": ["de"]}, None),
    "any language": ("Gießen", GERMAN, {"languages": []}, None),
    "half German": ("Watering", GOOD + "\n\n" + GERMAN, {}, "language"),
    "half German, the other way round": ("Watering", GERMAN + GOOD, {}, "language"),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons(name: str) -> None:
    header, text, changes, reason = REASONS[name]
    assert reason_to_drop(Passage(text, ("Garden", header)), SegmentFilters.model_validate(changes)) == reason


def test_passage_without_header_is_kept_unless_headers_are_required() -> None:
    assert reason_to_drop(Passage(GOOD, ()), SegmentFilters()) is None
    assert reason_to_drop(Passage(GOOD, ()), SegmentFilters(require_header=True)) == "no header"


@pytest.mark.parametrize(
    ("header", "is_navigation"),
    [
        ("Forum", True),
        ("FORUMS", True),
        ("Free Newsletter", True),
        ("Search results", True),
        ("Quick Links", True),
        ("Related posts you may like", True),
        ("3 Comments", True),
        ("How to search for files", False),
        ("Research", False),
        ("Writing good comments in code", False),
        ("Cookies with oats and honey", False),
        ("हिन्दी टिप्पणी", True),
        ("अच्छी टिप्पणी कैसे लिखें", False),
        ("", False),
    ],
)
def test_navigation_headers(header: str, is_navigation: bool) -> None:
    pattern = navigation_pattern([*SegmentFilters().navigation_headers, "टिप्पणी"])
    assert bool(pattern.search(" ".join(words(header)))) is is_navigation


def test_no_navigation_phrases_match_nothing() -> None:
    assert not navigation_pattern([]).search("forum")


def test_prose_leaves_out_code_tables_and_marks() -> None:
    text = "## Head\n\n- one `x` two\n  ```\n  code\n  ```\n\n| a | b |\n| --- | --- |\n\n> quoted\n\n3. three"
    assert prose_of(text).split() == ["Head", "one", "two", "quoted", "three"]


def test_similarity_of_sentences_is_jaccard_of_ngrams() -> None:
    text = "a b c d e f g h. a b c d e f g x."  # five of seven trigrams in common
    assert repeats_sentences(text, 3, 0.71)
    assert not repeats_sentences(text, 3, 0.72)
    assert not repeats_sentences("Click OK. " * 20, 3, 0.5)  # too short to say anything


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_sentences_are_compared_in_scripts_without_spaces(language: Language) -> None:
    """Chinese and Japanese have signs at the end of a sentence, and Thai has lines."""
    passage = Passage(language.text, ("Ferns",))
    filters = SegmentFilters(languages=[])
    assert reason_to_drop(passage, filters) is None
    again = Passage(language.text + language.text, ("Ferns",))
    assert reason_to_drop(again, filters) == "repeated sentences"


def test_marks_are_no_symbols() -> None:
    assert symbol_share("गर्मियों में") == 0


def test_share_of_lines_that_end_like_sentences_counts_characters() -> None:
    assert sentence_share("1234567.\n12") == pytest.approx(0.8)
    assert sentence_share("") == 0


def test_unknown_language_code_is_named() -> None:
    check_languages(["en", "de"])
    with pytest.raises(SettingsError, match="xq"):
        check_languages(["en", "xq"])


CODE = re.compile(r"^([ >]*)(`{3,4})\n.*?\n\1\2$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


@given(st.lists(st.sampled_from(["```\n", "````\n", "> ```\n", "a\n", "`b` c\n", "\n", "`"])))
@settings(max_examples=500, deadline=None)
def test_code_is_found_as_by_the_plain_pattern(parts: list[str]) -> None:
    """The pattern says it in one line, but takes for ever where many listings begin and none ends."""
    text = "".join(parts)
    assert INLINE_CODE.sub("", _without_listings(text)) == CODE.sub("", text)
