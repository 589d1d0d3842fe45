"""A small run of the whole workflow in a copy of the project, for tests that change something in it and run it again.

What a run computed is read from the manifests of its store. What it should hold is read from the commands of its rules,
and from the files that lie there, never from what Snakemake remembers.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from backtranslation.jobs.content_digests import digest_of_folder, read_digest, visible_files
from backtranslation.jobs.manifests import Manifest
from backtranslation.jobs.named_paths import Name
from backtranslation.jobs.source_digests import source_digests
from backtranslation.settings.generation import ENGINES, EngineChoice

ROOT = Path(__file__).parent.parent.parent
PROJECT = ("Snakefile", "rules", "scripts", "backtranslation", "prompts", "profiles", "config.yaml")

# The default run made as small as it can be with two shards, and with models that differ enough to select differently.
SMALL = {
    "miniature": {"pages": 40, "seed_pairs": 32, "held_out_pairs": 8},
    "training": {kind: {"epochs": 2, "min_steps": 1, "learning_rate": 2e-3} for kind in ("backward", "forward")},
    "scoring": {"max_unparsable_share": 1.0, "sampling": {"max_new_tokens": 24}},
    "selection": {"by": "expected", "threshold": 1.0, "top_n": 25},
    # The size of batches follows the memory at hand otherwise, and rounding follows the size of batches.
    "generation": {"batch_tokens": 4096},
    "evaluation": {"controls": [], "sampling": {"max_new_tokens": 16}},
}

# Stands in the environment of every run, as the token of a user of the hub does.
SECRET = "hf_a-token-that-nobody-may-read"

# An engine that tests add to a run.
OTHER = EngineChoice("backtranslation.models.engines.other_engine", package="")

Computed = dict[str, set[str]]  # stage -> names
Command = tuple[str, dict[str, list[str]]]  # stage, arguments


@dataclass(frozen=True)
class Result:
    """A result in a store, and the paths below the results folder that name it, by its first output."""

    manifest: Manifest
    names: frozenset[str]


def make_run(folder: Path, settings: Mapping[str, Any] = SMALL) -> Path:
    """Copy the project to a new folder and run it there to its end."""
    folder.mkdir(parents=True)
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    change_settings(folder, settings)
    snakemake(folder)
    return folder


def copy_run(run: Path, folder: Path) -> Path:
    """Copy a finished run with its times and its hard links, and let Snakemake see the new place once."""
    subprocess.run(["cp", "-a", run, folder], check=True)
    snakemake(folder)
    return folder


def snakemake(run: Path, *arguments: str, fails: bool = False) -> str:
    """Run Snakemake with the run's own copy of the library, and return what it says."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    environment = os.environ | {"PYTHONPATH": str(run), "HF_TOKEN": SECRET}
    done = subprocess.run(command, cwd=run, env=environment, capture_output=True, text=True, timeout=1200)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, said[-5000:]
    return said


def change_settings(run: Path, changes: Mapping[str, Any]) -> None:
    """Lay changes over the configuration of a run."""
    path = run / "config.yaml"
    settings = overlay(yaml.safe_load(path.read_text()), changes)
    path.write_text(yaml.safe_dump(settings, sort_keys=False))


def overlay(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes, key by key."""
    merged = dict(settings)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that stands in a file once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


# What was computed


def rerun(run: Path, *arguments: str) -> Computed:
    """Run again; by stage, the names of what was computed.

    Asserts that every computed result had a reason, that every result which had a reason was computed, and that then
    nothing is left to be done.
    """
    configuration = [word for word in arguments if word != "--forceall"]
    before = list_results(run)
    snakemake(run, *arguments)
    after = list_results(run)
    fresh = {identity: result for identity, result in after.items() if identity not in before}
    check_reasons(list(before.values()), list(fresh.values()))
    check_fresh(list(after.values()), list_commands(run, *configuration), run)
    assert "Nothing to be done" in snakemake(run, *configuration)
    return name_computed(fresh.values())


def ask(run: Path, *arguments: str, fails: bool = False) -> tuple[Any, str]:
    """The JSON that a subcommand prints, and what it says on standard error."""
    call = "from backtranslation.commands.command_line import main; main()"
    command = [sys.executable, "-c", call, *arguments, "--json"]
    done = subprocess.run(command, cwd=run, env=os.environ | {"PYTHONPATH": str(run)}, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None, done.stderr


def planned(run: Path, state: str) -> Computed:
    """The names of jobs in a state of the plan, by stage, as `rerun` names what was computed."""
    found: Computed = {}
    for job in ask(run, "plan")[0]:
        if job["state"] == state:
            path = Path(job["output"]).relative_to("results")
            found.setdefault(job["stage"], set()).add(str(path.with_name(path.name.split(".")[0])))
    return found


def flatten(computed: Computed) -> set[tuple[str, str]]:
    return {(stage, name) for stage, names in computed.items() for name in names}


def rerun_as_planned(run: Path, *arguments: str) -> Computed:
    """Run again as `rerun` does, and assert that the plan said before what is computed, and says nothing after."""
    certain, possible = flatten(planned(run, "computed")), flatten(planned(run, "waits"))
    computed = rerun(run, *arguments)
    assert certain <= flatten(computed) <= certain | possible
    assert planned(run, "computed") == planned(run, "waits") == {}
    return computed


def name_computed(results: Iterable[Result]) -> Computed:
    """The names of results by stage."""
    computed: Computed = defaultdict(set)
    for result in results:
        computed[result.manifest.stage] |= result.names
    return dict(computed)


def list_results(run: Path) -> dict[tuple[str, int], Result]:
    """All results of a store; one that is made again under the same key is another one."""
    store, names = run / "results" / "store", defaultdict(set)
    for entry in (store / "names").rglob("*.json"):
        path, name = entry.relative_to(store / "names").with_suffix(""), Name(**json.loads(entry.read_text()))
        names[f"{name.stage}/{name.key}", name.output, name.index].add(str(path.with_name(path.name.split(".")[0])))
    results = {}
    for path in (store / "results").glob("*/*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        key = f"{manifest.stage}/{manifest.key}"
        assert path.parent == store / "results" / key
        first_output = next(iter(manifest.outputs))
        results[key, path.stat().st_ino] = Result(manifest, frozenset(names[key, first_output, 0]))
    return results


def check_reasons(before: list[Result], computed: list[Result]) -> None:
    """Assert that what was computed differs in settings, code or inputs from all that was there under its names."""
    identities = {(name, _identity(result.manifest)) for result in before for name in result.names}
    keys = {result.manifest.key for result in before}
    for result in computed:
        assert result.names, f"{result.manifest.stage}/{result.manifest.key} was computed for nothing"
        if result.manifest.key not in keys:  # the same key again: its result was damaged or gone
            for name in result.names:
                assert (name, _identity(result.manifest)) not in identities, f"{name} was computed without a reason"


def _identity(manifest: Manifest) -> str:
    """What a result was made from, whatever its inputs are called."""
    inputs = {name: [record.digest for record in records] for name, records in manifest.inputs.items()}
    return json.dumps([manifest.spec, manifest.code, inputs], sort_keys=True)


def check_fresh(results: list[Result], commands: list[Command], run: Path) -> None:
    """Assert that every named result is made from the settings, the code and the files that are there now."""
    named = {name: result.manifest for result in results for name in result.names}
    for stage, arguments in commands:
        paths = [Path(word) for words in arguments.values() for word in words if word.startswith("results/")]
        names = [str(path.relative_to("results").with_name(path.name.split(".")[0])) for path in paths]
        manifest = next((named[name] for name in names if name in named and named[name].stage == stage), None)
        assert manifest is not None, f"nothing was made for {stage} {names}"
        assert manifest.spec == json.loads(arguments["spec"][0]), f"{stage} {names}: other settings"
        assert manifest.code == digests_of(run, stage, manifest.spec), stage
        for argument, records in manifest.inputs.items():
            digests = [digest(run / path) for path in arguments[argument]]
            assert digests == [record.digest for record in records], f"{stage} {names}: other {argument}"


def digests_of(run: Path, stage: str, spec: dict[str, Any]) -> dict[str, str]:
    """Digests of the code of a stage, the engine that its settings choose included."""
    chosen = [ENGINES.get(spec["generation"]["engine"], OTHER).module] if "generation" in spec else []
    return source_digests(run / "scripts" / f"{stage}.py", chosen, run / "backtranslation")


def list_commands(run: Path, *arguments: str) -> list[Command]:
    """The stage and the arguments of every command of a stage that the rules give for a run."""
    said = snakemake(run, "--dry-run", "--forceall", "--printshellcmds", *arguments)
    lines = [line for line in said.splitlines() if line.startswith("Shell command: ") and " 2>&1 | tee" in line]
    assert lines
    commands: list[Command] = []
    for line in lines:
        words = shlex.split(line.partition(" 2>&1 |")[0])
        start = words.index(sys.executable) + 1
        options: dict[str, list[str]] = {}
        for word in words[start + 1 :]:
            if word.startswith("--"):
                values = options.setdefault(word.removeprefix("--").replace("-", "_"), [])
            else:
                values.append(word)
        commands.append((Path(words[start]).stem, options))
    return commands


def digest(path: Path) -> str:
    """Digest of a file or folder as the store defines it, read anew."""
    if path.is_dir():
        return digest_of_folder({name: read_digest(path / name) for name in visible_files(path)})
    return read_digest(path)
