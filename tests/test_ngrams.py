"""What a word is, in scripts with and without spaces."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtranslation.corpus.ngrams import words
from backtranslation.letters import MARKS, UNSPACED

# Blocks of scripts without spaces, but for those of ideographs alone.
BLOCKS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3000, 0x30FF), (0x31F0, 0x31FF), (0xA9E0, 0xA9FF),
          (0xAA60, 0xAA7F), (0xFF66, 0xFF9F))  # fmt: skip
SCRIPTS = st.sampled_from("ab_1 .,\u2019éßж가กำ่んガｶ漢々〇\U00020000क्षि।e\u0301ខ្មែရှ\u200d\ufe0f")


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_english_and_its_neighbours_have_words_as_python_has_them(text: str) -> None:
    assert words(text) == re.findall(r"[^\W]+", text.lower())


@given(st.text(SCRIPTS | st.characters()))
def test_words_in_any_scripts(text: str) -> None:
    """Against a plain definition: a spaced word, or a letter written without spaces, with the marks that follow."""
    plain = rf"(?:(?![{UNSPACED}])\w)(?:(?![{UNSPACED}])\w|[{MARKS}])*|[{UNSPACED}][{MARKS}]*"
    assert words(text) == re.findall(plain, text.lower())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024年の夏、", ["2024", "年", "の", "夏"]),
        ("佐々木・ｶﾞｽ", ["佐", "々", "木", "ｶ", "ﾞ", "ｽ"]),
        ("か\u3099く", ["か\u3099", "く"]),
        ("\U00020000\uf900\u3007", ["\U00020000", "\uf900", "\u3007"]),
        ("USB接口", ["usb", "接", "口"]),
        ("น้ำดื่ม ๒๕๖๗", ["น้", "ำ", "ดื่", "ม", "๒๕๖๗"]),
        ("ນ້ຳ", ["ນ້", "ຳ"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("물을 주세요.", ["물을", "주세요"]),
        ("गर्मियों में।", ["गर्मियों", "में"]),
        ("cafe\u0301 Ünü", ["cafe\u0301", "ünü"]),
    ],
)
def test_words_of_many_languages(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_unspaced_letters_are_all_letters_of_their_blocks() -> None:
    """And the numerals that are written like letters."""
    blocks = _characters(*BLOCKS)
    letters = {character for character in blocks if unicodedata.category(character) in {"Lo", "Lm", "Nl"}}
    assert set(re.findall(rf"(?=\w)[{UNSPACED}]", "".join(blocks))) == letters


def test_marks_are_those_of_unicode() -> None:
    everything = "".join(_characters((0, 0x10FFFF)))
    marks = {character for character in everything if unicodedata.category(character)[0] == "M"}
    assert set(re.findall(f"[{MARKS}]", everything)) == marks


def _characters(*blocks: tuple[int, int]) -> list[str]:
    return [chr(code) for first, last in blocks for code in range(first, last + 1)]
