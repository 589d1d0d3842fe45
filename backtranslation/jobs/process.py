"""The process of a job: its threads, its log, its end; and the processes that it starts to share its work."""

import ctypes
import errno
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backtranslation.errors import UserError
from backtranslation.jobs.progress import log, name_job

WARNING = "warning: "  # before the message of a line in a log, so that they can be counted
FULL = 1 << 20  # bytes; with less left, a disk is full
# Text of web pages, models and file names must not steer the terminal.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """A text for a terminal or a log: line ends and tabs stay, other control characters become U+FFFD."""
    return CONTROL_CHARACTERS.sub("\ufffd", text)


class _LineFormatter(logging.Formatter):
    """Writes what is logged without control characters, and marks warnings."""

    def format(self, record: logging.LogRecord) -> str:
        line = printable(super().format(record))
        return line.replace(": ", f": {WARNING}", 1) if record.levelno >= logging.WARNING else line


class StoppedError(UserError):
    """A job was asked to end, and left a checkpoint to go on from."""

    def __init__(self) -> None:
        super().__init__("stopped by SIGTERM; its checkpoint is saved, and the same command goes on from there")


def job_environment(threads: int) -> dict[str, str]:
    """What libraries read when they are imported.

    Waiting threads sleep: spinning ones starve a second job on the same cores. Arrow takes its memory from the system:
    its own pools hold more than they use, which no limit of a process sees.
    """
    return {
        "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system",
    }  # fmt: skip


def start_job(stage: str, subject: str = "", threads: int = 1) -> None:
    """Log to standard error under the stage and what it works on (of a path, its stem), and limit the threads.

    Must run before torch and pyarrow are imported.
    """
    os.environ.update(job_environment(threads))
    name = " ".join(filter(None, (stage, Path(subject).name.split(".")[0])))
    name_job(name)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter(f"%(asctime)s {name.replace('%', '%%')}: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(logging.INFO)
    # Warns, whenever it is imported, that a faster kernel could be downloaded.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main function; a fault that the user can mend ends it with one line and exit code 1.

    So does Ctrl-C (SIGINT), with exit code 130, as shells expect.
    """
    try:
        main()
    except KeyboardInterrupt:
        print(
            f"{Path(sys.argv[0]).stem}: stopped by Ctrl-C; what is done stays done: run again to continue",
            file=sys.stderr,
        )
        sys.exit(130)
    except UserError as error:
        sys.exit(printable(f"{Path(sys.argv[0]).stem}: error: {error}"))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" at {error.filename}" if error.filename else ""
        sys.exit(
            f"{Path(sys.argv[0]).stem}: error: the disk is full{where}. Nothing half-written counts as a result: free"
            " some space (`backtranslation gc` helps) and run again; what is done stays done"
        )


@contextmanager
def full_disk_noticed(folder: Path) -> Iterator[None]:
    """Raise OSError (ENOSPC) for errors on a full disk: what torch and safetensors raise there does not say so."""
    try:
        yield
    except Exception as error:  # RuntimeError, SafetensorError, ...: they have no other class in common
        if isinstance(error, OSError | UserError) or shutil.disk_usage(folder).free >= FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends, however it ends (Linux, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        os.kill(os.getpid(), signal.SIGKILL)
