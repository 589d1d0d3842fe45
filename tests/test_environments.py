"""The pinned environments in envs/: they agree with pyproject.toml and with each other, and can be installed."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "envs" / "requirements.lock"
MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn", "nvidia-ml-py": "pynvml", "huggingface-hub": "huggingface_hub"}
"""Names under which packages are imported, where these are not the packages' own."""


@pytest.fixture(scope="module")
def dependencies() -> dict[str, Requirement]:
    """The direct dependencies in pyproject.toml, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {wanted.name: wanted for wanted in map(Requirement, project["dependencies"])}


@pytest.fixture(scope="module")
def pins() -> list[str]:
    """What pip installs into the conda environment."""
    environment = yaml.safe_load((ROOT / "envs" / "workflow.yaml").read_text())
    [section] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    return list(section)


@pytest.fixture(scope="module")
def lock() -> dict[str, str]:
    """The lines of the lock about each package: its release, digests, and the packages that need it."""
    entries = re.split(r"^(?=[a-z])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    return {re.split("[=[]", entry, maxsplit=1)[0]: entry for entry in entries}


def release(entry: str) -> str:
    """The release that an entry of the lock pins."""
    return entry.partition("==")[2].split()[0]


def needed_by(entry: str) -> set[str]:
    """The names in the comment of an entry of the lock."""
    return set(re.findall(r"^ +#(?: via)? +(\S+)", entry.replace("# via\n", "\n"), re.MULTILINE))


def test_the_lock_has_every_dependency_at_a_release_that_is_admitted(
    dependencies: dict[str, Requirement], lock: dict[str, str]
) -> None:
    for name, wanted in dependencies.items():
        if name != "torch":
            assert wanted.specifier.contains(release(lock[name])), f"{name}: run make lock"


def test_the_lock_has_nothing_that_is_not_needed(dependencies: dict[str, Requirement], lock: dict[str, str]) -> None:
    direct = {name for name, entry in lock.items() if "backtranslation" in needed_by(entry)}
    assert direct == set(dependencies) - {"torch"}, "run make lock"
    for name, entry in lock.items():
        assert needed_by(entry), name
        assert needed_by(entry) <= {"backtranslation", "torch", *lock}, name


def test_the_lock_leaves_the_build_of_torch_open(dependencies: dict[str, Requirement], lock: dict[str, str]) -> None:
    assert f"pip install {dependencies['torch']}\n" in LOCK.read_text()
    assert [name for name in lock if name.startswith(("torch", "triton", "cuda-", "nvidia-"))] == ["nvidia-ml-py"]


def test_every_locked_release_has_digests(lock: dict[str, str]) -> None:
    for name, entry in lock.items():
        assert re.search(r"^ +--hash=sha256:[0-9a-f]{64}\b", entry, re.MULTILINE), name


def test_the_conda_environment_pins_what_the_lock_pins(
    dependencies: dict[str, Requirement], lock: dict[str, str], pins: list[str]
) -> None:
    pinned = {wanted.name: wanted for wanted in map(Requirement, pins)}
    assert pinned["torch"] == dependencies["torch"]
    assert set(pinned) == set(dependencies)
    for name in set(dependencies) - {"torch"}:
        assert str(pinned[name].specifier) == f"=={release(lock[name])}", f"{name}: run make lock"
        assert pinned[name].extras == dependencies[name].extras


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    """The programs of a fresh environment, removed at the end, since it takes more than 1 GB."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "environment"], check=True)
    yield tmp_path / "environment" / "bin"
    shutil.rmtree(tmp_path / "environment")


@pytest.mark.long
def test_a_wheel_in_a_fresh_environment_of_the_locked_releases_runs_the_workflow(
    environment: Path, dependencies: dict[str, Requirement], pins: list[str], tmp_path: Path
) -> None:
    """In an empty folder: nothing but the wheel and what it needs."""
    folder = tmp_path / "empty"
    folder.mkdir()

    def run(*command: str | Path) -> str:
        done = subprocess.run([environment / command[0], *command[1:]], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # The order of the lock's head: what torch needs besides its own build is there when it comes.
    install = ("python", "-m", "pip", "install", "--quiet", "--no-compile")
    run(*install, "--no-deps", "--require-hashes", "-r", LOCK)
    run(*install, str(dependencies["torch"]))
    # The pip section of the conda environment is resolved, and asks for nothing else.
    assert "Would install" not in run("python", "-m", "pip", "install", "--dry-run", *pins)
    run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("*.whl")
    run(*install, "--no-deps", wheel)
    run("python", "-m", "pip", "check")
    modules = [MODULES.get(name, name) for name in dependencies]
    run("python", "-c", "import " + ", ".join(modules))

    assert run("backtranslation", "--version").split() == ["backtranslation", wheel.name.split("-")[1]]
    assert "generate_miniature_world" in run("backtranslation", "run", "--dry-run")
    run("backtranslation", "run", "--cores", "2", "results/extraction/funnel.tsv")
    planned = {job["stage"]: job["state"] for job in json.loads(run("backtranslation", "plan", "--json"))}
    assert (planned["deduplicate_segments"], planned["build_report"]) == ("found", "waits")
    assert "Nothing is running" in run("backtranslation", "status")
    run("backtranslation", "init")
    assert yaml.safe_load((folder / "my-run.yaml").read_text())["base_model"]
