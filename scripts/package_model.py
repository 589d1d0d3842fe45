"""Make the folder of a model that people take: asked plainly, it answers as it did in the evaluation.

Writes a model folder (Hugging Face format): the trained weights and tokenizer, a chat template that shows what a user
says as in training, the sampling of the evaluation, the license of the base model, and a card (README.md). What was
trained as an adapter has a folder `adapter` of the same kind.
"""

import json
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backtranslation.files import Row, link_file, read_rows, replace_file
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import HubName
from backtranslation.settings.generation import Sampling
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    from backtranslation.models.packaging import License
    from backtranslation.report.model_card import LearntPairs, ModelCard
    from backtranslation.report.statistics import Comparison, Estimate, LossEstimate

RIGHT_ANSWERS = "right answers"


class Spec(Slice):
    """Settings of this stage; `comparisons` in the order of the judgements, `answering` in that of the answers."""

    model: str
    task: Literal["backward", "forward"]
    base_path: str
    base_name: str
    hub_name: HubName | None
    tags: Tags
    sampling: Sampling
    languages: list[str]
    datasets: list[str]
    judge: str
    judge_is_served: bool
    comparisons: list[tuple[str, str]]
    answering: list[str]
    settings: dict[str, Any]
    random_seed: int


def package_model(
    trained: Input,
    base: Input | None,
    prompt: Input,
    card: Input,
    pairs: Input,
    augmented: list[Input],
    segments: list[Input],
    loss: Input | None,
    answers: list[Input],
    judgements: list[Input],
    truth: Input | None,
    model: Output,
    spec: Spec,
) -> None:
    """Set up the folder, then describe it.

    trained: folder of the model as training left it
    base: folder of the base model, if it is not on the hub
    prompt: template of the task, .jinja
    card: template of the card, .md.jinja
    pairs: how many pairs it learnt from, .json
    augmented: curated or candidate pairs that it learnt from, .jsonl.zst
    segments: segments of every shard, for the sources of these, .jsonl.zst
    loss: its held-out losses, .json
    answers: answers of the models that it is compared with, and its own, .jsonl.zst
    judgements: judgements of its comparisons, .jsonl.zst
    truth: measures against the known truth, .json
    model: folder of the model
    """
    from backtranslation.models.packaging import ADAPTER, complete_adapter, find_license, set_up_folder
    from backtranslation.models.prompts import PromptSet
    from backtranslation.report.model_card import render_adapter_card, render_card

    prompts = PromptSet(Prompts.model_validate({spec.task: str(prompt)} | spec.tags.model_dump()))
    turn = prompts.backward_turn() if spec.task == "backward" else prompts.forward_turn("answer")
    set_up_folder(trained, model, turn, spec.sampling)
    base_license = find_license(base, spec.hub_name)
    for path in base_license.files:
        link_file(path, model / path.name)
    has_adapter = (model / ADAPTER).is_dir()
    described = describe_model(
        spec,
        base_license,
        has_adapter,
        counts=_read_json(pairs),
        sources=count_sources(augmented, segments),
        loss=_estimate_loss(loss, spec) if loss else None,
        comparisons=_compare(judgements, answers, spec),
        right_answers=_right_answers(truth, spec) if truth else None,
    )
    if has_adapter:
        complete_adapter(model, spec.base_path, spec.hub_name.revision if spec.hub_name else None)
        _write_text(model / ADAPTER / "README.md", render_adapter_card(described, card))
    _write_text(model / "README.md", render_card(described, card))


def describe_model(
    spec: Spec, base_license: "License", has_adapter: bool, counts: dict[str, Row], **measured: Any
) -> "ModelCard":
    """What the card says."""
    from backtranslation.report.model_card import LearntPairs, ModelCard

    def count(kind: str) -> "LearntPairs":
        return LearntPairs(counts[kind]["used"], len(counts[kind]["left_out"]))

    return ModelCard(
        model=spec.model,
        task=spec.task,
        version=version("backtranslation"),
        base=spec.base_name,
        base_on_hub=spec.hub_name is not None,
        license=base_license.metadata,
        license_files=[path.name for path in base_license.files],
        languages=spec.languages,
        datasets=spec.datasets,
        has_adapter=has_adapter,
        max_new_tokens=spec.sampling.max_new_tokens,
        settings=spec.settings,
        seed=count("seed"),
        augmented=count("augmented"),
        judge=spec.judge,
        judge_is_served=spec.judge_is_served,
        **measured,
    )


def count_sources(augmented: Iterable[Path], segments: Iterable[Path]) -> Counter[tuple[str, str | None]]:
    """How many of the augmented pairs come from each source of the corpus, and under which license."""
    ids = {row["id"] for path in augmented for row in read_rows(path) if row.get("rejection") is None}
    if not ids:
        return Counter()
    rows = (row for path in segments for row in read_rows(path))
    return Counter((row["source"], row.get("license")) for row in rows if row["id"] in ids)


def _estimate_loss(path: Path, spec: Spec) -> "LossEstimate":
    from backtranslation.report.statistics import compare_losses

    pairs = _read_json(path)["pairs"]
    losses = {spec.model: ([pair["loss"] for pair in pairs], [pair["tokens"] for pair in pairs])}
    return compare_losses(losses, spec.random_seed)[0]


def _compare(judgements: list[Path], answers: list[Path], spec: Spec) -> "list[Comparison]":
    from backtranslation.report.statistics import compare_answers

    lengths = {
        model: {row["id"]: len(row["answer"]) for row in read_rows(path)}
        for model, path in zip(spec.answering, answers, strict=True)
    }
    return [
        compare_answers(first, second, list(read_rows(path)), (lengths[first], lengths[second]), spec.random_seed)
        for (first, second), path in zip(spec.comparisons, judgements, strict=True)
    ]


def _right_answers(truth: Path, spec: Spec) -> "Estimate | None":
    from backtranslation.report.statistics import Estimate

    measures = {(row["measure"], row["model_or_iteration"]): row for row in _read_json(truth)}
    found = measures.get((RIGHT_ANSWERS, spec.model))
    return Estimate(found["value"], found["low"], found["high"]) if found else None


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_text(path: Path, text: str) -> None:
    with replace_file(path) as stream:
        stream.write(text)


if __name__ == "__main__":
    run_stage(package_model)
