"""A judge at a server: what it is asked and what is read, faults, what is paid for, and what its result depends on."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.chat_server import Answer, ChatServer, reply, serve_chat
from helpers.configurations import ROOT, smallest

from backtranslation.commands.checks import judge_faults
from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.progress import Progress
from backtranslation.jobs.source_digests import source_digests
from backtranslation.method.judging import Verdict
from backtranslation.method.server_judging import NAMES_NEITHER, judge_with_server, read_reply
from backtranslation.models.engine import NOT_ANSWERED, REFUSED, EngineError
from backtranslation.models.engines import server_connection
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.evaluation import Evaluation
from backtranslation.settings.judge_server import JudgeServer
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import SettingsError, spec

PROMPT = ROOT / "prompts/judge.jinja"
LENIENT = Limits(max_unusable_share=1)
IDS = [f"row-{number}-" for number in range(6)]
Ask = Callable[..., list[Row]]


def answers(model: str, ids: list[str] = IDS, failed: str = "") -> list[Row]:
    """The answers of a model, each with its name in it."""
    return [
        {"id": row_id, "instruction": f"ask {row_id}", "answer": f"by {model}",
         "failure": "prompt_too_long" if row_id == failed else None}
        for row_id in ids
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_connection, "FIRST_PAUSE", 0.01)


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Let a server judge the answers of the models good and bad."""

    def judge(
        server: ChatServer, ids: list[str] = IDS, limits: Limits = LENIENT, failed: str = "", **given: Any
    ) -> Any:
        settings = JudgeServer(**{"url": server.url, "model": "large", "concurrency": 4, **given})
        prompts = PromptSet(Prompts(judge=str(PROMPT)))
        return judge_with_server(settings, prompts, answers("good", ids), answers("bad", ids, failed), tmp_path, limits)

    return judge


def prefers_good(text: str) -> dict[str, Any]:
    """Finds good better with 3 to 1, and names neither at one time in ten; likes what it is shown first a little."""
    if text.index("by good") < text.index("by bad"):
        return reply("1", {"1": 0.6, " 1": 0.12, "2": 0.18, "Both": 0.1})
    return reply("2", {"2": 0.6, "1": 0.2, "Both": 0.1})


def plainly(answer: Answer) -> Answer:
    """Answers the plain question with which the client begins, and others by a function."""
    return lambda text: answer(text) if "<instruction>" in text else reply("1")


# What is asked and read


def test_both_orders_are_asked_in_one_message_each_and_their_probabilities_read(ask: Ask) -> None:
    with serve_chat(plainly(prefers_good)) as server:
        rows = ask(server, failed=IDS[0])
    assert [row["id"] for row in rows] == IDS
    assert rows[0] == {
        "id": IDS[0], "first_wins_forward": None, "first_wins_reversed": None, "mass": None, "cut": False,
        "input_tokens": None, "output_tokens": None, "failure": "no_answer",
    }  # fmt: skip
    for row in rows[1:]:
        assert row["first_wins_forward"] == pytest.approx(0.8) and row["first_wins_reversed"] == pytest.approx(0.75)
        assert (row["mass"], row["cut"], row["failure"]) == (pytest.approx(0.8), False, None)
        assert (row["input_tokens"], row["output_tokens"]) == (200, 4)
    asked = server.asked()
    assert len(asked) == len(set(asked)) == 2 * 5 and all(text.endswith("\n\nBetter:") for text in asked)
    for request in server.requests:
        assert (request["model"], request["temperature"], request["logprobs"]) == ("large", 0, True)
        assert [message["role"] for message in request["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("answer", "first_wins", "mass"),
    [
        (reply("1"), 1.0, None),
        (reply(" **2**"), 0.0, None),
        (reply("Better: 2"), 0.0, None),
        (reply("Response 1 is better.\nUnlike 2, it is short."), 1.0, None),
        (reply("Better: 2", {"2": 0.6, "1": 0.2}, place=1), 0.25, 0.8),
        (reply("1", {"1": 0.3, " 1": 0.2}), 1.0, 0.5),
        (reply("1", {"2": 0.3}), 0.25, 0.4),
        (reply("2", {"1": 0.5, "2": 0.500001}), 0.5, 1.0),
    ],
)
def test_what_a_reply_says(answer: Any, first_wins: float, mass: float | None) -> None:
    verdict, _ = read_reply(answer)
    assert verdict.first_wins == pytest.approx(first_wins, abs=1e-5)
    assert verdict.mass == (None if mass is None else pytest.approx(mass, abs=1e-5))
    assert verdict.mass is None or verdict.mass <= 1
    assert (verdict.failure, verdict.input_tokens, verdict.output_tokens) == (None, 100, 2)


@pytest.mark.parametrize("said", ["Neither.", "12", "Neither 1 nor 2", "", None, "I think\n1"])
def test_a_reply_that_names_neither_or_both_is_no_number(said: str | None) -> None:
    verdict, _ = read_reply(reply(said, {"1": 0.9}))
    assert verdict == Verdict(None, None, NAMES_NEITHER, 100, 2)


def test_an_api_that_refuses_to_tell_probabilities_is_asked_for_text(ask: Ask, caplog: Any) -> None:
    with serve_chat(plainly(prefers_good), takes_logprobs=False) as server:
        rows = ask(server)
    assert {(row["first_wins_forward"], row["first_wins_reversed"], row["mass"]) for row in rows} == {(1.0, 1.0, None)}
    assert len([request for request in server.requests if "logprobs" in request]) == 1
    assert "12 of 12 replies came without probabilities, and count as 1 or 0" in caplog.text


# Faults


def test_a_busy_server_is_asked_again_and_a_refused_row_is_counted(ask: Ask) -> None:
    busy = {IDS[0]: 2}

    def answer(text: str) -> Any:
        if IDS[0] in text and busy[IDS[0]]:
            busy[IDS[0]] -= 1
            return 429
        if IDS[1] in text:
            return 400
        if IDS[2] in text:
            return {"choices": []}
        return reply("Neither.") if IDS[3] in text else prefers_good(text)

    with serve_chat(plainly(answer)) as server:
        rows = {row["id"]: row for row in ask(server, concurrency=1)}
    failures = {row_id: row["failure"] for row_id, row in rows.items() if row["failure"]}
    assert failures == {IDS[1]: REFUSED, IDS[2]: NOT_ANSWERED, IDS[3]: NAMES_NEITHER}
    assert rows[IDS[0]]["first_wins_forward"] == pytest.approx(0.8) and len(server.asked(IDS[0])) == 4
    assert rows[IDS[3]]["first_wins_forward"] is None and rows[IDS[3]]["output_tokens"] == 4, "it was paid for"


def test_replies_that_name_nothing_stop_the_job_and_are_not_paid_for_again(ask: Ask) -> None:
    with serve_chat(plainly(lambda text: reply("Both are good."))) as server:
        for _ in range(2):
            with pytest.raises(DataError, match="judge_names_neither"):
                ask(server, limits=Limits(max_unusable_share=0.25), concurrency=1)
        assert len(server.asked()) == len(set(server.asked())) < 2 * len(IDS)


def test_a_model_that_takes_no_such_request_stops_the_job_at_the_first(ask: Ask) -> None:
    with serve_chat(lambda text: 400) as server:
        with pytest.raises(EngineError, match="refuses a plain question: HTTP 400"):
            ask(server)
        assert server.asked() == []


def test_a_key_is_sent_and_kept_nowhere(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_chat(plainly(prefers_good), key="of-the-house") as server:
        with pytest.raises(EngineError, match="wants a key .*evaluation.judge_server.key_variable"):
            ask(server)
        with pytest.raises(EngineError, match="evaluation.judge_server.key_variable: HOUSE_KEY is not set"):
            ask(server, key_variable="HOUSE_KEY")
        monkeypatch.setenv("HOUSE_KEY", "of-the-house")
        assert len(ask(server, key_variable="HOUSE_KEY")) == len(IDS)
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "row-0-" in written and "of-the-house" not in written + caplog.text


@pytest.mark.parametrize("patience", [1, 6, 11])
def test_a_killed_job_goes_on_and_pays_for_nothing_twice(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    def add_or_die(progress: Progress, rows: int = 1, tokens: int = 0) -> None:
        progress.done += rows
        if progress.done == patience:
            raise KeyboardInterrupt

    with serve_chat(plainly(prefers_good)) as server:
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "add", add_or_die)
            with pytest.raises(KeyboardInterrupt):
                ask(server, concurrency=1)
        assert len(server.asked()) == patience
        rows = ask(server, concurrency=1)
        assert len(server.asked()) == len(set(server.asked())) == 2 * len(IDS)
        assert {(row["failure"], row["input_tokens"]) for row in rows} == {(None, 200)}
        requests = len(server.requests)
        assert ask(server) == rows and len(server.requests) == requests, "nothing is missing, so nobody is asked"


def test_the_log_tells_what_it_may_cost_before_and_what_was_used_after(ask: Ask, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "backtranslation")
    with serve_chat(plainly(prefers_good)) as server:
        ask(server, input_price=1000, output_price=10_000)
    characters = sum(map(len, server.asked()))
    price = (characters // 4 * 1000 + 12 * 16 * 10_000) / 1e6
    assert f"12 requests to large at {server.url.removesuffix('/v1')}: about {characters // 4:,} tokens" in caplog.text
    assert f"characters / 4), at most 192 to write, {price:.2f} by input_price and output_price" in caplog.text
    assert "large read 1,200 tokens and wrote 24, 1.44 by input_price" in caplog.text
    before, after = caplog.text.index("12 requests"), caplog.text.index("read 1,200")
    assert before < after


# Settings, key and rule


def test_settings_that_cannot_be_are_named() -> None:
    server = {"url": "https://a/v1/", "model": "large"}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"judge": "owner/model", "judge_server": server}, "config: evaluation: give either judge or judge_server"),
        ({"judge_server": {"model": "large"}}, "config: evaluation.judge_server.url: must be given"),
        ({"judge_server": server | {"url": "a"}}, "config: evaluation.judge_server.url: must begin with http"),
        ({"judge_server": server | {"input_price": 1}}, "config: evaluation.judge_server: give both input_price and"),
    ]
    for given, message in cases:
        with pytest.raises(SettingsError, match=message):
            load_settings(smallest(evaluation=given))
    evaluation = load_settings(smallest(evaluation={"judge_server": server})).evaluation
    assert evaluation.judge_name() == "large"


def test_a_package_that_is_missing_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = Evaluation(judge_server=JudgeServer(url="https://a", model="large"))
    assert list(judge_faults(evaluation)) == []
    monkeypatch.setattr("backtranslation.commands.checks._is_installed", lambda package: False)
    told = "config: evaluation.judge_server: httpx2 is not installed: pip install httpx2"
    assert list(judge_faults(evaluation)) == [told] and list(judge_faults(Evaluation())) == []


def test_a_result_depends_on_the_model_and_on_who_serves_it() -> None:
    def key(**given: Any) -> str:
        return spec(judge_server=JudgeServer(**{"url": "https://a", "model": "large", **given}))

    how = {"key_variable": "KEY", "concurrency": 1, "request_seconds": 9, "input_price": 1, "output_price": 2}
    assert key() == key(**how) and len({key(), key(url="https://b"), key(model="small")}) == 3


def test_the_code_of_engines_and_that_of_a_server_are_in_the_key_of_their_judge_alone() -> None:
    script = ROOT / "scripts/judge_answers.py"
    local = source_digests(script)
    served = source_digests(script, JudgeServer(url="https://a", model="large").modules())
    added = {name.removeprefix("backtranslation.") for name in served.keys() - local.keys()}
    assert added == {"method.server_judging", "models.engines", "models.engines.server_connection"}


def test_a_job_of_the_workflow_needs_neither_model_nor_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With GPUs pretended; the jobs of the local judge show that the test sees them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "pretended-0")

    def call_of(changes: dict[str, Any]) -> str:
        (tmp_path / "changes.yaml").write_text(yaml.safe_dump({"iterations": 1, "evaluation": changes}))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "-p"]
        done = subprocess.run(
            [*command, "results/evaluation/judgements/M1-vs-M0.jsonl.zst", "--configfile", "changes.yaml"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (call,) = (line for line in done.stdout.splitlines() if "judge_answers.py" in line)
        return call

    local, served = call_of({}), call_of({"judge_server": {"url": "https://a", "model": "large", "concurrency": 3}})
    assert "--gpus 1" in local and "--judge results/trained/M0" in local and "--chat-template" in local
    assert "--gpus 0" in served and "--judge " not in served and "--chat-template" not in served
    assert '"concurrency": 3' in served and '"generation":null' not in served and '"engine"' not in served


def test_the_stage_finds_its_result_in_the_store(tmp_path: Path) -> None:
    """The first call asks; a second one, with other settings of how, asks nothing."""
    for name in ("good", "bad"):
        write_rows(tmp_path / f"{name}.jsonl.zst", answers(name))
    with serve_chat(plainly(prefers_good)) as server:

        def run(folder: str, **how: Any) -> list[Row]:
            settings = JudgeServer(url=server.url, model="large", **how)
            limits = Limits()
            output = str(tmp_path / folder / "judged.jsonl.zst")
            command = [
                sys.executable, str(ROOT / "scripts/judge_answers.py"), "--store", str(tmp_path / "results/store"),
                "--spec", spec(judge_server=settings, judge=None, loading=None, limits=limits),
                "--execution", json.dumps({"judge_server": settings.execution(), "limits": limits.execution()}),
                "--first", "good.jsonl.zst", "--second", "bad.jsonl.zst", "--prompt", str(PROMPT),
                "--judgements", output,
            ]  # fmt: skip
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return list(read_rows(Path(output)))

        rows = run("results", concurrency=2)
        assert [row["id"] for row in rows] == IDS and len(server.asked()) == 12
        assert run("results", concurrency=9, input_price=1, output_price=1) == rows and len(server.asked()) == 12
