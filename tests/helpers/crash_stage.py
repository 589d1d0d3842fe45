"""A small stage to be killed: it writes a row for every input row, through the journal, and a folder with weights.

What it does is noted, one short line at a time, in the file NOTES of the environment; where the environment names a
folder GATE, it waits after the row GATE_ROW until there is a file `open` in that folder.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.models.engine import Choice, Completion, ReplyLikelihood, Request, generate_all
from backtranslation.models.pairs import EncodedPair
from backtranslation.settings.generation import Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    word: str
    weights: int  # bytes


class Writer:
    """An engine that answers with a word and the prompt."""

    def __init__(self, word: str) -> None:
        self.word = word

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in requests:
            note(f"row {request.id}")
            yield Completion(request.id, f"{self.word} {request.prompt}", 1, True)
            if request.id == os.environ.get("GATE_ROW"):
                wait_at_gate(Path(os.environ["GATE"]))

    def room(self, prompt: str) -> int:
        return 1

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        raise NotImplementedError

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        raise NotImplementedError


def note(line: str) -> None:
    """Note what was done: whole even if this process dies now."""
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def wait_at_gate(folder: Path) -> None:
    """Say that the gate is reached, and wait until it is open."""
    (folder / "reached").touch()
    while not (folder / "open").exists():
        time.sleep(0.01)


def crash_stage(pages: Input, rows: Output, model: Output, spec: Spec, workplace: Workplace) -> None:
    """Write the rows and the folder.

    pages: rows, .jsonl
    rows: the rows written, .jsonl.zst
    model: a folder with weights
    """
    requests = [Request(row["id"], row["text"], 0) for row in read_rows(pages)]
    done = generate_all(Writer(spec.word), requests, Sampling(), workplace.folder / "completions.jsonl", Limits())
    write_rows(rows, ({"id": request.id, "raw": done[request.id].text} for request in requests))
    (model / "deep").mkdir(parents=True)
    (model / "weights").write_bytes(spec.word[0].encode() * spec.weights)
    (model / "deep" / "config").write_text(spec.word)
    note("computed")


def main() -> None:
    """Run the stage by the command line."""
    run_stage(crash_stage)


if __name__ == "__main__":
    main()
