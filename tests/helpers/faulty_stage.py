"""A small stage that meets faults: it writes a row for every input row, through the journal, and notes each in a file.

Before the row FAULTY it looks for a file of its part's name in the folder `faults`, and meets what stands there.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.journal import complete_journal
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.slices import Slice

FAULTY = "row-2"
MEMORY = 700  # MB
PAUSE_SECONDS = 60
HOLD_SECONDS = 6  # SLURM looks at the memory of a job every two seconds


class Spec(Slice):
    """This stage has no settings."""


def faulty_stage(part: Input, rows: Output, spec: Spec, workplace: Workplace) -> None:
    """Write the rows.

    part: rows, .jsonl
    rows: the same rows, .jsonl.zst
    """

    def produce(done: dict[str, Row]) -> Iterator[Row]:
        for row in read_rows(part):
            if row["id"] not in done:
                note(f"{part.stem} {row['id']}")
                if row["id"] == FAULTY:
                    meet_fault(part.stem)
                yield row

    write_rows(rows, complete_journal(workplace.folder / "rows.jsonl", produce).values())


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


if __name__ == "__main__":
    run_stage(faulty_stage)
