"""What hundreds of shards cost beside the models: dry runs, `backtranslation plan`, reruns, time of a job, memory.

    python benchmarks/many_shards.py --shards 500 --folder build/many-shards
    python benchmarks/many_shards.py --shards 20 --folder build/few-shards --run

Makes two workflows. `ours` is a copy of this project in which the stages that need a model write plausible rows at once
(stub_stages.py); all else, the store above all, is the real thing. `bare` (bare_workflow.smk) has the same jobs and
files, but its rules have no `params` and no store, and only touch what they make. Then everything is measured in turn,
one beside the other. Prints a Markdown table of medians, the largest process of a command, and ratios of the seconds.

With `--run` Snakemake makes all results, and makes them again after changes, at about half a second of processor time a
job. Without it, the same commands run in one process, which leaves the same results and records (make_results.py).
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import yaml

from backtranslation.files import Row, write_rows
from backtranslation.jobs.stages import model_stages

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("Snakefile", "rules", "scripts", "prompts", "profiles", "backtranslation")
OUTPUT = "output.txt"  # of the last command in a folder
PAGES, PAIRS = 5, 60  # pages of a shard, human-written pairs
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "2"]
MAKE_RESULTS = [sys.executable, str(ROOT / "benchmarks/make_results.py")]
PLAN = [str(Path(sys.executable).with_name("backtranslation")), "plan"]
WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("ade", "ilo", "orn", "usk", "ent", "ary")]


@dataclass(frozen=True)
class Measure:
    """A command that has ended: seconds, MiB of the largest process, and how many jobs it ran."""

    seconds: float
    memory: float
    jobs: int


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--iterations", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, required=True, help="where both workflows are made, if they are not yet")
    parser.add_argument("--rounds", type=int, default=3, help="measures of each command (default: %(default)s)")
    parser.add_argument("--run", action="store_true", help="also measure runs of jobs")
    args = parser.parse_args()

    ours, bare = args.folder.resolve() / "ours", args.folder.resolve() / "bare"
    is_new = not bare.exists()
    if is_new:
        make_ours(ours, args.shards, args.iterations)
        make_bare(bare, args.shards, args.iterations)
    print(f"{args.shards} shards, {args.iterations} iterations; load {os.getloadavg()[0]:.1f}\n")
    print("| what | command | ours | bare Snakemake | ratio |\n|---|---|---|---|---|", flush=True)
    if args.run:
        compare("first run", [], ours, bare, 1)
    elif is_new:
        for folder in (ours, bare):
            measure(MAKE_RESULTS, folder)
    compare("dry run of all jobs", ["--dry-run", "--forceall"], ours, bare, args.rounds)
    compare("dry run, nothing to do", ["--dry-run"], ours, bare, args.rounds)
    compare("run, nothing to do", [], ours, bare, args.rounds)
    tell("plan, nothing to do", "backtranslation plan", shown([measure(PLAN, ours) for _ in range(args.rounds)]))
    if args.run:
        rerun("run after a change of a setting", ["--config", "scoring={max_unparsable_share: 0.5}"], ours)
        rerun("run of all jobs", ["--forceall"], ours)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


# Measuring


def measure(command: list[str], folder: Path) -> Measure:
    """Run a command to its end in a folder, with that folder's copy of the library. Exits if it fails."""
    with (folder / OUTPUT).open("w+") as output:
        started = monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = monotonic() - started
        output.seek(0)
        text = output.read()
    if status:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{text[-3000:]}")
    # Our workflow says how many jobs are done at the end, Snakemake after each of them.
    jobs = re.findall(r"([\d,]+) (?:jobs in|of \d+ steps)", text)
    return Measure(seconds, usage.ru_maxrss / 1024, int(jobs[-1].replace(",", "")) if jobs else 0)


def compare(what: str, options: list[str], ours: Path, bare: Path, rounds: int) -> None:
    """Measure Snakemake in both folders in turn, and print a row."""
    command = SNAKEMAKE + options
    pairs = [(measure(command, ours), measure(command, bare)) for _ in range(rounds)]
    ratio = statistics.median(mine.seconds / other.seconds for mine, other in pairs)
    first, second = (shown(list(measures)) for measures in zip(*pairs, strict=True))
    tell(what, " ".join(["snakemake", *options]), first, second, f"{ratio:.1f}")


def rerun(what: str, options: list[str], ours: Path) -> None:
    """Let jobs run again, and tell how many of them found their result."""
    before = count_results(ours)
    done = measure(SNAKEMAKE + options, ours)
    found, computed = (ours / OUTPUT).read_text().count("found in the store"), count_results(ours) - before
    command = " ".join(["snakemake", *options])
    tell(f"{what}: {found:,} results found, {computed:,} computed", command, shown([done]))


def count_results(ours: Path) -> int:
    """How many results the store holds."""
    return len(list(ours.glob("results/store/results/*/*")))


def tell(what: str, command: str, *figures: str) -> None:
    """Print a row."""
    print(" | ".join(["", what, f"`{command}`", *figures, *[""] * (4 - len(figures))]).strip(), flush=True)


def shown(measures: list[Measure]) -> str:
    """Median seconds, those of a job where jobs ran, and most memory."""
    seconds = statistics.median(one.seconds for one in measures)
    jobs = f", {seconds / measures[0].jobs:.2f} s for each of {measures[0].jobs:,} jobs" if measures[0].jobs else ""
    return f"{seconds:,.1f} s{jobs}, {max(one.memory for one in measures):,.0f} MiB"


# Our workflow


def make_ours(folder: Path, shards: int, iterations: int) -> None:
    """A copy of the project with stubs, pages, pairs and settings."""
    folder.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    shutil.copy2(ROOT / "benchmarks/stub_stages.py", folder / "scripts")
    for stage in model_stages():
        put_stub(folder / f"scripts/{stage}.py", stage)
    for number in range(shards):
        write_rows(folder / f"pages/{number:04}.jsonl", pages(number))
    write_rows(folder / "seed.jsonl", pairs())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings(iterations)))


def put_stub(script: Path, stage: str) -> None:
    """Let a script, whose signature stays, call its stub."""
    before, _, _ = script.read_text().rpartition(f"run_stage({stage}")
    stub = f"functools.wraps({stage})(stub_stages.{stage})"
    script.write_text(f"{before}import functools\n\n    import stub_stages\n\n    run_stage({stub})\n")


def settings(iterations: int) -> dict[str, Any]:
    """The least that a run must be told."""
    return {
        "base_model": {"path": "backtranslation/miniature/base"},
        "corpus": {
            "sources": [{"name": "pages", "paths": ["pages/*.jsonl"]}],
            "segments": {"min_chars": 80, "max_chars": 450},
            "filters": {"languages": []},
        },
        "seed": {"path": "seed.jsonl"},
        "held_out": {"size": 20},
        "iterations": iterations,
    }


def pages(shard: int) -> Iterator[Row]:
    """Pages of three headers each, with a few sentences below."""
    generator = random.Random(shard)
    for number in range(PAGES):
        html = "".join(f"<h2>{sentence(generator, 4)}</h2><p>{text(generator)}</p>" for _ in range(3))
        yield {"url": f"https://example.org/{shard}/{number}", "html": html}


def pairs() -> Iterator[Row]:
    """Human-written pairs, as it were."""
    generator = random.Random("pairs")
    return ({"instruction": sentence(generator, 8), "response": text(generator)} for _ in range(PAIRS))


def text(generator: random.Random) -> str:
    """Four sentences."""
    return " ".join(sentence(generator, generator.randint(6, 9)) for _ in range(4))


def sentence(generator: random.Random, words: int) -> str:
    """So many words that mean nothing."""
    return " ".join(generator.choices(WORDS, k=words)).capitalize() + "."


# The bare workflow


def make_bare(folder: Path, shards: int, iterations: int) -> None:
    """The same shape with empty files."""
    (folder / "pages").mkdir(parents=True)
    (folder / "base").mkdir()
    names = [f"pages-{number:04}" for number in range(shards)]
    for name in ["seed.jsonl", "prompt.jinja", "base/config.json", *(f"pages/{name}.jsonl" for name in names)]:
        (folder / name).touch()
    shutil.copy2(ROOT / "benchmarks/bare_workflow.smk", folder / "Snakefile")
    (folder / "config.yaml").write_text(yaml.safe_dump({"shards": names, "iterations": iterations}))


if __name__ == "__main__":
    main()
