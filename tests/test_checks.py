"""Mistakes that are found before the first job: all at once, a line for each that says what to do."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from helpers.configurations import smallest
from helpers.hub import BASE, cache_model, serve_hub
from helpers.tiny_models import ROOT

from backtranslation.commands import checks
from backtranslation.commands.checks import check_run
from backtranslation.settings.slices import SettingsError
from backtranslation.tally import EXAMPLES_IN_ERROR

PAIRS = "".join(json.dumps({"instruction": f"What is {n}?", "response": f"{n}."}) + "\n" for n in range(12))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a run in which nothing is wrong, on a machine without network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "seed.jsonl").write_text(PAIRS)
    (tmp_path / "pages.jsonl").write_text('{"text": "Tea."}\n')
    return tmp_path


def configuration(**changes: Any) -> dict[str, Any]:
    """The smallest run, whose files are those of the fixture."""
    sources = [{"name": "web", "paths": ["pages.jsonl"]}]
    base = {"base_model": {"path": "backtranslation/miniature/base"}, "corpus": {"sources": sources}}
    return smallest(**base | changes)


def source(*paths: str, **settings: Any) -> dict[str, Any]:
    return {"sources": [{"name": "web", "paths": list(paths), **settings}]}


def faults(gpus: int = 0, **changes: Any) -> list[str]:
    """The lines about a configuration."""
    try:
        check_run(configuration(**changes), gpus)
    except SettingsError as error:
        return str(error).splitlines()
    return []


def test_a_run_without_mistakes_passes() -> None:
    assert faults() == []


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    (folder / "results").write_text("")
    (folder / "model").mkdir()
    (folder / "answers.jsonl").write_text('{"content": "Tea."}\n')
    told = faults(
        gpus=1,
        iteratons=3,
        base_model={"path": "model"},
        corpus={
            "sources": [
                {"name": "web", "paths": ["none.warc.gz", "answers.jsonl", "*.zip"]},
                {"name": "more", "paths": ["seed.jsonl"], "fromat": "jsonl"},
            ]
        },
        held_out={"size": 50},
        prompts={"judge": "none.jinja", "score": "seed.jsonl"},
        generation={"gpus": 4},
        evaluation={"judge": "owner/model"},
        training={"forward": {"method": "lore"}},
    )
    begins = [
        "config: iteratons: no such setting; did you mean iterations?",
        "config: corpus.sources[1].fromat: no such setting; did you mean format?",
        "config: training.forward.method: must be one of full, lora; did you mean lora? (found: 'lore')",
        "config: results: results is a file",
        "config: prompts.judge: no such file: none.jinja",
        "config: prompts.score: seed.jsonl: must use the variables",
        "config: generation.gpus: 4 GPUs for one job, but this machine has 1 to give",
        "config: corpus.sources: web: none.warc.gz does not exist",
        "config: corpus.sources: web: answers.jsonl: no text in a field 'text' or 'html' (fields found: 'content')",
        "config: corpus.sources: web: *.zip matches no file",
        "config: corpus.sources: more: seed.jsonl: no text in a field 'text' or 'html'",
        "config: held_out.size: 50 pairs to set aside, but seed.jsonl has only 12 different pairs",
        "config: base_model.path: no model (config.json) in the folder model",
        "config: evaluation.judge: owner/model is no folder here and not in the cache",
    ]
    assert sorted(told) == sorted(next((line for line in told if line.startswith(begin)), begin) for begin in begins)


@pytest.mark.parametrize("missing", ["corpus", "seed", "held_out", "base_model"])
def test_what_can_be_read_is_checked_beside_a_missing_section(missing: str) -> None:
    config = configuration(prompts={"judge": "none.jinja"})
    del config[missing]
    with pytest.raises(SettingsError) as error:
        check_run(config, 0)
    first, second = str(error.value).splitlines()
    assert first == f"config: {missing}: must be given" and second.startswith("config: prompts.judge: no such file")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"iteration": 1}, "iteration: no such setting; did you mean iterations?"),
        ({"zebra": 1}, "zebra: no such setting"),
        (
            {"generation": {"engine": "transformer"}},
            "generation.engine: there is no such engine; there are server, transformers; did you mean transformers?"
            " (found: 'transformer')",
        ),
        (
            {"corpus": source("pages.jsonl", format="json")},
            "corpus.sources[0].format: must be one of auto, warc, wet, html, jsonl, parquet, text; did you mean jsonl?"
            " (found: 'json')",
        ),
        (
            {"training": {"forward": {"sharding": "sometimes"}}},
            "training.forward.sharding: must be one of auto, always, never (found: 'sometimes')",
        ),
        (
            {"training": {"forward": {"gradient_checkpointing": "no way"}}},
            "training.forward.gradient_checkpointing: Input should be a valid boolean, unable to interpret input"
            " (found: 'no way'); or must be auto (found: 'no way')",
        ),
        (
            {"scoring": {"method": "direct"}},
            "selection.by: must be expected where scoring.method is direct (found: parsed)",
        ),
        (
            {"scoring": {"method": "likelihood"}, "selection": {"by": "combined", "quantile": 0.5}},
            "selection.by: must be likelihood or backward_likelihood where scoring.method is likelihood"
            " (found: combined)",
        ),
        (
            {
                "scoring": {"method": "combined"},
                "selection": {"by": "combined", "quantile": 0.5},
                "held_out": {"size": 2},
            },
            "held_out.size: scoring.method combined is fitted on at least 20 pairs of the audit (found: 2)",
        ),
        ({"held_out": 5}, "held_out: Input should be a valid dictionary or instance of HeldOut (found: 5)"),
        ({"seed": {"path": "seed.jsonl", "dataset": {"name": "a/b"}}}, "seed: give either path or dataset"),
    ],
)
def test_near_misses_and_choices(changes: dict[str, Any], line: str) -> None:
    assert faults(**changes) == [f"config: {line}"]


def test_templates_that_cannot_be_used_name_their_key(folder: Path) -> None:
    """Of every prompt, and of a rubric that is only audited."""
    (folder / "bad.jinja").write_text("{{ nothing }}")
    for name, wanted in (("backward", "response"), ("forward", "instruction, tag"), ("score", "instruction, response")):
        fault = f"bad.jinja: must use the variables {wanted} (found: nothing)"
        assert faults(prompts={name: "bad.jinja"}) == [f"config: prompts.{name}: {fault}"]
    (folder / "unlabelled.jinja").write_text("{{ instruction }} {{ response }} {% if reasons %}Why?{% endif %}")
    rubrics = {"one": {"rubric": "unlabelled.jinja"}, "two": {"rubric": "none.jinja"}, "three": {"method": "reasoned"}}
    first, second = faults(audit={"scorers": rubrics})
    assert first.startswith("config: audit.scorers.one.rubric: unlabelled.jinja: must set a label")
    assert second.startswith("config: audit.scorers.two.rubric: no such file: none.jinja")


def test_a_machine_without_gpus_is_asked_for_none() -> None:
    assert faults(gpus=0, generation={"gpus": 4}) == faults(gpus=4, generation={"gpus": 4}) == []
    assert faults(gpus=3, generation={"gpus": 4}) == [
        "config: generation.gpus: 4 GPUs for one job, but this machine has 3 to give"
    ]


# Results


@pytest.mark.parametrize("results", ["taken", "taken/below"])
def test_a_results_path_that_is_a_file(folder: Path, results: str) -> None:
    (folder / "taken").write_text("")
    assert faults(results=results) == [
        "config: results: taken is a file, and results need a folder: move it away, or name another folder"
    ]


def test_a_results_folder_that_cannot_be_written() -> None:
    line, *_ = faults(results="/proc/results")
    assert line.startswith("config: results: cannot write to /proc (") and "name another folder" in line


def test_looking_at_the_results_folder_leaves_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert faults() == [] and sorted(folder.iterdir()) == before


def test_a_disk_that_is_too_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10_000_000))
    (line,) = faults()
    assert "GB are free at" in line and "4 models of" in line and "and a checkpoint of" in line
    for name in ("M0", "M1", "M2", "backward"):
        (folder / "results/trained" / name).mkdir(parents=True)
    assert faults() == [], "what is trained takes its room already"


# Models


def test_a_model_without_tokenizer_or_weights(folder: Path) -> None:
    (folder / "model").mkdir()
    shutil.copy(BASE / "config.json", folder / "model")
    told = faults(base_model={"path": "model"}, evaluation={"judge": "model"})
    assert [line.partition(" in the folder model")[0] for line in told] == [
        f"config: {key}: no {part}"
        for key in ("base_model.path", "evaluation.judge")
        for part in ("tokenizer (tokenizer.json, tokenizer.model, or a vocabulary)", "weights (*.safetensors)")
    ]
    (folder / "model" / "pytorch_model.bin").touch()
    assert "weights in pytorch_model.bin are not read" in faults(base_model={"path": "model"})[1]


def test_weights_that_are_listed_and_missing_or_no_weights(folder: Path) -> None:
    shutil.copytree(BASE, folder / "model")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model/model.safetensors.index.json").write_text(json.dumps(index))
    (line,) = faults(base_model={"path": "model"})
    assert line.startswith("config: base_model.path: no model-00002-of-00002.safetensors in the folder model")
    (folder / "model/model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (line,) = faults(base_model={"path": "model"})
    assert line.startswith("config: base_model.path: the weights in the folder model cannot be read")


def test_a_training_on_longer_rows_than_the_model_holds(folder: Path) -> None:
    assert faults(training={"forward": {"max_length": 9000}}) == [
        "config: training.forward.max_length: 9,000 tokens, but the model holds 4,096: lower it"
    ]
    shutil.copytree(BASE, folder / "model")
    (folder / "model/config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 512}}))
    told = faults(base_model={"path": "model"})
    assert [line.partition(" tokens")[0] for line in told] == [
        f"config: training.{task}.max_length: 2,048" for task in ("backward", "forward")
    ]
    (folder / "model/config.json").write_text("[")
    (line,) = faults(base_model={"path": "model"})
    assert line.startswith("config: base_model.path: config.json in the folder model cannot be read")


def test_a_hub_name_in_the_cache_needs_no_network(folder: Path) -> None:
    cached = cache_model(folder / "cache", "owner/model")
    assert faults(base_model={"path": "owner/model"}) == []
    (cached / "tokenizer.json").unlink()
    assert "the hub cannot be reached" in faults(base_model={"path": "owner/model"})[0]


def test_a_hub_name_without_network_or_in_offline_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = faults(base_model={"path": "owner/model"})
    assert "owner/model is no folder here and not in the cache" in line and "the hub cannot be reached (" in line
    assert line.endswith("check the network; `hf download owner/model` where there is a network fills the cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (line,) = faults(base_model={"path": "owner/model"})
    assert "HF_HUB_OFFLINE keeps this machine from asking the hub: `hf download owner/model`" in line


def test_what_the_hub_says_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(*files: str, **more: Any) -> tuple[int, str, Any]:
        return 200, "", {"id": "owner/model", "siblings": [{"rfilename": file} for file in files], **more}

    complete = ("config.json", "tokenizer.json", "model.safetensors")
    answers = {
        "/api/models/owner/good": model(*complete),
        "/api/models/owner/large": model(*complete, safetensors={"parameters": {"F32": 10**15}, "total": 10**15}),
        "/api/models/owner/bare": model("config.json", "tokenizer.json"),
        "/api/models/owner/gated": model(*complete, gated="auto"),
        "/api/models/owner/gated/auth-check": (403, "GatedRepo", {"error": "consent"}),
        "/api/models/owner/good/revision/none": (404, "RevisionNotFound", {"error": "no such revision"}),
    }
    with serve_hub(answers) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        assert faults(base_model={"path": "owner/good"}) == []
        assert "2,000,000.0 GB" in faults(base_model={"path": "owner/large"})[0]
        for name, message in (
            ("owner/bare", "no weights (*.safetensors) in owner/bare on the hub"),
            ("owner/none", "the hub has no such model that you may see: check the name"),
            ("owner/gated", f"owner/gated asks for consent: give it at {address}/owner/gated, then `hf auth login`"),
            ("a b", "a b is no folder here, and no name on the hub (owner/name)"),
        ):
            (line,) = faults(base_model={"path": name})
            assert message in line
        (line,) = faults(base_model={"path": "owner/good", "revision": "none"})
        assert "owner/good has no revision 'none'" in line


def test_a_finished_run_asks_for_no_base_model(folder: Path) -> None:
    for name in ("M0", "M1", "M2", "backward"):
        (folder / "results/trained" / name).mkdir(parents=True)
    assert faults(base_model={"path": "owner/model"}) == []


# Human-written pairs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": {"size": 12}}, "held_out.size: 12 pairs to set aside, but seed.jsonl has only 12"),
        ({"held_out": {"size": 11}}, ""),
        (
            {"held_out": {"size": 6}, "seed": {"path": "seed.jsonl", "size": 7}},
            "seed.size: 7 pairs to train on and 6 to set aside (held_out.size), but seed.jsonl has only 12",
        ),
        ({"held_out": {"size": 6}, "seed": {"path": "seed.jsonl", "size": 6}}, ""),
        ({"seed": {"path": "empty.jsonl"}}, "seed.path: empty.jsonl has no pairs"),
        ({"seed": {"path": "none.jsonl"}}, "seed.path: no such file: none.jsonl (looked in "),
        ({"seed": {"path": "fields.jsonl"}}, "seed.path: fields.jsonl: its first rows have the fields 'question'"),
        ({"seed": {"path": "pairs.csv"}}, "seed.path: pairs.csv: its suffix is none of .jsonl,"),
        ({"seed": {"path": "fifo.jsonl"}}, "seed.path: fifo.jsonl: is no regular file"),
        ({"seed": {"path": "/dev/zero"}}, "seed.path: /dev/zero: is no regular file"),
        ({"held_out": {"pairs": {"path": "empty.jsonl"}}}, "held_out.pairs.path: empty.jsonl has no pairs"),
        ({"seed": {"path": "bad.jsonl"}}, "seed.path: 30 of 30 rows of bad.jsonl cannot be used (30 rows/not JSON)"),
    ],
)
def test_pairs(folder: Path, changes: dict[str, Any], message: str) -> None:
    (folder / "empty.jsonl").touch()
    (folder / "pairs.csv").write_text("instruction,response\n")
    (folder / "fields.jsonl").write_text('{"question": "Why?", "answer": "So."}\n')
    (folder / "bad.jsonl").write_text("no\n" * 30)
    os.mkfifo(folder / "fifo.jsonl")
    told = faults(**changes)
    assert len(told) == bool(message) and message in "".join(told)
    if "cannot be used" in message:
        assert told[0].count("rows/not JSON: row ") == EXAMPLES_IN_ERROR


def test_no_more_of_the_seed_is_read_than_the_answer_needs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    read_all = checks.iterate_pairs

    def noting_what_is_read(*given: Any) -> Iterator[Any]:
        for pair in read_all(*given):
            read.append(pair)
            yield pair

    monkeypatch.setattr(checks, "iterate_pairs", noting_what_is_read)
    assert faults(held_out={"size": 3}) == [] and len(read) == 4


def test_a_data_set_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "datasets")
    seed = {"dataset": {"name": "owner/pairs"}}
    (line,) = faults(seed=seed)
    assert line.startswith("config: seed.dataset: owner/pairs is not in the cache")
    with serve_hub({"/api/datasets/owner/pairs": (200, "", {"id": "owner/pairs"})}) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        assert faults(seed=seed) == []
    (folder / "datasets/owner___pairs").mkdir(parents=True)
    assert faults(seed=seed) == []
    monkeypatch.setattr("backtranslation.commands.hub.find_spec", lambda _: None)
    assert faults(seed=seed) == [
        "config: seed.dataset: needs the package datasets: pip install 'backtranslation[datasets]'"
    ]


# Corpus


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.jsonl", b'{"body": "x", "id": 1}\n', "no text in a field 'text' or 'html' (fields found: 'body', 'id')"),
        ("a.jsonl", b"no\n", "no JSON lines: none of the first lines is an object"),
        ("a.jsonl", b'[{"text": "x"}]', "a JSON array, where JSON lines belong"),
        ("a.jsonl", b'no\n{"text": "x"}\n', ""),
        ("a.jsonl", b"", ""),
        ("a.jsonl.gz", gzip.compress(b'{"body": "x"}', mtime=0), "(fields found: 'body')"),
        ("a.jsonl.gz", b"no", "cannot be read (Not a gzipped file"),
        ("a.parquet", b"no", "no Parquet file ("),
        ("a.warc.gz", b"<html>", "no WARC file (it begins with b'<html>')"),
        ("a.wet", b"<html>", "no WET file (it begins with b'<html>')"),
        ("a.warc", b"WARC/1.0\r\n", ""),
        ("a.txt", b"Plain text.", ""),
    ],
)
def test_first_rows_of_a_corpus_file(folder: Path, name: str, content: bytes, fault: str) -> None:
    (folder / name).write_bytes(content)
    told = faults(corpus=source(name))
    assert len(told) == bool(fault)
    assert all(line.startswith(f"config: corpus.sources: web: {name}: ") and fault in line for line in told)


def test_fields_of_a_parquet_file(folder: Path) -> None:
    pd.DataFrame([{"body": "x", "id": 1}]).to_parquet(folder / "a.parquet")
    (line,) = faults(corpus=source("a.parquet"))
    assert "(fields found: 'body', 'id'): name the right one in text_field or html_field" in line
    assert faults(corpus=source("a.parquet", text_field="body")) == []


def test_many_files_with_one_fault_have_one_line(folder: Path) -> None:
    for number in range(30):
        (folder / f"bad-{number:02}.jsonl").write_text('{"body": "x"}\n')
    (line,) = faults(corpus=source("bad-*.jsonl"))
    assert line.startswith("config: corpus.sources: web: bad-00.jsonl, bad-01.jsonl, bad-02.jsonl and 27 more: no text")


def test_languages_that_there_are_not() -> None:
    corpus = source("pages.jsonl") | {"filters": {"languages": ["en", "english"]}}
    assert faults(corpus=corpus) == ["config: corpus.filters.languages: no such ISO 639-1 code: english"]
    assert faults(corpus=source("pages.jsonl") | {"filters": {"languages": ["de"]}}) == []


def test_one_glob_over_warc_and_wet(folder: Path) -> None:
    for name in ("crawl.warc.gz", "crawl.warc.wet.gz"):
        (folder / name).write_bytes(gzip.compress(b"WARC/1.0\r\n"))
    assert faults(corpus=source("crawl.*")) == [
        "config: corpus.sources: web: crawl.warc.gz and crawl.warc.wet.gz would both be shard web-crawl: give them to"
        " two sources with different names, with the globs *.warc.gz and *.warc.wet.gz"
    ]
    apart = [{"name": name, "paths": [glob]} for name, glob in (("pages", "*.warc.gz"), ("texts", "*.warc.wet.gz"))]
    assert faults(corpus={"sources": apart}) == []


def test_what_is_no_file_or_has_no_format(folder: Path) -> None:
    (folder / "a.pdf").touch()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo.jsonl")
    for path, settings, message in (
        ("a.pdf", {}, "the suffix of a.pdf says no format; set format to one of warc, wet, html, jsonl, parquet, text"),
        ("fifo.jsonl", {}, "fifo.jsonl is neither a regular file nor a folder"),
        ("/dev/null", {}, "/dev/null is neither a regular file nor a folder"),
        ("folder", {}, "folder: no file in this folder has the suffix .html or .htm or .xhtml; for plain text set"),
        ("folder", {"format": "text"}, "folder: no file in this folder has the suffix .txt"),
        ("folder", {"format": "warc"}, "folder is a folder: name its files by a glob, folder/*"),
    ):
        (line,) = faults(corpus=source(path, **settings))
        assert line.startswith(f"config: corpus.sources: web: {message}")


# The commands


def snakemake(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_job_process_does_not_check_again(folder: Path) -> None:
    (folder / "seed.jsonl").write_text("")
    (folder / "run.yaml").write_text(yaml.safe_dump(configuration()))
    arguments = ("--dry-run", "--configfile", "run.yaml")
    assert "config: seed.path: seed.jsonl has no pairs" in snakemake(*arguments).stderr
    done = snakemake(*arguments, "--mode", "remote")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [["run", "-n"], ["plan"]])
def test_a_target_after_the_configfile(folder: Path, command: list[str]) -> None:
    (folder / "changes.yaml").write_text("iterations: 1\n")
    (folder / "page.html").write_text("<p>")
    call = "from backtranslation.commands.command_line import main; main()"
    for target in ("all", "page.html"):
        words = [sys.executable, "-c", call, *command, "--configfile", "changes.yaml", target]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            f"-c: error: {target}: no file of a configuration, and Snakemake takes every word after --configfile for"
            f" one: put targets before it ({target} --configfile changes.yaml)"
        ]


def test_bitsandbytes_is_missed_before_the_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backtranslation.commands.checks.find_spec", lambda name: None)
    training = {
        "backward": {"optimizer": "adamw_8bit"}, "forward": {"method": "lora", "lora": {"quantization": "4bit"}},
    }  # fmt: skip
    assert [line for line in faults(training=training) if "bitsandbytes" in line] == [
        "config: training.backward.optimizer: needs bitsandbytes, which is not installed: pip install bitsandbytes",
        "config: training.forward.lora.quantization: needs bitsandbytes, which is not installed: pip install"
        " bitsandbytes",
    ]


def test_trackers_that_are_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of that name is no package: wandb makes one where it runs."""
    (folder / "wandb").mkdir()
    monkeypatch.syspath_prepend(folder)
    assert faults(training={"forward": {"trackers": ["tensorboard", "wandb"]}}) == [
        "config: training.forward.trackers: wandb is not installed: pip install wandb"
    ]
