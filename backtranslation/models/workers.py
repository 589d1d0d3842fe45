"""Several processes that train together: torchrun starts them, and they end with the process that called it.

Knows nothing of what they compute.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import psutil

from backtranslation.errors import UserError
from backtranslation.jobs.process import die_with_parent
from backtranslation.jobs.stage import PARENT

# SIGTERM is for the workers: left to itself, torchrun kills them half a minute later, whether they are ready or not.
TORCHRUN = f"""
import os, signal, torch.distributed.run
os.environ["{PARENT}"] = str(os.getpid())
signal.signal(signal.SIGTERM, lambda *_: None)
torch.distributed.run.main()
"""
# What the Trainer would take for several processes; some platforms set it for every program.
DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def is_worker() -> bool:
    """Whether this process is one of several that share the work of a job."""
    return PARENT in os.environ


def forget_platform() -> None:
    """Drop what the platform says of processes; a training has those that its settings name."""
    for name in DISTRIBUTED:
        os.environ.pop(name, None)


def run_workers(command: Sequence[str], processes: int, threads: int) -> None:
    """Run a command in several processes that meet, and share so many threads; see `contract.Workplace`.

    Raises UserError when one of them fails.
    """
    torchrun = [sys.executable, "-c", TORCHRUN, "--standalone", f"--nproc-per-node={processes}"]
    torchrun += ["--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"]
    share = ["--threads", str(max(1, threads // processes))]
    launcher = subprocess.Popen([*torchrun, "--", *command, *share], preexec_fn=partial(die_with_parent, os.getpid()))
    signal.signal(signal.SIGTERM, lambda *_: _pass_on_sigterm(launcher.pid))
    returncode = launcher.wait()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if returncode:
        raise UserError(f"a training in {processes} processes failed (exit code {returncode})")


def _pass_on_sigterm(launcher: int) -> None:
    """Send SIGTERM to the workers, which torchrun keeps in sessions of their own; end torchrun if it has none yet."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(launcher)
        for worker in process.children(recursive=True):
            worker.terminate()
        if not process.children():
            process.kill()
