"""Data sets out of a run, read back by who will read them: `datasets`, TRL, and our own reader of pairs."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from helpers.small_run import ask, edit
from huggingface_hub import DatasetCard

from backtranslation import layout
from backtranslation.corpus.seed import read_pairs
from backtranslation.errors import DataError, UserError
from backtranslation.export import folder as export_folder
from backtranslation.export import rows as export_rows
from backtranslation.export.about import about_curated
from backtranslation.export.card import About
from backtranslation.export.dataset import write_evaluation, write_pairs
from backtranslation.export.pairs import FORMATS, FormatName, Pair, origin
from backtranslation.export.rows import ANSWER, JUDGEMENT, SCORED, Run
from backtranslation.files import Row, read_rows, write_json, write_rows
from backtranslation.method.scores import NAMES
from backtranslation.models.pairs import NO_LABEL
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.run import load_settings
from backtranslation.settings.seed import PairFormat
from backtranslation.settings.selection import Selection

SHARDS = ["miniature-pages-1", "miniature-pages-2"]
NOTHING = About(title="Pairs", summary="Some.", made=[], limits=[])


@pytest.fixture(scope="session")
def results(finished_run: Path) -> Path:
    return finished_run / "results"


@pytest.fixture
def copied_results(results: Path, tmp_path: Path) -> Path:
    """The results without models and store, to be changed."""
    return shutil.copytree(results, tmp_path / "results", ignore=shutil.ignore_patterns("models", "store", "logs"))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`datasets.load_dataset`, offline and with a cache of its own."""
    import datasets

    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    return partial(datasets.load_dataset, cache_dir=str(tmp_path / "cache"))


def rows_of(results: Path, pattern: str, **wildcards: object) -> list[Row]:
    """The rows of a result, those of all shards where it has some."""
    shards = SHARDS if "{shard}" in pattern else [""]
    return [
        row for shard in shards for row in read_rows(layout.locate(results, pattern, shard=shard, **wildcards))
    ]  # fmt: skip


def make_pairs(count: int, license: str | None = None) -> list[Pair]:
    segment = {"url": "u", "source": "s", "file": "f", "record_offset": 7, "license": license}
    return [
        Pair(f"Ask {n}", f"Tell {n}\n- é", origin(f"{n:016x}", "augmented", segment, {"score": 5.0}, 1))
        for n in range(count)
    ]


def texts_of(row: Mapping[str, Any], format_name: str) -> tuple[str, str]:
    """Question and reply as a reader of the format takes them."""
    if format_name == "messages":
        return tuple(turn["content"] for turn in row["messages"])
    if format_name == "sharegpt":
        return tuple(turn["value"] for turn in row["conversations"])
    if format_name == "alpaca":
        return row["instruction"], row["output"]
    return row["prompt"][0]["content"], row["completion"][0]["content"]


# The results folder


def test_every_result_is_read_by_its_name(results: Path, load: Callable[..., Any]) -> None:
    configs = DatasetCard.load(results / "README.md").data.to_dict()["configs"]
    for config in configs:
        loaded = load(str(results), config["config_name"])
        for part in config["data_files"]:
            stored = [row for path in sorted(results.glob(part["path"])) for row in read_rows(path)]
            assert stored and loaded[part["split"]].to_list() == stored, config["config_name"]
    kinds = {re.sub(r"-(\d|M).*", "", config["config_name"]) for config in configs}
    assert kinds == {
        "seed", "segments", "instructions", "candidates", "scorer-texts", "scores", "curated", "answers", "judgements",
        "backward-instructions",
    }  # fmt: skip


def test_a_column_of_nulls_in_the_first_shard_is_no_obstacle(copied_results: Path, load: Callable[..., Any]) -> None:
    """A reason to reject, or a license, may come late; by itself `datasets` takes nulls for a type of their own."""
    for pattern, column in ((layout.CANDIDATES, "rejection"), (layout.SEGMENTS, "license")):
        for shard, value in zip(SHARDS, (None, "late"), strict=True):
            path = layout.locate(copied_results, pattern, shard=shard)
            write_rows(path, [row | {column: value} for row in read_rows(path)])
    for name, column in (("candidates", "rejection"), ("segments", "license")):
        assert set(load(str(copied_results), name)["train"][column]) == {None, "late"}


@pytest.mark.parametrize(
    "folder",
    ["segments", "instructions", "candidates", "iterations/1/scores", "iterations/1/judgements", "evaluation/M1",
     "evaluation/judgements"],
)  # fmt: skip
def test_a_folder_with_one_kind_of_data_is_read_by_itself(results: Path, load: Callable[..., Any], folder: str) -> None:
    stored = [row for path in sorted((results / folder).iterdir()) for row in read_rows(path)]
    assert load(str(results / folder))["train"]["id"][:] == [row["id"] for row in stored]


# What is in an export


def test_curated_pairs_have_their_page_and_their_scores(results: Path) -> None:
    curated = rows_of(results, layout.CURATED, iteration=2)
    segments = {row["id"]: row for row in rows_of(results, layout.SEGMENTS)}
    pairs = list(export_rows.curated_pairs(Run(results, SHARDS), 2))
    assert [(pair.question, pair.reply) for pair in pairs] == [(row["instruction"], row["response"]) for row in curated]
    for pair, row in zip(pairs, curated, strict=True):
        page = segments[row["id"]]
        assert pair.reply == page["text"]
        assert pair.origin == {
            "id": row["id"], "kind": "augmented", "iteration": 2,
            **{name: page[name] for name in ("url", "source", "file", "record_offset", "license")},
            **{name: row[name] for name in NAMES},
        }  # fmt: skip


def test_candidates_are_all_that_were_scored(results: Path) -> None:
    table = pq.read_table(layout.locate(results, layout.SCORE_TABLE, iteration=1)).to_pylist()
    pairs = list(export_rows.scored_candidates(Run(results, SHARDS), 1, "expected_score"))
    names = ("id", *NAMES, "failure", "selected")
    assert [{name: pair.origin[name] for name in names} for pair in pairs] == [
        {name: row[name] for name in names} for row in table
    ]
    assert {row["selected"] for row in table} == {True, False}


@pytest.fixture
def show(prompts: PromptSet) -> dict[str, Callable[[str], str]]:
    return {"seed": prompts.forward_turn("seed").show, "augmented": prompts.forward_turn("augmented").show}


def test_a_training_set_is_what_the_model_was_shown(
    copied_results: Path, prompts: PromptSet, show: dict[str, Callable[[str], str]]
) -> None:
    """Without the pairs that its training left out, each kind with its tag sentence."""
    seed, curated = rows_of(copied_results, layout.SEED), rows_of(copied_results, layout.CURATED, iteration=1)
    left_out = {"seed": {seed[3]["id"]: "empty_target"}, "augmented": {curated[0]["id"]: "target_too_long"}}
    path = layout.locate(copied_results, layout.TRAINING_PAIRS, model="M1")
    path.unlink()
    write_json(path, {kind: {"used": 1, "left_out": reasons} for kind, reasons in left_out.items()})
    pairs = list(export_rows.training_pairs(Run(copied_results, SHARDS), "M1", show))
    expected = [("seed", row) for row in seed if row is not seed[3]] + [("augmented", row) for row in curated[1:]]
    for pair, (kind, row) in zip(pairs, expected, strict=True):
        assert (pair.origin["kind"], pair.origin["id"], pair.reply) == (kind, row["id"], row["response"])
        assert pair.question == f"{row['instruction']}\n\n{prompts.tag(kind)}"  # type: ignore[arg-type]
        assert (pair.origin["iteration"], pair.origin["score"]) == (
            (1, row["score"]) if "score" in row else (None, None)
        )


def test_the_backward_model_and_the_control_have_training_sets_too(
    copied_results: Path, prompts: PromptSet, show: dict[str, Callable[[str], str]]
) -> None:
    run = Run(copied_results, SHARDS)
    seed = rows_of(copied_results, layout.SEED)
    backward = list(export_rows.training_pairs(run, "backward", {"seed": prompts.backward_turn().show}))
    assert [(pair.question, pair.reply) for pair in backward] == [
        (prompts.backward_turn().show(row["response"]), row["instruction"]) for row in seed
    ]
    assert [pair.origin["id"] for pair in export_rows.training_pairs(run, "M0", show)] == [row["id"] for row in seed]
    nothing: Row = {"used": 0, "left_out": {}}
    control = layout.locate(copied_results, layout.TRAINING_PAIRS, model="unselected")
    write_json(control, {"seed": nothing, "augmented": nothing})
    accepted = [row["id"] for row in rows_of(copied_results, layout.CANDIDATES) if row["rejection"] is None]
    write_json(
        layout.locate(copied_results, layout.TRAINING_PAIRS, model="random"), {"seed": nothing, "augmented": nothing}
    )
    drawn = [row for row in rows_of(copied_results, layout.CANDIDATES) if row["rejection"] is None][::2]
    write_rows(layout.locate(copied_results, layout.RANDOM_CANDIDATES), drawn)
    pairs = list(export_rows.training_pairs(run, "random", show))[len(seed) :]
    assert [pair.origin["id"] for pair in pairs] == [row["id"] for row in drawn]
    pairs = list(export_rows.training_pairs(run, "unselected", show))[len(seed) :]
    assert [pair.origin["id"] for pair in pairs] == accepted
    assert {pair.origin["score"] for pair in pairs} == {None}


def test_what_an_earlier_run_left_is_not_read(copied_results: Path) -> None:
    for pattern in (layout.SEGMENTS, layout.CANDIDATES, layout.SCORES):
        stale = layout.locate(copied_results, pattern, shard="old-pages", iteration=1)
        write_rows(stale, [{"id": "stale", "rejection": None}])
    ids = {pair.origin["id"] for pair in export_rows.scored_candidates(Run(copied_results, SHARDS), 1, "score")}
    assert ids == {row["id"] for row in rows_of(copied_results, layout.SCORES, iteration=1)}


def test_results_of_other_pages_are_refused(copied_results: Path) -> None:
    with pytest.raises(DataError, match="is no segment of the present corpus"):
        list(export_rows.curated_pairs(Run(copied_results, SHARDS[:1]), 1))
    with pytest.raises(DataError, match="is no scored candidate of the present corpus"):
        list(export_rows.scored_candidates(Run(copied_results, SHARDS[:1]), 1, "score"))
    with pytest.raises(UserError, match=r"new-pages\.jsonl\.zst: not there yet: run the workflow first"):
        list(export_rows.curated_pairs(Run(copied_results, [*SHARDS, "new-pages"]), 1))


# Formats and files


@pytest.mark.parametrize("file_type", ["parquet", "jsonl"])
@pytest.mark.parametrize("format_name", list(FORMATS))
def test_load_dataset_reads_a_folder_without_arguments(
    tmp_path: Path, load: Callable[..., Any], format_name: FormatName, file_type: Any
) -> None:
    pairs = make_pairs(40)
    write_pairs(tmp_path / "out", pairs, NOTHING, format_name, file_type, test_share=0.3)
    loaded = load(str(tmp_path / "out"))
    assert set(loaded) == {"train", "test"}
    rows = sorted([*loaded["train"].to_list(), *loaded["test"].to_list()], key=lambda row: row["id"])
    assert [texts_of(row, format_name) for row in rows] == [(pair.question, pair.reply) for pair in pairs]
    assert [{name: row[name] for name in pairs[0].origin} for row in rows] == [pair.origin for pair in pairs]


@pytest.mark.parametrize("format_name", list(FORMATS))
@pytest.mark.parametrize("file_type", ["parquet", "jsonl"])
def test_an_export_is_a_seed_for_another_run(tmp_path: Path, format_name: FormatName, file_type: Any) -> None:
    pairs = make_pairs(5)
    write_pairs(tmp_path / "out", pairs, NOTHING, format_name, file_type)
    read = read_pairs(tmp_path / f"out/train.{file_type}", PairFormat())
    assert [(row["instruction"], row["response"]) for row in read] == [(pair.question, pair.reply) for pair in pairs]


def test_a_row_stays_in_its_split_whatever_stands_around_it(tmp_path: Path, load: Callable[..., Any]) -> None:
    pairs = make_pairs(300)
    shuffled = random.Random(1).sample(pairs, 200)
    splits = []
    for name, exported in (("all", pairs), ("some", shuffled)):
        write_pairs(tmp_path / name, exported, NOTHING, "messages", "parquet", test_share=0.25)
        splits.append(set(load(str(tmp_path / name))["test"]["id"]))
    assert 45 < len(splits[0]) < 105  # 75 on average, four standard deviations to each side
    assert splits[1] == splits[0] & {pair.origin["id"] for pair in shuffled}


def test_a_split_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is written: no row belongs to test"):
        write_pairs(tmp_path / "out", make_pairs(3), NOTHING, "alpaca", "jsonl", test_share=1e-9)
    with pytest.raises(UserError, match="nothing is written: no row belongs to train"):
        write_pairs(tmp_path / "out", [], NOTHING, "alpaca", "jsonl")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_folder, "ROW_GROUP", 10)
    write_pairs(tmp_path / "out", make_pairs(25), NOTHING, "messages", "parquet")
    file = pq.ParquetFile(tmp_path / "out/train.parquet")
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert (sizes, file.metadata.row_group(0).column(0).compression) == ([10, 10, 5], "ZSTD")


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pairs(out, make_pairs(3), NOTHING, "messages", "jsonl")
    record = write_pairs(out, make_pairs(4), NOTHING, "messages", "parquet")
    assert record["rows"] == {"train": 4} and record["files"] == ["README.md", "train.parquet"]
    assert {path.name for path in out.iterdir()} == {*record["files"], "export.json"}
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"out: holds notes\.txt, which no export wrote"):
        write_pairs(out, make_pairs(3), NOTHING, "messages", "jsonl")
    assert (out / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match=r"notes\.txt: is there already, and no folder"):
        write_pairs(out / "notes.txt", make_pairs(3), NOTHING, "messages", "jsonl")
    (tmp_path / "empty").mkdir()
    write_pairs(tmp_path / "empty", make_pairs(3), NOTHING, "messages", "jsonl")


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pairs(out, make_pairs(3), NOTHING, "messages", "jsonl")
    before = (out / "train.jsonl").read_bytes()

    def damaged() -> Iterator[Pair]:
        yield from make_pairs(50)
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        write_pairs(out, damaged(), NOTHING, "messages", "jsonl")
    assert list(tmp_path.iterdir()) == [out] and (out / "train.jsonl").read_bytes() == before


# Cards


def test_the_card_says_what_the_rows_are(tmp_path: Path, results: Path) -> None:
    settings = load_settings(json.loads((results / "settings.json").read_text()))
    about = about_curated(settings, 2, Selection(by="expected", threshold=3, top_n=1000))
    write_pairs(tmp_path / "out", make_pairs(20, "CC-BY-4.0"), about, "messages", "parquet", test_share=0.5)
    card = DatasetCard.load(tmp_path / "out/README.md")
    head = card.data.to_dict()
    assert (head["license"], head["license_name"], head["language"]) == ("other", "CC-BY-4.0", ["en"])
    assert head["size_categories"] == ["n<1K"] and "synthetic" in head["tags"]
    assert "M1 scored every pair by a rubric from 1 to 5 (iteration 2)." in card.text
    assert "expected score of 3 or more, at most 1,000 of them, the highest first." in card.text
    assert "| augmented | 20 |" in card.text and "| `CC-BY-4.0` | 20 |" in card.text


def test_licenses_of_pages_do_no_harm_to_the_card(tmp_path: Path) -> None:
    hostile = "x | <script>\n# `title`\n---"
    write_pairs(tmp_path / "out", [*make_pairs(2, hostile), *make_pairs(3)], NOTHING, "messages", "jsonl")
    text = (tmp_path / "out/README.md").read_text()
    assert "| `x / (script) # 'title' ---` | 2 |" in text and "| `none named` | 3 |" in text
    assert "license" not in yaml.safe_load(text.split("---\n")[1])


# Evaluation


def test_answers_are_what_alpaca_eval_reads(results: Path, tmp_path: Path, load: Callable[..., Any]) -> None:
    models = ["M0", "M1"]
    answers = export_rows.answers(Run(results, SHARDS), models)
    record = write_evaluation(tmp_path / "out", answers, models, NOTHING, ANSWER)
    assert "Licenses" not in (tmp_path / "out/README.md").read_text(), "models have written these"
    assert record["rows"] == {"M0": 8, "M1": 8}
    for model in models:
        stored = rows_of(results, layout.ANSWERS, model=model)
        assert json.loads((tmp_path / f"out/{model}.json").read_text()) == [
            {"dataset": "held_out", "instruction": row["instruction"], "output": row["answer"], "generator": model}
            for row in stored
        ]
    assert load(str(tmp_path / "out"))["test"]["generator"][:] == ["M0"] * 8 + ["M1"] * 8


def test_judgements_prefer_as_alpaca_eval_does(copied_results: Path, tmp_path: Path, load: Callable[..., Any]) -> None:
    """1 is the first, the baseline; 2 the second, which is measured; whoever could not be asked has no preference."""
    path = layout.locate(copied_results, layout.JUDGEMENTS, first="M2", second="M0")
    stored = list(read_rows(path))
    path.unlink()
    nothing = {"first_wins_forward": None, "first_wins_reversed": None, "failure": "prompt_too_long"}
    sure = {"first_wins_forward": 1.0, "first_wins_reversed": 0.5, "failure": None}
    write_rows(path, [stored[0] | sure, stored[1] | nothing, *stored[2:]])
    judged = export_rows.judgements(Run(copied_results, SHARDS), [("M2", "M0")], "M0")
    write_evaluation(tmp_path / "out", judged, ["M2-vs-M0"], NOTHING, JUDGEMENT)
    first, second, *_ = json.loads((tmp_path / "out/M2-vs-M0.json").read_text())
    [baseline, *_], [measured, *_] = (rows_of(copied_results, layout.ANSWERS, model=model) for model in ("M0", "M2"))
    assert first == {
        "instruction": baseline["instruction"], "output_1": baseline["answer"], "output_2": measured["answer"],
        "generator_1": "M0", "generator_2": "M2", "annotator": "M0", "preference": 1.75,
    }  # fmt: skip
    assert second["preference"] is None
    assert load(str(tmp_path / "out"))["test"]["preference"][:2] == [1.75, None]


# The command


def export(run: Path, *arguments: str) -> Row:
    return dict(ask(run, "export", *arguments)[0])


def test_the_command_exports_the_last_iteration_and_says_what_it_wrote(
    finished_run: Path, tmp_path: Path, load: Callable[..., Any]
) -> None:
    out = str(tmp_path / "out")
    record = export(finished_run, "candidates", out, "--format", "alpaca")
    candidates = rows_of(finished_run / "results", layout.SCORES, iteration=2)
    assert record == {
        "folder": out, "title": "Scored candidates of iteration 2", "format": "alpaca",
        "rows": {"train": len(candidates)}, "files": ["README.md", "train.parquet"],
    }  # fmt: skip
    loaded = load(out)["train"]
    assert loaded["id"][:] == [row["id"] for row in candidates] and set(loaded["iteration"]) == {2}
    assert set(SCORED) <= set(loaded.column_names)


def test_the_command_refuses_what_the_run_has_not(finished_run: Path, tmp_path: Path) -> None:
    for words, message in (
        (("curated", "--iteration", "3"), "--iteration 3: this run has the iterations 1 to 2"),
        (("training", "--model", "m1"), "--model m1: this run has backward, M0, M1, M2"),
        (("curated", "--test-share", "1"), "'1' is no share: give a number from 0 to below 1"),
    ):
        said = ask(finished_run, "export", *words, str(tmp_path / "out"), fails=True)[1]
        assert message in said
    assert not (tmp_path / "out").exists()


def test_a_model_that_learnt_from_other_files_than_there_are_now_is_not_exported(
    finished_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    assert export(run, "training", "out", "--model", "M1")["rows"] == {"train": 32 + 25}
    edit(run / "prompts/miniature/forward.jinja", "{{ tag }}", "({{ tag }})")
    said = ask(run, "export", "training", "out", "--model", "M1", fails=True)[1]
    assert "M1 was trained before prompts/miniature/forward.jinja changed: run the workflow, and export then" in said
    assert export(run, "training", "other", "--model", "backward")["rows"] == {"train": 32}


# Training programs


@pytest.mark.parametrize("format_name", ["messages", "prompt-completion"])
def test_trl_trains_on_an_export(
    results: Path,
    tmp_path: Path,
    load: Callable[..., Any],
    model_folder: Callable[[str], Path],
    show: dict[str, Callable[[str], str]],
    format_name: FormatName,
) -> None:
    trl: Any = import_module("trl")
    pairs = export_rows.training_pairs(Run(results, SHARDS), "M1", show)
    write_pairs(tmp_path / "out", pairs, NOTHING, format_name, "parquet", test_share=0.2)
    data = load(str(tmp_path / "out"))
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "trained"), max_steps=6, per_device_train_batch_size=8, learning_rate=5e-3,
        logging_steps=1, max_length=256, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        str(model_folder("qwen")), args=settings, train_dataset=data["train"], eval_dataset=data["test"]
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before - 0.1
    row, (question, reply) = trainer.train_dataset[0], texts_of(data["train"][0], format_name)
    shown = trainer.processing_class.decode(row["input_ids"])
    assert question in shown and reply in shown and shown.index(question) < shown.index(reply)
    learnt = trainer.processing_class.decode([token for token in row["labels"] if token != NO_LABEL])
    assert reply in learnt and (question in learnt) == (format_name == "messages")
