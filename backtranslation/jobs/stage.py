"""A stage as a command: what its contract says becomes its command line, and the store stands before its work.

From the command line alone follows all that a result depends on.
"""

import argparse
import importlib
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from backtranslation.files import Row
from backtranslation.jobs.contract import Contract, Workplace, read_contract
from backtranslation.jobs.leases import lease_gpus, visible_gpus
from backtranslation.jobs.manifests import StoreError
from backtranslation.jobs.process import StoppedError, die_with_parent, full_disk_noticed, run_script, start_job
from backtranslation.jobs.progress import log, report_to
from backtranslation.jobs.source_digests import source_digests
from backtranslation.jobs.store import make

# In the environment of a process that shares the work of a job: the process that started it.
PARENT = "BACKTRANSLATION_PARENT"

Files = Mapping[str, Sequence[str]]  # by port


@dataclass(frozen=True)
class StageCall:
    """How a rule calls a stage, but for its settings; as text, the words of the shell command."""

    script: Path
    store: Path
    files: Files
    threads: int = 1
    gpus: int = 0
    execution: str = "{}"

    def __str__(self) -> str:
        options = {
            "--store": self.store, "--threads": self.threads, "--gpus": self.gpus, "--execution": self.execution,
        }  # fmt: skip
        words = [word for name, value in options.items() for word in (name, str(value))]
        # The interpreter that runs Snakemake has the library; `python` on PATH may be another.
        return shlex.join([sys.executable, str(self.script), *words, *port_options(self.files)])


def run_stage(compute: Callable[..., None], rows: Callable[..., Iterator[Row]] | None = None) -> None:
    """Find the result that the command line asks for, or compute it; see `store.make` and `contract`.

    `rows` gives the rows that the stage works on, from inputs that its parameters name: where there are none, the stage
    computes as an idle one (`contract.Workplace`). A fault that the user can mend ends the process with one line and
    exit code 1.
    """
    contract = read_contract(compute, rows)
    args = build_parser(contract).parse_args()
    run_script(partial(_share_work if PARENT in os.environ else _find_or_compute, contract, args))


def build_parser(contract: Contract) -> argparse.ArgumentParser:
    """The command line of a stage: the options that all have, and one for each port."""
    parser = argparse.ArgumentParser(prog=contract.script.name, description=contract.compute.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument(
        "--store", required=True, type=Path, help="folder of finished results, inside the results folder"
    )
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs; 0: the processor alone (default: %(default)s)")
    parser.add_argument("--execution", default="{}", help="settings that the result does not depend on, JSON")
    # For processes that share the work of a job, which has its work folder already.
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    for port in contract.ports:
        port.add_to(parser)
    return parser


def port_options(files: Files) -> list[str]:
    """Files by port as words of a command line; a port without files is left out."""
    return [
        word
        for name, paths in files.items()
        if paths
        for word in (f"--{name.replace('_', '-')}", *map(_word_of, map(str, paths)))
    ]


def _word_of(path: str) -> str:
    """A path as a word of a command line, which must not pass for an option."""
    return f"./{path}" if path.startswith("-") else path


def _path_of(word: str) -> str:
    """The path that such a word stands for."""
    return word.removeprefix("./") if word.startswith("./-") else word


def files_of(contract: Contract, args: argparse.Namespace) -> dict[str, list[str]]:
    """The files that a command line names, by port."""
    given: dict[str, Any] = {port.name: getattr(args, port.name) for port in contract.ports}
    files = {name: value if isinstance(value, list) else [value] for name, value in given.items() if value}
    return {name: list(map(_path_of, words)) for name, words in files.items()}


def _find_or_compute(contract: Contract, args: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the shell of a rule ignores it, and hands that on
    files = files_of(contract, args)
    job = contract.job(args.spec, files)
    start_job(contract.stage, contract.first_output(files), args.threads)
    log.info(f"command: {shlex.join([sys.executable, *sys.argv])}")

    @cache
    def is_idle() -> bool:
        return contract.is_idle(files)

    def compute_in(outputs: dict[str, list[Path]], work: Path) -> None:
        if is_idle():
            log.info("no rows to work on: no model is loaded")
        else:
            load_code(contract.script, job.code)
        report_to(work, len(visible_gpus()))
        places = files | {name: list(map(str, paths)) for name, paths in outputs.items()}
        _compute(contract, args, places, work, is_idle())

    make(args.store, job, compute_in, wait=lambda: lease_gpus(0 if is_idle() else args.gpus))


def _compute(contract: Contract, args: argparse.Namespace, files: Files, work: Path, is_idle: bool = False) -> None:
    """Compute with outputs that lie in the store's keeping."""
    command = [
        str(contract.script), "--spec", args.spec, "--execution", args.execution, "--store", str(args.store),
        "--gpus", str(args.gpus), "--work", str(work), *port_options(files),
    ]  # fmt: skip
    with full_disk_noticed(work):
        workplace = Workplace(work, args.threads, 0 if is_idle else args.gpus, command, is_idle)
        contract.call(files, contract.read_spec(args.spec, args.execution), workplace)


def _share_work(contract: Contract, args: argparse.Namespace) -> None:
    """Compute as one of several processes: the one that started them keeps the result, and tells of its end."""
    die_with_parent(int(os.environ[PARENT]))
    files = files_of(contract, args)
    start_job(contract.stage, contract.first_output(files), args.threads)
    if os.environ.get("RANK", "0") == "0":
        report_to(args.work, len(visible_gpus()))
    else:
        log.setLevel(logging.WARNING)
    with suppress(StoppedError):
        _compute(contract, args, files, args.work)


def load_code(script: Path, code: Mapping[str, str]) -> None:
    """Import all modules of a stage. Raises StoreError if they are no longer the code that is in its key.

    Later edits do not reach this process: large inputs and locks take time, and modules would be imported after them.
    """
    modules = code.keys() - {script.name}
    for module in modules:
        importlib.import_module(module)
    if source_digests(script, modules) != code:
        raise StoreError(f"{script.stem}: its code was edited while it started; run again")
