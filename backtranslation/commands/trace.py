"""Everything about one example: from its page, through instruction and scores, to the training sets that hold it.

Follows the manifests: which model wrote or scored, and what a model was trained on, is found by the content of its
inputs. Reads one shard's files as streams; of their lines, only those with the id are parsed.
"""

import json
import re
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backtranslation import layout
from backtranslation.commands.formatting import align
from backtranslation.errors import DataError, UserError
from backtranslation.files import Row, open_binary
from backtranslation.jobs.manifests import InputRecord, Manifest, find, result_folder, result_folders
from backtranslation.jobs.named_paths import last_made
from backtranslation.models.engine import row_seed
from backtranslation.score_names import COLUMNS
from backtranslation.settings.evaluation import CONTROLS

# Where an unknown id is looked for: the files of the shards, those with the shortest rows first.
FILES_OF_SHARDS = (layout.INSTRUCTIONS, layout.SEGMENTS, layout.EXTRACTED_SEGMENTS)
LABEL_WIDTH, LINE_WIDTH = 15, 110


@dataclass(frozen=True)
class Model:
    """A model that wrote something; `key` is that of its training, None for one that this store did not make."""

    path: str
    key: str | None


@dataclass(frozen=True)
class Instruction:
    """What the backward model wrote, or why it was not asked; `seed` made its random numbers."""

    raw: str
    tokens: int
    finished: bool
    failure: str | None
    seed: int
    model: Model


@dataclass(frozen=True)
class Score:
    """What a model said of the candidate in one iteration; `selected` is None while nothing is selected yet."""

    iteration: int
    texts: list[str]
    scores: dict[str, float]
    failures: dict[str, str]
    selected: bool | None
    model: Model


@dataclass(frozen=True)
class TrainingSet:
    """A file that a model learnt the example from; `holds` is None if that file, as it was then, is stored no more."""

    model: Model
    file: str
    holds: bool | None


@dataclass(frozen=True)
class Answer:
    """What a model answered to a held-out instruction, or why not; its loss on the pair, in nats per target token."""

    model: Model
    answer: str | None
    failure: str | None
    loss: float | None


@dataclass
class Trace:
    """What is known of an example; what a run has not made yet is None or empty.

    A segment has a page (`segment`), and is `dropped` if it repeats another one or a held-out pair; a seed or held-out
    example has a `pair`.
    """

    id: str
    kind: Literal["segment", "seed", "held_out"]
    segment: Row | None = None
    corpus_file: str | None = None
    dropped: bool = False
    pair: Row | None = None
    instruction: Instruction | None = None
    candidate: Row | None = None
    scores: list[Score] = field(default_factory=list)
    training_sets: list[TrainingSet] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    judgements: list[Row] = field(default_factory=list)


def trace_example(results: Path, row_id: str) -> Trace:
    """Gather all that a results folder knows of an example. Raises UserError for an unknown id."""
    if pair := find_row(layout.locate(results, layout.HELD_OUT), row_id):
        return _trace_held_out(results, pair)
    if pair := find_row(layout.locate(results, layout.SEED), row_id):
        return Trace(row_id, "seed", pair=pair, training_sets=list(_training_sets(results, row_id, None)))
    shard = _find_shard(results, row_id)
    if shard is None:
        raise UserError(f"{row_id}: {results} holds no segment, seed pair or held-out pair of this id")
    return _trace_segment(results, row_id, shard)


def find_row(path: Path, row_id: str) -> Row | None:
    """The first row of an id; None where there is none, or no such file. Raises DataError naming a damaged file.

    Only lines that hold the bytes of the id are parsed, so a million rows take seconds.
    """
    if not path.exists():
        return None
    wanted = json.dumps(row_id, ensure_ascii=False).encode(errors="replace")
    with open_binary(path) as stream:
        try:
            for line in stream:
                if wanted in line and (row := json.loads(line)).get("id") == row_id:
                    return dict(row)
        except (OSError, EOFError, zlib.error, json.JSONDecodeError) as error:
            raise DataError(f"{path}: damaged ({error})") from None
    return None


# Segments


def _find_shard(results: Path, row_id: str) -> str | None:
    """The shard that a segment is in."""
    places = (place for pattern in FILES_OF_SHARDS for place in layout.find(results, pattern))
    return next((found["shard"] for found, path in places if find_row(path, row_id)), None)


def _trace_segment(results: Path, row_id: str, shard: str) -> Trace:
    extracted, kept = (
        layout.locate(results, pattern, shard=shard) for pattern in (layout.EXTRACTED_SEGMENTS, layout.SEGMENTS)
    )
    segment = find_row(kept, row_id)
    dropped = segment is None and kept.exists()
    candidate = find_row(layout.locate(results, layout.CANDIDATES, shard=shard), row_id)
    segment = segment or find_row(extracted, row_id)
    return Trace(
        row_id,
        "segment",
        segment=segment,
        corpus_file=_corpus_file(results, extracted, segment) if segment else None,
        dropped=dropped,
        instruction=_read_instruction(results, row_id, shard),
        candidate=candidate and {name: candidate[name] for name in ("instruction", "rejection")},
        scores=list(_read_scores(results, row_id, shard)),
        training_sets=list(_training_sets(results, row_id, shard)),
    )


def _corpus_file(results: Path, extracted: Path, segment: Row) -> str | None:
    """Where the page lies, as the extraction was told."""
    manifest = _made(results, extracted)
    if manifest is None:
        return None
    [[record]] = manifest.inputs.values()
    path = Path(record.path)
    return str(path if path.name == segment["file"] else path / segment["file"])


def _read_instruction(results: Path, row_id: str, shard: str) -> Instruction | None:
    path = layout.locate(results, layout.INSTRUCTIONS, shard=shard)
    row, manifest = find_row(path, row_id), _made(results, path)
    if row is None or manifest is None:
        return None
    seed = row_seed(manifest.spec["random_seed"], row_id, manifest.stage)
    model = _input_model(results, manifest)
    return Instruction(row["raw"], row["tokens"], row["finished"], row["failure"], seed, model)


def _read_scores(results: Path, row_id: str, shard: str) -> Iterator[Score]:
    """What every iteration that has scored the shard says."""
    scored = {
        int(found["iteration"]): path for found, path in layout.find(results, layout.SCORES) if found["shard"] == shard
    }
    for number in sorted(scored):
        row = find_row(scored[number], row_id)
        manifest = _asked_with(results, scored[number])
        if row is None or manifest is None:
            continue
        curated = layout.locate(results, layout.CURATED, iteration=number)
        selected = find_row(curated, row_id) is not None if curated.exists() else None
        model = _input_model(results, manifest)
        scores = {name: row[name] for name in COLUMNS.values() if row[name] is not None}
        failures = {name: reason for name, reason in row["failures"].items() if reason}
        yield Score(number, row["texts"] or [], scores, failures, selected, model)


def _asked_with(results: Path, scores: Path) -> Manifest | None:
    """How a model was asked about the candidates that have these scores."""
    made = _made(results, scores)
    if made is None:
        return None
    sources = [record.path for name in ("judgements", "likelihoods") for record in made.inputs.get(name, [])]
    return _made(results, Path(sources[0])) if sources else None


# Held-out pairs


def _trace_held_out(results: Path, pair: Row) -> Trace:
    return Trace(
        pair["id"],
        "held_out",
        pair=pair,
        answers=list(_read_answers(results, pair["id"])),
        judgements=list(_read_judgements(results, pair["id"])),
    )


def _read_answers(results: Path, row_id: str) -> Iterator[Answer]:
    losses_by_model = {found["model"]: path for found, path in layout.find(results, layout.HELD_OUT_LOSS)}
    for model in sorted(losses_by_model, key=_model_order):
        row = find_row(layout.locate(results, layout.ANSWERS, model=model), row_id)
        manifest = _made(results, losses_by_model[model])
        if manifest is None:
            continue
        losses = json.loads(losses_by_model[model].read_text(encoding="utf-8"))["pairs"]
        loss = next((pair["loss"] for pair in losses if pair["id"] == row_id), None)
        answer, failure = (row["answer"], row["failure"]) if row else (None, None)
        yield Answer(_input_model(results, manifest), answer, failure, loss)


def _read_judgements(results: Path, row_id: str) -> Iterator[Row]:
    for models, path in layout.find(results, layout.JUDGEMENTS):
        if row := find_row(path, row_id):
            yield models | {name: row[name] for name in row if name != "id"}


# Models and what they learnt from


def _made(results: Path, path: Path) -> Manifest | None:
    """The manifest of a named path, if it is there."""
    return last_made(layout.locate(results, layout.STORE), str(path)) if path.exists() else None


def _input_model(results: Path, manifest: Manifest) -> Model:
    """The model that a result was made with: the training whose weights they were, whatever its path names now."""
    if "model" not in manifest.inputs:  # the base model as it is, on the hub
        return Model(manifest.spec["hub_name"]["path"], None)
    record = manifest.inputs["model"][0]
    trainings = _results_of(layout.locate(results, layout.STORE), "train_model")
    key = next((made.key for made in trainings if made.outputs["model"][0].digest == record.digest), None)
    return Model(record.path, key)


def _results_of(store: Path, stage: str) -> Iterator[Manifest]:
    """The manifests of all stored results of a stage."""
    found = (find(store, stage, folder.name) for folder in result_folders(store, stage))
    return (manifest for manifest in found if manifest)


def _training_sets(results: Path, row_id: str, shard: str | None) -> Iterator[TrainingSet]:
    """The training sets of the models there are that hold an example, or may hold it."""
    stored = _stored_training_files(layout.locate(results, layout.STORE))
    for path in sorted(
        (path for _, path in layout.find(results, layout.TRAINED_MODEL)), key=lambda path: _model_order(path.name)
    ):
        manifest = _made(results, path)
        records = [*manifest.inputs["seed"], *manifest.inputs.get("augmented", [])] if manifest else []
        for record in records:
            holds = _holds(stored.get(record.digest), row_id) if _may_hold(record, shard) else False
            if manifest and holds is not False:
                yield TrainingSet(Model(str(path), manifest.key), record.path, holds)


def _stored_training_files(store: Path) -> dict[str, Path]:
    """The stored files that a model can learn from, by the digest of their content."""
    outputs = {
        "prepare_seed": "train", "select_candidates": "curated", "filter_instructions": "candidates",
        "draw_random_candidates": "drawn",
    }  # fmt: skip
    return {
        record.digest: result_folder(store, stage, manifest.key) / record.file
        for stage, output in outputs.items()
        for manifest in _results_of(store, stage)
        for record in manifest.outputs[output]
    }


def _may_hold(record: InputRecord, shard: str | None) -> bool:
    """False for the candidates of another shard: a hundred of them need not be read."""
    if shard is None:
        return True
    candidates = layout.locate("", layout.CANDIDATES, shard=shard)
    path = Path(record.path)
    return path.parent.name != candidates.parent.name or path.name == candidates.name


def _holds(path: Path | None, row_id: str) -> bool | None:
    """Whether a file trains a model on an example; rejected candidates train none. None if the file is not known."""
    if path is None:
        return None
    row = find_row(path, row_id)
    return row is not None and row.get("rejection") is None


def _model_order(name: str) -> tuple[bool, list[int], str]:
    """Sorts backward, M0, M1, ..., M10, and the controls."""
    return name in CONTROLS, [int(number) for number in re.findall(r"\d+", name)], name


# For people


def describe_trace(trace: Trace) -> list[str]:
    """The trace in lines for people."""
    sections = (
        _describe_origin(trace),
        _describe_candidate(trace),
        *map(_describe_score, trace.scores),
        *map(_describe_answer, trace.answers),
        _describe_judgements(trace.judgements),
        _describe_training_sets(trace),
    )
    title = f"{trace.id}, a {trace.kind.replace('_', '-')}{'' if trace.kind == 'segment' else ' pair'}"
    return [title, *(line for section in sections if section for line in ("", *section))]


def _describe_origin(trace: Trace) -> list[str]:
    lines = []
    if trace.segment:
        file = f"{trace.corpus_file or trace.segment['file']}, record offset {trace.segment['record_offset']}"
        lines += _entry("page", trace.segment["url"]) + _entry("file", file)
        lines += _entry("shard", trace.segment["shard"]) + _entry("headings", " > ".join(trace.segment["heading_path"]))
        lines += _entry("text", trace.segment["text"])
    if trace.dropped:
        lines += _entry("dropped", "it repeats another segment, or overlaps with the held-out pairs")
    if trace.pair:
        lines += _entry("instruction", trace.pair["instruction"]) + _entry("response", trace.pair["response"])
    return lines


def _describe_candidate(trace: Trace) -> list[str]:
    lines = []
    written = trace.instruction
    if written and written.failure:
        lines += _entry("instruction", f"none: {written.failure}") + _entry("not asked", _model_name(written.model))
    elif written:
        end = "" if written.finished else ", cut off there"
        lines += _entry("instruction", written.raw)
        lines += _entry("", f"{written.tokens} tokens{end}, random seed {written.seed}")
        lines += _entry("written by", _model_name(written.model))
    if trace.candidate:
        rejection = trace.candidate["rejection"]
        lines += _entry("verdict", f"rejected: {rejection}" if rejection else "accepted as a candidate")
    return lines


def _describe_score(score: Score) -> list[str]:
    verdicts = [
        *(f"{name.replace('_', ' ')} {value:.4g}" for name, value in score.scores.items()),
        *(f"no {name.replace('_', ' ')}: {reason}" for name, reason in score.failures.items()),
    ]
    selected = {None: "not selected from yet", True: "selected", False: "not selected"}[score.selected]
    return [
        *_entry(f"iteration {score.iteration}", ", ".join([*verdicts, selected])),
        *_entry("scored by", _model_name(score.model)),
        *(line for text in score.texts for line in _entry("raw text", text)),
    ]


def _describe_answer(answer: Answer) -> list[str]:
    lines = _entry("answered by", _model_name(answer.model))
    if answer.answer is not None:
        lines += _entry("answer", answer.answer if answer.failure is None else f"none: {answer.failure}")
    return lines + (_entry("loss", f"{answer.loss:.3f} nats per token") if answer.loss is not None else [])


def _describe_judgements(judgements: list[Row]) -> list[str]:
    lines = []
    for row in judgements:
        if row["failure"]:
            lines += _entry("not judged", f"{row['first']} against {row['second']}: {row['failure']}")
            continue
        first, second = (100 * row[f"first_wins_{order}"] for order in ("forward", "reversed"))
        chances = f"{first:.1f} % shown first, {second:.1f} % shown second"
        end = ", of texts cut to fit into the judge" if row["cut"] else ""
        lines += _entry("judged", f"{row['first']} better than {row['second']}: {chances}{end}")
    return lines


def _describe_training_sets(trace: Trace) -> list[str]:
    if trace.kind == "held_out":
        return []
    rows = [
        [found.model.path, f"key {found.model.key}", f"from {found.file}" + ("" if found.holds else " (perhaps)")]
        for found in trace.training_sets
    ]
    return ["training sets", *(align(rows) or ["  no model there is was trained on it"])]


def _model_name(model: Model) -> str:
    return f"{model.path}, key {model.key}" if model.key else model.path


def _entry(label: str, text: str) -> list[str]:
    """A label and a text beside it, wrapped; empty lines stay."""
    width = LINE_WIDTH - LABEL_WIDTH
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, width, break_on_hyphens=False) or [""]]
    labels = [label, *[""] * len(lines)]
    return [f"{name:<{LABEL_WIDTH}}{line}".rstrip() for name, line in zip(labels, lines or [""], strict=False)]
