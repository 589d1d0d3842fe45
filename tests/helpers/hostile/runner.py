"""Meets hostile inputs in fresh processes, and measures each: what came of it, time, peak of memory.

A worker of the pool imports what the stages import and forks a process for every input, so that a measurement begins
with little memory, and an input that kills its process or never ends does no harm.
"""

import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, cast

from backtranslation.errors import UserError
from backtranslation.jobs.process import job_environment
from helpers.hostile import CASES
from helpers.hostile.cases import Case, Kind, Met

FORK = multiprocessing.get_context("fork")
BUILD_SECONDS = 120


@dataclass(frozen=True)
class Result:
    """What came of an input. `said` is the message of the error that stopped it, or the traceback.

    `seconds` are those of the processor, `megabytes` the largest resident size, of the process and of those that it
    started and waited for.
    """

    name: str
    kind: Kind
    outcome: Literal["met", "stopped", "crashed", "did not end"]
    said: str
    met: Met
    seconds: float
    megabytes: float


def meet_all(cases: Sequence[Case] = CASES, processes: int = 2, seconds: float = 120) -> Iterator[Result]:
    """The results of all cases, those that need torch last; one is given up after so many seconds on the clock."""
    ordered = sorted(cases, key=lambda case: case.needs_torch)
    context = multiprocessing.get_context("spawn")
    os.environ.update(job_environment(threads=1))
    with ProcessPoolExecutor(processes, mp_context=context, initializer=warm_up) as pool:
        names, kinds = [case.name for case in ordered], [case.kind for case in ordered]
        yield from pool.map(partial(meet_named, seconds=seconds), names, kinds)


def warm_up() -> None:
    """Import what stages import when they begin to compute."""
    for name in ("fastwarc.warc", "pyarrow.parquet", "resiliparse.parse.html", "scipy.stats"):
        import_module(name)
    from backtranslation.corpus.filters import check_languages

    check_languages(["en"])


def meet_named(name: str, kind: Kind, seconds: float) -> Result:
    """Build an input and meet it, each in a process of its own."""
    case = next(case for case in CASES if (case.name, case.kind) == (name, kind))
    if case.needs_torch:
        import torch
        import transformers

        for module in ("transformers.models.llama.modeling_llama", "backtranslation.models.loading"):
            import_module(module)
        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()  # as a job does
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        built = in_fork(partial(case.build, folder), BUILD_SECONDS)
        assert built.outcome == "met", f"{kind}: {name} cannot be built: {built.said}"
        answer = in_fork(partial(case.meet, built.value), seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    met = answer.value if answer.outcome == "met" else Met()
    return Result(name, kind, answer.outcome, answer.said, met, answer.seconds, answer.megabytes)


@dataclass(frozen=True)
class Answer:
    """What a forked process made, or why it made nothing."""

    outcome: Literal["met", "stopped", "crashed", "did not end"]
    value: Any = None
    said: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


def in_fork(work: Callable[[], Any], seconds: float) -> Answer:
    """Do some work in a forked process; it and all that it started are killed after so many seconds."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_work_and_tell, args=(work, sender))
    process.start()
    sender.close()
    try:
        if receiver.poll(seconds):
            return cast(Answer, receiver.recv())
        return Answer("did not end", seconds=seconds)
    except EOFError:
        process.join()
        return Answer("crashed", said=f"killed by signal {-(process.exitcode or 0)}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


def _work_and_tell(work: Callable[[], Any], sender: Connection) -> None:
    os.setpgid(0, 0)
    logging.getLogger("backtranslation").setLevel(logging.CRITICAL)
    with tempfile.TemporaryFile() as stderr:
        os.dup2(stderr.fileno(), 2)
        answer = _try(work)
        sys.stderr.flush()
        stderr.seek(0)
        printed = stderr.read().decode(errors="replace")
    if "Traceback" in printed:
        answer = replace(answer, outcome="crashed", said=printed)
    sender.send(answer)
    sender.close()


def _try(work: Callable[[], Any]) -> Answer:
    """What comes of some work, measured."""
    try:
        answer = Answer("met", work())
    except UserError as error:
        answer = Answer("stopped", said=str(error))
    except BaseException:
        answer = Answer("crashed", said=traceback.format_exc())
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(each.ru_utime + each.ru_stime for each in usage)
    return replace(answer, seconds=seconds, megabytes=max(each.ru_maxrss for each in usage) / 1024)


def fault(case: Case, result: Result) -> str | None:
    """What is wrong with what came of an input; None if it is as expected."""
    if result.outcome in ("crashed", "did not end"):
        return f"{result.outcome}: {result.said[-2000:]}"
    if case.stops:
        return None if result.outcome == "stopped" and case.expected in result.said else f"did not stop: {result}"
    if result.outcome == "stopped":
        return f"stopped: {result.said}"
    if not case.kept <= result.met.kept:
        return f"lost {', '.join(sorted(case.kept - result.met.kept))}; counted {result.met.counts}"
    if case.expected != "fine" and not any(reason.startswith(case.expected) for reason in result.met.counts):
        return f"not counted as {case.expected}: {result.met.counts}"
    return None
