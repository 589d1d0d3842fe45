"""A small stage that meets faults: it writes a row for every input row, through the journal, and notes each in a file.

Before the row FAULTY it looks for a file of its part's name in the folder `faults`, and meets what stands there.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.journal import complete_journal
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser

FAULTY = "row-2"
MEMORY = 700  # MB
PAUSE_SECONDS = 60
HOLD_SECONDS = 6  # SLURM looks at the memory of a job every two seconds


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--part", type=Input, required=True, help="rows, .jsonl")
    parser.add_argument("--rows", type=Output, required=True, help="output, .jsonl.zst")
    return parser


def write_part(args: argparse.Namespace) -> None:
    """Write the rows."""
    part = Path(args.part).stem

    def produce(done: dict[str, Row]) -> Iterator[Row]:
        for row in read_rows(args.part):
            if row["id"] not in done:
                note(f"{part} {row['id']}")
                if row["id"] == FAULTY:
                    meet_fault(part)
                yield row

    write_rows(args.rows, complete_journal(args.work / "rows.jsonl", produce).values())


def note(line: str) -> None:
    """Note what was done: whole even if this process dies now."""
    descriptor = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def meet_fault(part: str) -> None:
    """Do what the part's file says; what is met `once` is gone afterwards."""
    path = Path("faults", part)
    if not path.exists():
        return
    fault, often = path.read_text().split()
    if often == "once":
        path.unlink()
    if fault == "fail":
        raise DataError(f"{part}: its fault was met")
    if fault == "hang":
        time.sleep(3600)
    if fault == "pause":
        time.sleep(PAUSE_SECONDS)
    if fault == "memory":
        held = os.urandom(1 << 20) * MEMORY
        time.sleep(HOLD_SECONDS)
        del held


def main() -> None:
    """Run the stage by the command line."""
    run_stage(__file__, build_parser(), write_part)


if __name__ == "__main__":
    main()
