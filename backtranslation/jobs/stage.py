"""A stage as a command: its arguments say what it reads and what it makes, and the store stands before its work.

Every script is a parser and a function that computes. From the command line alone follows all that a result depends on,
so `backtranslation plan` reads the commands of a workflow as the scripts do.
"""

import argparse
import ctypes
import errno
import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backtranslation.errors import UserError
from backtranslation.jobs.leases import lease_gpus
from backtranslation.jobs.manifests import Job, StoreError, output_paths
from backtranslation.jobs.progress import report_to, run_script, start_job
from backtranslation.jobs.source_digests import source_digests
from backtranslation.jobs.store import make

FULL = 1 << 20  # bytes; with less left, a disk is full


class Input(str):
    """An argument that names a file or folder which the stage reads."""


class Output(str):
    """An argument that names a file or folder which the stage makes."""


def stage_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that all stages have; others are of the types `Input` and `Output`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument(
        "--store", required=True, type=Path, help="folder of finished results, inside the results folder"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs; 0: the processor alone (default: %(default)s)")
    parser.add_argument("--execution", default="{}", help="settings that the result does not depend on, JSON")
    # Set by `run_stage`: a place for what a killed job goes on from.
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser


def run_stage(script: str, parser: argparse.ArgumentParser, compute: Callable[[argparse.Namespace], None]) -> None:
    """Find the result that the command line asks for, or compute it; see `store.make`.

    `compute` gets the arguments, with outputs that lie in the store's keeping, and `work`, a folder for resuming. A
    fault that the user can mend ends the process with one line and exit code 1.
    """
    run_script(lambda: _run_stage(script, parser.parse_args(), compute))


def _run_stage(script: str, args: argparse.Namespace, compute: Callable[[argparse.Namespace], None]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the shell of a rule ignores it, and hands that on
    job = read_job(Path(script).stem, source_digests(Path(script)), args)
    start_job(job.stage, output_paths(job)[0], args.threads)

    def compute_in(outputs: dict[str, list[Path]], work: Path) -> None:
        load_code(Path(script), job.code)
        report_to(work)
        places = {name: _like(getattr(args, name), paths) for name, paths in outputs.items()}
        with full_disk_noticed(work):
            compute(argparse.Namespace(**vars(args) | places | {"work": work}))

    make(args.store, job, compute_in, wait=partial(lease_gpus, args.gpus))


def load_code(script: Path, code: dict[str, str]) -> None:
    """Import all modules of a stage. Raises StoreError if they are no longer the code that is in its key.

    Later edits do not reach this process: large inputs and locks take time, and modules would be imported after them.
    """
    for module in code.keys() - {script.name}:
        importlib.import_module(module)
    if source_digests(script) != code:
        raise StoreError(f"{script.stem}: its code was edited while it started; run again")


@contextmanager
def full_disk_noticed(folder: Path) -> Iterator[None]:
    """Raise OSError (ENOSPC) for errors on a full disk: what torch and safetensors raise there does not say so."""
    try:
        yield
    except Exception as error:  # RuntimeError, SafetensorError, ...: they have no other class in common
        if isinstance(error, OSError | UserError) or shutil.disk_usage(folder).free >= FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def read_job(stage: str, code: dict[str, str], args: argparse.Namespace) -> Job:
    """What a stage, of such source code, is asked to do by its arguments."""
    return Job(
        stage=stage,
        spec=json.loads(args.spec),
        code=code,
        inputs=_arguments(args, Input),
        outputs=_arguments(args, Output),
    )


def command_line(args: argparse.Namespace) -> list[str]:
    """The arguments as a command line, for a script that starts further processes of itself."""
    words = []
    for name, value in vars(args).items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return words


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends, however it ends (Linux, prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _arguments(args: argparse.Namespace, kind: type) -> dict[str, list[str]]:
    """The paths of one kind, by argument."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in vars(args).items()}
    return {name: [str(value) for value in values] for name, values in lists.items() if _holds(values, kind)}


def _holds(values: list[object], kind: type) -> bool:
    return any(isinstance(value, kind) for value in values)


def _like(given: object, paths: list[Path]) -> list[str] | str:
    """Paths in the form of the argument that they stand for."""
    return [str(path) for path in paths] if isinstance(given, list) else str(paths[0])
