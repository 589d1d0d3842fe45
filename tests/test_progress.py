"""What a running job tells its log and the file for `status`, and how a script ends when something goes wrong."""

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.jobs import progress
from backtranslation.jobs.process import run_script
from backtranslation.jobs.progress import PROGRESS, Cost, Progress, report, report_to, reported_cost, track


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of its own for every test; and no test reports to another's file."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic, time=lambda: 5.0))
    monkeypatch.setattr(progress, "_report", progress._Report(job="train_model M0"))
    return clock


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the log was told so far."""
    caplog.set_level(logging.INFO, logger="backtranslation")
    return lambda: caplog.messages


def reported(work: Path) -> Row:
    return json.loads((work / PROGRESS).read_text())


def test_the_log_has_rates_and_the_time_left(told: Callable[[], list[str]], clock: Clock) -> None:
    counter = Progress(total=4000, seconds=10)
    clock.now += 9
    counter.add(rows=500, tokens=9000)
    assert told() == []
    clock.now += 1
    counter.add(rows=500, tokens=11_000)
    assert told() == ["1,000 of 4,000 rows, 100.0 rows/s, 2,000 tokens/s, 30 s left"]


def test_rows_of_an_earlier_process_count_as_done_but_not_for_the_rate(
    told: Callable[[], list[str]], clock: Clock, tmp_path: Path
) -> None:
    report_to(tmp_path)
    counter = Progress(total=1000, already=600)
    clock.now += 10
    counter.add(rows=100)
    assert told() == ["going on after 600 rows", "700 of 1,000 rows, 10.0 rows/s, 30 s left"]
    figures = reported(tmp_path)
    assert (figures["done"], figures["total"], figures["rate"]) == (700, 1000, 10)
    assert figures["seconds_left"] == 30


def test_when_all_is_there_already_nothing_is_divided_by_zero(told: Callable[[], list[str]]) -> None:
    for total in (7, 0, None):
        Progress(total=total, already=7).tell()
    assert told()[1] == "7 of 7 rows, 0.0 rows/s"


def test_the_file_says_who_does_what_how_far_and_how_fast(clock: Clock, tmp_path: Path) -> None:
    report_to(tmp_path)
    clock.now += 4
    report(done=20, total=100, unit="steps", rate=5, tokens_rate=300)
    figures = reported(tmp_path)
    assert (figures["job"], figures["process"], figures["time"]) == ("train_model M0", os.getpid(), 5.0)
    assert figures["host"]
    wanted = {"seconds": 4, "done": 20, "total": 100, "unit": "steps", "rate": 5, "tokens_rate": 300}
    assert wanted.items() <= figures.items()
    assert figures["seconds_left"] == 16
    report(done=0, total=100, unit="steps")
    assert reported(tmp_path)["seconds_left"] is None
    assert list(tmp_path.iterdir()) == [tmp_path / PROGRESS]


def test_the_file_is_there_from_the_start(tmp_path: Path) -> None:
    report_to(tmp_path)
    assert reported(tmp_path)["done"] == 0 and reported(tmp_path)["seconds_left"] is None


def test_without_a_work_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    list(track(range(3), total=3))
    report(1, 2, "rows")
    assert list(tmp_path.iterdir()) == []


def test_seconds_of_killed_processes_add_up(clock: Clock, tmp_path: Path) -> None:
    """And GPU seconds, though each process may have had other GPUs; tokens are those of the result, counted anew."""
    assert reported_cost(tmp_path) == Cost(0, 0, None)
    for earlier, gpu_seconds, gpus, tokens in ((0, 0, 0, 5), (30, 0, 2, 10), (60, 60, 1, 15)):
        report_to(tmp_path, gpus)
        assert reported(tmp_path)["seconds"] == earlier
        counter = Progress(total=None, already_tokens=tokens)
        clock.now += 30
        counter.add(tokens=100)
        assert reported_cost(tmp_path) == Cost(earlier + 30, gpu_seconds + 30 * gpus, tokens + 100)


def test_tokens_of_all_parts_of_a_job_add_up(clock: Clock, tmp_path: Path) -> None:
    """A job may measure losses first and write answers then, and weigh choices, which have no tokens."""
    report_to(tmp_path)
    for tokens in (100, 20, 0):
        counter = Progress(total=1)
        counter.add(tokens=tokens)
        counter.tell()
    assert reported_cost(tmp_path).tokens == 120


def test_a_job_that_counts_no_tokens_has_none(tmp_path: Path) -> None:
    report_to(tmp_path)
    list(track(range(3), total=3))
    assert reported_cost(tmp_path).tokens is None


@pytest.mark.parametrize("content", ["", '{"job": "a", "sec', "{}"])
def test_a_damaged_file_counts_for_no_cost(tmp_path: Path, content: str) -> None:
    (tmp_path / PROGRESS).write_text(content)
    assert reported_cost(tmp_path) == Cost()


def test_tokens_of_an_earlier_process_do_not_count_for_the_rate(told: Callable[[], list[str]], clock: Clock) -> None:
    counter = Progress(total=20, already=10, already_tokens=5000)
    clock.now += 10
    counter.add(rows=10, tokens=300)
    assert told()[-1] == "20 of 20 rows, 1.0 rows/s, 30 tokens/s"


def test_track_gives_every_item_and_tells_at_the_end(told: Callable[[], list[str]], clock: Clock) -> None:
    items = []
    for item in track("abcd", total=None, unit="pages"):
        items.append(item)
        clock.now += 0.5
    assert items == list("abcd")
    assert told() == ["4 pages, 2.0 pages/s"]


def test_a_fault_of_the_user_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DataError("seed.jsonl: line 3: not valid JSON")

    monkeypatch.setattr(sys, "argv", ["scripts/prepare_seed.py"])
    with pytest.raises(SystemExit, match="^prepare_seed: error: seed.jsonl: line 3: not valid JSON$"):
        run_script(fail)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_with_one_line(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail() -> None:
        raise OSError(number, "no space", "results/store/work/a")

    monkeypatch.setattr(sys, "argv", ["scripts/train_model.py"])
    with pytest.raises(SystemExit) as ended:
        run_script(fail)
    message = str(ended.value.code)
    assert message.startswith("train_model: error: the disk is full at results/store/work/a. ") and "\n" not in message


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def fail() -> None:
        raise PermissionError(errno.EACCES, "not allowed", "a")

    with pytest.raises(PermissionError):
        run_script(fail)


def test_lines_of_the_log_name_the_job() -> None:
    code = (
        "from backtranslation.jobs.process import start_job\n"
        "from backtranslation.jobs.progress import log\n"
        "start_job('train_model', 'results/trained/M0.partial', 1)\n"
        "log.info('ready')\n"
        "import torch; print(torch.get_num_threads())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith(" train_model M0: ready\n") and done.stdout == "1\n"
