"""What a change makes stale, and nothing else: each test changes one thing in a finished run and runs it again.

`rerun` returns what was computed, by the manifests of the store; it also asserts for each change that the computed
results are exactly those whose settings, code or inputs are no longer what they were.
"""

import ast
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import pytest
import yaml
from helpers.small_run import Computed, change_settings, digest, edit, list_results, rerun, rerun_as_planned, snakemake

from backtranslation.files import Row

SHARDS = ("miniature-pages-1", "miniature-pages-2")
ITERATIONS = (1, 2)
COMPARISONS = {"M1-vs-M0", "M2-vs-M0", "M2-vs-M1"}
REPORT = {"build_report": {"report/index"}}
TEXT = """# How to prune an apple tree

Prune the tree in late winter, before the buds begin to swell. Take out the dead wood first, then the branches that
cross each other, and keep the middle of the tree open to the light.

# How to store apples

Lay the apples on a wooden rack in a cool and dark cellar, so that they do not touch each other. Look at them every
week and take away those that begin to rot, because one bad apple soon spoils all of its neighbours.
"""


# What follows from what


def names(pattern: str, *values: Iterable[object]) -> set[str]:
    """A name for every combination of the values."""
    return {pattern.format(*combination) for combination in product(*values)}


def together(*parts: Computed) -> Computed:
    """What several parts compute."""
    return {stage: set().union(*(part.get(stage, ()) for part in parts)) for part in parts for stage in part}


def augmentation(shards: Iterable[str] = SHARDS) -> Computed:
    """Another instruction for every segment."""
    return {
        "generate_instructions": names("instructions/{}", shards),
        "filter_instructions": names("candidates/{}", shards),
    }


def scoring(iterations: Iterable[int], shards: Iterable[str] = SHARDS) -> Computed:
    """Other scores."""
    return {
        "score_candidates": names("iterations/{}/judgements/{}", iterations, shards),
        "compute_scores": names("iterations/{}/scores/{}", iterations, shards),
    }


def auditing(iterations: Iterable[int]) -> Computed:
    """Other scores of the audit's pairs."""
    return {
        "score_candidates": names("iterations/{}/audit/own/judgements", iterations),
        "compute_scores": names("iterations/{}/audit/own/scores", iterations),
        "measure_audit": names("iterations/{}/audit/measures", iterations),
    }


def all_scores() -> Computed:
    """The scores of candidates and of the audit's pairs, from the same texts."""
    everything = together(scoring(ITERATIONS), auditing(ITERATIONS))
    return {"compute_scores": everything["compute_scores"]}


def selection(iterations: Iterable[int]) -> Computed:
    """Other selections."""
    return {"select_candidates": names("iterations/{}/curated", iterations)}


def models(first: int, last: int = 2, shards: Iterable[str] = SHARDS) -> Computed:
    """Other models from M(first) on, and all that looks at them or at what they wrote."""
    changed, later = range(first, last + 1), range(first + 1, last + 1)
    compared = COMPARISONS | ({"M3-vs-M2", "M3-vs-M0"} if last == 3 else set())
    compared = {pair for pair in compared if first == 0 or any(f"M{number}" in pair for number in changed)}
    return together(
        {
            "train_model": names("trained/M{}", changed),
            "evaluate_model": names("evaluation/losses/M{}", changed),
            "judge_answers": names("evaluation/judgements/{}", compared),
            "measure_truth": {"miniature/truth_report"},
        },
        {"measure_round_trip": {"evaluation/backward/round_trip"}} if first == 0 else {},
        *([scoring(later, shards), auditing(later), selection(later)] if later else []),
        packages(last),
        REPORT,
    )


def packages(last: int = 2) -> Computed:
    """The folders of all models that are measured: their cards say how good they are, compared and by the truth."""
    return {"package_model": names("models/M{}", range(last + 1))}


def stages_that_import(run: Path, module: str) -> set[str]:
    """Stages whose results were made with a module."""
    return {
        result.manifest.stage
        for result in list_results(run).values()
        if f"backtranslation.{module}" in result.manifest.code
    }


# Nothing changes


def reorder_keys(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(turned_round(yaml.safe_load(path.read_text())), sort_keys=False))


def turned_round(settings: object) -> object:
    """The keys of all mappings in the opposite order."""
    if not isinstance(settings, dict):
        return settings
    return {key: turned_round(settings[key]) for key in reversed(settings)}


def touch_everything(run: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            path.touch()


def change_execution(run: Path) -> None:
    """How the work is done on the machine at hand; none of these is part of what a result is."""
    training = {"save_minutes": 3, "gradient_checkpointing": True, "rows_per_device": 2, "trackers": ["tensorboard"]}
    change_settings(
        run,
        {
            "training": {"forward": training, "backward": training},
            "generation": {"batch_tokens": 2048},
            "resources": {"training_threads": 1, "generation_threads": 2},
        },
    )


def rewrite_comments_and_format(run: Path) -> None:
    """Write every source anew from its syntax tree, which knows neither comments nor format, with another docstring."""
    for path in [*(run / "scripts").rglob("*.py"), *(run / "backtranslation").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is not None:
            del tree.body[0]
        path.write_text(f'"""Says something else.\n\nAnd more."""\n\n# A comment.\n{ast.unparse(tree)}\n')


def document_functions(run: Path) -> None:
    """Give every function a docstring."""
    for path in [*(run / "scripts").rglob("*.py"), *(run / "backtranslation").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is None:
                node.body.insert(0, ast.Expr(ast.Constant("Does what it says.")))
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


def lose_snakemake_folder(run: Path) -> None:
    shutil.rmtree(run / ".snakemake")


@pytest.mark.parametrize("change", [reorder_keys, change_execution], ids=lambda change: change.__name__)
def test_nothing_is_computed(run: Path, change: Callable[[Path], None]) -> None:
    change(run)
    assert rerun(run) == {}


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [touch_everything, rewrite_comments_and_format, document_functions, lose_snakemake_folder],
    ids=lambda change: change.__name__,
)
def test_nothing_is_computed_long(run: Path, change: Callable[[Path], None]) -> None:
    change(run)
    assert rerun(run) == {}
    assert rerun(run, "--forceall") == {}


@pytest.mark.long
def test_overlay_that_repeats_a_default(run: Path) -> None:
    (run / "repeats.yaml").write_text(
        "random_seed: 1\nselection: {top_n: 25}\naugmentation: {sampling: {top_p: 0.9}}\n"
    )
    assert rerun(run, "--configfile", "repeats.yaml") == {}


@pytest.mark.long
def test_whole_tree_copied_elsewhere(finished_run: Path, tmp_path: Path) -> None:
    """As a fresh clone beside copied results: new times, new inodes, no hard links, another path."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(finished_run, copy, copy_function=shutil.copyfile)
    assert rerun(copy) == {}
    assert rerun(copy, "--forceall") == {}
    shutil.rmtree(copy)


# Settings


def test_result_that_comes_out_the_same(run: Path) -> None:
    """The report has the settings, and what the results cost now."""
    before = read_costs(run)
    change_settings(run, {"scoring": {"max_unparsable_share": 0.99}})
    assert rerun(run) == {"compute_scores": scoring(ITERATIONS)["compute_scores"]} | REPORT
    after = read_costs(run)
    assert {stage for stage in before if before[stage] != after[stage]} == {"compute_scores", None}
    assert [row["last_started"] for row in before["compute_scores"]] < [
        row["last_started"] for row in after["compute_scores"]
    ]


def read_costs(run: Path) -> dict[str | None, list[Row]]:
    """What the report says of costs, by stage."""
    costs = json.loads((run / "results/costs.json").read_text())
    stages: dict[str | None, list[Row]] = {None: [costs["total"]]}
    for row in costs["stages"]:
        stages.setdefault(row["stage"], []).append(row)
    return stages


@pytest.mark.long
def test_two_settings_swap_their_values(run: Path) -> None:
    filters = yaml.safe_load((run / "config.yaml").read_text())["corpus"]["filters"]
    capitals, symbols = filters["max_header_capitals"], filters["max_symbol_share"]
    assert capitals != symbols
    change_settings(run, {"corpus": {"filters": {"max_header_capitals": symbols, "max_symbol_share": capitals}}})
    assert rerun(run) == {"extract_segments": names("extraction/{}", SHARDS)} | REPORT


@pytest.mark.long
def test_curation_threshold(run: Path) -> None:
    change_settings(run, {"selection": {"top_n": 20}})
    assert rerun_as_planned(run) == together(selection(ITERATIONS), models(1))


@pytest.mark.long
def test_one_more_iteration(run: Path) -> None:
    change_settings(run, {"iterations": 3})
    assert rerun(run) == together(scoring([3]), auditing([3]), selection([3]), models(3, last=3))
    change_settings(run, {"iterations": 2})
    assert rerun(run) == {}, "the report of two iterations is found"


@pytest.mark.long
def test_one_more_corpus_file(run: Path) -> None:
    pages = [f"results/miniature/pages-{number}.warc.gz" for number in (1, 2)]
    (run / "more").mkdir()
    (run / "more" / "apples.jsonl").write_text(json.dumps({"url": "https://example.org/apples", "text": TEXT}) + "\n")
    sources = [{"name": "miniature", "paths": pages}, {"name": "own", "paths": ["more/*.jsonl"]}]
    change_settings(run, {"corpus": {"sources": sources}})
    own = ["own-apples"]
    assert rerun(run) == together(
        {"extract_segments": {"extraction/own-apples"}, "deduplicate_segments": {"extraction/funnel"}},
        {"make_audit_pairs": {"audit/pairs"}},
        augmentation(own),
        scoring([1], own),
        selection([1]),
        models(1, shards=[*SHARDS, *own]),
    )


# Prompts


def test_prompt_changed_and_changed_back(run: Path) -> None:
    """By a clock that goes back, too."""
    judge = run / "prompts" / "miniature" / "judge.jinja"
    edit(judge, "First answer", "FIRST answer")
    os.utime(judge, (946684800, 946684800))
    assert rerun(run) == {"judge_answers": models(0)["judge_answers"]} | packages() | REPORT
    edit(judge, "FIRST answer", "First answer")
    os.utime(judge, (915148800, 915148800))
    assert rerun(run) == {}


@pytest.mark.long
def test_rubric(run: Path) -> None:
    edit(run / "prompts" / "miniature" / "score.jinja", "Rating:", "Rating from 1 to 5:")
    assert rerun_as_planned(run) == together(
        scoring(ITERATIONS), auditing(ITERATIONS), selection(ITERATIONS), models(1)
    )


# Code


@pytest.mark.long
def test_logic_in_a_module_that_a_module_imports(run: Path) -> None:
    path = run / "backtranslation" / "corpus" / "ngrams.py"
    path.write_text(path.read_text() + "\nUNUSED = 1\n")
    assert stages_that_import(run, "corpus.ngrams") == {
        "extract_segments", "deduplicate_segments", "filter_instructions", "evaluate_backward_model",
        "make_audit_pairs", "measure_round_trip",
    }  # fmt: skip
    assert "ngrams" not in (run / "scripts" / "deduplicate_segments.py").read_text()
    assert (
        rerun(run)
        == {
            "extract_segments": names("extraction/{}", SHARDS),
            "deduplicate_segments": {"extraction/funnel"},
            "filter_instructions": augmentation()["filter_instructions"],
            "evaluate_backward_model": {"evaluation/backward/loss"},
            "make_audit_pairs": {"audit/pairs"},
            "measure_round_trip": {"evaluation/backward/round_trip"},
        }
        | REPORT
    )


@pytest.mark.long
def test_logic_in_a_script(run: Path) -> None:
    path = run / "scripts" / "compute_scores.py"
    path.write_text(path.read_text().replace("\n\n\nif __name__", "\n\n\nUNUSED = 1\n\n\nif __name__"))
    assert rerun(run) == all_scores() | REPORT


@pytest.mark.long
def test_logic_that_changes_one_of_two_stages(run: Path) -> None:
    """Scores are made anew and come out the same, so nothing is parsed or trained again; verdicts do change."""
    edit(run / "backtranslation/models/choices.py", "+ prompts.judge_label", '+ f"I say {prompts.judge_label}"')
    assert stages_that_import(run, "models.choices") == {"score_candidates", "judge_answers"}
    expected = together(scoring(ITERATIONS), auditing(ITERATIONS), models(0))
    assert rerun(run) == {
        stage: expected[stage] for stage in ("score_candidates", "judge_answers", "package_model", "build_report")
    }


# The base model, and results


def overwrite(path: Path, start: int, content: bytes) -> None:
    """Write into a file, and set its time back; neither size nor time show it."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(start)
        assert stream.read(len(content)) != content
        stream.seek(start)
        stream.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


@pytest.mark.long
def test_weights_of_the_base_model_replaced_in_place(run: Path) -> None:
    weights = run / "backtranslation" / "miniature" / "base" / "model.safetensors"
    overwrite(weights, weights.stat().st_size // 2, bytes(4_000))
    assert rerun(run) == together(
        {"train_model": {"trained/backward"}, "package_model": {"models/backward"}},
        {"evaluate_backward_model": {"evaluation/backward/loss"}},
        augmentation(),
        scoring(ITERATIONS),
        auditing(ITERATIONS),
        selection(ITERATIONS),
        models(0),
    )


@pytest.mark.long
def test_damaged_result(run: Path) -> None:
    """A damaged file is never read; deleted, it alone is made again, and its new cost comes into the report."""
    segments = run / "results" / "segments" / "miniature-pages-1.jsonl.zst"
    whole = digest(segments)
    overwrite(segments, 100, b"damage")
    segments.touch()
    assert "miniature-pages-1.jsonl.zst is damaged, or was edited by hand" in snakemake(run, fails=True)
    segments.unlink()
    assert rerun(run, "--forceall") == {"deduplicate_segments": {"extraction/funnel"}} | REPORT
    assert digest(segments) == whole


@pytest.mark.long
def test_damaged_weights_that_keep_their_size_and_time(run: Path) -> None:
    """They are trained again, the same to the bit; the report shows how long the training took."""
    model = run / "results" / "trained" / "M1"
    whole = digest(model)
    overwrite(model / "model.safetensors", 100_000, b"damage")
    assert "trained/M1 is damaged, or was edited by hand" in snakemake(run, "--forcerun", "evaluate_model", fails=True)
    shutil.rmtree(model)
    packaged = {"package_model": {"models/M1"}}  # its weights are the same file
    assert rerun(run, "--forceall") == {"train_model": {"trained/M1"}} | packaged | REPORT
    assert digest(model) == whole


@pytest.mark.long
def test_deleted_results_are_linked_again(run: Path) -> None:
    gone = [
        run / "results" / name
        for name in ("extraction", "segments", "models/M1", "trained/M1", "iterations", "report", "evaluation/M2")
    ]
    for path in gone:
        shutil.rmtree(path)
    assert rerun(run, "--forceall") == {}
    assert all(path.exists() for path in gone)


@pytest.mark.long
def test_result_deleted_from_the_store_too(run: Path) -> None:
    shutil.rmtree(run / "results" / "store" / "results" / "compute_scores")
    shutil.rmtree(run / "results" / "iterations" / "1" / "scores")
    assert rerun(run, "--forceall") == all_scores() | REPORT


# Times, and Snakemake's memory


@pytest.mark.long
def test_results_from_the_future(run: Path) -> None:
    """The clock was a day ahead when they were made."""
    tomorrow = time.time() + 86_400
    for path in (run / "results").rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    assert rerun(run) == {}
    change_settings(run, {"scoring": {"max_unparsable_share": 0.99}})
    assert rerun(run) == {"compute_scores": scoring(ITERATIONS)["compute_scores"]} | REPORT


@pytest.mark.long
def test_lost_snakemake_folder_and_a_changed_setting(run: Path) -> None:
    """Snakemake alone sees nothing of it, so a warning says what is stale, and `--forceall` mends it."""
    lose_snakemake_folder(run)
    change_settings(run, {"scoring": {"max_unparsable_share": 0.99}})
    warning = snakemake(run, "--dry-run")
    assert "made from other settings" in warning
    stale = {line.strip() for line in warning.splitlines() if line.startswith("  results/")}
    scores = {f"results/{name}.jsonl.zst" for name in scoring(ITERATIONS)["compute_scores"]}
    assert stale == scores | {"results/report/index.html"}
    assert rerun(run, "--forceall") == {"compute_scores": scoring(ITERATIONS)["compute_scores"]} | REPORT
    assert "made from other settings" not in snakemake(run)
