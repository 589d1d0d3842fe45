"""What the command says of a run: jobs at work, the way of one example, and what can go."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.scores import judged, scored

from backtranslation.commands import removal, status
from backtranslation.commands.command_line import COMMANDS, main
from backtranslation.commands.formatting import align, format_bytes, format_seconds
from backtranslation.commands.removal import remove_unused
from backtranslation.commands.status import describe_status, list_iterations, list_work
from backtranslation.commands.trace import describe_trace, find_row, trace_example
from backtranslation.errors import DataError
from backtranslation.files import Row, write_rows
from backtranslation.jobs.content_digests import digest_content
from backtranslation.jobs.manifests import Job, Manifest, find, result_folder, work_folder
from backtranslation.jobs.named_paths import read_name
from backtranslation.jobs.store import make
from backtranslation.models.engine import row_seed

RESULTS, STORE = Path("results"), Path("results/store")
SHARD = "web-1"
CHANCES = {"first_wins_forward": 0.75, "first_wins_reversed": 0.5, "cut": False, "failure": None}
SEGMENTS = {"good": "A poem.", "bad": "A list.", "refused": "A recipe.", "twice": "A poem. Again."}


def make_rows(stage: str, inputs: dict[str, list[str]], outputs: dict[str, Any], spec: Any = None) -> Manifest:
    """Put a stage's outputs into the store: rows, JSON, or a table by suffix; a model folder for a text."""
    job = Job(stage, spec, {}, inputs, {name: [f"results/{path}"] for name, (path, _) in outputs.items()})

    def compute(places: dict[str, list[Path]], work: Path) -> None:
        for name, (_, content) in outputs.items():
            write_content(places[name][0], content)

    return make(STORE, job, compute)


def write_content(place: Path, content: Any) -> None:
    if place.name.endswith(".jsonl.zst"):
        write_rows(place, content)
    elif place.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), place)
    elif place.suffix == ".json":
        place.write_text(json.dumps(content))
    else:
        place.mkdir()
        (place / "model.safetensors").write_text(content)


def train(model: str, augmented: list[str]) -> Manifest:
    inputs = {"seed": ["results/seed/train.jsonl.zst"], "augmented": augmented}
    return make_rows("train_model", inputs, {"model": (f"trained/{model}", f"weights of {model}")}, spec=model)


def curate(selected: list[str], spec: Any = None) -> Manifest:
    scored = [{"id": name, "failure": None if name == "good" else "no_score"} for name in ("good", "bad")]
    table = [row | {"selected": row["id"] in selected} for row in scored]
    pairs = [{"id": name, "instruction": f"Write {name}.", "response": SEGMENTS[name]} for name in selected]
    return make_rows(
        "select_candidates",
        {"scores": [f"results/iterations/1/scores/{SHARD}.jsonl.zst"]},
        {"curated": ("iterations/1/curated.jsonl.zst", pairs), "table": ("iterations/1/scores.parquet", table)},
        spec=spec,
    )


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run of one shard and one iteration in the working folder."""
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a run, made once."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build_run()
    return folder


def build_run() -> None:
    """Put results of all stages into the store, in the rows of the real scripts."""
    Path("page.warc.gz").write_text("pages")
    seed = [{"id": "seed", "instruction": "Say hello.", "response": "Hello."}]
    held_out = [{"id": "held", "instruction": "Say bye.", "response": "Bye."}]
    seed_files = {"train": ("seed/train.jsonl.zst", seed), "held_out": ("seed/held_out.jsonl.zst", held_out)}
    make_rows("prepare_seed", {}, seed_files)

    segments = [
        {"id": name, "text": text, "url": f"https://web/{name}", "source": "web", "shard": SHARD,
         "file": "page.warc.gz", "record_offset": 7, "heading_path": ["Top", "Below"]}
        for name, text in SEGMENTS.items()
    ]  # fmt: skip
    extracted = f"extraction/{SHARD}.jsonl.zst"
    make_rows("extract_segments", {"pages": ["page.warc.gz"]}, {"segments": (extracted, segments)})
    kept = f"segments/{SHARD}.jsonl.zst"
    make_rows("deduplicate_segments", {"extracted": [f"results/{extracted}"]}, {"segments": (kept, segments[:3])})

    train("backward", [])
    instructions = [
        {
            "id": row["id"],
            "raw": f" Write {row['id']}.",
            "tokens": 3,
            "finished": row["id"] != "refused",
            "failure": None,
        }
        for row in segments[:3]
    ]
    make_rows(
        "generate_instructions",
        {"segments": [f"results/{kept}"], "model": ["results/trained/backward"]},
        {"instructions": (f"instructions/{SHARD}.jsonl.zst", instructions)},
        spec={"random_seed": 1},
    )
    candidates = [
        {"id": row["id"], "instruction": f"Write {row['id']}.", "response": row["text"],
         "rejection": "unfinished" if row["id"] == "refused" else None}
        for row in segments[:3]
    ]  # fmt: skip
    candidate_path = f"candidates/{SHARD}.jsonl.zst"
    make_rows("filter_instructions", {"segments": [f"results/{kept}"]}, {"candidates": (candidate_path, candidates)})

    train("M0", [])
    judgements = f"iterations/1/judgements/{SHARD}.jsonl.zst"
    make_rows(
        "score_candidates",
        {"candidates": [f"results/{candidate_path}"], "model": ["results/trained/M0"]},
        {"judgements": (judgements, [judged("good", "Fine. Score: 5"), judged("bad", "Hm.")])},
    )
    scores = [
        scored("good", ["Fine. Score: 5"], score=5.0, expected_score=4.75),
        scored("bad", ["Hm."], {"score": "no_score"}, expected_score=2.0),
    ]
    score_path = f"iterations/1/scores/{SHARD}.jsonl.zst"
    make_rows("compute_scores", {"judgements": [f"results/{judgements}"]}, {"scores": (score_path, scores)})
    curate(["good"])
    train("M1", ["results/iterations/1/curated.jsonl.zst"])
    train("unselected", [f"results/{candidate_path}"])
    for model, loss in (("M0", 0.5), ("M1", 0.25)):
        answers = [{"id": "held", "instruction": "Say bye.", "reference": "Bye.", "answer": f"{model} says bye.",
                    "failure": None}]  # fmt: skip
        losses = {"loss": loss, "tokens": 2, "pairs": [{"id": "held", "loss": loss, "tokens": 2}]}
        make_rows(
            "evaluate_model",
            {"held_out": ["results/seed/held_out.jsonl.zst"], "model": [f"results/trained/{model}"]},
            {"loss": (f"evaluation/losses/{model}.json", losses),
             "answers": (f"evaluation/{model}/answers.jsonl.zst", answers)},
        )  # fmt: skip
    compared = [{"id": "held", **CHANCES}]
    make_rows("judge_answers", {}, {"judgements": ("evaluation/judgements/M1-vs-M0.jsonl.zst", compared)})


def key(path: str) -> str:
    name = read_name(STORE, f"results/{path}")
    assert name is not None
    return name.key


def stored(path: str) -> Path:
    name = read_name(STORE, f"results/{path}")
    assert name is not None
    return result_folder(STORE, name.stage, name.key)


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def holders(row_id: str) -> dict[str, bool | None]:
    return {Path(found.model.path).name: found.holds for found in trace_example(RESULTS, row_id).training_sets}


# trace


@pytest.mark.usefixtures("run")
def test_a_segment_is_traced_from_its_page_to_the_training_sets(capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(capsys, "trace", "good")
    assert found["segment"]["text"] == "A poem."
    assert (found["segment"]["url"], found["segment"]["record_offset"]) == ("https://web/good", 7)
    assert found["corpus_file"] == "page.warc.gz"
    assert found["instruction"] == {
        "raw": " Write good.", "tokens": 3, "finished": True, "failure": None,
        "seed": row_seed(1, "good", "generate_instructions"),
        "model": {"path": "results/trained/backward", "key": key("trained/backward")},
    }  # fmt: skip
    assert found["candidate"] == {"instruction": "Write good.", "rejection": None}
    assert found["scores"] == [
        {
            "iteration": 1, "texts": ["Fine. Score: 5"], "scores": {"score": 5.0, "expected_score": 4.75},
            "failures": {}, "selected": True, "model": {"path": "results/trained/M0", "key": key("trained/M0")},
        }
    ]  # fmt: skip
    assert found["training_sets"] == [
        {"model": {"path": "results/trained/M1", "key": key("trained/M1")}, "holds": True,
         "file": "results/iterations/1/curated.jsonl.zst"},
        {"model": {"path": "results/trained/unselected", "key": key("trained/unselected")}, "holds": True,
         "file": f"results/candidates/{SHARD}.jsonl.zst"},
    ]  # fmt: skip


@pytest.mark.usefixtures("run")
def test_the_text_of_a_trace_says_it_all() -> None:
    lines = describe_trace(trace_example(RESULTS, "good"))
    text = "\n".join(lines)
    for part in ("https://web/good", "page.warc.gz, record offset 7", "Top > Below", "A poem.", " Write good."):
        assert part in text
    assert f"random seed {row_seed(1, 'good', 'generate_instructions')}" in text
    assert "iteration 1    score 5, expected score 4.75, selected" in lines
    assert "raw text       Fine. Score: 5" in lines
    assert f"scored by      results/trained/M0, key {key('trained/M0')}" in lines
    unreadable = describe_trace(trace_example(RESULTS, "bad"))
    assert "iteration 1    expected score 2, no score: no_score, not selected" in unreadable


@pytest.mark.usefixtures("run")
def test_a_rejected_candidate_trains_no_model() -> None:
    found = trace_example(RESULTS, "refused")
    assert found.candidate == {"instruction": "Write refused.", "rejection": "unfinished"}
    assert (found.scores, found.training_sets) == ([], [])
    lines = describe_trace(found)
    assert "verdict        rejected: unfinished" in lines
    assert lines[-1] == "  no model there is was trained on it"


@pytest.mark.usefixtures("run")
def test_a_repeated_segment_is_known_and_said_to_be_dropped() -> None:
    found = trace_example(RESULTS, "twice")
    assert found.dropped and found.segment is not None and found.segment["text"] == "A poem. Again."
    assert any(line.startswith("dropped") for line in describe_trace(found))


@pytest.mark.usefixtures("run")
def test_training_sets_are_found_by_content_whatever_their_path_holds_now() -> None:
    before = stored("iterations/1/curated.jsonl.zst")
    curate(["bad"], spec="another threshold")
    assert trace_example(RESULTS, "good").scores[0].selected is False
    assert holders("good") == {"M1": True, "unselected": True}
    assert holders("bad") == {"unselected": True}
    shutil.rmtree(before)
    assert holders("good") == {"M1": None, "unselected": True}


@pytest.mark.usefixtures("run")
def test_candidates_of_other_shards_are_not_read() -> None:
    paths = [f"candidates/{shard}.jsonl.zst" for shard in (SHARD, "web-2")]
    make_rows("filter_instructions", {}, {"candidates": (paths[1], [])}, spec="web-2")
    train("unselected", [f"results/{path}" for path in paths])
    unreadable = stored(paths[1]) / "candidates.jsonl.zst"
    unreadable.unlink()
    unreadable.write_text("not compressed")
    assert holders("good") == {"M1": True, "unselected": True}


@pytest.mark.usefixtures("run")
def test_the_model_that_wrote_is_found_by_its_weights() -> None:
    before = key("trained/backward")
    make_rows("train_model", {"seed": []}, {"model": ("trained/backward", "other weights")})
    assert key("trained/backward") != before
    written = trace_example(RESULTS, "good").instruction
    assert written is not None and written.model.key == before


@pytest.mark.usefixtures("run")
def test_a_seed_pair_is_in_the_training_set_of_every_model() -> None:
    found = trace_example(RESULTS, "seed")
    assert found.pair == {"id": "seed", "instruction": "Say hello.", "response": "Hello."}
    assert list(holders("seed")) == ["backward", "M0", "M1", "unselected"]


@pytest.mark.usefixtures("run")
def test_a_held_out_pair_has_answers_and_judgements() -> None:
    found = trace_example(RESULTS, "held")
    answers = [(Path(answer.model.path).name, answer.answer, answer.loss) for answer in found.answers]
    assert answers == [("M0", "M0 says bye.", 0.5), ("M1", "M1 says bye.", 0.25)]
    assert found.judgements == [{"first": "M1", "second": "M0", **CHANCES}]
    assert "judged         M1 better than M0: 75.0 % shown first, 50.0 % shown second" in describe_trace(found)


@pytest.mark.usefixtures("run")
def test_what_was_too_long_for_a_model_is_told() -> None:
    failed = {"failure": "prompt_too_long"}
    asked = [{"id": "bad", "raw": "", "tokens": 0, "finished": False, **failed}]
    unscored = [scored("bad", failures={"score": "prompt_too_long"})]
    models = {"model": ["results/trained/backward"]}
    make_rows("generate_instructions", models, {"instructions": (f"instructions/{SHARD}.jsonl.zst", asked)},
              spec={"random_seed": 2})  # fmt: skip
    asked_with = {"judgements": [f"results/iterations/1/judgements/{SHARD}.jsonl.zst"]}
    without = {"scores": (f"iterations/1/scores/{SHARD}.jsonl.zst", unscored)}
    make_rows("compute_scores", asked_with, without, spec="long")
    lines = describe_trace(trace_example(RESULTS, "bad"))
    assert "instruction    none: prompt_too_long" in lines
    assert f"not asked      results/trained/backward, key {key('trained/backward')}" in lines
    assert "iteration 1    no score: prompt_too_long, not selected" in lines

    answers = [{"id": "held", "instruction": "Say bye.", "reference": "Bye.", "answer": "", **failed}]
    losses = {"loss": None, "tokens": 0, "pairs": [{"id": "held", "loss": None, "tokens": 0, **failed}]}
    outputs = {"loss": ("evaluation/losses/M0.json", losses), "answers": ("evaluation/M0/answers.jsonl.zst", answers)}
    make_rows("evaluate_model", {"model": ["results/trained/M0"]}, outputs, spec="long")
    chances = {"first_wins_forward": None, "first_wins_reversed": None, "cut": False, "failure": "no_answer"}
    compared = {"judgements": ("evaluation/judgements/M1-vs-M0.jsonl.zst", [{"id": "held", **chances}])}
    make_rows("judge_answers", {}, compared, spec="long")
    cut = {"judgements": ("evaluation/judgements/M2-vs-M0.jsonl.zst", [{"id": "held", **CHANCES, "cut": True}])}
    make_rows("judge_answers", {}, cut, spec="cut")
    lines = describe_trace(trace_example(RESULTS, "held"))
    assert "answer         none: prompt_too_long" in lines
    assert "not judged     M1 against M0: no_answer" in lines
    assert any(line.endswith("shown second, of texts cut to fit into the judge") for line in lines)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "missing", [("instructions", "candidates", "iterations", "trained"), ("extraction", "segments", "candidates")]
)
def test_stages_that_have_not_run_are_left_out(missing: tuple[str, ...]) -> None:
    for folder in missing:
        shutil.rmtree(RESULTS / folder)
    found = trace_example(RESULTS, "good")
    assert (found.segment is None) == ("segments" in missing)
    assert (found.instruction is None) == ("instructions" in missing)
    assert found.candidate is None
    assert [score.iteration for score in found.scores] == ([] if "iterations" in missing else [1])
    assert describe_trace(found)[0] == "good, a segment"


@pytest.mark.usefixtures("run")
def test_an_unknown_id_ends_with_one_line() -> None:
    with pytest.raises(SystemExit, match="error: oo: results holds no segment, seed pair or held-out pair") as end:
        main(["trace", "oo"])
    assert "\n" not in str(end.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.zst"])
def test_a_row_is_found_by_its_id_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows: list[Row] = [
        {"id": "a", "text": 'say "b"', "other": "b"},
        {"id": "b", "text": "1"},
        {"id": 'ü"', "text": "2"},
    ]
    write_rows(path, rows)
    assert find_row(path, "b") == rows[1]
    assert find_row(path, 'ü"') == rows[2]
    assert find_row(path, "say") is None
    assert find_row(tmp_path / "missing.jsonl", "a") is None


def test_a_search_stops_at_the_first_hit_and_names_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    write_rows(path, [{"id": str(number), "text": f"{number * 7919}" * 50} for number in range(20_000)])
    path.write_bytes(path.read_bytes()[:-2000])
    assert find_row(path, "0") is not None
    with pytest.raises(DataError, match=r"rows\.jsonl\.zst: damaged"):
        find_row(path, "none")


# status


def start_work(stage: str, name: str, claim: str | None = None, **told: Any) -> Path:
    """A work folder as a job leaves it."""
    work = work_folder(STORE, stage, name)
    work.mkdir(parents=True)
    (work / "lock").touch()
    figures = {"job": f"{stage} {SHARD}", "host": "node-7", "time": time.time(), "seconds": 1.0, "done": 0,
               "total": None, "unit": "rows", "rate": 0.0, "tokens_rate": 0.0, "seconds_left": None}  # fmt: skip
    (work / "progress.json").write_text(json.dumps(figures | told))
    if claim:
        (STORE / "names" / claim).parent.mkdir(parents=True, exist_ok=True)
        (STORE / "names" / f"{claim}.claim").write_text(f"{stage}/{name}")
    return work


@contextmanager
def locked(work: Path) -> Iterator[None]:
    with (work / "lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def write_journal(path: Path, texts: list[str], end: str = "") -> None:
    rows = [{"id": str(number), "text": text, "tokens": 3, "finished": True} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + end)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder without results."""
    monkeypatch.chdir(tmp_path)
    STORE.mkdir(parents=True)
    return RESULTS


@pytest.mark.usefixtures("place")
def test_a_running_job_is_told_with_its_unparsable_share(capsys: pytest.CaptureFixture[str]) -> None:
    claim = f"iterations/2/judgements/{SHARD}.jsonl.zst"
    told: Row = {"done": 1200, "total": 5000, "rate": 12.5, "tokens_rate": 1500.0, "seconds_left": 304.0}
    work = start_work("score_candidates", "k1", claim, **told)
    write_journal(work / "completions.jsonl", ["Rating: 5", "Rating: 4", "Rating: 3", "Score: 5"], end='{"id": "half')
    assert list_work(RESULTS)[0].unparsable_share is None
    (work / "label.txt").write_text("Rating:")
    with locked(work):
        [found] = ask(capsys, "status")["running"]
        main(["status"])
    assert {name: found[name] for name in told} == told
    assert (found["stage"], found["key"], found["host"], found["unparsable_share"]) == (
        "score_candidates", "k1", "node-7", 0.25
    )  # fmt: skip
    about, _, line, *_ = capsys.readouterr().out.splitlines()
    assert about == "Results folder: results"
    assert line.split("  ")[1:] == [
        "score_candidates", f"results/{claim}", "1,200 of 5,000 rows", "12.5 rows/s", "1,500 tokens/s", "5 min left",
        "25.0 % unparsable", "on node-7",
    ]  # fmt: skip


def test_an_old_report_says_its_age(place: Path) -> None:
    work = start_work(
        "train_model", "k1", done=3, total=9, unit="steps", rate=0.1, seconds_left=60, time=time.time() - 300
    )
    with locked(work):
        lines = describe_status(list_work(place), [])
    assert "1 min left (told 5 min ago)" in lines[1]


def test_interrupted_work_says_what_it_holds(place: Path) -> None:
    scoring = start_work("score_candidates", "k1", "iterations/1/judgements/a.jsonl.zst")
    write_journal(scoring / "completions.jsonl", ["Score: 5"] * 3, end='{"id"')
    training = start_work("train_model", "k2", "trained/M1")
    for step in (90, 100):
        (training / f"checkpoints/whole-{step}").mkdir(parents=True)
    (training / "checkpoints/checkpoint-110").mkdir()
    start_work("train_model", "k3")
    found = list_work(place)
    assert [(work.key, work.running, work.makes, work.held) for work in found] == [
        ("k1", False, "results/iterations/1/judgements/a.jsonl.zst", {"completions": 3}),
        ("k2", False, "results/trained/M1", {"step": 100}),
        ("k3", False, None, {}),
    ]
    lines = describe_status(found, [])
    assert lines[0] == "Nothing is running."
    assert "3 completions" in lines[3] and "step 100" in lines[4] and "no job wants it any more" in lines[5]


def test_work_that_has_just_begun_or_ended_is_no_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = start_work("train_model", "k1")
    (begun / "progress.json").unlink()
    with locked(begun):
        assert "starting" in describe_status(list_work(place), [])[1]
    monkeypatch.setattr(status, "is_locked", lambda folder: shutil.rmtree(folder))
    assert list_work(place) == []


@pytest.mark.usefixtures("run")
def test_work_on_a_result_that_is_made_already_goes_on_no_more() -> None:
    start_work("train_model", key("trained/M1"))
    assert [work.makes for work in list_work(RESULTS)] == [None]


def test_finished_iterations_are_counted_in_order(place: Path) -> None:
    for number, failures in ((10, [None] * 4), (2, ["empty", None, None, None])):
        path = place / f"iterations/{number}/scores.parquet"
        path.parent.mkdir(parents=True)
        rows = [{"failure": reason, "selected": reason is None} for reason in failures]
        pq.write_table(
            pa.Table.from_pylist(rows, pa.schema([("failure", pa.string()), ("selected", pa.bool_())])), path
        )
    assert describe_status([], list_iterations(place))[2:] == [
        "Finished iterations",
        "  2   4 scored  25.0 % unparsable  3 selected",
        "  10  4 scored  0.0 % unparsable   4 selected",
    ]
    path.write_text("no table")
    with pytest.raises(DataError, match=r"2/scores\.parquet: not a table of scores"):
        list_iterations(place)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("arguments", [("status",), ("trace", "good"), ("gc", "--dry-run")])
def test_asking_changes_nothing(arguments: tuple[str, ...]) -> None:
    write_journal(start_work("score_candidates", "k1") / "completions.jsonl", ["Score: 5"], end='{"id"')
    make_old(stored("trained/M1"))
    shutil.rmtree(RESULTS / "trained/M1")
    before = snapshot()
    main(arguments)
    assert snapshot() == before


def snapshot() -> dict[str, tuple[int, bytes]]:
    files = sorted(path for path in Path().rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


# gc


def make_old(folder: Path) -> None:
    """Let a result look as if it was last used ten days ago."""
    past = time.time() - 10 * 86400
    os.utime(folder / "manifest.json", (past, past))


def make_unused(size: int = 1000) -> Path:
    """A result of `size` bytes that no path names any more."""
    make_rows("train_model", {}, {"model": ("trained/old", "x" * size)}, spec=f"old {size}")
    folder = stored("trained/old")
    shutil.rmtree(RESULTS / "trained/old")
    make_old(folder)
    return folder


@pytest.mark.usefixtures("run")
def test_unused_results_are_removed_and_the_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    folder, used = make_unused(), stored("trained/M1")
    make_old(used)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    expected = {"results": "results", "folders": [{"folder": str(folder), "bytes_freed": size}], "bytes_freed": size}
    assert ask(capsys, "gc", "--keep-days", "11")["folders"] == []
    assert ask(capsys, "gc", "--dry-run") == {"dry_run": True, **expected}
    assert folder.exists()
    assert ask(capsys, "gc") == {"dry_run": False, **expected}
    assert not folder.exists() and used.exists() and (RESULTS / "trained/M1/model.safetensors").exists()
    assert list((STORE / "damaged").iterdir()) == []
    main(["gc"])
    assert "Nothing to remove" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_files_with_other_names_free_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_unused(5_000_000)
    manifest_size = (folder / "manifest.json").stat().st_size
    os.link(folder / "model/model.safetensors", "elsewhere")
    assert ask(capsys, "gc", "--dry-run")["bytes_freed"] == manifest_size
    Path("elsewhere").unlink()
    main(["gc", "--dry-run"])
    lines = ["Results folder: results", f"  5.0 MB  {folder}", "1 folder would go and free 5.0 MB."]
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.usefixtures("place")
def test_an_interrupted_removal_leaves_no_half_result(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [make_unused(1000), make_unused(2000)]

    def interrupt(folder: Path, **options: Any) -> None:
        next(path for path in Path(folder).rglob("*.safetensors")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(removal.shutil, "rmtree", interrupt)
        remove_unused(RESULTS, 0, dry_run=False)
    assert [find(STORE, "train_model", folder.name) for folder in folders] == [None, None]
    assert len(remove_unused(RESULTS, 0, dry_run=False)) == 2
    assert list((STORE / "damaged").iterdir()) == []


@pytest.mark.usefixtures("place")
def test_work_that_no_job_wants_goes_unless_it_runs() -> None:
    folders = {name: start_work("train_model", name) for name in ("left", "running")}
    wanted = start_work("train_model", "wanted", "trained/M1")
    for folder in (*folders.values(), wanted):
        os.utime(folder, (0, 0))
    with locked(folders["running"]):
        assert [item.folder for item in remove_unused(RESULTS, 0, dry_run=False)] == [str(folders["left"])]
    assert not folders["left"].exists() and folders["running"].exists() and wanted.exists()


@pytest.mark.usefixtures("place")
def test_digests_of_files_that_are_gone_are_dropped() -> None:
    cache = STORE / "digests"
    for name in ("here", "gone"):
        Path(name).write_bytes(b"x" * (1 << 20))
        digest_content(cache, Path(name))
    Path("gone").unlink()
    remove_unused(RESULTS, 0, dry_run=True)
    assert len(list(cache.iterdir())) == 2
    remove_unused(RESULTS, 0, dry_run=False)
    assert [json.loads(entry.read_text())["path"] for entry in cache.iterdir()] == [str(Path("here").absolute())]


# The command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    help_text = capsys.readouterr().out
    assert ("--json" in help_text) != COMMANDS[name].talks and len(help_text.splitlines()) > 5


ABOUT_ONE_RUN = [("status",), ("trace", "good"), ("gc", "--dry-run")]


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("arguments", ABOUT_ONE_RUN, ids=lambda arguments: arguments[0])
def test_an_answer_is_about_the_run_of_the_settings_and_says_so(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    RESULTS.rename("elsewhere")
    Path("changes.yaml").write_text("results: elsewhere\n")
    main([*arguments, "--configfile", "changes.yaml"])
    assert capsys.readouterr().out.startswith("Results folder: elsewhere\n")
    with pytest.raises(SystemExit, match=r"error: results: no results there .*another is meant \(--configfile\)"):
        main([*arguments])


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("arguments", [*ABOUT_ONE_RUN, ("plan",)], ids=lambda arguments: arguments[0])
def test_a_missing_configuration_is_named(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match=r"error: none\.yaml: no such file"):
        main([*arguments, "--configfile", "none.yaml"])


@pytest.mark.usefixtures("run")
def test_text_of_a_page_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    segment = {"id": "evil", "text": "red \x1b[31m text", "url": "u", "source": "web", "shard": SHARD,
               "file": "page.warc.gz", "record_offset": 7, "heading_path": []}  # fmt: skip
    write_rows(RESULTS / f"segments/{SHARD}.jsonl.zst", [segment])
    main(["trace", "evil"])
    assert "red \ufffd[31m text" in capsys.readouterr().out
    assert ask(capsys, "trace", "evil")["segment"] == segment


@pytest.mark.usefixtures("place")
def test_a_reader_that_has_enough_is_no_fault() -> None:
    command = [sys.executable, "-c", "from backtranslation.commands.command_line import main; main()", "status"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_tables_are_aligned_and_leave_out_empty_columns() -> None:
    assert align([["a", "", "1"], ["bbb", "", "22"]]) == ["  a    1", "  bbb  22"]
    assert align([]) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min"), (12_000, "3 h 20 min"), (400_000, "5 days")]
)
def test_times_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (15_900_000_000, "15.9 GB"), (2e15, "2,000.0 TB")],
)
def test_sizes_are_told_with_their_unit(size: float, text: str) -> None:
    assert format_bytes(size) == text
