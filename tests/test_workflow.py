"""The workflow as a whole: faults before any job, dry runs of every configuration, lint, and a small real run."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from helpers.hub import BASE, cache_model

from backtranslation.commands.workflow_jobs import pin_settings, read_configuration
from backtranslation.files import read_rows
from backtranslation.jobs.stages import model_stages
from backtranslation.settings.prompts import PROMPT_FILES
from backtranslation.settings.run import Settings, load_settings
from backtranslation.shipped import NAMED

ROOT = Path(__file__).parent.parent
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]

# The default run made small: every stage, in about two minutes.
REDUCED = {
    "miniature": {"pages": 160, "seed_pairs": 40, "held_out_pairs": 12},
    "training": {kind: {"epochs": 2, "min_steps": 1} for kind in ("backward", "forward")},
    # What is learnt in two passes over 40 pairs is little: the numbers are not looked at, only that they are made.
    "scoring": {"max_unparsable_share": 1.0},
    "selection": {"by": "expected", "threshold": 1.0, "top_n": 40},
    "evaluation": {"controls": ["untouched", "random", "unselected"]},
}

# The default run scores by the rubric alone.
ON_GPU = set(model_stages()) - {"measure_likelihood"}

# A row of human-written pairs in the formats that the configurations name.
PAIR_ROWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "auto": lambda text: {"instruction": text, "response": "Because."},
    "oasst": lambda text: {
        "prompt": {"text": text, "lang": "en", "replies": [{"text": "Because.", "lang": "en", "rank": 0}]}
    },
}

Snakemake = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def snakemake(tmp_path: Path) -> Snakemake:
    """Run Snakemake on this project in another folder, which holds nothing."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)

    return run


def make_named_files(settings: Settings, folder: Path) -> None:
    """Create, in `folder`, what a configuration names: empty files for all pages, pairs, a model unless it ships."""
    if not settings.base_model.on_hub() and settings.base_model.path not in NAMED:
        shutil.copytree(BASE, folder / settings.base_model.path)
    for source in settings.corpus.sources:
        for name in set(source.paths) - settings.generated_files():
            file = folder / name.replace("**/", "").replace("*", "one")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    wanted = (settings.seed.size or 1) + (settings.held_out.size or 0)
    for pairs in filter(None, (settings.seed, settings.held_out.pairs)):
        if pairs.path is None or pairs.path in settings.generated_files():
            continue
        file = folder / pairs.path
        file.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(file, "wt") if file.suffix == ".gz" else file.open("w") as stream:
            for number in range(wanted):
                stream.write(json.dumps(PAIR_ROWS[pairs.format](f"question {number}")) + "\n")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_dry_run(path: Path, tmp_path: Path, snakemake: Snakemake, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(yaml.safe_load(path.read_text()))
    make_named_files(settings, tmp_path)
    if named := settings.base_model.on_hub():
        cache_model(tmp_path / "cache", named.path)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    done = snakemake("--dry-run", "--cores", "2", "--configfile", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "build_report" in done.stdout


def test_a_file_without_base_model_changes_the_default_run(tmp_path: Path, snakemake: Snakemake) -> None:
    (tmp_path / "changes.yaml").write_text("iterations: 1\n")
    done = snakemake("--dry-run", "--configfile", "changes.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "M1" in done.stdout and "M2" not in done.stdout
    assert "generate_miniature_world" in done.stdout


def test_a_file_with_base_model_is_a_run_of_its_own(tmp_path: Path, snakemake: Snakemake) -> None:
    (tmp_path / "mine.yaml").write_text("base_model: {path: owner/model}\n")
    done = snakemake("--dry-run", "--configfile", "mine.yaml")
    assert done.returncode == 1
    missing = [f"config: {key}: must be given" for key in ("corpus", "seed", "held_out")]
    told = [line for line in done.stdout.splitlines() + done.stderr.splitlines() if "config:" in line]
    assert told == [*missing, next(line for line in told if line.startswith("config: base_model.path: owner/model"))]


def test_a_job_in_a_queue_keeps_the_settings_of_its_run(tmp_path: Path, snakemake: Snakemake) -> None:
    """What a cluster's job is told beats whatever the files of the configuration say when it starts."""
    settings = load_settings(yaml.safe_load((ROOT / "config.yaml").read_text()) | {"iterations": 1})
    workflow = SimpleNamespace(config_settings=SimpleNamespace(config_args=["iterations=1"]))
    pin_settings(workflow, settings, tmp_path / "a folder")
    *given, pinned = workflow.config_settings.config_args
    assert given == ["iterations=1"]
    assert load_settings(read_configuration(dict([pinned.split("=")]), "none.yaml")) == settings
    (tmp_path / "changes.yaml").write_text("iterations: 2\nno_such_setting: 3\n")
    done = snakemake("--dry-run", "--configfile", "changes.yaml", "--config", "iterations=3", pinned)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "M1" in done.stdout and "M2" not in done.stdout


def test_command_line_changes_the_default_run(snakemake: Snakemake) -> None:
    done = snakemake("--dry-run", "--config", "iterations=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "score_candidates" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iteration": 1}, "config: iteration: no such setting"),
        ({"prompts": {"judge": "prompts/none.jinja"}}, "config: prompts.judge: no such file: prompts/none.jinja"),
        (
            {"corpus": {"sources": [{"name": "web", "paths": ["pages/*.warc"]}]}},
            "config: corpus.sources: web: pages/*.warc",
        ),
    ],
)
def test_faults_stop_before_any_job(
    tmp_path: Path, snakemake: Snakemake, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "changes.yaml").write_text(yaml.safe_dump(changes))
    done = snakemake("--cores", "2", "--configfile", "changes.yaml")
    # Snakemake itself says which profile and which files it reads.
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("Using ", "Config file "))
    ]
    assert done.returncode == 1
    assert len(lines) == 1 and message in lines[0], lines
    assert not (tmp_path / "results").exists()


ACCEPTED_LINTS = {
    # One environment serves the whole workflow.
    "Specify a conda environment or container for each rule.",
    # A function that only one rule uses stands beside it.
    "Mixed rules and functions in same snakefile.",
}


def test_lint() -> None:
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert set(re.findall(r"^    \* (.*?):?$", done.stdout + done.stderr, re.MULTILINE)) <= ACCEPTED_LINTS


@pytest.mark.long
def test_whole_loop_in_a_reduced_size(tmp_path: Path, snakemake: Snakemake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two pretended GPUs, which jobs lease and torch does not find."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "pretended-0,pretended-1")
    (tmp_path / "reduced.yaml").write_text(yaml.safe_dump(REDUCED))
    arguments = ("--cores", "2", "--configfile", "reduced.yaml")
    done = snakemake(*arguments)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    results = tmp_path / "results"

    page = (results / "report" / "index.html").read_text()
    assert "<svg" in page and "Content-Security-Policy" in page
    curated = list(read_rows(results / "iterations" / "2" / "curated.jsonl.zst"))
    assert len(curated) == 40
    shards = [results / "segments" / f"miniature-pages-{number}.jsonl.zst" for number in (1, 2)]
    texts = {row["id"]: row["text"] for shard in shards for row in read_rows(shard)}
    assert all(row["response"] == texts[row["id"]] for row in curated), "a curated response is its segment, verbatim"
    for model in ("backward", "M0", "M1", "M2", "random", "unselected"):
        assert (results / "models" / model / "model.safetensors").is_file()
    assert not (results / "models" / "untouched").exists() and not (results / "trained" / "untouched").exists()
    drawn = list(read_rows(results / "controls" / "random.jsonl.zst"))
    assert len(drawn) == len(curated) and {row["id"] for row in drawn} != {row["id"] for row in curated}

    manifests = [json.loads(path.read_text()) for path in results.glob("store/results/*/*/manifest.json")]
    assert {made["stage"] for made in manifests if made["gpu_seconds"] > 0} == ON_GPU
    for stage in ("evaluate_model", "train_model"):
        assert "cannot use the GPU pretended-" in (results / "logs" / stage / "M0.log").read_text()

    again = snakemake(*arguments)
    assert "Nothing to be done" in again.stdout + again.stderr
    more = snakemake("--dry-run", *arguments, "--config", "selection={threshold: 1.5}")
    assert more.returncode == 0, more.stderr
    outputs = [line for line in more.stdout.splitlines() if line.strip().startswith("output: ")]
    assert any("iterations/1/curated" in line for line in outputs)
    assert not any("iterations/1/judgements" in line for line in outputs), "another threshold scores nothing again"
    assert "select_candidates" in more.stdout
    report = snakemake("--report", "report.zip", *arguments[2:])
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "report.zip").stat().st_size > 10_000


def test_own_pages_without_iterations(tmp_path: Path, snakemake: Snakemake) -> None:
    """A run of its own: pages in a folder, a part of the seed held out, the seed model alone."""
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.html").write_text("<h1>Tea</h1><p>" + "Warm the pot before you pour. " * 5 + "</p>")
    pairs = [{"instruction": f"What is {n} plus one?", "response": f"It is {n + 1}."} for n in range(12)]
    (tmp_path / "seed.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    training = {"max_length": 256, "epochs": 1, "min_steps": 1, "batch_size": 4}
    run = {
        "base_model": {"path": "backtranslation/miniature/base"},
        "corpus": {"sources": [{"name": "own", "paths": ["pages"]}]},
        "seed": {"path": "seed.jsonl"},
        "held_out": {"size": 3},
        "training": {"forward": training, "backward": training},
        "evaluation": {"sampling": {"max_new_tokens": 8}},
        "iterations": 0,
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(run))
    done = snakemake("--cores", "2", "--configfile", "own.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert len(list(read_rows(tmp_path / "results" / "seed" / "held_out.jsonl.zst"))) == 3
    assert len(list(read_rows(tmp_path / "results" / "seed" / "train.jsonl.zst"))) == 9
    assert not (tmp_path / "results" / "models" / "backward").exists()
    assert (tmp_path / "results" / "report" / "index.html").stat().st_size > 10_000


def test_prompt_files_are_inputs_of_what_they_change(tmp_path: Path, snakemake: Snakemake) -> None:
    """Each template is named as an input by the rules that show it to a model."""
    done = snakemake("--dry-run", "--printshellcmds")
    assert done.returncode == 0
    for name in PROMPT_FILES:
        path = getattr(load_settings(yaml.safe_load((ROOT / "config.yaml").read_text())).prompts, name)
        assert path in done.stdout
