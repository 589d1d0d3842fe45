"""A journal of rows: each is written before the next is asked for, so that a killed job goes on after the last one.

A loss of power may cost the rows of the last seconds too.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from backtranslation.files import Row

SYNC_SECONDS = 2.0


def complete_journal(path: Path, produce: Callable[[dict[str, Row]], Iterable[Row]]) -> dict[str, Row]:
    """All rows by id: those that the journal holds, and those that `produce` then yields, noted one by one.

    `produce` gets the rows that are there, to leave them out. A last row that a kill cut off is dropped.
    """
    rows = _read_whole_rows(path)
    synced = time.monotonic()
    with path.open("ab", buffering=0) as journal:
        for row in produce(dict(rows)):
            line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
            while line:  # on a disk that is nearly full a part of it may be written
                line = line[journal.write(line) :]
            rows[row["id"]] = row
            if time.monotonic() - synced >= SYNC_SECONDS:
                os.fsync(journal.fileno())
                synced = time.monotonic()
    return rows


def _read_whole_rows(path: Path) -> dict[str, Row]:
    """The rows of a journal up to the first that is not whole; what a kill or a power loss left there is cut off."""
    if not path.exists():
        return {}
    rows: dict[str, Row] = {}
    whole = 0
    with path.open("rb") as stream:
        for line in stream:
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            rows[row["id"]] = row
            whole += len(line)
    os.truncate(path, whole)
    return rows
