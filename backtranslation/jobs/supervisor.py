"""Runs a command for as long as the process that started it lives, and then ends all that the command has started.

    python supervisor.py COMMAND...

Standard input is the pipe that tells: its other end closes with the process that holds it, kill -9 included. A byte in
it asks for an orderly end. Imports nothing of the package, whose folder this file is not run from.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress

import psutil

GRACE_SECONDS = 10.0
POLL_SECONDS = 0.2
DIE_WITH_PARENT, ADOPT_ORPHANS = 1, 36  # options of prctl(2)


def main() -> int:
    """Run the command of the command line to its end, or to that of standard input. Gives its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _ask_kernel(ADOPT_ORPHANS, 1)  # what a server detaches from itself stays below this process, to be found
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=_die_with_supervisor)
    grace = 0.0
    try:
        while server.poll() is None:
            if select.select([0], [], [], POLL_SECONDS)[0]:
                grace = GRACE_SECONDS if os.read(0, 1) else 0.0
                break
    finally:
        end_children(grace)
    return server.wait()


def end_children(grace: float) -> None:
    """End all processes below this one: they have so many seconds to do it themselves."""
    if grace:
        children = psutil.Process().children(recursive=True)
        for child in children:
            _signal(child, signal.SIGTERM)
        psutil.wait_procs(children, timeout=grace)
    while children := psutil.Process().children(recursive=True):
        for child in children:
            _signal(child, signal.SIGKILL)
        psutil.wait_procs(children, timeout=1)


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _die_with_supervisor() -> None:
    _ask_kernel(DIE_WITH_PARENT, signal.SIGKILL)


def _ask_kernel(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    sys.exit(main())
