"""The command `backtranslation`: runs the workflow, and answers what people ask of a run.

A table of subcommands, each with its options and a function that answers with a JSON value and with lines for people;
`run` and `chat` speak for themselves.
Only parses and prints; what there is to think lies in the modules that the functions call.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from io import TextIOWrapper
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, TextIO

from backtranslation.commands.conversation import answer_message, converse, open_conversation
from backtranslation.commands.export import EXPORTS, describe_export
from backtranslation.commands.initialization import describe_configuration, write_configuration
from backtranslation.commands.ledger import cost_of_jobs, describe_costs
from backtranslation.commands.planning import describe_plan, plan_jobs
from backtranslation.commands.publication import describe_publication, prepare_publication, publish
from backtranslation.commands.removal import describe_removal, remove_unused
from backtranslation.commands.results_folder import find_model, name_results, name_stores, results_of
from backtranslation.commands.status import describe_status, list_iterations, list_work, status_value
from backtranslation.commands.trace import describe_trace, trace_example
from backtranslation.commands.verification import describe_faults, describe_kept, keep_paths, verify_results
from backtranslation.commands.workflow_jobs import check_configfiles, find_snakefile, list_jobs, read_configfiles
from backtranslation.errors import UserError
from backtranslation.export.pairs import FORMATS
from backtranslation.jobs.costs import costs_value
from backtranslation.jobs.process import printable, run_script
from backtranslation.settings.base_model import ModelLoading

Reply = tuple[Any, list[str]]


@dataclass(frozen=True)
class Command:
    """A subcommand: its options are added to a parser, `answer` gives a JSON value and the same in lines.

    Of one that `finds_faults`, a value that is not empty ends in exit code 1. One that talks has said all by itself.
    """

    add_options: Callable[[argparse.ArgumentParser], None]
    answer: Callable[[argparse.Namespace], Reply | None]
    finds_faults: bool = False
    talks: bool = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a fault that the user can mend ends it with one line and exit code 1."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["run"]:  # its options are Snakemake's, which argparse must not read
        run_script(lambda: run(words[1:]))
    args = build_parser().parse_args(words)
    run_script(lambda: run_command(args))


def run_command(args: argparse.Namespace) -> None:
    """Answer, print, and say by the exit code whether faults were found."""
    reply = args.command.answer(args)
    if reply is None:
        return
    print_answer(reply, args.json)
    if args.command.finds_faults and reply[0]:
        sys.exit(1)


def build_parser() -> argparse.ArgumentParser:
    """The command line of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="backtranslation", description="Run the workflow, and ask what a run holds and why."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('backtranslation')}")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    subparsers.add_parser("run", help=f"{(run.__doc__ or '').rstrip('.')}")
    for name, command in COMMANDS.items():
        description = command.answer.__doc__ or ""
        subparser = subparsers.add_parser(name, help=description.split(".")[0], description=description)
        command.add_options(subparser)
        if not command.talks:
            subparser.add_argument("--json", action="store_true", help="print JSON instead of text")
        subparser.set_defaults(command=command)
    return parser


def print_answer(answer: Reply, as_json: bool) -> None:
    """Print to standard output."""
    value, lines = answer
    with reader_may_leave():
        print(json.dumps(value, indent=2) if as_json else printable("\n".join(lines)), flush=True)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Let standard output show any text; a reader that has had enough, such as `head`, is no fault."""
    accept_any_text(sys.stdout)
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end


def accept_any_text(stream: TextIO) -> None:
    """Let replacement characters stand for what the encoding of a stream does not have."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


def add_workflow_options(parser: argparse.ArgumentParser) -> None:
    """Options of every subcommand that speaks of a run: which one is meant."""
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[], metavar="FILE",
        help="settings of the run that is meant, as given to snakemake (default: those of the default run)",
    )  # fmt: skip
    parser.add_argument(
        "--snakefile", "-s", type=Path, metavar="FILE",
        help="a workflow that uses this one as a module (default: that of the folder, else the one that ships)",
    )  # fmt: skip


def add_init_options(parser: argparse.ArgumentParser) -> None:
    """Options of `init`."""
    parser.add_argument(
        "path", nargs="?", type=Path, default=Path("my-run.yaml"), metavar="FILE", help="default: %(default)s"
    )


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    parser.add_argument("target", nargs="?", metavar="TARGET", help="a rule or a path (default: everything)")
    add_workflow_options(parser)


def add_keep_options(parser: argparse.ArgumentParser) -> None:
    """Options of `keep`."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a result, or a folder with all results below it")
    add_workflow_options(parser)


def add_trace_options(parser: argparse.ArgumentParser) -> None:
    """Options of `trace`."""
    parser.add_argument("id", metavar="ID", help="id of a segment, a seed pair or a held-out pair")
    add_workflow_options(parser)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Options of `export`: which data set, and in what form."""
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    for name, write in EXPORTS.items():
        description = write.__doc__ or ""
        kind = kinds.add_parser(name, help=description.rstrip("."), description=description)
        kind.add_argument("folder", type=Path, metavar="FOLDER", help="where to write; an earlier export is replaced")
        if name == "training":
            kind.add_argument("--model", metavar="NAME", help="backward, M0, M1, ... (default: the last)")
        elif name in ("curated", "candidates"):
            kind.add_argument("--iteration", type=int, metavar="N", help="default: the last")
        if name not in ("answers", "judgements"):
            add_pair_options(kind)
        add_workflow_options(kind)
        kind.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text")
        kind.set_defaults(write=write)


def add_pair_options(parser: argparse.ArgumentParser) -> None:
    """Options of every export that holds pairs."""
    parser.add_argument("--format", choices=FORMATS, default="messages", help="default: %(default)s")
    parser.add_argument("--file-type", choices=["parquet", "jsonl"], default="parquet", help="default: %(default)s")
    parser.add_argument(
        "--test-share", type=share, default=0.0, metavar="SHARE",
        help="put about this share of the rows into a split of its own, by the hash of their ids (default: no test"
        " split)",
    )  # fmt: skip


def share(text: str) -> float:
    """A share between 0 and 1. Raises ArgumentTypeError for any other text."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give a number from 0 to below 1")
    return value


def add_gc_options(parser: argparse.ArgumentParser) -> None:
    """Options of `gc`."""
    parser.add_argument(
        "--keep-days", type=float, default=0, metavar="N", help="keep what was used in the last N days (default: 0)"
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, only say what would go")
    add_workflow_options(parser)


def add_push_options(parser: argparse.ArgumentParser) -> None:
    """Options of `push`."""
    parser.add_argument(
        "folder", metavar="FOLDER",
        help="of a model, an adapter or an exported data set; or the name of a model of the run, such as M1",
    )  # fmt: skip
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="repository on the hub; made if need be")
    parser.add_argument("--public", action="store_true", help="let all see it (default: private)")
    parser.add_argument("--dry-run", action="store_true", help="send nothing, only say what would go")
    add_workflow_options(parser)


def add_chat_options(parser: argparse.ArgumentParser) -> None:
    """Options of `chat`."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL",
        help="a folder, a name on the hub, or the name of a model of the run (default: the last M of the run)",
    )  # fmt: skip
    parser.add_argument(
        "prompt", nargs="?", metavar="PROMPT",
        help="print the answer to this alone (default: what comes through a pipe, else a chat)",
    )  # fmt: skip
    add_workflow_options(parser)


def run(arguments: Sequence[str]) -> NoReturn:
    """Run the workflow from any folder: everything that follows goes to snakemake (`run -n` shows what would run)."""
    check_configfiles(configfiles_among(arguments))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(find_snakefile()), *arguments]
    os.execv(sys.executable, command)


def configfiles_among(arguments: Sequence[str]) -> list[Path]:
    """What Snakemake takes for files of the configuration: every word after the option, up to the next option."""
    words = iter(arguments)
    for word in words:
        if word in ("--configfile", "--configfiles"):
            return [Path(file) for file in takewhile(lambda word: not word.startswith("-"), words)]
    return []


def init(args: argparse.Namespace) -> Reply:
    """Write a configuration for a run on your own pages, with every setting explained."""
    write_configuration(args.path)
    return {"configfile": str(args.path)}, describe_configuration(args.path)


def plan(args: argparse.Namespace) -> Reply:
    """Say which results a run will find and which it will compute, why, and what that took before."""
    jobs = list_jobs(args.configfile, args.target, args.snakefile)
    planned = plan_jobs(jobs)
    return [asdict(job) for job in planned], [*name_stores(jobs), *describe_plan(planned)]


def status(args: argparse.Namespace) -> Reply:
    """Stages that run now and how far they are, interrupted ones, and finished iterations. Changes nothing."""
    results = results_of(args.configfile, args.snakefile)
    work, iterations = list_work(results), list_iterations(results)
    value = {"results": str(results), **status_value(work, iterations)}
    return value, [name_results(results), *describe_status(work, iterations)]


def cost(args: argparse.Namespace) -> Reply:
    """What the results of a run took to make, found or computed: time, GPU time and tokens of a run from nothing."""
    jobs = list_jobs(args.configfile, snakefile=args.snakefile)
    costs, unmade = cost_of_jobs(jobs)
    return {**costs_value(costs), "unmade": unmade}, [*name_stores(jobs), *describe_costs(costs, unmade)]


def trace(args: argparse.Namespace) -> Reply:
    """Everything about one example: page, segment, instruction, scores, and the training sets that hold it."""
    results = results_of(args.configfile, args.snakefile)
    found = trace_example(results, args.id)
    return asdict(found), [name_results(results), *describe_trace(found)]


def verify(args: argparse.Namespace) -> Reply:
    """Check every result against its manifest and the present settings. Reads every file; exit code 1 for a fault."""
    jobs = list_jobs(args.configfile, snakefile=args.snakefile)
    faults = verify_results(jobs)
    return [asdict(fault) for fault in faults], [*name_stores(jobs), *describe_faults(faults)]


def keep(args: argparse.Namespace) -> Reply:
    """Accept results that are there under the present settings, code and inputs. Their manifests say so for ever."""
    kept = keep_paths(list_jobs(args.configfile, snakefile=args.snakefile), args.paths)
    return [asdict(result) for result in kept], describe_kept(kept)


def export(args: argparse.Namespace) -> Reply:
    """Write a data set from a run: for training, for AlpacaEval, for the hub. Any `load_dataset` reads its folder."""
    record = args.write(args)
    return {"folder": str(args.folder), **record}, describe_export(args.folder, record)


def gc(args: argparse.Namespace) -> Reply:
    """Remove stored results that no path of the results folder refers to, and work that no job wants any more."""
    results = results_of(args.configfile, args.snakefile)
    unused = remove_unused(results, args.keep_days, args.dry_run)
    value = {"results": str(results), "dry_run": args.dry_run, "folders": [asdict(item) for item in unused]}
    value["bytes_freed"] = sum(item.bytes_freed for item in unused)
    return value, [name_results(results), *describe_removal(unused, args.dry_run)]


def push(args: argparse.Namespace) -> Reply:
    """Upload a model or a data set to the Hugging Face hub, with the token in HF_TOKEN. Killed, it can run again."""
    folder = Path(find_model(args.folder, args.configfile, args.snakefile))
    publication = prepare_publication(folder, args.repo, private=not args.public)
    address = None if args.dry_run else publish(publication)
    return {"address": address, **asdict(publication)}, describe_publication(publication, address)


def chat(args: argparse.Namespace) -> None:
    """Talk to a model in the terminal. It gets plain chat messages, and answers with the sampling of its folder."""
    path = find_model(args.model, args.configfile, args.snakefile)
    accept_any_text(sys.stdin)
    prompt = args.prompt if args.prompt is not None or sys.stdin.isatty() else sys.stdin.read()
    if prompt is not None and not prompt.strip():
        raise UserError("no prompt: give one after the model, or through a pipe")
    loading = read_configfiles(args.configfile).base_model.loading() if args.configfile else ModelLoading()
    conversation = open_conversation(path, loading)
    with reader_may_leave():
        if prompt is None:
            converse(conversation, path)
        else:
            answer_message(conversation, prompt.strip())


COMMANDS = {
    "init": Command(add_init_options, init),
    "plan": Command(add_plan_options, plan),
    "status": Command(add_workflow_options, status),
    "cost": Command(add_workflow_options, cost),
    "trace": Command(add_trace_options, trace),
    "verify": Command(add_workflow_options, verify, finds_faults=True),
    "keep": Command(add_keep_options, keep),
    "export": Command(add_export_options, export),
    "gc": Command(add_gc_options, gc),
    "chat": Command(add_chat_options, chat, talks=True),
    "push": Command(add_push_options, push),
}


if __name__ == "__main__":
    main()
