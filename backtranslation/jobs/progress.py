"""What a running job tells its log and `status`: what runs, rows done of how many, rows/s, tokens/s, time left.

And, in the same file, what it has cost so far, processes that were killed included.
"""

import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from backtranslation.jobs.work_files import PROGRESS

Item = TypeVar("Item")

log = logging.getLogger("backtranslation")


@dataclass(frozen=True)
class Cost:
    """What was spent on a result. Tokens are those of its own texts; None for a stage that counts none."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    tokens: int | None = None

    def after(self, seconds: float, gpus: int, tokens: int | None) -> "Cost":
        """The cost of a result that so many more seconds on so many GPUs brought to so many tokens."""
        return Cost(self.seconds + seconds, self.gpu_seconds + seconds * gpus, tokens)


@dataclass
class _Report:
    """Where the job of this process says how far it is; `earlier` was spent by processes that were killed."""

    job: str = ""
    file: Path | None = None
    earlier: Cost = Cost()
    started: float = 0.0
    gpus: int = 0
    tokens: int | None = None


_report = _Report()


def name_job(name: str) -> None:
    """Say what runs in this process, for the file that tells how far it is."""
    _report.job = name


def report_to(work: Path, gpus: int = 0) -> None:
    """Say how far this job, which has so many GPUs, is in a file of its work folder too, from now on."""
    _report.file, _report.earlier, _report.started = work / PROGRESS, reported_cost(work), time.monotonic()
    _report.gpus, _report.tokens = gpus, None
    report(0, None, "rows")


def work_folder() -> Path:
    """The work folder of this job; where no job runs, a new temporary one."""
    return _report.file.parent if _report.file else Path(tempfile.mkdtemp(prefix="backtranslation-"))


def reported_cost(work: Path) -> Cost:
    """What has been spent on a result, as far as its processes told."""
    try:
        told = json.loads((work / PROGRESS).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return Cost()
    return Cost(**{field.name: told[field.name] for field in fields(Cost) if field.name in told})


def count_tokens(number: int) -> None:
    """Note that a model was trained or measured on so many tokens of the result, or wrote them.

    Those of a killed process that are part of the result count once: the process that goes on counts them again.
    """
    _report.tokens = (_report.tokens or 0) + number


def report(done: int, total: int | None, unit: str, rate: float = 0.0, tokens_rate: float = 0.0) -> None:
    """Replace the file that says how far this job is, if there is one. `rate` is in units per second."""
    if _report.file is None:
        return
    left = (total - done) / rate if total and rate else None
    cost = _report.earlier.after(time.monotonic() - _report.started, _report.gpus, _report.tokens)
    figures = {
        "job": _report.job, "host": socket.gethostname(), "process": os.getpid(), "time": time.time(),
        **asdict(cost), "done": done, "total": total, "unit": unit,
        "rate": rate, "tokens_rate": tokens_rate, "seconds_left": left,
    }  # fmt: skip
    partial = _report.file.with_suffix(".partial")
    partial.write_text(json.dumps(figures))
    partial.replace(_report.file)


class Progress:
    """Counts rows and tokens; tells at most every `seconds` seconds, and once at the end.

    The `already` done rows of an earlier process, with their tokens, count as done, but not for the rate.
    """

    def __init__(
        self, total: int | None, unit: str = "rows", seconds: float = 10, already: int = 0, already_tokens: int = 0
    ) -> None:
        self.total, self.unit, self.seconds, self.already = total, unit, seconds, already
        self.done, self.tokens = already, 0
        self.started = self.told = time.monotonic()
        if already_tokens:
            count_tokens(already_tokens)
        if already:
            log.info(f"going on after {already:,} {unit}")

    def add(self, rows: int = 1, tokens: int = 0) -> None:
        """Note that so many more rows and tokens are done."""
        self.done += rows
        self.tokens += tokens
        if tokens:
            count_tokens(tokens)
        if time.monotonic() - self.told >= self.seconds:
            self.tell()

    def tell(self) -> None:
        """Log one line now."""
        self.told = time.monotonic()
        elapsed = max(self.told - self.started, 1e-9)
        rate, tokens_rate = (self.done - self.already) / elapsed, self.tokens / elapsed
        of_total = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.done:,}{of_total} {self.unit}", f"{rate:,.1f} {self.unit}/s"]
        if self.tokens:
            parts.append(f"{tokens_rate:,.0f} tokens/s")
        if self.total and rate and self.done < self.total:
            parts.append(f"{(self.total - self.done) / rate:,.0f} s left")
        log.info(", ".join(parts))
        report(self.done, self.total, self.unit, rate, tokens_rate)


def track(items: Iterable[Item], total: int | None, unit: str = "rows") -> Iterator[Item]:
    """Yield the items, logging progress."""
    progress = Progress(total, unit)
    for item in items:
        yield item
        progress.add()
    progress.tell()
