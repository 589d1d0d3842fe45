"""Results are safe from crashes: kills at every step, orphans, full disks, a workflow that is killed often."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_models import make_pairs

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.content_digests import digest_of_folder, read_digest, visible_files
from backtranslation.jobs.journal import complete_journal
from backtranslation.jobs.locks import is_locked
from backtranslation.jobs.manifests import Manifest, find
from backtranslation.jobs.named_paths import read_name
from backtranslation.jobs.store import digest_input
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import spec
from backtranslation.settings.training import Training

TESTS = Path(__file__).parent
STAGE = "crash_stage"
DEADLINE = 120  # seconds; only ever waited for when something is wrong
ROWS = 3
WEIGHTS = 2000  # bytes: a large file to the processes of crash_steps.py


class Place:
    """A results folder in which the small stage runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results, self.store = folder, folder / "results", folder / "results/store"
        self.notes = folder / "notes"
        self.results.mkdir(parents=True)
        self.notes.touch()
        rows = ({"id": f"row-{number}", "text": f"text {number} " + "ä" * 40} for number in range(ROWS))
        (folder / "pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    @property
    def named(self) -> dict[str, Path]:
        return {"rows": self.results / "rows.jsonl.zst", "model": self.results / "models/M0"}

    def arguments(self, word: str, weights: int = WEIGHTS) -> list[str]:
        outputs = [f"--{name}={path}" for name, path in self.named.items()]
        spec = json.dumps({"word": word, "weights": weights})
        return [f"--spec={spec}", f"--store={self.store}", f"--pages={self.folder / 'pages.jsonl'}", *outputs]

    def noted(self) -> list[str]:
        """What the stage did, in all its runs."""
        return self.notes.read_text().splitlines()

    def manifests(self) -> list[Manifest]:
        """Of all stored results; every folder among them has one."""
        found = [find(self.store, STAGE, folder.name) for folder in self.store.glob(f"results/{STAGE}/*")]
        assert None not in found, "a stored result has no manifest"
        return [manifest for manifest in found if manifest]

    def content(self) -> dict[str, str | None]:
        """What lies at the named paths now."""
        return {name: content_digest(path) if path.exists() else None for name, path in self.named.items()}


def content_digest(path: Path) -> str:
    """Digest of a file or folder, read now."""
    if not path.is_dir():
        return read_digest(path)
    return digest_of_folder({name: read_digest(path / name) for name in visible_files(path)})


def check_after_kill(place: Place) -> None:
    """What is stored is whole; what is named is absent or whole."""
    whole: dict[str, set[str | None]] = {name: {None} for name in place.named}
    for manifest in place.manifests():
        for name, [record] in manifest.outputs.items():
            stored = place.store / "results" / STAGE / manifest.key / record.file
            assert content_digest(stored) == record.digest
            whole[name].add(record.digest)
    for name, digest in place.content().items():
        assert digest in whole[name], f"{name} is neither absent nor whole"


def check_after_rerun(place: Place, word: str, weights: int = WEIGHTS) -> None:
    """The named paths hold the result of the settings, all of it, and nothing is left beside it."""
    rows = list(read_rows(place.named["rows"]))
    assert [row["id"] for row in rows] == [f"row-{number}" for number in range(ROWS)]
    assert all(row["raw"].startswith(f"{word} text") for row in rows)
    assert (place.named["model"] / "deep/config").read_text() == word
    assert (place.named["model"] / "weights").read_bytes() == word[0].encode() * weights
    names = [read_name(place.store, str(path)) for path in place.named.values()]
    [key] = {name.key for name in names if name}
    manifest = find(place.store, STAGE, key)
    assert manifest is not None and manifest.spec["word"] == word and None not in names
    for path in place.named.values():
        digest_input(place.store, str(path))
    check_after_kill(place)
    assert not list(place.store.glob("work/*/*")), "work is left behind"
    beside = {path.name for folder in (place.results, place.results / "models") for path in folder.iterdir()}
    assert beside == {"store", "models", "M0", "rows.jsonl.zst"}


Forker = Callable[..., int]


@pytest.fixture
def run_forked(tmp_path: Path) -> Iterator[Forker]:
    """Run the small stage, or kill it at a step; its exit status. What it says is in tmp_path/output."""
    environment = os.environ | {"NOTES": str(tmp_path / "notes")}
    command = [sys.executable, str(TESTS / "helpers/crash_steps.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdin is not None and server.stdout is not None

        def run(arguments: list[str], step: int = 0, links: bool = True, keep: bool = False) -> int:
            assert server.stdin is not None and server.stdout is not None
            order = {"arguments": arguments, "step": step, "links": links, "keep": keep}
            print(json.dumps(order | {"output": str(tmp_path / "output")}), file=server.stdin, flush=True)
            return int(server.stdout.readline())

        yield run
        server.stdin.close()


# A kill at every step


def prepare_nothing(place: Place, run: Forker) -> None:
    """The first run."""


def prepare_another(place: Place, run: Forker) -> None:
    """The named paths hold the result of other settings."""
    assert run(place.arguments("old")) == 0


def prepare_there_and_back(place: Place, run: Forker) -> None:
    """The result is stored, and the named paths hold that of other settings."""
    assert run(place.arguments("new")) == 0
    assert run(place.arguments("old")) == 0


def prepare_damaged(place: Place, run: Forker) -> None:
    """The result is stored, and damaged."""
    assert run(place.arguments("new")) == 0
    damage(place.named["model"] / "deep/config")


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("damage")


@pytest.mark.parametrize(
    ("prepare", "links", "least_steps"),
    [
        (prepare_nothing, True, 90),
        (prepare_another, True, 90),
        (prepare_another, False, 90),
        (prepare_there_and_back, True, 25),
        (prepare_damaged, True, 90),
    ],
)
def test_a_kill_at_every_step(
    tmp_path: Path, run_forked: Forker, prepare: Callable[[Place, Forker], None], links: bool, least_steps: int
) -> None:
    """After each the result is whole or not there; run again, it is there, and at most one row was made twice."""
    place, prepared = Place(tmp_path / "place"), tmp_path / "prepared"
    place.notes = tmp_path / "notes"
    prepare(place, run_forked)
    place.folder.rename(prepared)
    for step in count(1):
        shutil.rmtree(place.folder, ignore_errors=True)
        subprocess.run(["cp", "--archive", prepared, place.folder], check=True)
        place.notes.write_text("")
        status = run_forked(place.arguments("new"), step, links)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (tmp_path / "output").read_text()
        if prepare is not prepare_damaged:
            check_after_kill(place)
        assert run_forked(place.arguments("new"), links=links) == 0, (tmp_path / "output").read_text()
        check_after_rerun(place, "new")
        made = [line for line in place.noted() if line.startswith("row")]
        assert len(made) <= ROWS + 1, f"killed at step {step}: {made}"
    assert step > least_steps


def test_a_kill_at_every_step_of_keeping(tmp_path: Path, run_forked: Forker) -> None:
    """What a person edited and keeps is never lost, and kept when it is kept again."""
    place, prepared = Place(tmp_path / "place"), tmp_path / "prepared"
    prepare_another(place, run_forked)
    (place.named["model"] / "deep/config").unlink()
    (place.named["model"] / "deep/config").write_text("edited")
    place.folder.rename(prepared)
    for step in count(1):
        shutil.rmtree(place.folder, ignore_errors=True)
        subprocess.run(["cp", "--archive", prepared, place.folder], check=True)
        status = run_forked(place.arguments("new"), step, keep=True)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (tmp_path / "output").read_text()
        place.manifests()
        if run_forked(place.arguments("new"), keep=True):
            assert (tmp_path / "output").read_text().endswith("M0: no such file\n"), "it is stored, and not linked yet"
            assert run_forked(place.arguments("new")) == 0
        assert (place.named["model"] / "deep/config").read_text() == "edited"
        check_after_kill(place)
        assert run_forked(place.arguments("new")) == 0
        assert "found" in (tmp_path / "output").read_text()
    assert step > 60


# Processes that outlive others, or meet


class Runs:
    """Starts the small stage as processes of its own; kills what is left of them in the end."""

    def __init__(self, place: Place) -> None:
        self.place, self.started = place, list[subprocess.Popen[str]]()

    def start(self, word: str, gate_row: str | None = None, parent: bool = False) -> subprocess.Popen[str]:
        """Start it; with a row, it will wait at the gate after that; with a parent, what is returned is only that."""
        gate = {"GATE": str(self.place.folder / "gate"), "GATE_ROW": gate_row} if gate_row else {}
        (self.place.folder / "gate").mkdir(exist_ok=True)
        command = [sys.executable, str(TESTS / "helpers/crash_stage.py"), *self.place.arguments(word)]
        if parent:
            command = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *command]
        environment = os.environ | {"NOTES": str(self.place.notes)} | gate
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )  # fmt: skip
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Exit status, and what it said."""
        said = process.communicate(timeout=DEADLINE)[1]
        return process.returncode, said

    def run(self, word: str) -> str:
        """Run it to its good end; what it said."""
        status, said = self.finish(self.start(word))
        assert status == 0, said
        return said


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(Place(tmp_path))
    yield runs
    for process in runs.started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        process.wait()


def wait_until(condition: Callable[[], Any]) -> None:
    """Look again and again until something is so."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def wait_for_gate(place: Place) -> None:
    wait_until((place.folder / "gate/reached").exists)


def open_gate(place: Place) -> None:
    (place.folder / "gate/open").touch()


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    """Read what a process says until a line holds this."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or part not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], f"it ended and never said {part}: {lines}"


def lock_holders(store: Path) -> list[list[str]]:
    """For every work folder, the processes that have its lock, by the kernel's list."""
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    inodes = [file.stat().st_ino for file in store.glob("work/*/*/lock")]
    return [
        [lock[4] for lock in locks if lock[1] == "FLOCK" and int(lock[5].split(":")[2]) == inode] for inode in inodes
    ]


def test_an_orphan_is_waited_for(runs: Runs) -> None:
    """The parent is killed, the stage goes on; a second one with the same key waits and finds."""
    parent = runs.start("new", gate_row="row-1", parent=True)
    wait_for_gate(runs.place)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    second = runs.start("new")
    wait_for_line(second, "another process is making")
    assert [len(holders) for holders in lock_holders(runs.place.store)] == [1]
    open_gate(runs.place)
    status, said = runs.finish(second)
    assert status == 0, said
    check_after_rerun(runs.place, "new")
    assert runs.place.noted() == [*(f"row row-{number}" for number in range(ROWS)), "computed"]


def test_an_orphan_does_not_replace_what_was_asked_for_since(runs: Runs) -> None:
    """A second stage with other settings wins the named paths; the orphan's result is stored all the same."""
    orphan = runs.start("old", gate_row="row-1")
    wait_for_gate(runs.place)
    runs.run("new")
    wanted = runs.place.content()
    open_gate(runs.place)
    status, said = runs.finish(orphan)
    assert status == 1
    assert "is stored but not linked to" in said.splitlines()[-1] and "Traceback" not in said
    assert runs.place.content() == wanted
    check_after_rerun(runs.place, "new")
    runs.run("old")
    check_after_rerun(runs.place, "old")
    assert runs.place.noted().count("computed") == 2, "the orphan's result was found"


def test_two_at_once_compute_once(runs: Runs) -> None:
    both = [runs.start("new") for _ in range(2)]
    assert [runs.finish(process)[0] for process in both] == [0, 0]
    check_after_rerun(runs.place, "new")
    assert sorted(runs.place.noted()) == sorted([*(f"row row-{number}" for number in range(ROWS)), "computed"])


def test_two_at_once_mend_a_damaged_result_once(runs: Runs) -> None:
    """The slower one must not throw away what the faster one made."""
    runs.run("new")
    damage(runs.place.named["model"] / "deep/config")
    both = [runs.start("new") for _ in range(4)]
    assert [runs.finish(process) for process in both] and all(process.returncode == 0 for process in both)
    check_after_rerun(runs.place, "new")
    assert runs.place.noted().count("computed") == 2
    assert len(list((runs.place.store / "damaged").iterdir())) == 1


def test_a_lock_dies_with_its_process(runs: Runs) -> None:
    process = runs.start("new", gate_row="row-1")
    wait_for_gate(runs.place)
    [work] = runs.place.store.glob(f"work/{STAGE}/*")
    assert is_locked(work)
    process.kill()
    process.wait()
    assert not is_locked(work)


def test_rows_of_two_settings_never_mix(runs: Runs) -> None:
    """Killed in the middle, run with other settings, and back: the first journal goes on."""
    process = runs.start("first", gate_row="row-1")
    wait_for_gate(runs.place)
    process.kill()
    process.wait()
    runs.run("second")
    check_after_rerun_but_work(runs.place, "second")
    said = runs.run("first")
    assert "going on after 1 rows" in said or "going on after 2 rows" in said
    check_after_rerun(runs.place, "first")
    made = [line for line in runs.place.noted() if line.startswith("row")]
    assert len(made) <= 2 * ROWS + 1


def check_after_rerun_but_work(place: Place, word: str) -> None:
    """As `check_after_rerun`, while the work of other settings waits to go on."""
    hidden = place.folder / "hidden"
    (place.store / "work").rename(hidden)
    check_after_rerun(place, word)
    hidden.rename(place.store / "work")


# A full disk


PAGE = 4096
DISK = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, text=True)
    if not mounted or mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip() if mounted else 'no mount'}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def leave_free(disk: Path, size: int) -> Path:
    """Fill the disk but for so many bytes; the file that fills it."""
    filler = disk / "filler"
    with filler.open("wb") as stream:
        stream.write(bytes(free_bytes(disk) - size))
    assert free_bytes(disk) == size
    return filler


def test_a_full_disk(tmp_path: Path, small_disk: Path, run_forked: Forker) -> None:
    """With every number of free pages: one clear line, nothing half-written counts, and later it goes on."""
    weights = 5 * PAGE
    place = Place(small_disk / "place")
    place.notes = tmp_path / "notes"
    before = free_bytes(small_disk)
    assert run_forked(place.arguments("new", weights)) == 0
    needed = (before - free_bytes(small_disk)) // PAGE
    reached: set[str] = set()
    for pages in range(needed + 2):
        shutil.rmtree(place.folder)
        place = Place(small_disk / "place")
        place.notes = tmp_path / "notes"
        place.notes.write_text("")
        filler = leave_free(small_disk, pages * PAGE)
        status = run_forked(place.arguments("new", weights))
        said = (tmp_path / "output").read_text()
        check_after_kill(place)
        if status:
            assert status == 1 and "Traceback" not in said
            error = [line for line in said.splitlines() if "error:" in line]
            assert len(error) == 1 and error[0].startswith("crash_stage: error: the disk is full"), said
            reached.add(how_far(place))
        filler.unlink()
        assert run_forked(place.arguments("new", weights)) == 0, (tmp_path / "output").read_text()
        check_after_rerun(place, "new", weights)
        assert len([line for line in place.noted() if line.startswith("row")]) <= ROWS + 1
        if not status:
            break
    assert status == 0, "there was room at last"
    assert reached >= {"nothing", "claim", "journal", "outputs", "result"}


def test_a_row_that_is_cut_off_by_a_full_disk_is_the_last(small_disk: Path) -> None:
    """Though there may be room again for the next: a torn row between whole ones could never be read."""
    rows = [{"id": str(number), "text": "x" * 1100} for number in range(8)]
    filler = leave_free(small_disk, PAGE)

    def produce(there: dict[str, Row]) -> Iterator[Row]:
        for row in rows[len(there) :]:
            if row["id"] == "4":
                filler.unlink()
            yield row

    with pytest.raises(OSError, match="No space left"):
        complete_journal(small_disk / "journal", produce)
    filler.unlink()
    assert complete_journal(small_disk / "journal", lambda there: rows[3:]) == {row["id"]: row for row in rows}
    assert [row["id"] for row in map(json.loads, (small_disk / "journal").open())] == [row["id"] for row in rows]


def how_far(place: Place) -> str:
    """The last thing that a stage on a full disk came to."""
    signs = {
        "result": f"results/{STAGE}/*/manifest.json",
        "outputs": f"work/{STAGE}/*/outputs/rows.jsonl.zst",
        "journal": f"work/{STAGE}/*/completions.jsonl",
        "claim": f"work/{STAGE}/*/lock",
    }
    return next((name for name, pattern in signs.items() if list(place.store.glob(pattern))), "nothing")


# A training in several processes


def descendants(process: int) -> list[int]:
    """All living processes that a process has started, and those that these have."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            parents[int(folder.name)] = int(parent)
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def is_alive(process: int) -> bool:
    """Whether a process runs: neither gone nor only waiting to be taken note of."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def training_command(
    base: BaseModelSettings, prompts: Prompts, training: Training, seed: Path, results: Path
) -> list[str]:
    """The command line of a training on 32 pairs, which it writes to `seed`."""
    write_rows(seed, make_pairs(32))
    tags = prompts.only("seed_tag", "augmented_tag")
    settings = spec(
        task="forward", loading=base.loading(), hub_name=None, tags=tags, training=training, limits=Limits(),
        random_seed=1,
    )  # fmt: skip
    return [
        sys.executable, str(TESTS.parent / "scripts/train_model.py"), "--spec", settings,
        f"--store={results / 'store'}", "--execution", json.dumps({"training": training.execution()}),
        "--base", base.path,
        "--prompt", prompts.forward, "--chat-template", prompts.chat_template,
        "--seed", str(seed), "--model", str(results / "model"), "--losses", str(results / "losses.tsv"),
        "--pairs", str(results / "pairs.json"),
    ]  # fmt: skip


@pytest.mark.parametrize(("save_minutes", "pages"), [(0.00001, 60), (10, 10)], ids=["checkpoint", "model"])
def test_a_disk_that_is_too_small_for_a_training(
    base: BaseModelSettings, prompt_settings: Prompts, tmp_path: Path, small_disk: Path, save_minutes: float, pages: int
) -> None:
    """The libraries that write weights do not say that the disk is full: one clear line all the same."""
    training = Training(max_length=256, batch_size=8, epochs=2, min_steps=1, save_minutes=save_minutes)
    command = training_command(base, prompt_settings, training, tmp_path / "seed.jsonl.zst", small_disk / "results")
    leave_free(small_disk, pages * PAGE)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("train_model: error: the disk is full"), done.stderr
    assert not list(small_disk.glob("results/store/results/*/*")) and not (small_disk / "results/model").exists()
    (small_disk / "filler").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_killed_training_in_two_processes_leaves_none_and_goes_on(
    base: BaseModelSettings, prompt_settings: Prompts, tmp_path: Path
) -> None:
    """The workers die with the script, which holds the lock; the next one goes on from their last checkpoint."""
    training = Training(max_length=256, batch_size=8, epochs=20, rows_per_device=1, processes=2, save_minutes=0.001)
    store = tmp_path / "results/store"
    command = training_command(base, prompt_settings, training, tmp_path / "seed.jsonl.zst", tmp_path / "results")
    with (tmp_path / "output").open("w") as output:
        script = subprocess.Popen(command, stderr=output, stdout=output)
    wait_until(lambda: list(store.glob("work/*/*/checkpoints/whole-*")) or script.poll() is not None)
    workers = descendants(script.pid)
    assert script.poll() is None and len(workers) >= 3, (tmp_path / "output").read_text()
    script.kill()
    script.wait()
    wait_until(lambda: not any(map(is_alive, workers)))
    [work] = store.glob("work/*/*")
    assert not is_locked(work)
    assert not list(work.glob("outputs/*")), "the workers went on without the script"
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert (tmp_path / "results/model/model.safetensors").is_file()
    steps = [int(line.split("\t")[0]) for line in (tmp_path / "results/losses.tsv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps)), "every step is told once"


# A workflow that is killed often

KILLS = 24
KILLS_IN_EACH = 3  # in a round, while rows or checkpoints of the stage are on disk
SMALL = {
    "miniature": {"pages": 60, "warc_files": 1, "seed_pairs": 40, "held_out_pairs": 6},
    "training": {kind: {"epochs": 6, "min_steps": 1, "save_minutes": 0.005} for kind in ("backward", "forward")},
    "scoring": {"max_unparsable_share": 1.0, "sampling": {"max_new_tokens": 40}},
    "selection": {"by": "expected", "threshold": 1.0, "top_n": 20},
    "generation": {"batch_tokens": 1500},
    "evaluation": {"controls": [], "max_answers": 2, "sampling": {"max_new_tokens": 16}},
    "iterations": 1,
}
RESUMED = {
    "generate_instructions": ("completions.jsonl", "going on after"),
    "score_candidates": ("completions.jsonl", "going on after"),
    "train_model": ("checkpoints/whole-*", "going on from step"),
}


class Workflow:
    """A copy of the project's inputs in a folder of its own, and the Snakemake that runs there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.log = folder, folder / "results/store", folder / "all.log"
        folder.mkdir()
        (folder / "small.yaml").write_text(json.dumps(SMALL))
        self.snakemake: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start Snakemake in a session of its own."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(TESTS.parent / "Snakefile"), "--cores", "2"]
        command += ["--verbose"]  # then all that the jobs say, killed ones too, is in one log
        with self.log.open("a") as log:
            self.snakemake = subprocess.Popen(
                [*command, "--configfile", "small.yaml", *more], cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self.snakemake

    def processes(self) -> list[tuple[int, str]]:
        """The scripts that run in this folder: process and name of the script, children that end with it apart."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink() == self.folder:
                    words = (process / "cmdline").read_bytes().split(b"\0")
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                    is_child = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0") == words
                    if len(words) > 1 and b"/scripts/" in words[1] and not is_child:
                        found.append((int(process.name), Path(words[1].decode()).stem))
            except OSError:
                continue
        return found

    def has_progress(self, stage: str) -> bool:
        """Whether rows or a checkpoint are on disk of a stage that is not finished."""
        found = self.store.glob(f"work/{stage}/*/{RESUMED[stage][0]}")
        with suppress(FileNotFoundError):
            return any(path.stat().st_size for path in found)
        return False

    def written_by(self, process: int) -> set[str]:
        """The keys in whose work folders a process has files open, the lock apart."""
        found = set()
        for descriptor in list_folder(Path(f"/proc/{process}/fd")):
            try:
                path = descriptor.readlink()
            except OSError:
                continue
            if path.is_relative_to(self.store / "work") and not path.name.startswith("lock"):
                found.add(path.relative_to(self.store / "work").parts[1])
        return found

    def check_writers(self) -> None:
        """No two processes write one result."""
        writers: dict[str, int] = {}
        for process, _ in self.processes():
            for key in self.written_by(process):
                other = writers.setdefault(key, process)
                assert other == process or key not in self.written_by(other), f"{other} and {process} write {key}"

    def rows(self) -> dict[str, list[str]]:
        """The ids of all results that are rows, by path."""
        files = [*self.folder.glob("results/**/*.jsonl.zst")]
        return {
            str(path.relative_to(self.folder)): [row["id"] for row in read_rows(path)]
            for path in files
            if self.store not in path.parents
        }

    def counts(self) -> dict[str, int]:
        """How many results there are of every stage."""
        stages = (self.store / "results").iterdir()
        return {stage.name: len(list(stage.glob("*/manifest.json"))) for stage in stages}

    def stop(self) -> None:
        """Kill what is left."""
        if self.snakemake is not None and self.snakemake.poll() is None:
            os.kill(self.snakemake.pid, signal.SIGKILL)
        for process, _ in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def list_folder(folder: Path) -> list[Path]:
    """What is in a folder, if it is there."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


class Killer:
    """Kills jobs and Snakemakes at random moments; `here` counts those with rows or checkpoints on disk, by stage."""

    def __init__(self, seed: int) -> None:
        self.random, self.kills, self.here = random.Random(seed), list[str](), Counter[str]()

    def run_round(self, workflow: Workflow) -> None:
        """Run a workflow to its end, with kills as long as there are some left."""
        self.here.clear()
        while True:
            before = len(self.kills)
            snakemake = workflow.start()
            self.disturb(workflow, snakemake)
            if snakemake.returncode == 0:
                return
            assert len(self.kills) > before, f"failed undisturbed: {workflow.log.read_text()[-5000:]}"
            if snakemake.returncode == -signal.SIGKILL:
                assert workflow.start("--unlock").wait(DEADLINE) == 0

    def disturb(self, workflow: Workflow, snakemake: subprocess.Popen[bytes]) -> None:
        """Kill at random moments, and where there are rows or checkpoints, until Snakemake ends."""
        moment = self.next_moment()
        while snakemake.poll() is None:
            workflow.check_writers()
            running = {stage for _, stage in workflow.processes()}
            left = {stage: KILLS_IN_EACH - self.here[stage] for stage in RESUMED}
            wanted = {stage for stage in running & set(RESUMED) if left[stage] and workflow.has_progress(stage)}
            if wanted or (time.monotonic() >= moment and len(self.kills) < KILLS - sum(left.values())):
                time.sleep(self.random.uniform(0, 0.3))
                self.kill(workflow, snakemake, wanted)
                moment = self.next_moment()
            time.sleep(0.05)

    def next_moment(self) -> float:
        return time.monotonic() + self.random.uniform(1, 8)

    def kill(self, workflow: Workflow, snakemake: subprocess.Popen[bytes], wanted: set[str]) -> None:
        """Kill a job, or Snakemake while one runs; nothing if none does any more."""
        running = [(process, stage) for process, stage in workflow.processes() if not wanted or stage in wanted]
        if not running or snakemake.poll() is not None:
            return
        process, stage = self.random.choice(running)
        # Of a stage with rows or checkpoints the job first: where Snakemake is killed, the job may end undisturbed.
        victim = ("job", "snakemake")[self.here[stage] % 2] if wanted else self.random.choice(["job", "snakemake"])
        with suppress(ProcessLookupError):
            os.kill(process if victim == "job" else snakemake.pid, signal.SIGKILL)
        self.kills.append(f"{victim} while {stage} ran" + (", with rows or checkpoints" if wanted else ""))
        self.here[stage] += bool(wanted)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_workflow_that_is_killed_often(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At least KILLS kills in all; in the end the rows of an undisturbed run, each result made once."""
    undisturbed = Workflow(tmp_path / "undisturbed")
    assert undisturbed.start().wait() == 0, undisturbed.log.read_text()[-5000:]
    rows, counts = undisturbed.rows(), undisturbed.counts()
    assert all(len(set(ids)) == len(ids) > 0 for ids in rows.values())

    seed = int(os.environ.get("KILL_SEED", "1"))
    killer = Killer(seed)
    said = ""
    for number in count(1):
        workflow = Workflow(tmp_path / f"round-{number}")
        try:
            killer.run_round(workflow)
        finally:
            workflow.stop()
            with capsys.disabled():
                print(f"\nround {number} with KILL_SEED={seed}:", *killer.kills, sep="\n  ")
        assert workflow.rows() == rows
        assert workflow.counts() == counts
        assert not (workflow.store / "damaged").exists()
        assert not list(workflow.store.glob("work/*/*"))
        said += workflow.log.read_text()
        if len(killer.kills) >= KILLS:
            break
    for stage in RESUMED:
        assert any(f"while {stage} ran, with rows" in kill for kill in killer.kills), (
            f"{stage} was never caught at work"
        )
    assert {kill.split()[0] for kill in killer.kills} == {"job", "snakemake"}
    for stage, (_, words) in RESUMED.items():
        assert any(f" {stage} " in line and words in line for line in said.splitlines()), f"{stage}: never {words}"
    assert "another process is making" in said, "no orphan was ever met"
    assert not re.search(r'File ".*/scripts/', said), "a job ended in a traceback"  # --verbose shows Snakemake's own
