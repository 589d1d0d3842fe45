"""What a running job tells its log and `status`: what runs, rows done of how many, rows/s, tokens/s, time left."""

import json
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from backtranslation.jobs.work_files import PROGRESS

Item = TypeVar("Item")

log = logging.getLogger("backtranslation")


@dataclass
class _Report:
    """Where the job of this process says how far it is; `earlier` seconds were spent by processes that were killed."""

    job: str = ""
    file: Path | None = None
    earlier: float = 0.0
    started: float = 0.0


_report = _Report()


def name_job(name: str) -> None:
    """Say what runs in this process, for the file that tells how far it is."""
    _report.job = name


def report_to(work: Path) -> None:
    """Say how far this job is in a file of its work folder too, from now on."""
    _report.file, _report.earlier, _report.started = work / PROGRESS, reported_seconds(work), time.monotonic()
    report(0, None, "rows")


def reported_seconds(work: Path) -> float:
    """Seconds that have been spent on a result, as far as its processes told before they were killed."""
    try:
        return float(json.loads((work / PROGRESS).read_text())["seconds"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return 0.0


def report(done: int, total: int | None, unit: str, rate: float = 0.0, tokens_rate: float = 0.0) -> None:
    """Replace the file that says how far this job is, if there is one. `rate` is in units per second."""
    if _report.file is None:
        return
    left = (total - done) / rate if total and rate else None
    figures = {
        "job": _report.job, "host": socket.gethostname(), "process": os.getpid(), "time": time.time(),
        "seconds": _report.earlier + time.monotonic() - _report.started, "done": done, "total": total, "unit": unit,
        "rate": rate, "tokens_rate": tokens_rate, "seconds_left": left,
    }  # fmt: skip
    partial = _report.file.with_suffix(".partial")
    partial.write_text(json.dumps(figures))
    partial.replace(_report.file)


class Progress:
    """Counts rows and tokens; tells at most every `seconds` seconds, and once at the end.

    The `already` done rows of an earlier process count as done, but not for the rate.
    """

    def __init__(self, total: int | None, unit: str = "rows", seconds: float = 10, already: int = 0) -> None:
        self.total, self.unit, self.seconds, self.already = total, unit, seconds, already
        self.done, self.tokens = already, 0
        self.started = self.told = time.monotonic()
        if already:
            log.info(f"going on after {already:,} {unit}")

    def add(self, rows: int = 1, tokens: int = 0) -> None:
        """Note that so many more rows and tokens are done."""
        self.done += rows
        self.tokens += tokens
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
