"""The card of a model: metadata that the hub reads, and words that fit the model."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny_models import ROOT
from huggingface_hub import metadata_load

from backtranslation.report.model_card import (
    SHOWN_SOURCES,
    LearntPairs,
    ModelCard,
    render_adapter_card,
    render_card,
)
from backtranslation.report.statistics import Estimate, compare_answers, compare_losses

TEMPLATE = ROOT / "backtranslation/report/model_card.md.jinja"
CARD = ModelCard(
    model="M1",
    task="forward",
    version="1.0",
    base="owner/base",
    base_on_hub=True,
    license={"license": "other", "license_name": "ours"},
    license_files=["LICENSE"],
    languages=["en", "de"],
    datasets=["owner/pairs"],
    has_adapter=True,
    max_new_tokens=20,
    settings={"training": {"epochs": 3}},
    seed=LearntPairs(1200, 2),
    augmented=LearntPairs(30, 0),
    judge="M0",
    sources=Counter({("news", "cc-by-4.0"): 20, ("news", None): 10}),
    loss=compare_losses({"M1": ([1.0, 2.0], [10, 10])}, 1)[0],
    right_answers=Estimate(0.5, 0.4, 0.6),
)


def metadata_of(text: str, folder: Path) -> object:
    (folder / "README.md").write_text(text, encoding="utf-8")
    return metadata_load(folder / "README.md")


def test_metadata_are_those_of_the_hub(tmp_path: Path) -> None:
    common = {
        "base_model": "owner/base", "license": "other", "license_name": "ours", "language": ["en", "de"],
        "datasets": ["owner/pairs"], "pipeline_tag": "text-generation",
        "tags": ["instruction-backtranslation", "lora", "arxiv:2308.06259"],
    }  # fmt: skip
    model = metadata_of(render_card(CARD, TEMPLATE), tmp_path)
    assert model == common | {"library_name": "transformers", "base_model_relation": "finetune"}
    adapter = metadata_of(render_adapter_card(CARD, TEMPLATE), tmp_path)
    assert adapter == common | {"library_name": "peft", "base_model_relation": "adapter"}


def test_a_base_in_a_folder_is_named_in_words_alone(tmp_path: Path) -> None:
    card = render_card(replace(CARD, base="base", base_on_hub=False, license={}, license_files=[]), TEMPLATE)
    metadata = metadata_of(card, tmp_path)
    assert isinstance(metadata, dict) and metadata.keys().isdisjoint({"base_model", "license", "base_model_relation"})
    adapter = render_adapter_card(replace(CARD, base="base", base_on_hub=False), TEMPLATE)
    assert 'from_pretrained("path/to/base")' in adapter, "nobody else has it under that name"
    assert 'from_pretrained("owner/base")' in render_adapter_card(CARD, TEMPLATE)
    assert "It was made from `base`" in card and "License of the base model: not stated by its card." in card


def test_numbers_sources_and_settings_stand_in_the_card() -> None:
    card = render_card(CARD, TEMPLATE)
    for line in (
        "| human-written | 1,200 | 2 |",
        "| segments of web pages, with an instruction that a model wrote | 30 | 0 |",
        "| `news` | not stated | 10 |",
        "| `news` | `cc-by-4.0` | 20 |",
        "| right answers, against the known truth | 0.500 (0.400 to 0.600) |",
        "License of the base model: ours (LICENSE).",
        "The adapter by itself lies in `adapter/`.",
        "training:\n  epochs: 3",
    ):
        assert line in card
    assert "| loss, nats per token of the response, 2 pairs | 1.500 (" in card


def test_a_card_says_who_judged() -> None:
    row = {"failure": None, "cut": False, "first_wins_forward": 0.9, "first_wins_reversed": 0.8}
    compared = compare_answers("M1", "M0", [{"id": "h", **row}], ({"h": 9}, {"h": 9}), 1)
    card = replace(CARD, comparisons=[compared])
    local, served = (
        render_card(card, TEMPLATE),
        render_card(replace(card, judge="large", judge_is_served=True), TEMPLATE),
    )
    assert "The judge is M0, which saw both orders. It is a local judge" in local
    assert "The judge is large, a stronger model behind an API, which saw both orders." in served
    assert "local judge" not in served and "API" not in local
    assert "judge" not in render_card(CARD, TEMPLATE), "nothing was compared"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("M0", "it learnt from human-written pairs alone"),
        ("M3", "and from the candidates that M2 selected"),
        ("unselected", "every candidate, unselected: a control"),
        ("random", "drawn by chance: a control"),
    ],
)
def test_a_card_says_what_kind_of_model_it_is(model: str, words: str) -> None:
    card = render_card(replace(CARD, model=model), TEMPLATE)
    assert words in card and ("Part of what it learnt are passages" in card) == (model != "M0")


def test_a_source_of_a_corpus_cannot_break_the_table() -> None:
    sources: Counter[tuple[str, str | None]] = Counter({("a|b\n<script>", "[x](http://example.org)"): 1})
    card = render_card(replace(CARD, sources=sources), TEMPLATE)
    assert "| `a/b (script)` | `[x](http://example.org)` | 1 |" in card


def test_a_corpus_with_a_license_for_every_page_has_a_short_table() -> None:
    licenses = SHOWN_SOURCES + 5
    sources: Counter[tuple[str, str | None]] = Counter({("crawl", f"license {n}"): 100 + n for n in range(licenses)})
    card = render_card(replace(CARD, sources=sources), TEMPLATE)
    assert card.count("| `crawl` |") == SHOWN_SOURCES
    assert f"| `crawl` | `license {licenses - 1}` | {100 + licenses - 1} |" in card
    assert f"| 5 more | | {sum(100 + n for n in range(5))} |" in card
    assert " more | |" not in render_card(CARD, TEMPLATE)
