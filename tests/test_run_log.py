"""What a run says on the console, from Snakemake's events."""

import io
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from backtranslation.commands import run_log
from backtranslation.commands.outcome import describe_outcome
from backtranslation.commands.run_log import RunLog, install_run_log
from backtranslation.files import write_json
from backtranslation.jobs.process import start_job
from backtranslation.tally import Tally


class Run:
    """A run whose events are told one by one."""

    def __init__(self, folder: Path, terminal: bool = False, **expected: float) -> None:
        self.stream = io.StringIO()
        self.stream.isatty = lambda: terminal  # type: ignore[method-assign]
        self.folder = folder
        self.log = RunLog(self.stream, str(folder / "results"), expected)

    def tell(self, event: LogEvent | None, message: str = "", level: int = logging.INFO, **fields: object) -> None:
        record = logging.makeLogRecord({"event": event, "msg": message, "levelno": level, **fields})
        self.log.emit(record)

    def begin(self, **stats: int) -> None:
        self.tell(LogEvent.RUN_INFO, stats={**stats, "all": 1, "total": sum(stats.values()) + 1})

    def start(self, number: int, rule: str, *wildcards: str, log: str = "") -> Path:
        path = self.folder / f"{number}.log"
        path.write_text(log)
        named = dict(enumerate(wildcards))
        self.tell(LogEvent.JOB_INFO, jobid=number, rule_name=rule, wildcards=named, log=[str(path)])
        return path

    def end(self, number: int) -> None:
        self.tell(LogEvent.JOB_FINISHED, job_id=number)

    def fail(self, number: int, rule: str, path: Path, message: str | None = None) -> None:
        fields: dict[str, Any] = {"jobid": number, "rule_name": rule, "rule_msg": message, "log": [str(path)]}
        self.tell(LogEvent.JOB_ERROR, level=logging.ERROR, **fields)

    def lines(self) -> list[str]:
        """What was said, without the time of the day."""
        return [line[10:] for line in self.stream.getvalue().splitlines()]


def test_one_line_when_a_job_starts_and_one_when_it_ends(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(train_model=2)
    run.start(1, "train_model", "M0", log="12:00:00 train_model M0: command: python\nstep 1 of 2\n")
    run.start(2, "train_model", "M1", log="12:00:00 train_model M1: found train_model/00ff\n")
    run.end(1)
    run.end(2)
    assert run.lines() == [
        "2 jobs to look at",
        "started   train_model M0",
        "started   train_model M1",
        "finished  train_model M0 (0 s)",
        "finished  train_model M1 (0 s, found in the store)",
    ]


def test_of_the_target_and_of_what_helps_nobody_nothing_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.tell(LogEvent.WORKFLOW_STARTED, "SNAKEMAKE")
    run.tell(None, "Select jobs to execute...")
    run.tell(LogEvent.JOB_INFO, jobid=0, rule_name="all", wildcards={}, log=[])
    run.tell(LogEvent.JOB_FINISHED, job_id=0)
    run.tell(LogEvent.ERROR, "RuleException:\nCalledProcessError in file x", logging.ERROR)
    assert run.lines() == []


def test_what_snakemake_warns_of_is_passed_on(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.tell(None, "Unlocking \x1b[31mworking directory.")
    run.tell(None, "Nodes are gone", logging.WARNING)
    assert run.stream.getvalue() == "Unlocking \ufffd[31mworking directory.\nNodes are gone\n"


def test_warnings_of_jobs_are_told_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_job("extract_segments", "web-a")
    tally = Tally()
    tally.skip("records/not HTML", "a picture")
    for number in range(4):
        tally.refuse("records/damaged", f"page {number}")
    written = capsys.readouterr().err
    logging.basicConfig(force=True)
    run = Run(tmp_path)
    run.begin(extract_segments=1)
    path = run.start(1, "extract_segments", "web-a", log=written)
    run.end(1)
    run.log.succeed()
    said = run.stream.getvalue()
    assert "          skipped, records/damaged: page 0\n          skipped, records/damaged: page 1\n" in said
    assert f"          2 more warnings in {path}\n" in said
    assert "done: 1 jobs in 0 s, with 4 warnings" in said
    assert "a picture" not in said


def test_why_a_job_failed_is_shown_with_its_log_and_that_a_run_continues(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(compute_scores=2)
    path = run.start(
        1, "compute_scores", "1", log="12:00:00 compute_scores: 9 rows\ncompute_scores: error: too many\n  one\n"
    )
    run.fail(1, "compute_scores", path)
    run.log.fail()
    assert run.stream.getvalue().splitlines()[-6:] == [
        line.replace("TIME", time.strftime("%H:%M:%S"))
        for line in [
            "TIME  FAILED    compute_scores 1 (0 s)",
            "          compute_scores: error: too many",
            "            one",
            f"          log: {path}",
            "TIME  stopped: 0 of 2 jobs done, 1 failed. What is done stays done:",
            "          mend what failed, and run the same command again to continue",
        ]
    ]


def test_what_a_cluster_says_of_a_job_is_shown_too(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = run.start(1, "train_model", "M0")
    run.fail(1, "train_model", path, "SLURM status is: 'TIMEOUT'")
    assert "SLURM status is: 'TIMEOUT'" in run.lines()
    assert "it left no message" in run.lines()


def test_of_a_job_that_left_no_message_the_last_lines_are_shown(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = run.start(1, "train_model", "M0", log="".join(f"line {number}\n" for number in range(100)))
    run.fail(1, "train_model", path)
    said = run.stream.getvalue()
    assert "line 99" in said and "line 85" in said and "line 84" not in said


def test_a_job_that_was_stopped_has_not_failed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(train_model=1)
    path = run.start(1, "train_model", "M0", log="train_model: stopped by Ctrl-C; what is done stays done\n")
    run.fail(1, "train_model", path)
    run.log.fail()
    assert "stopped   train_model M0 (0 s)" in run.lines()
    assert "stopped: 0 of 1 jobs done, 0 failed. What is done stays done:" in run.lines()
    assert "mend" not in run.stream.getvalue()


def test_time_left_follows_from_this_run_and_from_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = Run(tmp_path, score_candidates=600.0)
    run.begin(score_candidates=4, train_model=2)
    assert run.log.progress() == "0 of 6 jobs done, 0.0 a minute, time left not known yet"  # no training was seen
    for number, rule in ((1, "score_candidates"), (2, "train_model")):
        run.start(number, rule)
    now[0] += 120
    run.end(1)
    run.end(2)
    # Two jobs ran at once: four more of 120 s each take 240 s.
    assert run.log.progress() == "2 of 6 jobs done, 1.0 a minute, about 4 min left"
    assert [line for line in run.lines() if " jobs done" in line] == [
        "1 of 6 jobs done, 0.5 a minute, time left not known yet"
    ]


def test_on_a_terminal_the_last_lines_show_what_runs(tmp_path: Path) -> None:
    run = Run(tmp_path, terminal=True)
    run.begin(train_model=1)
    run.start(1, "train_model", "M0", log="12:00:00 train_model M0: step 3 of 9\n")
    shown = run.log.render().plain
    run.log.stop()
    assert shown == "  train_model M0, 0 s  step 3 of 9\n0 of 1 jobs done, 0.0 a minute, time left not known yet"


def test_a_terminal_shows_no_more_jobs_than_it_has_room_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(train_model=20)
    for number in range(20):
        run.start(number, "train_model", str(number))
    shown = run.log.render().plain.splitlines()
    assert len(shown) == run_log.SHOWN_JOBS + 2
    assert shown[-2] == f"  and {20 - run_log.SHOWN_JOBS} more"


def test_jobs_say_nothing_on_the_console_until_the_run_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path)
    run.log.silence_jobs()
    os.system("echo unheard")
    run.log.close()
    os.system("echo heard")
    assert capfd.readouterr().out == "heard\n"


def test_in_a_file_there_are_no_control_characters(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.begin(train_model=1)
    run.start(1, "train_model", "M0", log="train_model: error: \x1b[2J\n")
    run.fail(1, "train_model", tmp_path / "1.log")
    run.log.fail()
    assert "\x1b" not in run.stream.getvalue() and "\r" not in run.stream.getvalue()


def test_at_the_end_stands_what_came_out(tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert describe_outcome(results) == []
    funnel = (
        "source\tshard\tstep\tcount\na\ta-1\trecords/read\t9\na\ta-1\tsegments/extracted\t7\na\ta-1\tsegments/kept\t5\n"
    )
    (results / "extraction").mkdir(parents=True)
    (results / "extraction/funnel.tsv").write_text(funnel)
    write_json(results / "evaluation/losses/M0.json", {"loss": 1.25, "tokens": 8, "pairs": []})
    write_json(results / "evaluation/losses/M1.json", {"loss": None, "tokens": 0, "pairs": []})
    (results / "report").mkdir()
    (results / "report/index.html").touch()
    assert describe_outcome(results) == [
        "  segments     5 kept of 7 that were cut out of 9 pages",
        "  models       held-out loss: M0 1.250",
        f"  report       {results}/report/index.html",
    ]


def test_the_log_of_a_dry_run_is_snakemakes_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Workflow:
        class output_settings:  # noqa: N801
            dryrun, stdout, verbose = True, False, False

    handler = logging.StreamHandler(sys.stderr)
    handler.name = run_log.SNAKEMAKES_HANDLER
    logger: Any = logging.Logger("snakemake")
    logger.addHandler(handler)
    monkeypatch.setattr(run_log, "logger", logger)
    assert install_run_log(Workflow, "results", tmp_path) is None
    assert logger.handlers == [handler]
    Workflow.output_settings.dryrun, Workflow.output_settings.verbose = False, True
    assert install_run_log(Workflow, "results", tmp_path) is None
    Workflow.output_settings.verbose = False
    assert install_run_log(Workflow, "results", tmp_path) is logger.handlers[0]
    assert install_run_log(Workflow, "results", tmp_path) is None  # another one's log is left alone
