"""Leases of GPUs, with pretend ids: never one GPU for two jobs, none lost with a killed job, no job passed over."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from backtranslation.jobs import leases
from backtranslation.jobs.leases import LeaseError, lease_gpus, visible_gpus

ROOT = Path(__file__).parent.parent

# Leases the GPUs and notes when it had them; the clock is that of the machine, the same in all processes.
HOLDER = """
import json, logging, os, sys, time
from pathlib import Path
from backtranslation.jobs import leases
logging.basicConfig(level=logging.INFO)
folder, job, count, seconds = sys.argv[1:]
leases.LEASES = Path(folder, "leases")
leases.WAIT_SECONDS = 0.02
gpus = leases.lease_gpus(int(count))
assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(gpus)
start = time.monotonic()
Path(folder, job + ".start").write_text(json.dumps([gpus, start]))
time.sleep(float(seconds))
Path(folder, job + ".end").write_text(json.dumps(time.monotonic()))
"""


@dataclass
class Use:
    """One job's time with its GPUs."""

    job: str
    gpus: list[str]
    start: float
    end: float


def start_holder(folder: Path, job: str, count: int, seconds: float, gpus: str, **more: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpus} | more
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), job, str(count), str(seconds)], env=environment)


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.005)


def read_uses(folder: Path, killed: dict[str, float]) -> list[Use]:
    """All uses; one that was killed ends when it was."""
    uses = []
    for path in folder.glob("*.start"):
        gpus, start = json.loads(path.read_text())
        end = killed.get(path.stem) or json.loads(path.with_suffix(".end").read_text())
        uses.append(Use(path.stem, gpus, start, end))
    return uses


def assert_never_shared(uses: list[Use]) -> None:
    by_gpu = defaultdict(list)
    for use in uses:
        for gpu in use.gpus:
            by_gpu[gpu].append(use)
    for of_one in by_gpu.values():
        of_one.sort(key=lambda use: use.start)
        for earlier, later in pairwise(of_one):
            assert earlier.end <= later.start, f"{earlier} and {later}"


def test_eight_jobs_share_three_gpus_though_some_are_killed(tmp_path: Path) -> None:
    chance = random.Random(1)
    counts = [1, 2, 3, 1, 1, 2, 3, 1]
    victims = {"job-1", "job-2", "job-4"}
    processes = {
        job: start_holder(tmp_path, job, count, 600 if job in victims else chance.uniform(0.2, 0.6), "a,b,c")
        for job, count in ((f"job-{number}", count) for number, count in enumerate(counts))
    }
    killed: dict[str, float] = {}
    while len(killed) < len(victims):
        for job in victims - set(killed):
            if (tmp_path / f"{job}.start").exists():
                time.sleep(0.1)
                killed[job] = time.monotonic()
                processes[job].kill()
    for job, process in processes.items():
        assert process.wait(60) == (-signal.SIGKILL if job in victims else 0)
    uses = read_uses(tmp_path, killed)
    assert {use.job: len(set(use.gpus)) for use in uses} == {f"job-{number}": n for number, n in enumerate(counts)}
    assert {gpu for use in uses for gpu in use.gpus} == {"a", "b", "c"}
    assert_never_shared(uses)


def test_a_job_that_needs_all_gpus_is_not_passed_over(tmp_path: Path) -> None:
    first = start_holder(tmp_path, "first", 1, 1.0, "a,b")
    wait_for(tmp_path / "first.start")
    large = start_holder(tmp_path, "large", 2, 0.1, "a,b")
    time.sleep(0.5)
    small = [start_holder(tmp_path, f"small-{number}", 1, 0.1, "a,b") for number in range(4)]
    for process in (first, large, *small):
        assert process.wait(60) == 0
    uses = {use.job: use for use in read_uses(tmp_path, {})}
    assert all(uses["large"].start < uses[f"small-{number}"].start for number in range(4))
    assert_never_shared(list(uses.values()))


def test_jobs_with_other_gpus_do_not_wait_and_a_killed_one_in_the_queue_blocks_nobody(tmp_path: Path) -> None:
    first = start_holder(tmp_path, "first", 1, 30, "a")
    wait_for(tmp_path / "first.start")
    waiting = [start_holder(tmp_path, f"waiting-{number}", 1, 0, "a") for number in range(3)]
    assert start_holder(tmp_path, "other", 1, 0, "b").wait(30) == 0
    assert not list(tmp_path.glob("waiting-*"))
    waiting.pop(0).kill()
    first.kill()
    assert [process.wait(30) for process in waiting] == [0, 0]


def test_gpus_of_different_slurm_jobs_are_different_though_they_have_one_name(tmp_path: Path) -> None:
    first = start_holder(tmp_path, "first", 1, 30, "0", SLURM_JOB_ID="1")
    wait_for(tmp_path / "first.start")
    waiting = start_holder(tmp_path, "waiting", 1, 0, "0", SLURM_JOB_ID="1")
    assert start_holder(tmp_path, "second", 1, 0, "0", SLURM_JOB_ID="2").wait(30) == 0
    assert not (tmp_path / "waiting.start").exists()
    first.kill()
    assert waiting.wait(30) == 0


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,1", ["0", "1"]),
        (" 2 , 0 ", ["2", "0"]),
        ("", []),
        ("-1", []),
        ("1,-1,0", ["1"]),
        ("GPU-8932f937-d72c,MIG-GPU-b8ea/1/0", ["GPU-8932f937-d72c", "MIG-GPU-b8ea/1/0"]),
    ],
)
def test_the_list_of_the_user_is_respected(monkeypatch: pytest.MonkeyPatch, given: str, names: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names


def test_a_lease_takes_the_names_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leases, "LEASES", tmp_path / "leases")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-b8ea/1/0,GPU-8932f937-d72c")
    mask = os.umask(0o077)
    try:
        assert lease_gpus(2) == ["MIG-GPU-b8ea/1/0", "GPU-8932f937-d72c"]
    finally:
        os.umask(mask)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-b8ea/1/0,GPU-8932f937-d72c"
    # Every user of the machine can lock them.
    assert (tmp_path / "leases").stat().st_mode & 0o7777 == 0o1777
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "leases").iterdir()} == {0o644}


def test_without_a_lease_no_gpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert lease_gpus(0) == [] and os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_more_gpus_than_can_be_seen_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(LeaseError, match=r"2 GPUs are asked for \(generation.gpus, .*, and 1 can be seen .* is 0"):
        lease_gpus(2)


class PretendDriver(SimpleNamespace):
    """What NVIDIA's driver says about its GPUs: for each the UUIDs of its parts, or None if it cannot be cut up."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVMLError_NotFound = type("NVMLError_NotFound", (NVMLError,), {})
    NVML_DEVICE_MIG_ENABLE = 1

    NVMLError_LibraryNotFound = type("NVMLError_LibraryNotFound", (NVMLError,), {})
    NVMLError_DriverNotLoaded = type("NVMLError_DriverNotLoaded", (NVMLError,), {})

    def __init__(self, *gpus: list[str] | None, fault: str | None = None) -> None:
        super().__init__(gpus=gpus, fault=fault)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fault:
            raise getattr(self, self.fault)("Driver/library version mismatch")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> tuple[int]:  # noqa: N802
        return (index,)

    def nvmlDeviceGetMigMode(self, gpu: tuple[int]) -> tuple[int, int]:  # noqa: N802
        parts = self.gpus[gpu[0]]
        if parts is None:
            raise self.NVMLError
        return int(bool(parts)), 0

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: tuple[int]) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: tuple[int], index: int) -> str:  # noqa: N802
        if index >= len(self.gpus[gpu[0]]):
            raise self.NVMLError_NotFound
        return str(self.gpus[gpu[0]][index])

    def nvmlDeviceGetUUID(self, gpu: tuple[int] | str) -> str:  # noqa: N802
        return gpu if isinstance(gpu, str) else f"GPU-{gpu[0]}"


@pytest.mark.parametrize(
    ("driver", "names"),
    [
        (PretendDriver(fault="NVMLError_LibraryNotFound"), []),
        (PretendDriver(fault="NVMLError_DriverNotLoaded"), []),
        (PretendDriver(), []),
        (PretendDriver(None, []), ["0", "1"]),
        (PretendDriver([], ["MIG-1", "MIG-2"]), ["GPU-0", "MIG-1", "MIG-2"]),
    ],
)
def test_gpus_are_found(monkeypatch: pytest.MonkeyPatch, driver: PretendDriver, names: list[str]) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert visible_gpus() == names


def test_a_broken_driver_is_not_a_machine_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", PretendDriver(fault="NVMLError"))
    with pytest.raises(LeaseError, match=r"driver does not tell its GPUs \(Driver/library version mismatch\)"):
        visible_gpus()


# The workflow

SNAKEFILE = """
import sys
from backtranslation.jobs.leases import visible_gpus
from backtranslation.commands.workflow_jobs import limit_gpus

limit_gpus(workflow, len(visible_gpus()))

rule all:
    input: expand("{number}.done", number=range(6))

rule hold:
    output: "{number}.done"
    resources: gpu=lambda wildcards: 1 + int(wildcards.number) % 2
    shell: "{sys.executable} holder.py FOLDER ${{PREFIX}}-{wildcards.number} {resources.gpu} 0.3 && touch {output}"
"""


def start_snakemake(folder: Path, name: str) -> subprocess.Popen[str]:
    """Six jobs with one or two of three GPUs each, on more cores than they need."""
    (folder / name).mkdir()
    (folder / name / "Snakefile").write_text(SNAKEFILE.replace("FOLDER", str(folder)))
    (folder / name / "holder.py").write_text(HOLDER)
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "12"],
        cwd=folder / name,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "a,b,c", "PREFIX": name},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_snakemake_starts_no_more_jobs_than_gpus_and_two_of_them_share(tmp_path: Path, names: list[str]) -> None:
    runs = [start_snakemake(tmp_path, name) for name in names]
    said = [run.communicate(timeout=300)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * len(names), said
    uses = read_uses(tmp_path, {})
    assert len(uses) == 6 * len(names)
    assert_never_shared(uses)
    if len(names) == 1:
        assert "waiting for" not in said[0]


def dry_run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--dry-run", "--directory", ROOT, *arguments],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gpus", "arguments", "granted"),
    [("", (), "gpu=0"), ("a,b", (), "gpu=1"), ("a,b", ("--resources", "gpu=0"), "gpu=0")],
)
def test_jobs_ask_for_gpus_where_there_are_any(
    tmp_path: Path, gpus: str, arguments: tuple[str, ...], granted: str
) -> None:
    done = dry_run("--config", f"results={tmp_path}", *arguments, CUDA_VISIBLE_DEVICES=gpus)
    assert done.returncode == 0, done.stderr
    asked = {word.strip(",") for word in done.stdout.split() if word.startswith("gpu=")}
    assert asked == {granted}


@pytest.mark.parametrize(
    ("gpus", "arguments", "granted"), [("a", (), 1), ("a,b,c", ("--resources", "gpu=1"), 1), ("a,b", (), None)]
)
def test_asking_for_more_gpus_than_there_are_names_the_setting(
    tmp_path: Path, gpus: str, arguments: tuple[str, ...], granted: int | None
) -> None:
    overlay = tmp_path / "changes.yaml"
    overlay.write_text(yaml.safe_dump({"results": str(tmp_path), "training": {"forward": {"processes": 2}}}))
    done = dry_run("--configfile", str(overlay), *arguments, CUDA_VISIBLE_DEVICES=gpus)
    fault = f"config: training.forward.processes: 2 GPUs for one job, but this machine has {granted} to give"
    assert (fault in done.stderr) == (granted is not None) == (done.returncode != 0)


def test_jobs_are_counted_on_clusters_alone(tmp_path: Path) -> None:
    """Given --jobs on one machine, Snakemake would count no cores and no GPUs."""
    words = ["--config", f"results={tmp_path}", "--jobs", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "--jobs (-j) is for the jobs of a cluster" in done.stdout + done.stderr
    assert "rule prepare_seed" not in done.stdout + done.stderr
