"""Which generated instructions are dropped, and for which reason."""

import pytest
from helpers.languages import LANGUAGES, Language

from backtranslation.corpus.decontamination import ContaminationFinder
from backtranslation.method.augmentation import build_candidate, rejection_reason, shared_ngrams
from backtranslation.settings.augmentation import InstructionFilters
from backtranslation.settings.corpus import Decontamination

SEGMENT = "Water the fern twice a week in summer and keep its soil moist, but never let it stand in water."
TEMPLATE = "Here is an answer. Write the question or instruction that it answers best.\n\n{{ response }}"


@pytest.mark.parametrize(
    ("instruction", "finished", "reason"),
    [
        ("How do I look after a fern?", True, None),
        ("Describe the care of ferns in summer, and warn of mistakes.", True, None),
        ("", True, "empty"),
        ('"--- !!"', True, "empty"),
        ("How do I look after a", False, "unfinished"),
        ("Ferns?", True, "too_short"),
        ("Why " * 400, True, "too_long"),
        ("Write the question or instruction that it answers best", True, "echoes_prompt"),
        ("Water the fern twice a week in summer and keep its soil moist", True, "copies_segment"),
        ("What does this article say about ferns?", True, "refers_to_unseen_text"),
        ("According to the author, how often are ferns watered?", True, "refers_to_unseen_text"),
        ("What does the THIS  ARTICLE, say?", True, "refers_to_unseen_text"),
        ("How are genuine articles told from fakes?", True, None),
    ],
)
def test_rejections(instruction: str, finished: bool, reason: str | None) -> None:
    assert rejection_reason(instruction, finished, SEGMENT, TEMPLATE, InstructionFilters()) == reason


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=LANGUAGES)
def test_rejections_in_scripts_without_spaces(language: Language) -> None:
    filters = InstructionFilters(unseen_text=[language.unseen])
    for instruction, reason in [
        (language.good, None),
        (language.copied, "copies_segment"),
        (language.echoed, "echoes_prompt"),
        (language.referring, "refers_to_unseen_text"),
    ]:
        assert rejection_reason(instruction, True, language.text, language.template, filters) == reason


def test_shared_ngrams() -> None:
    words = ["a", "b", "c", "d", "e"]
    assert shared_ngrams(words, ["x", "a", "b", "c", "d", "y"]) == 0.5
    assert shared_ngrams(words[:3], words) == 0.0


def test_candidate_keeps_the_segment_verbatim() -> None:
    segment = {"id": "s1", "text": SEGMENT, "url": "https://example.org"}
    generated = {"id": "s1", "raw": " How do I look after a fern?\n", "tokens": 9, "finished": True, "failure": None}
    assert build_candidate(segment, generated, TEMPLATE, InstructionFilters()) == {
        "id": "s1",
        "instruction": "How do I look after a fern?",
        "response": SEGMENT,
        "rejection": None,
    }


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("How do I look after a fern?", None),
        ("HOW often, in summer, should one water a fern?", "overlaps_held_out"),
        ("Please tell me: how often in summer should one water a fern that stands inside?", "overlaps_held_out"),
        ("How often in summer should one mist a fern?", None),
        ("Describe ferns for me", None),  # a held-out text of three words says nothing
        ("Name a plant that never needs any water at all in the driest of all rooms", "overlaps_held_out"),
    ],
)
def test_an_instruction_that_repeats_a_held_out_text_is_rejected(raw: str, reason: str | None) -> None:
    held_out = [
        "How often in summer should one water a fern?",
        "Describe ferns for",
        "Name a plant that never needs any",
    ]
    contamination = ContaminationFinder(held_out, Decontamination())
    segment, generated = {"id": "s1", "text": SEGMENT}, {"raw": raw, "finished": True, "failure": None}
    assert build_candidate(segment, generated, TEMPLATE, InstructionFilters(), contamination)["rejection"] == reason


def test_another_reason_to_reject_comes_before_an_overlap() -> None:
    contamination = ContaminationFinder([SEGMENT[:60]], Decontamination())
    segment, generated = {"id": "s1", "text": SEGMENT}, {"raw": SEGMENT[:60], "finished": False, "failure": None}
    assert (
        build_candidate(segment, generated, TEMPLATE, InstructionFilters(), contamination)["rejection"] == "unfinished"
    )
