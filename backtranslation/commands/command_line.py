"""The command `backtranslation`: what people ask of a results folder.

A table of subcommands, each with its options and a function that answers with a JSON value and with lines for people.
Only parses and prints; what there is to think lies in the modules that the functions call.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backtranslation.commands.planning import describe_plan, plan_jobs
from backtranslation.commands.removal import describe_removal, remove_unused
from backtranslation.commands.status import describe_status, list_iterations, list_work, status_value
from backtranslation.commands.trace import describe_trace, trace_example
from backtranslation.commands.verification import describe_faults, describe_kept, keep_paths, verify_results
from backtranslation.commands.workflow_jobs import list_jobs
from backtranslation.jobs.progress import run_script

Answer = tuple[Any, list[str]]
# Text of web pages and models must not steer the terminal.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Command:
    """A subcommand: its options are added to a parser, `answer` gives a JSON value and the same in lines.

    Of one that `finds_faults`, a value that is not empty ends in exit code 1.
    """

    add_options: Callable[[argparse.ArgumentParser], None]
    answer: Callable[[argparse.Namespace], Answer]
    finds_faults: bool = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a fault that the user can mend ends it with one line and exit code 1."""
    args = build_parser().parse_args(arguments)
    run_script(lambda: run_command(args))


def run_command(args: argparse.Namespace) -> None:
    """Answer, print, and say by the exit code whether faults were found."""
    value, lines = args.command.answer(args)
    print_answer((value, lines), args.json)
    if args.command.finds_faults and value:
        sys.exit(1)


def build_parser() -> argparse.ArgumentParser:
    """The command line of all subcommands."""
    parser = argparse.ArgumentParser(prog="backtranslation", description="Ask what a results folder holds, and why.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        description = command.answer.__doc__ or ""
        subparser = subparsers.add_parser(name, help=description.split(".")[0], description=description)
        command.add_options(subparser)
        subparser.add_argument("--json", action="store_true", help="print JSON instead of text")
        subparser.set_defaults(command=command)
    return parser


def print_answer(answer: Answer, as_json: bool) -> None:
    """Print to standard output; a reader that has had enough, such as `head`, is no fault."""
    value, lines = answer
    text = json.dumps(value, indent=2) if as_json else CONTROL_CHARACTERS.sub("\ufffd", "\n".join(lines))
    encoding = sys.stdout.encoding
    try:
        print(text.encode(encoding, errors="replace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """The option that every subcommand on finished results has."""
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="FOLDER", help="results folder (default: %(default)s)"
    )


def add_workflow_options(parser: argparse.ArgumentParser) -> None:
    """The option of every subcommand that reads the workflow."""
    parser.add_argument(
        "--configfile", type=Path, nargs="+", default=[], metavar="FILE", help="settings, as given to snakemake"
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
    add_results_option(parser)


def add_gc_options(parser: argparse.ArgumentParser) -> None:
    """Options of `gc`."""
    parser.add_argument(
        "--keep-days", type=float, default=0, metavar="N", help="keep what was used in the last N days (default: 0)"
    )
    parser.add_argument("--dry-run", action="store_true", help="remove nothing, only say what would go")
    add_results_option(parser)


def plan(args: argparse.Namespace) -> Answer:
    """Say which results a run will find and which it will compute, why, and what that took before."""
    planned = plan_jobs(list_jobs(args.configfile, args.target))
    return [asdict(job) for job in planned], describe_plan(planned)


def status(args: argparse.Namespace) -> Answer:
    """Stages that run now and how far they are, interrupted ones, and finished iterations. Changes nothing."""
    work, iterations = list_work(args.results), list_iterations(args.results)
    return status_value(work, iterations), describe_status(work, iterations)


def trace(args: argparse.Namespace) -> Answer:
    """Everything about one example: page, segment, instruction, scores, and the training sets that hold it."""
    found = trace_example(args.results, args.id)
    return asdict(found), describe_trace(found)


def verify(args: argparse.Namespace) -> Answer:
    """Check every result against its manifest and the present settings. Reads every file; exit code 1 for a fault."""
    faults = verify_results(list_jobs(args.configfile, None))
    return [asdict(fault) for fault in faults], describe_faults(faults)


def keep(args: argparse.Namespace) -> Answer:
    """Accept results that are there under the present settings, code and inputs. Their manifests say so for ever."""
    kept = keep_paths(list_jobs(args.configfile, None), args.paths)
    return [asdict(result) for result in kept], describe_kept(kept)


def gc(args: argparse.Namespace) -> Answer:
    """Remove stored results that no path of the results folder refers to, and work that no job wants any more."""
    unused = remove_unused(args.results, args.keep_days, args.dry_run)
    value = {"dry_run": args.dry_run, "folders": [asdict(item) for item in unused]}
    value["bytes_freed"] = sum(item.bytes_freed for item in unused)
    return value, describe_removal(unused, args.dry_run)


COMMANDS = {
    "plan": Command(add_plan_options, plan),
    "status": Command(add_results_option, status),
    "trace": Command(add_trace_options, trace),
    "verify": Command(add_workflow_options, verify, finds_faults=True),
    "keep": Command(add_keep_options, keep),
    "gc": Command(add_gc_options, gc),
}
