"""The commands on a whole run: a plan agrees with what the run then does; verify and keep do what they say."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.small_run import ask, change_settings, edit, list_results, planned, rerun_as_planned, snakemake

from backtranslation.files import read_rows, write_rows

pytestmark = pytest.mark.long


def touch_nothing(run: Path) -> None:
    pass


def edit_parser(run: Path) -> None:
    edit(run / "backtranslation/method/scores.py", "EXAMPLES = 3", "EXAMPLES = 4")


def delete_result(run: Path) -> None:
    shutil.rmtree(next((run / "results/store/results/evaluate_model").iterdir()))
    for path in (run / "results/evaluation").glob("M*/answers.jsonl.zst"):
        path.unlink()


@pytest.mark.parametrize("change", [touch_nothing, edit_parser, delete_result])
def test_the_plan_agrees_with_the_run(run: Path, change: Any) -> None:
    """As it does in tests/test_staleness.py, where a threshold or the rubric is changed."""
    change(run)
    assert bool(planned(run, "computed")) == (change is not touch_nothing)
    # Snakemake does not want an intermediate that is deleted while what was made from it is there.
    rerun_as_planned(run, *["--forceall"] * (change is delete_result))


def test_the_plan_says_why_and_what_it_costs(run: Path) -> None:
    change_settings(run, {"selection": {"top_n": 20}})
    jobs = {job["output"]: job for job in ask(run, "plan")[0]}
    selection = jobs["results/iterations/1/curated.jsonl.zst"]
    assert selection["why"] == ["setting selection.top_n: 25 -> 20"]
    training = jobs["results/trained/M1"]
    assert training["state"] == "waits" and training["why"] == ["reads results/iterations/1/curated.jsonl.zst"]
    made = next(r.manifest for r in list_results(run).values() if "trained/M1" in r.names)
    assert training["seconds"] == made.seconds > 0
    assert jobs["results/trained/M0"]["state"] == "found"


def test_the_plan_waits_for_a_file_that_no_stage_makes(run: Path) -> None:
    """Snakemake does not want an intermediate that is deleted while what was made from it is there."""
    (run / "results/costs.json").unlink()
    [report] = [job for job in ask(run, "plan")[0] if job["state"] != "found"]
    assert (report["stage"], report["state"], report["why"]) == ("build_report", "waits", ["reads results/costs.json"])
    assert rerun_as_planned(run, "--forceall") == {}


def test_the_plan_of_one_target(run: Path) -> None:
    outputs = {job["output"] for job in ask(run, "plan", "results/trained/M0")[0]}
    assert "results/trained/M0" in outputs and "results/trained/M1" not in outputs


def test_without_the_records_of_snakemake(run: Path) -> None:
    shutil.rmtree(run / ".snakemake")
    assert ask(run, "verify")[0] == []
    change_settings(run, {"selection": {"top_n": 20}})
    jobs = [job for job in ask(run, "plan")[0] if job["state"] == "computed"]
    assert jobs and not any(job["is_due"] for job in jobs)
    faults = ask(run, "verify", fails=True)[0]
    assert {fault["path"] for fault in faults if fault["fault"] == "made from other settings"} >= {
        "results/iterations/1/curated.jsonl.zst"
    }


def test_verify_names_what_is_damaged_or_missing(run: Path) -> None:
    damaged, missing = run / "results/trained/M1/model.safetensors", run / "results/seed/train.jsonl.zst"
    times = damaged.stat()
    damaged.chmod(0o644)
    with damaged.open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)
        stream.seek(1000)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    missing.unlink()
    scores = next((run / "results/store/results/compute_scores").iterdir()) / "manifest.json"
    scores.unlink()
    scores.write_text("{")
    faults = {fault["path"]: fault["fault"] for fault in ask(run, "verify", fails=True)[0]}
    assert faults["results/trained/M1"] == "damaged"
    assert faults["results/seed/train.jsonl.zst"] == "missing"
    assert [path for path in faults if path.startswith("results/store/results/train_model/")]
    assert faults.get("results/trained/M0") != "damaged"
    assert faults[str(scores.parent.relative_to(run))] == "damaged"
    assert [path for path, fault in faults.items() if "/scores" in path and fault == "damaged"]


def test_keep_accepts_results_after_a_harmless_edit(run: Path) -> None:
    edit_parser(run)
    scores = {*(f"iterations/1/scores/miniature-pages-{shard}" for shard in (1, 2)), "iterations/1/audit/own/scores"}
    assert planned(run, "computed") == {"compute_scores": scores}, "those of the second iteration wait for the first"
    kept = ask(run, "keep", "results/iterations")[0]
    assert len(kept) == 8, "rows and totals of the candidates, of the audit, in both iterations"
    assert all(result["differences"] == ["code backtranslation.method.scores: edited"] for result in kept)
    assert planned(run, "computed") == {}
    # The kept results are new ones in the store, but no stage has computed them.
    before = {key for key, _ in list_results(run)}
    snakemake(run)
    assert {key for key, _ in list_results(run)} == before
    manifests = [result.manifest for result in list_results(run).values() if result.manifest.kept]
    assert len(manifests) == 8
    assert manifests[0].kept[0].differences == ["code backtranslation.method.scores: edited"]
    assert ask(run, "verify")[0] == []


def test_keep_accepts_a_selection_edited_by_hand(run: Path) -> None:
    path = run / "results/iterations/1/curated.jsonl.zst"
    rows = list(read_rows(path))
    write_rows(path, rows[1:])
    said = snakemake(run, fails=True)
    assert "results/iterations/1/curated.jsonl.zst is damaged, or was edited by hand" in said
    kept = ask(run, "keep", "results/iterations/1/curated.jsonl.zst")[0]
    assert [result["differences"] for result in kept] == [["edited by hand"]]
    snakemake(run)
    assert list(read_rows(path)) == rows[1:]
    model = next(r.manifest for r in list_results(run).values() if "trained/M1" in r.names)
    curated = next(r.manifest for r in list_results(run).values() if "iterations/1/curated" in r.names)
    assert model.inputs["augmented"][0].digest == curated.outputs["curated"][0].digest
    assert curated.kept


def test_keep_names_a_path_that_no_job_makes(run: Path) -> None:
    said = ask(run, "keep", "results/nothing", fails=True)[1]
    assert said.strip().endswith("error: results/nothing: no job of the workflow makes it")
