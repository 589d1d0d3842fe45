"""The workflow on a real SLURM, with the project's own profile: end to end, through faults, and with late edits."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.slurm_cluster import Cluster, wait_for
from helpers.small_run import PROJECT, ROOT, SMALL, change_settings, edit, overlay, snakemake

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.manifests import find
from backtranslation.jobs.stages import model_stages

HELPERS = Path(__file__).parent.parent / "helpers"
PROFILE = "profiles/slurm"
ROWS = [f"row-{number}" for number in range(5)]

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]


def start(run: Path, cluster: Cluster, *arguments: str) -> subprocess.Popen[bytes]:
    """Start Snakemake in a run, as a user of the cluster does; it looks more often than the profile says."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", PROFILE]
    with (run / "said").open("w") as said:
        return subprocess.Popen(
            [*command, "--slurm-init-seconds-before-status-checks", "3", *arguments],
            cwd=run,
            env=os.environ | cluster.environment | {"PYTHONPATH": str(run)},
            stdout=said,
            stderr=said,
        )


def finish(run: Path, process: subprocess.Popen[bytes], fails: bool = False) -> str:
    """Wait for a Snakemake, and return what it said."""
    process.wait()
    said = (run / "said").read_text()
    assert (process.returncode != 0) == fails, said[-5000:]
    return said


def make_parts(folder: Path, parts: Iterable[str], memory: int = 800) -> Path:
    """A run of the small workflow with these parts, and so many MB for a job's first attempt."""
    (folder / "parts").mkdir(parents=True)
    (folder / "faults").mkdir()
    for part in parts:
        write_rows(folder / f"parts/{part}.jsonl", ({"id": row, "part": part} for row in ROWS))
    shutil.copytree(ROOT / "backtranslation", folder / "backtranslation")
    for name in ("profiles", "scripts"):  # the profile asks which stages run a model
        shutil.copytree(ROOT / name, folder / name)
    edit(folder / f"{PROFILE}/config.yaml", "memory: 8000 ", f"memory: {memory} ")
    shutil.copy(HELPERS / "faulty_stage.py", folder)
    shutil.copy(HELPERS / "faulty.smk", folder / "Snakefile")
    return folder


def jobs_of(cluster: Cluster, run: Path, subject: str) -> list[dict[str, str]]:
    """The jobs of a run for a part, shard or model, oldest first."""
    return [job for job in cluster.list_jobs(run) if job["rule"].endswith(f"_{subject}")]


def has_begun(run: Path, part: str) -> bool:
    """Whether a part has come to its fault."""
    return (run / "notes").exists() and f"{part} row-2" in (run / "notes").read_text().splitlines()


def test_faults(cluster: Cluster, tmp_path: Path) -> None:
    """Every fault costs the row in flight; what fails for good is named, and done by the next run."""
    once = {"plain": None, "fails": "fail", "limit": "hang", "cancelled": "hang", "node": "hang"}
    run = make_parts(tmp_path / "run", [*once, "memory", "stubborn"])
    for part, fault in once.items():
        if fault:
            (run / f"faults/{part}").write_text(f"{fault} once")
    (run / "faults/memory").write_text("memory always")
    (run / "faults/stubborn").write_text("fail always")

    running = start(run, cluster, "--retries", "1")
    wait_for(lambda: has_begun(run, "cancelled") and has_begun(run, "node"), "jobs at work", 120)
    cluster.ask("scancel", jobs_of(cluster, run, "cancelled")[0]["id"])
    cluster.kill("n4")
    said = finish(run, running, fails=True)

    assert "stubborn: its fault was met" in said  # the line of the stage itself
    ends = {part: [job["state"] for job in jobs_of(cluster, run, part)] for part in [*once, "memory", "stubborn"]}
    assert ends.pop("memory")[1] == "COMPLETED"
    assert ends == {
        "plain": ["COMPLETED"],
        "fails": ["FAILED", "COMPLETED"],
        "limit": ["TIMEOUT", "COMPLETED"],
        "cancelled": ["CANCELLED", "COMPLETED"],
        "node": ["NODE_FAIL", "COMPLETED"],
        "stubborn": ["FAILED", "FAILED"],
    }
    assert [job["memory"] for job in jobs_of(cluster, run, "memory")] == ["800M", "1600M"]
    assert not (run / "results/stubborn.jsonl.zst").exists()

    (run / "faults/stubborn").unlink()
    finish(run, start(run, cluster))
    assert "Nothing to be done" in finish(run, start(run, cluster))
    check_parts(run, {part: 2 for part, fault in once.items() if fault} | {"memory": 2, "stubborn": 3, "plain": 1})


def check_parts(run: Path, times: dict[str, int]) -> None:
    """Every part has all its rows; each was computed once, but the one in flight so many times."""
    noted = Counter((run / "notes").read_text().splitlines())
    for part, count in times.items():
        assert [row["id"] for row in read_rows(run / f"results/{part}.jsonl.zst")] == ROWS
        assert [noted[f"{part} {row}"] for row in ROWS] == [1, 1, count, 1, 1], part


def test_controller_away(cluster: Cluster, tmp_path: Path) -> None:
    """Jobs run on while slurmctld is away, nothing is lost, and none fails."""
    run = make_parts(tmp_path / "run", ["first", "second"])
    (run / "faults/first").write_text("pause once")
    (run / "faults/second").write_text("pause once")
    running = start(run, cluster)
    wait_for(lambda: has_begun(run, "first") and has_begun(run, "second"), "jobs at work", 120)
    cluster.ask("scontrol", "shutdown", "slurmctld")
    time.sleep(45)
    cluster.start("slurmctld")
    finish(run, running)
    check_parts(run, {"first": 1, "second": 1})
    assert [job["state"] for job in cluster.list_jobs(run)] == ["COMPLETED", "COMPLETED"]


def test_a_lost_snakemake(cluster: Cluster, tmp_path: Path) -> None:
    """Jobs run on without it; those that the next one submits wait for them, and find what they made."""
    run = make_parts(tmp_path / "run", ["first"])
    (run / "faults/first").write_text("pause once")
    running = start(run, cluster)
    wait_for(lambda: has_begun(run, "first"), "job at work", 120)
    running.kill()
    running.wait()
    assert "Directory cannot be locked" in finish(run, start(run, cluster), fails=True)
    finish(run, start(run, cluster, "--unlock"))
    finish(run, start(run, cluster))
    check_parts(run, {"first": 1})
    assert [job["state"] for job in cluster.list_jobs(run)] == ["COMPLETED", "COMPLETED"]


def make_real(folder: Path, changes: Mapping[str, Any]) -> Path:
    """A copy of the project with the small settings and these changes."""
    folder.mkdir()
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    change_settings(folder, overlay(SMALL, changes))
    return folder


def test_a_training_goes_on_after_its_time_limit(cluster: Cluster, tmp_path: Path) -> None:
    """SLURM's signal ahead of the limit makes two workers save; the next job goes on from there."""
    run = make_real(tmp_path / "run", {"training": {"forward": {"epochs": 250, "processes": 2}}})
    running = start(run, cluster, "results/trained/M0")
    wait_for(lambda: bool(re.search(r"step \d+ of", read_log(run))), "training", 240)
    [job] = jobs_of(cluster, run, "M0")
    # SLURM looks every 30 s which jobs to warn and which to end.
    cluster.ask("scontrol", "update", f"JobId={job['id']}", "EndTime=now+60seconds")
    finish(run, running)

    assert [job["state"] for job in jobs_of(cluster, run, "M0")] == ["FAILED", "COMPLETED"]
    first = (run / f".snakemake/slurm_logs/rule_train_model/M0/{job['id']}.log").read_text()
    assert "stopped by SIGTERM; its checkpoint is saved" in first
    reported = re.findall(r"step (\d+) of", first)
    [[begun]] = [re.findall(r"going on from step (\d+)\n", read_log(run))]
    assert int(begun) >= int(reported[-1])  # it saved after the last step that it had reported
    steps = [int(line.split("\t")[0]) for line in (run / "results/training/M0.tsv").read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))


def read_log(run: Path) -> str:
    """What the last training of M0 has said."""
    log = run / "results/logs/train_model/M0.log"
    return log.read_text() if log.exists() else ""


SHARD = "miniature-pages-1"
SEGMENTS = f"results/extraction/{SHARD}.jsonl.zst"


@pytest.mark.parametrize("back", [False, True], ids=["there", "there and back"])
def test_settings_edited_while_a_job_waits(cluster: Cluster, tmp_path: Path, back: bool) -> None:
    """A job has the settings that its run began with; an edit is for the next run."""
    run = make_real(tmp_path / "run", {"miniature": {"warc_files": 1}})
    settings = (run / "config.yaml").read_text()
    cluster.set_partitions("down")
    running = start(run, cluster, SEGMENTS)
    wait_for(lambda: bool(jobs_of(cluster, run, SHARD)), "job in the queue", 120)
    change_settings(run, {"corpus": {"segments": {"min_chars": 90}}})
    cluster.set_partitions("up")
    finish(run, running)
    assert smallest_segment(run) == 80

    if back:
        (run / "config.yaml").write_text(settings)
    said = finish(run, start(run, cluster, SEGMENTS))
    assert ("Nothing to be done" in said) == back
    assert smallest_segment(run) == (80 if back else 90)


def smallest_segment(run: Path) -> int:
    """The setting that the named segments were made with, by their manifest."""
    entry = json.loads((run / f"results/store/names/{SEGMENTS.removeprefix('results/')}.json").read_text())
    manifest = find(run / "results/store", entry["stage"], entry["key"])
    assert manifest is not None
    return int(manifest.spec["segments"]["min_chars"])


# One line for every script that a job runs: what it is, where it runs, and which GPUs SLURM gave it.
NOTE_PLACE = """
import os, sys
script = next((word for word in sys.orig_argv[1:2] if "/scripts/" in word), None)
if script and "SLURM_JOB_ID" in os.environ:
    place = [os.path.basename(script), os.environ["SLURMD_NODENAME"], os.environ.get("CUDA_VISIBLE_DEVICES", "")]
    with open("places", "a") as notes:
        notes.write("|".join(place) + "\\n")
"""
ON_PROCESSORS = {"extract_segments", "deduplicate_segments"}
# Scripts: the default run scores by the rubric alone. One rule has another name than its script.
ON_GPUS = set(model_stages()) - {"measure_likelihood"}
AUDITS = {"score_audit_pairs"}


def test_whole_workflow(cluster: Cluster, tmp_path: Path) -> None:
    """The results are those of a local run, the GPUs of two nodes share the work, and the queue sees no small job."""
    changes = {"iterations": 1, "miniature": {"warc_files": 3}}
    run, local = make_real(tmp_path / "run", changes), make_real(tmp_path / "local", changes)
    (run / "sitecustomize.py").write_text(NOTE_PLACE)
    running = start(run, cluster)
    snakemake(local)
    finish(run, running)

    rules = {job["rule"].removeprefix("rule_").split("_wildcards_")[0] for job in cluster.list_jobs(run)}
    assert rules == ON_PROCESSORS | ON_GPUS | AUDITS
    places = [tuple(line.split("|")) for line in (run / "places").read_text().splitlines()]
    assert {gpus for script, _, gpus in places if Path(script).stem in ON_PROCESSORS} == {""}
    used = {(node, gpu) for script, node, gpu in places if Path(script).stem in ON_GPUS}
    assert used <= {(node, gpu) for node in ("n1", "n2") for gpu in "01"}
    assert {node for node, _ in used} == {"n1", "n2"} and len(used) > 2

    assert row_ids(run) == row_ids(local)
    assert "Nothing to be done" in finish(run, start(run, cluster))
    assert "Nothing to be done" in snakemake(run)


def row_ids(run: Path) -> dict[str, list[str]]:
    """The ids in all results that have rows, in order."""
    results = run / "results"
    files = [path for path in results.rglob("*.jsonl.zst") if (results / "store") not in path.parents]
    return {str(path.relative_to(results)): [row["id"] for row in read_rows(path)] for path in sorted(files)}
