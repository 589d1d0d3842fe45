"""Runs the small stage in forked processes, each of which kills itself at one step of its work with the file system.

Reads orders from standard input, each a JSON object {"arguments", "step", "links", "keep", "output"} on a line, and
answers each with the exit status. A step is a change to the file system that is about to happen, or a write that is
half done; with step 0 nobody is killed. Forking spares every process the start of Python, so that every step can have
its turn.
"""

import gc
import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import crash_stage

from backtranslation.jobs import content_digests, store
from backtranslation.jobs.contract import read_contract
from backtranslation.jobs.process import run_script
from backtranslation.jobs.source_digests import source_digests
from backtranslation.jobs.stage import build_parser, files_of, load_code
from backtranslation.jobs.store import keep_result

CHANGES = {
    "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.truncate", "fcntl.flock",
}  # fmt: skip
NOTES = os.environ["NOTES"]


class Steps:
    """Counts the steps of this process, and kills it at one."""

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0

    def step(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def see_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before it does what the event says."""
        if event in CHANGES or (
            event == "open" and arguments[0] != NOTES and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            self.step()


def watch(steps: Steps) -> None:
    """Let every change be a step, and every write two: half of it done, and the other half."""

    class HalfFile(io.FileIO):
        def write(self, data: Any) -> int:
            half = super().write(data[: len(data) // 2])
            steps.step()
            return half + super().write(data[half:])

    def open_path(self: Path, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
        return HalfFile(self, mode) if buffering == 0 else whole_open(self, mode, buffering, *rest, **more)

    def write_text(self: Path, data: str, *rest: Any, **more: Any) -> int:
        whole_write(self, data[: len(data) // 2])
        steps.step()
        return whole_write(self, data)

    def copy(source: Path, target: Path, **more: Any) -> Any:
        target.write_bytes(source.read_bytes()[:100])
        steps.step()
        return whole_copy(source, target, **more)

    whole_open, whole_write, whole_copy = Path.open, Path.write_text, shutil.copy2
    for place, name, replacement in (
        (Path, "open", open_path),
        (Path, "write_text", write_text),
        (shutil, "copy2", copy),
    ):
        setattr(place, name, replacement)
    os.fsync = lambda fd: steps.step()
    sys.addaudithook(steps.see_event)


def refuse_links(*arguments: Any, **more: Any) -> None:
    raise OSError("this file system has no hard links")


def keep() -> None:
    """Accept what lies at the named paths."""
    contract = read_contract(crash_stage.crash_stage)
    args = build_parser(contract).parse_args()
    job = contract.job(args.spec, files_of(contract, args))

    def keep_named() -> None:
        keep_result(args.store, job, ["edited"])

    run_script(keep_named)


def run_order(order: dict[str, Any]) -> Callable[[], None]:
    """In a forked process: get ready for an order; what is to be run."""
    descriptor = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["crash_stage.py", *order["arguments"]]
    if not order["links"]:
        os.link = refuse_links
    os.fsync = lambda fd: None  # no test cuts the power
    if order["step"]:
        watch(Steps(order["step"]))
    return keep if order["keep"] else crash_stage.main


def end_as(function: Callable[[], None]) -> NoReturn:
    """Run a function and end this process as Python would, but at once."""
    status = 1
    try:
        function()
        status = 0
    except SystemExit as end:
        print(end, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    """Obey until the orders end. What is the same in every process is looked up before."""
    content_digests.SMALL_FILE = 1000  # of larger ones the digests are kept
    script = Path(crash_stage.__file__)
    load_code(script, source_digests(script))
    store._packages = cache(store._packages)
    store._packages()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            end_as(run_order(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
