"""The card of a model: what it is, how it is used, what it learnt from, how good it is, and where its limits are.

Takes numbers, names no file. Its metadata are those of the Hugging Face hub.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml
from huggingface_hub import ModelCardData

from backtranslation.export.card import inline_code
from backtranslation.report.statistics import Comparison, Estimate, LossEstimate

PAPER = "arxiv:2308.06259"
CONTROL_PAIRS = {
    "random": "as many candidates as the last iteration selects, drawn by chance",
    "unselected": "every candidate, unselected",
}
SHOWN_SOURCES = 20  # a crawl may have a license for every page


@dataclass(frozen=True)
class LearntPairs:
    """How many pairs of a kind a model learnt from, and how many it could not learn from."""

    used: int
    left_out: int


@dataclass(frozen=True)
class ModelCard:
    """What the card of a model says. `sources` counts the augmented pairs by (source of the corpus, license).

    `judge_is_served` says that the judge is no local model, but a stronger one behind an API.
    """

    model: str
    task: Literal["backward", "forward"]
    version: str
    base: str
    base_on_hub: bool
    license: Mapping[str, Any]
    license_files: Sequence[str]
    languages: Sequence[str]
    datasets: Sequence[str]
    has_adapter: bool
    max_new_tokens: int
    settings: Mapping[str, Any]
    seed: LearntPairs
    augmented: LearntPairs
    judge: str
    judge_is_served: bool = False
    sources: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    loss: LossEstimate | None = None
    comparisons: Sequence[Comparison] = ()
    right_answers: Estimate | None = None


def render_card(card: ModelCard, template: Path) -> str:
    """The card of the model as Markdown, metadata first."""
    return _render(card, template, "transformers")


def render_adapter_card(card: ModelCard, template: Path) -> str:
    """The card of the adapter alone."""
    return _render(card, template, "peft")


def _render(card: ModelCard, template: Path, library: str) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(interval=_interval, percent_interval=_percent_interval, inline_code=inline_code)
    return environment.from_string(template.read_text("utf-8")).render(
        card=card,
        is_adapter=library == "peft",
        metadata=_metadata(card, library),
        sources=card.sources.most_common(SHOWN_SOURCES),
        settings=yaml.safe_dump(dict(card.settings), sort_keys=False, allow_unicode=True).rstrip(),
        license_name=card.license.get("license_name") or card.license.get("license"),
        described=_describe(card),
    )


def _metadata(card: ModelCard, library: str) -> str:
    """The front matter, as the hub reads it."""
    # Of a folder nobody else knows the name.
    relation = "adapter" if library == "peft" else "finetune"
    base: dict[str, Any] = {"base_model": card.base, "base_model_relation": relation} if card.base_on_hub else {}
    tags = ["instruction-backtranslation", *(["lora"] if card.has_adapter else []), PAPER]
    data = ModelCardData(
        language=list(card.languages) or None, library_name=library, pipeline_tag="text-generation", tags=tags,
        datasets=list(card.datasets) or None, **card.license, **base,
    )  # fmt: skip
    return data.to_yaml()


def _describe(card: ModelCard) -> str:
    """What a model is, by its name."""
    if card.model == "backward":
        return "writes the instruction that a text answers"
    if card.model == "M0":
        return "answers instructions; it learnt from human-written pairs alone"
    if card.model in CONTROL_PAIRS:
        return (
            f"answers instructions; it learnt from human-written pairs and from {CONTROL_PAIRS[card.model]}: a control,"
            " to show what selection is worth"
        )
    scorer = f"M{int(card.model.removeprefix('M')) - 1}"
    return f"answers instructions; it learnt from human-written pairs, and from the candidates that {scorer} selected"


def _interval(number: Estimate) -> str:
    return "not measured" if isnan(number.value) else f"{number.value:.3f} ({number.low:.3f} to {number.high:.3f})"


def _percent_interval(rate: Estimate) -> str:
    shares = (100 * share for share in (rate.value, rate.low, rate.high))
    return "not measured" if isnan(rate.value) else "{:.1f} % ({:.1f} to {:.1f})".format(*shares)
