"""What it takes to add to the workflow: a stage, and an engine; each is added to a copy of a finished run.

The files that are touched are the places that docs/architecture.md names.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.small_run import ask, change_settings, edit, rerun, snakemake

from backtranslation.files import read_rows
from backtranslation.jobs.stages import model_stages

pytestmark = pytest.mark.long

# A stage that counts the words of the instructions, and its setting.
LIBRARY = '''"""Lengths of instructions."""


def count_words(text: str, least: int) -> int:
    """Number of words, or 0 for fewer than `least`."""
    words = len(text.split())
    return words if words >= least else 0
'''
SCRIPT = '''"""Count the words of the instructions of a shard."""

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.method.lengths import count_words
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    least_words: int


def count_instruction_words(candidates: Input, lengths: Output, spec: Spec) -> None:
    """Count them.

    candidates: candidates of the shard, .jsonl.zst
    lengths: words of every instruction, .jsonl.zst
    """
    rows = read_rows(candidates)
    write_rows(lengths, ({"id": row["id"], "words": count_words(row["instruction"], spec.least_words)} for row in rows))


if __name__ == "__main__":
    run_stage(count_instruction_words)
'''
RULE = '''

rule count_instruction_words:
    """Count the words of the instructions of a shard."""
    input:
        candidates=layout.CANDIDATES,
    output:
        lengths=layout.INSTRUCTION_WORDS,
    log:
        layout.log_of("count_instruction_words", "{shard}"),
    params:
        spec=spec(least_words=settings.augmentation.least_words),
        code=code_digest("count_instruction_words"),
        call=call("count_instruction_words"),
    shell:
        STAGE
'''
TARGETS = [f"results/words/miniature-pages-{number}.jsonl.zst" for number in (1, 2)]


def add_stage(run: Path) -> None:
    """All that a stage takes: library function, script, rule, the place of its results, setting."""
    (run / "backtranslation/method/lengths.py").write_text(LIBRARY)
    (run / "scripts/count_instruction_words.py").write_text(SCRIPT)
    with (run / "rules/augment.smk").open("a") as stream:
        stream.write(RULE)
    with (run / "backtranslation/layout.py").open("a") as stream:
        stream.write('\nINSTRUCTION_WORDS = "<results>/words/{shard}.jsonl.zst"\n')
    edit(
        run / "backtranslation/settings/augmentation.py",
        "    filters: InstructionFilters",
        '    least_words: int = Field(3, description="fewest words that are counted")\n    filters: InstructionFilters',
    )


def sources(run: Path) -> dict[str, bytes]:
    """Every source of a run, by relative path."""
    folders = [run / name for name in ("backtranslation", "rules", "scripts", "profiles")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".smk", ".yaml")]
    return {str(path.relative_to(run)): path.read_bytes() for path in [*paths, run / "Snakefile", run / "config.yaml"]}


def states(run: Path, *target: str) -> dict[str, set[str]]:
    """The stages of a plan by state."""
    found: dict[str, set[str]] = {}
    for job in ask(run, "plan", *target)[0]:
        found.setdefault(job["state"], set()).add(job["stage"])
    return found


def test_a_stage_takes_five_places_and_makes_no_other_stale(run: Path) -> None:
    before = sources(run)
    add_stage(run)
    touched = {path for path, content in sources(run).items() if before.get(path) != content}
    assert touched == {
        "backtranslation/method/lengths.py", "scripts/count_instruction_words.py", "rules/augment.smk",
        "backtranslation/layout.py", "backtranslation/settings/augmentation.py",
    }  # fmt: skip

    assert states(run, TARGETS[0])["computed"] == {"count_instruction_words"}
    assert rerun(run, *TARGETS) == {"count_instruction_words": {f"words/miniature-pages-{n}" for n in (1, 2)}}
    counted = {row["words"] for path in TARGETS for row in read_rows(run / path)}
    assert max(counted) >= 3
    assert "computed" not in states(run, TARGETS[0])

    # Its setting is its own, and the report's, which shows all settings.
    change_settings(run, {"augmentation": {"least_words": 1000}})
    assert states(run, TARGETS[0])["computed"] == {"count_instruction_words"}
    assert states(run)["computed"] == {"build_report"}
    snakemake(run, *TARGETS)
    assert {row["words"] for path in TARGETS for row in read_rows(run / path)} == {0}

    for path in touched:
        if path in before:
            (run / path).write_bytes(before[path])
        else:
            (run / path).unlink()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["augmentation"]["least_words"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    assert states(run).keys() == {"found"}


def test_a_stage_that_loads_a_model_is_known_to_the_cluster_profile(run: Path) -> None:
    add_stage(run)
    edit(
        run / "backtranslation/method/lengths.py",
        '"""Lengths of instructions."""\n',
        '"""Lengths of instructions."""\n\nfrom backtranslation.models.loading import load_model\n',
    )
    read = "import json, sys, yte; print(json.dumps(yte.process_yaml(sys.stdin.read(), require_use_yte=True)))"
    done = subprocess.run(
        [sys.executable, "-c", read], input=(run / "profiles/slurm/config.yaml").read_text(), cwd=run,
        env=os.environ | {"PYTHONPATH": str(run)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["set-resources"]["count_instruction_words"]["slurm_partition"] == "gpu"


# Engines

REGISTRY = "backtranslation/settings/generation.py"
ENGINE = "backtranslation/models/engines/other_engine.py"
# Those that load an engine, with the method of scoring that the small run has.
GENERATING = set(model_stages()) - {"train_model", "measure_likelihood"}
# An engine that does what the first one does, and notes that it was loaded.
SAME_TEXTS = """
import {package}
from pathlib import Path
from backtranslation.models.engines import transformers_engine

def load_engine(*arguments):
    Path("loaded").touch()
    return transformers_engine.load_engine(*arguments)
"""


@pytest.fixture
def with_other_engine(run: Path) -> Callable[[str], Path]:
    """Adds an engine that needs a package to a copy of a finished run."""

    def add(package: str) -> Path:
        line = f'    "other": EngineChoice("backtranslation.models.engines.other_engine", package="{package}"),\n}}\n\n'
        edit(run / REGISTRY, "\n}\n\n", f"\n{line}")
        (run / ENGINE).write_text(SAME_TEXTS.format(package=package))
        return run

    return add


def test_an_engine_that_is_not_chosen_is_not_imported_needed_or_digested(
    with_other_engine: Callable[[str], Path],
) -> None:
    run = with_other_engine("a_package_that_nobody_has")
    assert states(run).keys() == {"found"}
    with (run / ENGINE).open("a") as stream:
        stream.write("\nEDITED = True\n")
    assert states(run).keys() == {"found"}
    # It runs, too: another seed, so that texts have to be generated.
    change_settings(run, {"random_seed": 2})
    snakemake(run, "results/instructions/miniature-pages-1.jsonl.zst")
    change_settings(run, {"generation": {"engine": "other"}})
    said = snakemake(run, "--dry-run", fails=True)
    assert "config: generation.engine: other needs the package a_package_that_nobody_has, which is not inst" in said


def test_an_engine_that_is_chosen_is_loaded_and_digested(with_other_engine: Callable[[str], Path]) -> None:
    run = with_other_engine("json")
    change_settings(run, {"generation": {"engine": "other"}})
    instructions = [f"results/instructions/miniature-pages-{number}.jsonl.zst" for number in (1, 2)]
    computed = rerun(run, *instructions)
    assert computed.keys() == {"generate_instructions"} and (run / "loaded").exists()
    left = states(run)
    assert (left["computed"] | left["waits"]) >= GENERATING - {"generate_instructions"}
    with (run / ENGINE).open("a") as stream:
        stream.write("\nEDITED = True\n")
    assert states(run, instructions[0])["computed"] == {"generate_instructions"}
    why = next(job["why"] for job in ask(run, "plan", instructions[0])[0] if job["stage"] == "generate_instructions")
    assert why == ["code backtranslation.models.engines.other_engine: edited"]


def test_an_engine_that_there_is_not_is_an_error_that_lists_those_there_are(run: Path) -> None:
    change_settings(run, {"generation": {"engine": "fastest"}})
    said = snakemake(run, "--dry-run", fails=True)
    assert "config: generation.engine: there is no such engine; there are server, transformers (found:" in said
