"""Where continuations of a text part, in token ids."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.tiny_models import CONFIGS
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from backtranslation.models.chat import encode_text
from backtranslation.models.continuations import encode_continued
from backtranslation.shipped import PACKAGE

CHOICES = (" 1", " 2", " 3")
MINIATURE = AutoTokenizer.from_pretrained(PACKAGE / "miniature/base")


def expected(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[list[int]]]:
    return encode_text(tokenizer, text), [encode_text(tokenizer, text + choice) for choice in CHOICES]


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("end", ["", " ", "Score:", "\n\nScore:", "Score: ", "12", "\u00e9\u4e2d"])
def test_a_long_text_is_encoded_as_it_is_alone(
    architecture: str, end: str, model_folder: Callable[[str], Path]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder(architecture))
    text = "the old red lamp needs light and oil\n" * 20 + end
    assert encode_continued(tokenizer, text, CHOICES) == expected(tokenizer, text)


@given(st.text(st.sampled_from("ab1 \n.,:\u00e9\u4e2d"), max_size=200))
def test_any_text_is_encoded_as_it_is_alone(text: str) -> None:
    assert encode_continued(MINIATURE, text, CHOICES) == expected(MINIATURE, text)


def test_a_long_text_is_encoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from backtranslation.models import continuations

    lengths: list[int] = []

    def note_length(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
        lengths.append(len(text))
        return encode_text(tokenizer, text)

    monkeypatch.setattr(continuations, "encode_text", note_length)
    text = "how often a lamp is cleaned depends on its oil. " * 20 + "Score:"
    encode_continued(MINIATURE, text, CHOICES)
    assert sum(length >= len(text) for length in lengths) == 2
