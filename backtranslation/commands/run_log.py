"""What a run says on the console: a line when a job starts and when it ends, how far the run is, and what came out.

Takes the place of Snakemake's own console log; its log file (.snakemake/log) still holds everything, and so do the logs
of the jobs. On a terminal the last lines show what is running; elsewhere there is a line now and then.
"""

import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text
from snakemake.logging import DefaultFormatter, logger
from snakemake_interface_logger_plugins.common import LogEvent

from backtranslation.commands.formatting import format_seconds
from backtranslation.commands.outcome import describe_outcome
from backtranslation.commands.planning import stage_seconds
from backtranslation.jobs.process import WARNING, printable

SNAKEMAKES_HANDLER = "DefaultStreamHandler"
PROGRESS_SECONDS = 30.0  # between two lines, where they cannot replace each other
SHOWN_WARNINGS = 2  # of a job
SHOWN_LINES = 15  # of the log of a job that failed without a message of ours
SHOWN_JOBS = 8  # of those that run, on a terminal
TAIL_BYTES = 1 << 20  # of a log that is read when its job has ended
LAST_BYTES = 1 << 12  # of one that is looked at while it runs
# Of no use to somebody who waits for results; why a job failed, its own log says.
PASSED_OVER = re.compile(
    "Building DAG|Using shell|Provided |Rules claiming|Select jobs|Execute |Complete log|Elapsed time|Shutting down"
    "|Exiting because a job|Conda environments: ignored|Removing output files of failed job|$"
    "|RuleException:\nCalledProcessError|WorkflowError:\nAt least one job did not complete"
)


@dataclass
class RunningJob:
    """A job that has started: its rule, what it works on, its log."""

    rule: str
    name: str
    log: Path | None
    started: float = field(default_factory=lambda: time.monotonic())

    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self.started


class RunLog(logging.Handler):
    """Writes Snakemake's events for people. `expected` are seconds of a job by rule, from earlier runs."""

    def __init__(self, stream: TextIO, results: str, expected: Mapping[str, float]) -> None:
        super().__init__()
        self.console = Console(file=stream, highlight=False, soft_wrap=True, markup=False)
        self.results, self.expected = results, expected
        self.default_format = DefaultFormatter().format
        self.live: Live | None = None
        self.output: int | None = None  # the standard output, while jobs have none
        self.running: dict[int, RunningJob] = {}
        self.waiting: Counter[str] = Counter()  # jobs that have not ended, by rule
        self.total = self.failed = self.stopped = self.warnings = 0
        self.seconds: dict[str, list[float]] = {}  # of the jobs that have ended, by rule
        self.started = self.told = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Write what an event says to people; most say nothing."""
        write = EVENTS.get(getattr(record, "event", None), RunLog.pass_on)
        try:
            write(self, record)
        except Exception:  # as logging has it: a log that cannot be written must not stop a run
            self.handleError(record)

    def begin(self, record: Any) -> None:
        """The numbers of jobs are known."""
        self.waiting = Counter({rule: count for rule, count in record.stats.items() if rule not in ("total", "all")})
        self.total = self.waiting.total()
        self.started = self.told = time.monotonic()
        self.say(f"{self.total:,} jobs to look at")
        if self.console.is_terminal:
            self.live = Live(console=self.console, get_renderable=self.render, transient=True, refresh_per_second=2)
            self.live.start()

    def start_job(self, record: Any) -> None:
        """A job starts."""
        if not record.log:  # the target
            return
        name = " ".join([record.rule_name, *map(str, record.wildcards.values())])
        self.running[record.jobid] = RunningJob(record.rule_name, name, Path(record.log[0]))
        self.say(f"started   {name}")

    def end_job(self, record: Any) -> None:
        """A job has ended well; what its log warns of is told."""
        job = self.running.pop(record.job_id, None)
        if job is None:
            return
        self._count(job)
        text = _read_log(job.log)
        warnings = _warnings(text)
        found = ", found in the store" if FOUND.search(text) else ""
        self.say(f"finished  {job.name} ({format_seconds(job.seconds())}{found})")
        for line in warnings[:SHOWN_WARNINGS]:
            self.console.print(f"          {line}", style="red")
        if len(warnings) > SHOWN_WARNINGS:
            self.console.print(f"          {len(warnings) - SHOWN_WARNINGS:,} more warnings in {job.log}")
        self.warnings += len(warnings)
        self.tell_progress()

    def fail_job(self, record: Any) -> None:
        """A job has failed: why, as far as its log says, and where to read more."""
        job = self.running.pop(record.jobid, None) or RunningJob(record.rule_name, record.rule_name, None)
        words = _last_words(_read_log(job.log)) or ["it left no message"]
        was_stopped = STOPPED in words[0]
        said = str(record.rule_msg).splitlines() if record.rule_msg else []  # by a cluster, for one
        self._count(job)
        self.failed += not was_stopped
        self.stopped += was_stopped
        self.say(f"{'stopped' if was_stopped else 'FAILED':10}{job.name} ({format_seconds(job.seconds())})")
        for line in [*map(printable, said), *words]:
            self.console.print(f"          {line}")
        if record.log:
            self.console.print(f"          log: {', '.join(map(str, record.log))}")

    def pass_on(self, record: logging.LogRecord) -> None:
        """What Snakemake says beside the jobs; if there was nothing to do, what there is."""
        text = printable(self.default_format(record) or "")
        if text.startswith("Nothing to be done"):
            self.console.print("Nothing to be done: all results are up to date.")
            self.tell_outcome()
        elif not PASSED_OVER.match(text):
            self.console.print(text)

    def ignore(self, record: logging.LogRecord) -> None:
        """Say nothing."""

    def silence_jobs(self) -> None:
        """Let nothing reach the standard output until the run ends: jobs, which have logs of their own, inherit it."""
        self.output = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def succeed(self) -> None:
        """All jobs are done."""
        self.stop()
        jobs = f"{self.total:,} jobs in {format_seconds(time.monotonic() - self.started)}"
        warned = f", with {self.warnings:,} warnings (above, and in {self.results}/logs)" if self.warnings else ""
        self.say(f"done: {jobs}{warned}")
        self.tell_outcome()

    def fail(self) -> None:
        """The run has ended before its end."""
        self.stop()
        done = self.total - self.waiting.total() - self.failed - self.stopped
        self.say(f"stopped: {done:,} of {self.total:,} jobs done, {self.failed:,} failed. What is done stays done:")
        self.console.print(
            f"          {'mend what failed, and ' if self.failed else ''}run the same command again to continue"
        )

    def stop(self) -> None:
        """End the lines that change, and give the standard output back."""
        if self.live:
            self.live.stop()
            self.live = None
        if self.output is not None:
            os.dup2(self.output, 1)
            os.close(self.output)
            self.output = None

    def close(self) -> None:
        """Also where Snakemake itself fails, and says neither that a run has succeeded nor that it has not."""
        self.stop()
        super().close()

    def tell_outcome(self) -> None:
        """What came out, and where the report is."""
        for line in describe_outcome(self.results):
            self.console.print(line)

    def say(self, text: str) -> None:
        """Write a line with the time."""
        self.console.print(f"{time.strftime('%H:%M:%S')}  {printable(text)}")

    def tell_progress(self) -> None:
        """Write how far the run is, unless that was done lately, or is seen anyway."""
        if self.live is None and time.monotonic() - self.told >= PROGRESS_SECONDS:
            self.told = time.monotonic()
            self.say(self.progress())

    def progress(self) -> str:
        """Jobs done of all, jobs a minute, time left."""
        done, minutes = self.total - self.waiting.total(), (time.monotonic() - self.started) / 60
        left = self.seconds_left()
        return ", ".join(
            [
                f"{done:,} of {self.total:,} jobs done",
                f"{done / max(minutes, 1 / 60):,.1f} a minute",
                f"about {format_seconds(left)} left" if left is not None else "time left not known yet",
            ]
        )

    def seconds_left(self) -> float | None:
        """Expected seconds of all that has not ended, by as many jobs at once as there were so far; None: not known."""
        expected = {rule: self._expect(rule) for rule in self.waiting}
        if None in expected.values():
            return None
        work = sum(count * (expected[rule] or 0) for rule, count in self.waiting.items())
        spent = sum(min(job.seconds(), expected.get(job.rule) or 0) for job in self.running.values())
        ended = sum(map(sum, self.seconds.values())) + sum(job.seconds() for job in self.running.values())
        at_once = max(1.0, ended / max(time.monotonic() - self.started, 1))
        return max(work - spent, 0) / at_once

    def _expect(self, rule: str) -> float | None:
        """Seconds of a job: as in this run so far, else as in earlier ones."""
        now = self.seconds.get(rule)
        return sum(now) / len(now) if now else self.expected.get(rule)

    def _count(self, job: RunningJob) -> None:
        self.waiting -= Counter({job.rule: 1})
        self.seconds.setdefault(job.rule, []).append(job.seconds())

    def render(self) -> Text:
        """The lines at the end of a terminal: what runs, with its own last words, and how far the run is."""
        shown = list(self.running.values())[:SHOWN_JOBS]
        lines = [f"  {job.name}, {format_seconds(job.seconds())}  {_last_line(job.log)}" for job in shown]
        if more := len(self.running) - len(shown):
            lines.append(f"  and {more:,} more")
        width = self.console.width - 1
        return Text("\n".join(line[:width] for line in [*lines, self.progress()]), no_wrap=True)


EVENTS: dict[Any, Callable[[RunLog, Any], None]] = {
    LogEvent.RUN_INFO: RunLog.begin,
    LogEvent.JOB_INFO: RunLog.start_job,
    LogEvent.JOB_FINISHED: RunLog.end_job,
    LogEvent.JOB_ERROR: RunLog.fail_job,
    LogEvent.JOB_STARTED: RunLog.ignore,
    LogEvent.PROGRESS: RunLog.ignore,
    LogEvent.RESOURCES_INFO: RunLog.ignore,
    LogEvent.WORKFLOW_STARTED: RunLog.ignore,
}
FOUND = re.compile(r": found [a-z_]+/[0-9a-f]+$", re.MULTILINE)
STOPPED = ": stopped by "
ERROR = re.compile(rf"^\w+(?:: error: |{STOPPED})", re.MULTILINE)


def install_run_log(workflow: Any, results: str, store: Path) -> RunLog | None:
    """Write the console log for people from now on; not in a dry run, nor where the user chose another (--verbose)."""
    shown = [handler for handler in logger.handlers if handler.name == SNAKEMAKES_HANDLER]
    if not shown or workflow.output_settings.dryrun or workflow.output_settings.verbose:
        return None
    shown_on = sys.stdout if workflow.output_settings.stdout else sys.stderr
    stream = os.fdopen(os.dup(shown_on.fileno()), "w", encoding="utf-8", errors="replace")  # see `silence_jobs`
    run_log = RunLog(stream, results, stage_seconds(store))
    run_log.filters = shown[0].filters  # --quiet, --verbose and -p mean what they mean
    logger.removeHandler(shown[0])
    logger.addHandler(run_log)
    return run_log


def _read_log(path: Path | None, size: int = TAIL_BYTES) -> str:
    """The end of a job's log."""
    if path is not None:
        with suppress(OSError), path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - size))
            return printable(stream.read().decode("utf-8", "replace"))
    return ""


def _warnings(log: str) -> list[str]:
    return [line.partition(f": {WARNING}")[2] for line in log.splitlines() if f": {WARNING}" in line]


def _last_words(log: str) -> list[str]:
    """The message with which a job ended; without one, its last lines."""
    messages = list(ERROR.finditer(log))
    return (log[messages[-1].start() :] if messages else log).splitlines()[-SHOWN_LINES:]


def _last_line(path: Path | None) -> str:
    """What a job said last, without the time and its name."""
    lines = [line.partition(": ")[2] for line in _read_log(path, LAST_BYTES).splitlines()]
    return lines[-1] if lines and not lines[-1].startswith("command: ") else ""
