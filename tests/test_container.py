"""The container: what the Dockerfile says, and what docs/running.md says of it, without building anything."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile in their order: name and the rest of the line, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines()) if name]


def rest_of(name: str, instructions: list[tuple[str, str]]) -> list[str]:
    return [rest for each, rest in instructions if each == name]


def defaults(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """The arguments of a build, with their defaults."""
    return dict(rest.split("=", 1) for rest in rest_of("ARG", instructions))


def test_it_is_built_from_debian_and_the_package_index_alone(instructions: list[tuple[str, str]]) -> None:
    stages: set[str] = set()
    for image, *name in (rest.split(" AS ") for rest in rest_of("FROM", instructions)):
        assert image in {"${BASE}", *stages}
        stages.update(name)
    assert defaults(instructions)["BASE"].startswith("docker.io/library/debian:")
    assert not rest_of("ADD", instructions)
    # torch's own index has its CPU builds, and there is no other place.
    assert set(re.findall(r"https?://\S+", " ".join(rest_of("RUN", instructions)))) == {
        "https://download.pytorch.org/whl/cpu"
    }


def test_both_variants_get_the_torch_of_the_project(instructions: list[tuple[str, str]]) -> None:
    [install] = [rest for rest in rest_of("RUN", instructions) if "$VARIANT" in rest]
    variants = dict(re.findall(r"(\w+)\) pip install .*?(torch\S+) ;;", install))
    assert set(variants) == {"cpu", "cuda"} and defaults(instructions)["VARIANT"] in variants
    assert set(variants.values()) < set(PROJECT["dependencies"])


def test_packages_are_those_of_the_lock_and_stay_when_the_source_changes(instructions: list[tuple[str, str]]) -> None:
    packages = [rest for _, rest in instructions[: instructions.index(("COPY", ". /source"))]]
    assert any(rest.startswith("envs/requirements.lock ") for rest in packages)
    assert any("--no-deps --require-hashes -r" in rest for rest in packages)


def test_nobody_is_root_in_it(instructions: list[tuple[str, str]]) -> None:
    *_, user = rest_of("USER", instructions)
    assert user not in ("root", "0")


def test_its_labels_are_what_the_project_says_of_itself(instructions: list[tuple[str, str]]) -> None:
    [rest] = rest_of("LABEL", instructions)
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', rest))
    assert labels["title"] == PROJECT["name"]
    assert labels["description"] == PROJECT["description"]
    assert labels["licenses"] == PROJECT["license"]
    assert defaults(instructions)["VERSION"] == PROJECT["version"]
    for name in ("version", "revision", "source"):
        assert labels[name] == f"${{{name.upper()}}}" and name.upper() in defaults(instructions)


def test_a_build_sees_all_that_the_package_is_made_of_and_nothing_else() -> None:
    """No results, no environment, no history: whatever lies in the folder, the build is the same."""
    first, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    admitted = {line.removeprefix("!") for line in lines if line.startswith("!")}
    built = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert first == "*"
    assert admitted == {
        *built["packages"], *built["force-include"], PROJECT["readme"], "LICENSE", "pyproject.toml",
    }  # fmt: skip
    assert all((ROOT / path).exists() for path in admitted)


def test_the_page_names_arguments_that_there_are(instructions: list[tuple[str, str]]) -> None:
    page = (ROOT / "docs" / "running.md").read_text()
    named = set(re.findall(r"--build-arg (\w+)", page))
    assert named and named <= set(defaults(instructions))


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["title"].startswith(PROJECT["name"])
    [paper] = citation["references"]
    assert paper["url"].endswith("arxiv.org/abs/2308.06259") and paper["authors"][0]["family-names"] == "Li"
