"""The report: what it shows, what it leaves out, and that nothing from a page or a model can act in it."""

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.scores import scored
from helpers.tiny_models import ROOT

from backtranslation.files import write_json, write_rows
from backtranslation.jobs.costs import StageCost, costs_value
from backtranslation.method.scores import NAMES
from backtranslation.report.audit import Audit, AuditMeasure, audit_value
from backtranslation.report.page import (
    Report,
    TruthMeasure,
    funnel_steps,
    is_web_address,
    lowest_ids,
    render_report,
    sample_answers,
    sample_ids,
    survey_candidates,
    with_seconds,
)
from backtranslation.report.statistics import NO_ESTIMATE, Estimate, PairLengths
from backtranslation.settings.slices import spec

TEMPLATE = ROOT / "backtranslation/report/page.html.jinja"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&{{ 7 * 7 }}"
START = "2026-11-25T08:33:48+00:00"
LOG = """\
step\tloss\tlearning_rate\ttokens\tseconds\ttokens_per_second\tpadding\tmfu
1\t3.0\t0.001\t100\t0.5\t200\t0.25\t
2\t2.5\t0.0009\t200\t1.0\t200\t0.25\t
"""


class Tags(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def tags_of(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    return parser


NOBODY = (None, None)  # no iteration, no scorer

SCORE_TABLE = pa.schema(
    {"id": pa.string(), **dict.fromkeys((*NAMES, "label_mass"), pa.float64()), "failure": pa.string(),
     "selected": pa.bool_()}
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a small run whose every text is hostile."""
    folder = tmp_path_factory.mktemp("run")
    pair = {"instruction": f"Ask {EVIL}", "response": f"Tell {EVIL}"}
    write_rows(folder / "seed.jsonl.zst", [{"id": "s", **pair}])
    candidates = [{"id": str(n), **pair, "rejection": "too_short" if n > 7 else None} for n in range(10)]
    write_rows(folder / "candidates.jsonl.zst", candidates)
    addresses = ["https://example.org/a?b=1&c=2", "javascript:alert(1)", "data:text/html,<script>1</script>", None]
    write_rows(
        folder / "segments.jsonl.zst", [{"id": str(n), "url": addresses[n % 4], "text": EVIL} for n in range(10)]
    )
    scores = [
        scored(str(n), [EVIL], {} if n < 4 else {"score": EVIL}, score=5.0 if n < 4 else None,
               expected_score=3.0 + n / 10)
        for n in range(8)
    ]  # fmt: skip
    write_rows(folder / "scores.jsonl.zst", scores)
    table = [
        {"id": row["id"], **{name: row[name] for name in NAMES}, "label_mass": None,
         "failure": row["failures"]["score"], "selected": number < 4}
        for number, row in enumerate(scores)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(table, schema=SCORE_TABLE), folder / "scores.parquet")
    write_rows(folder / "curated.jsonl.zst", candidates[:4])
    for model in ("M0", "M1"):
        answers = [
            {"id": f"h{n}", **pair, "reference": EVIL, "answer": f"{model} {EVIL}", "failure": None} for n in range(3)
        ]
        write_rows(folder / f"{model}.answers.jsonl.zst", answers)
        write_json(
            folder / f"{model}.json", {"pairs": [{"id": f"h{n}", "loss": n + 1.0, "tokens": 5} for n in range(3)]}
        )
    write_rows(
        folder / "M1-vs-M0.jsonl.zst",
        [
            {
                "id": f"h{n}",
                "first_wins_forward": 0.7,
                "first_wins_reversed": n / 3,
                "cut": n == 0,
                "failure": None,
                "input_tokens": 1000 * n or None,
                "output_tokens": 2 * n or None,
            }
            for n in range(3)
        ],
    )
    write_json(folder / "backward.json", {"pairs": [{"id": f"h{n}", "loss": 0.5, "tokens": 5} for n in range(3)]})
    asked = [{"id": f"h{n}", **pair, "rejection": EVIL if n == 2 else None} for n in range(3)]
    write_rows(folder / "asked.jsonl.zst", asked)
    trips = [{"id": f"h{n}", "rank": (1, 2, None)[n], "candidates": (3, 3, 0)[n], "failure": None} for n in range(3)]
    write_json(folder / "round_trip.json", {"top_1": 1 / 3, "mean_reciprocal_rank": 0.5, "pairs": trips})
    (folder / "log.tsv").write_text(LOG)
    left_out = {"one": EVIL, "two": EVIL}
    write_json(
        folder / "pairs.json", {"seed": {"used": 9, "left_out": {}}, "augmented": {"used": 3, "left_out": left_out}}
    )
    (folder / "funnel.tsv").write_text(
        f"source\tshard\tstep\tcount\na\ta-1\trecords/read\t10\na\ta-1\trecords/{EVIL}\t3\n"
    )
    for number, (value, low) in enumerate([(0.52, 0.41), (0.8, 0.7)], start=1):
        area = Estimate(value, low, 0.9)
        measures = [
            AuditMeasure(EVIL, EVIL, "other_instruction", area, area, 40, 3),
            AuditMeasure(EVIL, EVIL, "cut_in_half", NO_ESTIMATE, NO_ESTIMATE, 0, 43),
        ]
        write_json(folder / f"audit-{number}.json", audit_value(Audit(number, 40, measures[0], measures)))
    write_json(
        folder / "costs.json",
        costs_value([StageCost("train_model", EVIL, *NOBODY, 1, 93_784.0, 0.0, 12_345, START)]),
    )
    write_json(
        folder / "truth.json",
        [{"measure": EVIL, "model_or_iteration": EVIL, "value": 0.9, "low": 0.8, "high": 1.0, "n": 5, "target": 0.85}],
    )
    return folder


def minimal_settings(path: str) -> dict[str, Any]:
    return {
        "base_model": {"path": "base"},
        "corpus": {"sources": [{"name": "a", "paths": [path]}]},
        "seed": {"path": "seed.jsonl"},
        "held_out": {"size": 1},
    }


def build(
    run: Path,
    name: str,
    models: tuple[str, ...] = ("M0", "M1"),
    judge_server: dict[str, str] | None = None,
    **options: list[str],
) -> subprocess.CompletedProcess[str]:
    """Run the script as the workflow does, with a results folder `name` of its own; [] stands without a value."""
    given = {
        "template": [str(TEMPLATE)], "seed-train": ["seed.jsonl.zst"],
        "held-out": ["seed.jsonl.zst"], "candidates": ["candidates.jsonl.zst"], "segments": ["segments.jsonl.zst"],
        "funnel": ["funnel.tsv"], "scores": ["scores.parquet"], "last-scores": ["scores.jsonl.zst"],
        "curated": ["curated.jsonl.zst"], "audits": ["audit-1.json", "audit-2.json"],
        "training-logs": ["log.tsv"] * 3, "training-pairs": ["pairs.json"] * 3,
        "losses": ["M0.json", "M1.json"], "answers": ["M0.answers.jsonl.zst", "M1.answers.jsonl.zst"],
        "backward-loss": ["backward.json"], "backward-instructions": ["asked.jsonl.zst"],
        "round-trip": ["round_trip.json"], "judgements": ["M1-vs-M0.jsonl.zst"],
        "truth": ["truth.json"], "costs": ["costs.json"], "store": [f"{name}/store"], "page": [f"{name}/index.html"],
    }  # fmt: skip
    given |= {option.replace("_", "-"): values for option, values in options.items()}
    comparisons = [("M1", "M0")] if given["judgements"] else []
    trained = [*(["backward"] if given["candidates"] else []), *models]
    settings = spec(
        settings=minimal_settings(EVIL) | {"evaluation": {"judge_server": judge_server}}, models=list(models),
        trained_models=trained, comparisons=comparisons, judge=(judge_server or {"model": "M0"})["model"],
        random_seed=1,
    )  # fmt: skip
    command = [sys.executable, str(ROOT / "scripts/build_report.py"), "--spec", settings]
    for option, values in given.items():
        command += [f"--{option}", *values]
    return subprocess.run(command, cwd=run, capture_output=True, text=True)


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    done = build(run, "first")
    assert done.returncode == 0, done.stderr
    return (run / "first" / "index.html").read_text()


def test_hostile_texts_do_nothing(page: str) -> None:
    tags = tags_of(page)
    assert not tags.names & {"script", "img", "iframe", "object", "form", "base", "link"}
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    links = {value for name, value in tags.attributes if name in ("href", "src", "xlink:href") and value[0] != "#"}
    assert links == {"https://example.org/a?b=1&c=2"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_page_needs_nothing_from_outside(page: str) -> None:
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(http" not in page


def test_every_part_is_there(page: str) -> None:
    for anchor in ("summary", "funnel", "data", "training", "curation", "evaluation", "samples", "costs", "settings"):
        assert f'id="{anchor}"' in page
        assert f'href="#{anchor}"' in page
    assert page.count("<svg") == 6
    assert "javascript:alert(1)" in page  # shown, as text


def test_same_results_make_the_same_bytes(run: Path, page: str) -> None:
    assert build(run, "again").returncode == 0
    assert (run / "again" / "index.html").read_text() == page


def test_run_without_iterations_truth_and_funnel(run: Path) -> None:
    done = build(
        run, "small", models=("M0",), candidates=[], segments=[], funnel=[], scores=[], last_scores=[], curated=[],
        audits=[], judgements=[], truth=[], backward_loss=[], backward_instructions=[], round_trip=[],
        training_logs=["log.tsv"], training_pairs=["pairs.json"], losses=["M0.json"], answers=["M0.answers.jsonl.zst"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (run / "small" / "index.html").read_text()
    assert 'id="curation"' not in page
    assert "No iteration was asked for" in page
    assert "The backward model" not in page
    assert "nan" not in page.split("<body>")[1]


def test_the_backward_model_has_its_loss_and_three_shares(page: str) -> None:
    text = shown(page, "evaluation")
    assert "its held-out loss is 0.500 (0.500 to 0.500) nats per token of the instruction, over 3 pairs" in text
    # Wilson intervals of 8 of 10, 2 of 3 and 1 of 3.
    assert "segments whose instruction can be used 10 80.0 % (49.0 to 94.3)" in text
    assert "held-out responses whose instruction can be used 3 66.7 % (20.8 to 93.9)" in text
    assert "round trip: the response comes first of 3 3 33.3 % (6.1 to 79.2) 33.3 %" in text


def shown(page: str, section: str) -> str:
    """The text of a section, without its marks and with single spaces."""
    return " ".join(
        re.sub(r"<[^>]+>", " ", page.partition(f'<section id="{section}"')[2].partition("</section>")[0]).split()
    )


def test_a_training_tells_its_speed_and_what_share_was_padding(page: str) -> None:
    """MFU is left open where the table has none."""
    assert "2 200 1 200 25.0 % \N{EN DASH} 3.000 2.500" in shown(page, "training")


def test_what_was_cut_or_left_out_stands_beside_the_numbers(page: str) -> None:
    """Of the pairs of a training, the comparisons of cut texts, and the pairs without a loss."""
    assert "M1 12 2 &lt;script&gt;" in shown(page, "training")
    evaluation = shown(page, "evaluation")
    assert "comparison pairs cut not judged win rate" in evaluation
    assert "M1 over M0 3 1 0 " in evaluation
    assert "M1 3 0 15 " in evaluation


def test_who_judged_stands_beside_the_win_rates(run: Path, page: str) -> None:
    assert "M0 judged every pair of answers twice" in shown(page, "evaluation")
    assert "stronger model" not in page
    done = build(run, "judged", judge_server={"url": "https://a.example/v1", "model": f"large {EVIL}"})
    assert done.returncode == 0, done.stderr
    judged = (run / "judged/index.html").read_text()
    said = shown(judged, "evaluation")
    assert "A stronger model behind an API judged ( evaluation.judge_server ): large " in said
    assert "at https://a.example, which read 3,000 tokens and wrote 6." in said
    assert "script" not in tags_of(judged).names


def test_a_scorer_that_cannot_tell_right_from_wrong_is_named_at_the_top(page: str) -> None:
    summary = shown(page, "summary")
    said = "This scorer cannot tell a right pair from a wrong one: AUC 0.520 (0.410 to 0.900) in iteration 1"
    assert said in summary
    assert summary.count("cannot tell") == 1 and "3 of 43 pairs have no score" in summary
    curation = shown(page, "curation")
    assert "other instruction 0.520 (0.410 to 0.900) 0.520 (0.410 to 0.900) 40 3" in curation
    assert "cut in half \u2013 \u2013 0 43" in curation
    assert page.count('class="bad">0.520') == 1
    assert "nan" not in page.split("<body>")[1]


def test_highest_and_lowest_scores_are_shown(run: Path, tmp_path: Path) -> None:
    """By the score that was selected by, from the end inwards; rows without a score are in neither."""
    candidates = [{"id": str(n), "instruction": f"Ask {n}.", "response": "r", "rejection": None} for n in range(30)]
    scores = [scored(str(n), score=n / 7 if n < 25 else None, expected_score=1.0) for n in range(30)]
    write_rows(tmp_path / "candidates.jsonl.zst", candidates)
    write_rows(tmp_path / "scores.jsonl.zst", scores)
    table = [{name: row.get(name) for name in SCORE_TABLE.names} | {"selected": row["id"] == "3"} for row in scores]
    pq.write_table(pa.Table.from_pylist(table, schema=SCORE_TABLE), tmp_path / "scores.parquet")
    done = build(
        run, str(tmp_path / "built"), candidates=[str(tmp_path / "candidates.jsonl.zst")],
        scores=[str(tmp_path / "scores.parquet")], last_scores=[str(tmp_path / "scores.jsonl.zst")],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    samples = shown((tmp_path / "built/index.html").read_text(), "samples")
    parts = re.split(r"Selected in the last|The highest scores|The lowest scores|Dropped before|Answers to", samples)
    asked = [[int(number) for number in re.findall(r"Ask (\d+)\.", part)] for part in parts]
    assert asked[1:4] == [[3], list(range(24, 14, -1)), list(range(10))]


def test_the_lowest_scores_do_not_depend_on_order() -> None:
    scores = [(f"row {number}", float(number % 3)) for number in range(60)]
    assert lowest_ids(reversed(scores), 7, 1) == lowest_ids(scores, 7, 1)
    ids = [row_id for row_id, score in scores if score == 0]
    assert lowest_ids(scores, 7, 1) == sample_ids(ids, 7, 1)
    assert lowest_ids(scores[:2], 7, 1) == ["row 0", "row 1"] and lowest_ids([], 7, 1) == []


def test_costs_have_a_line_for_every_stage_and_one_for_all(page: str) -> None:
    costs = shown(page, "costs")
    assert "train model &lt;script&gt;" in costs
    assert costs.count(" 1 1 day, 2:03:04 \u2013 12,345 2026-11-25 08:33") == 2


LONG = {"score": None, "failure": "prompt_too_long", "expected_score": None, "selected": False}


@pytest.mark.parametrize(
    ("candidates", "scores"),
    [
        ([], []),
        ([{"id": "a", "instruction": "", "response": "r", "rejection": "prompt_too_long"}], []),
        ([{"id": "a", "instruction": "i", "response": "r", "rejection": None}], [{"id": "a", **LONG}]),
        (
            [{"id": "a", "instruction": "i", "response": "r", "rejection": None}],
            [{"id": "a", "score": 5.0, "failure": None, "expected_score": 4.0, "selected": True}],
        ),
    ],
    ids=["no segment", "no candidate", "no score", "one score"],
)
def test_a_run_with_hardly_any_rows(
    run: Path, tmp_path: Path, candidates: list[dict[str, Any]], scores: list[dict[str, Any]]
) -> None:
    """Empty shards beside others, and held-out pairs that were too long for every model and the judge."""
    write_rows(tmp_path / "empty.jsonl.zst", [])
    write_rows(tmp_path / "candidates.jsonl.zst", candidates)
    write_rows(tmp_path / "curated.jsonl.zst", [row for row in candidates if row["rejection"] is None and scores])
    write_rows(tmp_path / "segments.jsonl.zst", [{"id": row["id"], "url": None} for row in candidates])
    write_rows(
        tmp_path / "scores.jsonl.zst", [scored(row["id"], expected_score=row["expected_score"]) for row in scores]
    )
    pq.write_table(pa.Table.from_pylist(scores, schema=SCORE_TABLE), tmp_path / "scores.parquet")
    failed = {"failure": "prompt_too_long"}
    write_json(tmp_path / "loss.json", {"pairs": [{"id": "h", "loss": None, "tokens": 0, **failed}]})
    write_rows(
        tmp_path / "answers.jsonl.zst", [{"id": "h", "instruction": "i", "reference": "r", "answer": "", **failed}]
    )
    chances = {"first_wins_forward": None, "first_wins_reversed": None, "cut": False, "failure": "no_answer"}
    write_rows(tmp_path / "judged.jsonl.zst", [{"id": "h", **chances}])

    def both(name: str) -> list[str]:
        return [str(tmp_path / f"{name}.jsonl.zst"), str(tmp_path / "empty.jsonl.zst")]

    done = build(
        run, str(tmp_path / "built"), candidates=both("candidates"), segments=both("segments"),
        last_scores=both("scores"), scores=[str(tmp_path / "scores.parquet")],
        curated=[str(tmp_path / "curated.jsonl.zst")], losses=[str(tmp_path / "loss.json")] * 2,
        answers=[str(tmp_path / "answers.jsonl.zst")] * 2, judgements=[str(tmp_path / "judged.jsonl.zst")],
    )  # fmt: skip
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    page = (tmp_path / "built/index.html").read_text()
    assert "nan" not in page.split("<body>")[1]
    assert "M1 over M0 0 0 1 \u2013" in shown(page, "evaluation")
    assert "M1 0 1 0 \u2013" in shown(page, "evaluation")


def test_report_is_built_without_torch() -> None:
    code = "import sys, scripts.build_report, backtranslation.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("url", "live"),
    [
        ("https://example.org", True),
        ("http://example.org/x", True),
        ("HTTPS://example.org", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,x", False),
        ("https:", False),
        ("//example.org", False),
        ("http://[broken", False),
        ("", False),
    ],
)
def test_only_web_addresses_become_links(url: str, live: bool) -> None:
    assert is_web_address(url) is live


def test_samples_do_not_depend_on_order_or_on_other_rows() -> None:
    ids = [f"row {number}" for number in range(100)]
    drawn = sample_ids(ids, 5, random_seed=1)
    assert sample_ids(reversed(ids), 5, random_seed=1) == drawn
    assert set(sample_ids(ids[:50], 5, random_seed=1)) >= set(drawn) & set(ids[:50])
    assert sample_ids(ids, 5, random_seed=2) != drawn


def test_candidate_survey() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "instruction": "12", "response": "1234", "rejection": None},
        {"id": "b", "instruction": "", "response": "12", "rejection": "empty"},
        {"id": "c", "instruction": "1", "response": "12", "rejection": "too_short"},
        {"id": "d", "instruction": "2", "response": "12", "rejection": "too_short"},
    ]
    survey = survey_candidates(rows, {"a"}, random_seed=1)
    assert (survey.pool.count, survey.pool.instruction.mean, survey.pool.response.mean) == (1, 2, 4)
    assert survey.rejections == {"empty": 1, "too_short": 2}
    assert survey.wanted["a"].response == "1234"
    assert set(survey.rejected) == {"empty", "too_short"}
    assert survey_candidates(rows[::-1], set(), 1).rejected == survey.rejected


def test_answer_samples_hold_only_what_every_model_answered() -> None:
    def row(row_id: str, answer: str) -> dict[str, Any]:
        return {"id": row_id, "instruction": "i", "reference": "r", "answer": answer, "failure": None}

    samples = sample_answers({"M0": [row("a", "x"), row("b", "y")], "M1": [row("b", "z")]}, 5, random_seed=1)
    assert [sample.answers for sample in samples] == [{"M0": "y", "M1": "z"}]


def test_funnel_adds_shards_and_orders_the_steps() -> None:
    table = pd.DataFrame(
        [("a", "a-1", "segments/kept", 4), ("a", "a-1", "segments/extracted", 7), ("a", "a-1", "segments/language", 1),
         ("a", "a-1", "segments/near duplicate", 2), ("b", "b-1", "records/read", 9), ("a", "a-2", "records/read", 1),
         ("a", "a-3", "records/read", 2), ("a", "a-1", "files/empty", 1)],
        columns=["source", "shard", "step", "count"],
    )  # fmt: skip
    assert [(step.label, step.kept, step.by_source, step.total) for step in funnel_steps(table)] == [
        ("files: empty", False, {"a": 1, "b": 0}, 1),
        ("records read", True, {"a": 3, "b": 9}, 12),
        ("segments extracted", True, {"a": 7, "b": 0}, 7),
        ("segments: near duplicate", False, {"a": 2, "b": 0}, 2),
        ("segments: language", False, {"a": 1, "b": 0}, 1),
        ("segments kept", True, {"a": 4, "b": 0}, 4),
    ]


@pytest.mark.parametrize(
    ("value", "low", "target", "verdict"),
    [
        (0.9, 0.85, 0.8, "met"),
        (0.9, 0.7, 0.8, "met, within noise"),
        (0.7, 0.6, 0.8, "not met"),
        (0.1, 0.05, 0.0, "met"),
        (0.0, -0.1, 0.0, "not met"),
        (float("nan"), 0.0, 0.0, "not met"),
        (0.7, 0.6, None, ""),
    ],
)
def test_verdicts(value: float, low: float, target: float | None, verdict: str) -> None:
    assert TruthMeasure("m", "M1", Estimate(value, low, 1), 10, target).verdict == verdict


def test_smallest_report_renders() -> None:
    empty = [PairLengths(name) for name in ("seed", "held-out", "pool")]
    page = render_report(Report(empty[0], empty[1], empty[2], settings_yaml=json.dumps({"a": 1})), TEMPLATE)
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")


def test_an_audit_tells_what_a_thousand_rows_took() -> None:
    """Each part was measured on the rows of the audit alone; the pool's own jobs, without a scorer, are left out."""
    estimate = Estimate(0.9, 0.8, 1.0)
    scores = [("own", "expected_score"), ("own", "combined"), ("categories", "expected_score"), ("own", "score")]
    measures = [AuditMeasure(scorer, score, "other_instruction", estimate, estimate, 40, 0) for scorer, score in scores]
    costs = [
        StageCost("score_candidates", None, "2", "own", 1, 20.0, 0.0, None, START),
        StageCost("score_candidates", None, "1", "own", 1, 999.0, 0.0, None, START),
        StageCost("score_candidates", None, "2", "categories", 1, 30.0, 0.0, None, START),
        StageCost("score_candidates", None, "2", None, 9, 999.0, 0.0, None, START),
        StageCost("measure_likelihood", None, "2", "own", 1, 50.0, 0.0, None, START),
        StageCost("measure_likelihood", None, None, "own", 1, 10.0, 0.0, None, START),
    ]
    seconds = with_seconds(Audit(2, 200, None, measures), costs_value(costs)).seconds
    assert seconds["own", "expected_score"] == seconds["own", "score"] == pytest.approx(100)
    assert seconds["categories", "expected_score"] == pytest.approx(150)
    assert (seconds["own", "likelihood"], seconds["own", "backward_likelihood"]) == (250, 50)
    assert seconds["own", "combined"] == pytest.approx(400)
    assert math.isnan(seconds["categories", "likelihood"])
