"""The workflow from any folder: by its Snakefile, as a module of another workflow, and by the installed command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_run import ROOT

from backtranslation.commands.command_line import main
from backtranslation.commands.initialization import EXAMPLE
from backtranslation.settings.run import load_settings

SEED = "results/seed/train.jsonl.zst"
OTHER_WORKFLOW = """
module humpback:
    snakefile:
        {snakefile}
    config:
        {config}

use rule * from humpback as humpback_*

rule all:
    default_target: True
    input:
        rules.humpback_all.input,

rule of_its_own:
    output:
        "own.txt",
    shell:
        "trap > {{output}}"
"""


def run(folder: Path, *command: str, fails: bool = False) -> str:
    """Run a Python program in a folder, and return what it says."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def snakemake(folder: Path, *arguments: str, fails: bool = False) -> str:
    return run(folder, "snakemake", "--cores", "2", *arguments, fails=fails)


def own_run(folder: Path, **changes: Any) -> None:
    """A configuration on pages and pairs of a folder, named from there; prompts and the small model ship."""
    folder.mkdir()
    (folder / "pages").mkdir()
    (folder / "pages" / "one.html").write_text("<h1>Tea</h1><p>" + "Warm the pot before you pour. " * 5 + "</p>")
    pairs = [{"instruction": f"What is {n} plus one?", "response": f"It is {n + 1}."} for n in range(12)]
    (folder / "seed.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    configuration = {
        "base_model": {"path": "backtranslation/miniature/base"},
        "corpus": {"sources": [{"name": "own", "paths": ["pages"]}]},
        "seed": {"path": "seed.jsonl"},
        "held_out": {"size": 3},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(configuration | changes))


def test_by_its_snakefile_with_paths_of_the_working_directory(tmp_path: Path) -> None:
    own_run(tmp_path / "here")
    command = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", "mine.yaml")
    snakemake(tmp_path / "here", SEED, *command)
    assert (tmp_path / "here" / SEED).exists()
    assert f"{ROOT}/prompts/score-additive.jinja" in snakemake(tmp_path / "here", *command, "--dry-run")


def test_in_another_directory_by_its_option(tmp_path: Path) -> None:
    own_run(tmp_path / "here")
    command = ("--snakefile", str(ROOT / "Snakefile"), "--directory", "here", "--configfile", "here/mine.yaml")
    snakemake(tmp_path, SEED, *command)
    assert (tmp_path / "here" / SEED).exists() and not (tmp_path / "results").exists()


def test_an_own_prompt_beats_the_one_that_ships(tmp_path: Path) -> None:
    own_run(tmp_path / "here")
    (tmp_path / "here/prompts").mkdir()
    (tmp_path / "here/prompts/backward.jinja").write_text("{{ response }} Which question?")
    said = snakemake(tmp_path / "here", "--snakefile", str(ROOT / "Snakefile"), "--configfile", "mine.yaml", "-n")
    assert f"{ROOT}/prompts/backward.jinja" not in said and " prompts/backward.jinja" in said


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": {"path": "none.jsonl"}}, "config: seed.path: no such file: none.jsonl (looked in {here})"),
        (
            {"prompts": {"score": "prompts/none.jinja"}},
            "config: prompts.score: no such file: prompts/none.jinja (looked for {here}/prompts/none.jinja and"
            f" {ROOT}/prompts/none.jinja)",
        ),
        (
            {"prompts": {"score": "seed.jsonl"}},
            "config: prompts.score: seed.jsonl: must use the variables instruction, response (found: none)",
        ),
        (
            {"evaluation": {"judge": "./docs"}},
            "config: evaluation.judge: no model (config.json) in the folder ./docs (looked for {here}/docs)",
        ),
        (
            {"corpus": {"sources": [{"name": "own", "paths": ["none.jsonl"]}]}},
            "config: corpus.sources: own: none.jsonl does not exist (looked in {here})",
        ),
        (
            {"corpus": {"sources": [{"name": "own", "paths": ["none/*.jsonl"]}]}},
            "config: corpus.sources: own: none/*.jsonl matches no file (looked in {here})",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_named_with_where_it_was_looked_for(
    changes: dict[str, Any], line: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    own_run(here, **changes)
    command = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", "mine.yaml", "--dry-run")
    assert line.format(here=here) in snakemake(here, *command, fails=True).splitlines()


def snapshot(folder: Path) -> str:
    """A git repository with the Snakefile as it is now; how a module takes it from there."""
    folder.mkdir()
    (folder / "Snakefile").write_bytes((ROOT / "Snakefile").read_bytes())
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "now"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return f'gitfile("{folder}", path="Snakefile", tag="v1")'


def test_a_template_without_its_label_stops_before_any_job(tmp_path: Path) -> None:
    own_run(tmp_path / "here", prompts={"judge": "judge.jinja"})
    (tmp_path / "here/judge.jinja").write_text("{{ instruction }} {{ first }} {{ second }} Better:")
    command = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", "mine.yaml", "--dry-run")
    said = snakemake(tmp_path / "here", *command, fails=True)
    assert "judge.jinja: " in said and '{% set label = "Better:" -%}' in said and "Traceback" not in said


@pytest.mark.parametrize("source", ["folder", "git repository"])
def test_as_a_module_of_another_workflow(source: str, tmp_path: Path) -> None:
    """Its rules under other names, its results where its configuration says, and nothing of it in the other's rules."""
    own_run(tmp_path / "here", results="out")
    snakefile = f'"{ROOT / "Snakefile"}"' if source == "folder" else snapshot(tmp_path / "repository")
    text = OTHER_WORKFLOW.format(snakefile=snakefile, config='config["humpback"]')
    (tmp_path / "here/Snakefile").write_text(f'configfile: "other.yaml"\n{text}')
    own = yaml.safe_load((tmp_path / "here/mine.yaml").read_text())
    (tmp_path / "here/other.yaml").write_text(yaml.safe_dump({"humpback": own}))
    snakemake(tmp_path / "here", "out/seed/train.jsonl.zst", "own.txt")
    assert (tmp_path / "here/own.txt").read_text() == "", "the other's rules hear SIGTERM"
    assert "humpback_train_model" in snakemake(tmp_path / "here", "--dry-run")

    planned = json.loads(run(tmp_path / "here", "backtranslation.commands.command_line", "plan", "--json"))
    states = {job["stage"]: job["state"] for job in planned}
    assert states["prepare_seed"] == "found" and states["extract_segments"] == "computed"


def test_commands_in_the_folder_of_another_workflow_speak_of_its_results(tmp_path: Path) -> None:
    """In the layout that snakedeploy makes, and with a config.yaml that is not ours."""
    own_run(tmp_path / "here", results="out")
    (tmp_path / "here/workflow").mkdir()
    text = OTHER_WORKFLOW.format(snakefile=f'"{ROOT / "Snakefile"}"', config='config["humpback"]')
    (tmp_path / "here/workflow/Snakefile").write_text(f'configfile: "config.yaml"\n{text}')
    own = yaml.safe_load((tmp_path / "here/mine.yaml").read_text())
    (tmp_path / "here/config.yaml").write_text(yaml.safe_dump({"humpback": own, "other": 1}))
    command = ("backtranslation.commands.command_line", "status")
    assert "out: no results there" in run(tmp_path / "here", *command, fails=True)
    snakemake(tmp_path / "here", "out/seed/train.jsonl.zst")
    assert run(tmp_path / "here", *command).startswith("Results folder: out\n")
    assert "Results folder: out" in run(tmp_path / "here", "backtranslation.commands.command_line", "gc", "--dry-run")
    export = ("backtranslation.commands.command_line", "export", "curated", "data")
    assert "out/settings.json: not there yet" in run(tmp_path / "here", *export, fails=True)
    snakemake(tmp_path / "here", "out/settings.json")
    missing = "out/iterations/2/curated.jsonl.zst: not there yet: run the workflow first"
    assert missing in run(tmp_path / "here", *export, fails=True)


def test_a_module_without_a_base_model_changes_the_default_run(tmp_path: Path) -> None:
    text = OTHER_WORKFLOW.format(snakefile=f'"{ROOT / "Snakefile"}"', config='{"iterations": 1}')
    (tmp_path / "Snakefile").write_text(text)
    said = snakemake(tmp_path, "--dry-run")
    assert "humpback_generate_miniature_world" in said and "models/M1" in said and "models/M2" not in said


def test_a_workflow_without_our_stages_has_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Snakefile").write_text('rule all:\n    output: "x"\n    shell: "touch {output}"\n')
    with pytest.raises(SystemExit, match="no job of this workflow is a stage of backtranslation"):
        main(["plan"])


# The command


def test_run_passes_everything_on(tmp_path: Path) -> None:
    own_run(tmp_path / "here")
    said = run(tmp_path / "here", "backtranslation.commands.command_line", "run", "-n", "--configfile", "mine.yaml")
    assert "This was a dry-run" in said and "extract_segments" in said and "miniature_world" not in said


def test_init_writes_a_configuration_with_every_setting_and_never_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["init", "runs/first.yaml"])
    assert "--configfile first.yaml" in Path("runs/first.yaml").read_text()
    main(["init"])
    assert "backtranslation run --configfile my-run.yaml" in capsys.readouterr().out
    text = Path("my-run.yaml").read_text()
    assert load_settings(yaml.safe_load(text)) == load_settings(yaml.safe_load(EXAMPLE.read_text()))
    with pytest.raises(SystemExit, match=r"my-run\.yaml: is there already"):
        main(["init"])
    assert Path("my-run.yaml").read_text() == text


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("backtranslation 0.")


def test_another_copy_of_the_library_is_noticed(tmp_path: Path) -> None:
    """Snakemake would read the rules with the library beside the Snakefile, and scripts would import the other."""
    for name in ("Snakefile", "config.yaml", "rules", "prompts", "scripts", "backtranslation"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path], check=True)
    said = snakemake(tmp_path, "--dry-run", fails=True)
    assert f"{tmp_path}/backtranslation is not the library that" in said and f"pip install -e {tmp_path}" in said
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--dry-run"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
