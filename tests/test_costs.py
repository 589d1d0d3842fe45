"""The ledger: what results cost by stage, model and iteration, for the command and for the report."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.small_run import ask, list_results

from backtranslation import layout
from backtranslation.commands.ledger import describe_costs
from backtranslation.files import write_json, write_rows
from backtranslation.jobs.costs import StageCost, list_costs, total_cost
from backtranslation.jobs.manifests import Job
from backtranslation.jobs.store import make
from backtranslation.jobs.work_files import PROGRESS


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def make_result(results: Path, stage: str, *paths: str, spec: int = 0, tokens: int | None = None) -> None:
    """Make a result that took at least 100 seconds, the half of it on two GPUs, and link it to these paths."""

    def compute(outputs: dict[str, list[Path]], work: Path) -> None:
        write_rows(outputs["rows"][0], [])
        write_json(work / PROGRESS, {"tokens": tokens})

    for path in paths:
        job = Job(stage, spec, {}, {}, {"rows": [str(results / path)]})
        make(results / "store", job, compute)
    [manifest] = [
        path
        for path in results.glob(f"store/results/{stage}/*/manifest.json")
        if json.loads(path.read_text())["spec"] == spec
    ]
    made = json.loads(manifest.read_text()) | {"seconds": 100.0, "gpu_seconds": 50.0}
    manifest.unlink()
    write_json(manifest, made)


def costs_of(results: Path, *paths: str) -> list[StageCost]:
    return list_costs((results / "store", str(results / path)) for path in paths)


def test_costs_are_by_stage_and_by_the_model_or_iteration(results: Path) -> None:
    made = [
        ("train_model", "training/M0.tsv", 10), ("score_candidates", "iterations/1/judgements/a.jsonl.zst", 3),
        ("score_candidates", "iterations/1/judgements/b.jsonl.zst", 4), ("train_model", "training/M1.tsv", 20),
        ("score_candidates", "iterations/2/judgements/a.jsonl.zst", None),
        ("judge_answers", "evaluation/judgements/M1-vs-M0.jsonl.zst", None),
    ]  # fmt: skip
    for number, (stage, path, tokens) in enumerate(made):
        make_result(results, stage, path, spec=number, tokens=tokens)
    costs = costs_of(results, *(path for _, path, _ in made))
    assert [(row.stage, row.model, row.iteration, row.results, row.seconds, row.tokens) for row in costs] == [
        ("train_model", "M0", None, 1, 100, 10), ("train_model", "M1", None, 1, 100, 20),
        ("score_candidates", None, "1", 2, 200, 7), ("score_candidates", None, "2", 1, 100, None),
        ("judge_answers", "M1 and M0", None, 1, 100, None),
    ]  # fmt: skip
    total = total_cost(costs)
    assert (total.results, total.seconds, total.gpu_seconds, total.tokens) == (6, 600, 300, 37)


def test_a_result_with_two_names_counts_once_and_one_that_is_not_there_not_at_all(results: Path) -> None:
    names = ("iterations/1/scores/a.jsonl.zst", "iterations/1/scores/b.jsonl.zst")
    make_result(results, "compute_scores", *names)
    [cost] = costs_of(results, *names, "iterations/1/scores/c.jsonl.zst")
    assert (cost.results, cost.seconds) == (1, 100)
    assert costs_of(results, "iterations/1/scores/c.jsonl.zst") == []
    assert total_cost([]).seconds == 0 and total_cost([]).tokens is None


@pytest.mark.parametrize(
    ("path", "wildcards"),
    [
        ("extraction/web-1.jsonl.zst", {"shard": "web-1"}),
        ("iterations/2/judgements/web-1.jsonl.zst", {"iteration": "2", "shard": "web-1"}),
        ("evaluation/judgements/M1-vs-unselected.jsonl.zst", {"first": "M1", "second": "unselected"}),
        ("evaluation/losses/M1.json", {"model": "M1"}),
        ("training/M1.tsv", {"model": "M1"}),
        ("extraction/funnel.tsv", {}),
        ("no/such/pattern", {}),
    ],
)
def test_the_wildcards_of_a_path(path: str, wildcards: dict[str, str]) -> None:
    assert layout.wildcards_of("my results", f"my results/{path}") == wildcards


def test_a_path_is_found_by_its_most_exact_pattern_alone(tmp_path: Path) -> None:
    for name in ("a.jsonl.zst", "a.dropped.jsonl.zst", "a.b.jsonl.zst"):
        (tmp_path / "extraction").mkdir(exist_ok=True)
        (tmp_path / "extraction" / name).touch()
    found = [wildcards["shard"] for wildcards, _ in layout.find(tmp_path, layout.EXTRACTED_SEGMENTS)]
    assert found == ["a.b", "a"]
    assert [wildcards for wildcards, _ in layout.find(tmp_path, layout.DROPPED_SEGMENTS)] == [{"shard": "a"}]


COST = StageCost("train_model", "M1", None, None, 1, 7200.0, 14_400.0, 1_234_567, "2026-11-25T08:33:48+00:00")


def test_lines_for_people() -> None:
    selection = StageCost("select_candidates", None, "2", None, 1, 3.0, 0.0, None, "2026-11-24T08:33:48+00:00")
    costs = [COST, selection]
    lines = [line.split() for line in describe_costs(costs, ["results/models/M2"])]
    assert lines[1:4] == [
        ["train_model", "M1", "1", "2", "h", "0", "min", "4", "h", "0", "min", "1,234,567"],
        ["select_candidates", "iteration", "2", "1", "3", "s"],
        ["from", "nothing", "2", "2", "h", "0", "min", "4", "h", "0", "min", "1,234,567"],
    ]
    assert describe_costs(costs, ["results/models/M2"])[-1] == "1 results are not made yet, and not counted."
    assert describe_costs([], ["a", "b"]) == ["2 results are not made yet, and not counted."]


def test_the_costs_of_a_finished_run(finished_run: Path) -> None:
    """Those of all its manifests; the report shows them all but its own."""
    told = ask(finished_run, "cost")[0]
    manifests = [result.manifest for result in list_results(finished_run).values()]
    assert told["unmade"] == [] and told["total"]["results"] == len(manifests)
    assert told["total"]["seconds"] == pytest.approx(sum(made.seconds for made in manifests))
    assert told["total"]["tokens"] == sum(made.tokens or 0 for made in manifests)
    stages_with_tokens = {row["stage"] for row in told["stages"] if row["tokens"]}
    assert stages_with_tokens == {
        "train_model", "generate_instructions", "score_candidates", "evaluate_model", "evaluate_backward_model",
        "measure_round_trip",
    }  # fmt: skip
    subjects = {(row["stage"], row["model"] or row["iteration"]) for row in told["stages"]}
    assert {("train_model", "backward"), ("score_candidates", "2"), ("evaluate_model", "M2")} <= subjects

    written = json.loads((finished_run / "results/costs.json").read_text())["stages"]
    assert in_order(written) == in_order([row for row in told["stages"] if row["stage"] != "build_report"])
    page = (finished_run / "results/report/index.html").read_text()
    assert f"{written[0]['stage'].replace('_', ' ')}</td>" in page.partition('id="costs"')[2]


def in_order(rows: Sequence[dict[str, object]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
