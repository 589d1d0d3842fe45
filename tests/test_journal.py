"""Journals: what a killed job had done is kept, what it had not is asked for, and nothing twice."""

import json
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from backtranslation.files import Row
from backtranslation.jobs import progress
from backtranslation.jobs.journal import complete_journal
from backtranslation.models.engine import (
    Choice,
    Completion,
    ReplyLikelihood,
    Request,
    choose_all,
    generate_all,
    measure_all,
)
from backtranslation.models.pairs import EncodedPair
from backtranslation.settings.generation import Sampling
from backtranslation.settings.limits import Limits

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def rows_of(journal: Path) -> list[Row]:
    return [json.loads(line) for line in journal.read_text(encoding="utf-8").split("\n")[:-1]]


def producer(asked: list[str], killed_at: str = "") -> Callable[[dict[str, Row]], Iterator[Row]]:
    """Makes the missing rows of IDS and notes them; is interrupted before it makes the row `killed_at`."""

    def produce(there: dict[str, Row]) -> Iterator[Row]:
        for row_id in IDS:
            if row_id not in there:
                if row_id == killed_at:
                    raise KeyboardInterrupt
                asked.append(row_id)
                yield {"id": row_id, "text": f"{row_id}\né\u2028\x85"}

    return produce


def test_all_rows_are_returned_and_noted(journal: Path) -> None:
    rows = complete_journal(journal, producer([]))
    assert list(rows) == IDS
    assert rows_of(journal) == list(rows.values())
    assert rows["a"]["text"] == "a\né\u2028\x85"


def test_a_killed_job_is_asked_for_the_missing_rows_only(journal: Path) -> None:
    first: list[str] = []
    second: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        complete_journal(journal, producer(first, killed_at="c"))
    assert [row["id"] for row in rows_of(journal)] == first == ["a", "b"]
    rows = complete_journal(journal, producer(second))
    assert second == ["c", "d"]
    assert rows_of(journal) == list(rows.values()) == list(complete_journal(journal, producer([])).values())


def test_every_row_is_in_the_file_before_the_next_is_asked_for(journal: Path) -> None:
    def produce(there: dict[str, Row]) -> Iterator[Row]:
        for number in range(3):
            assert len(rows_of(journal)) == number
            yield {"id": str(number)}

    assert len(complete_journal(journal, produce)) == 3


def test_a_journal_torn_at_any_byte_is_completed_without_duplicates(journal: Path) -> None:
    whole = complete_journal(journal, producer([]))
    content = journal.read_bytes()
    for length in range(len(content) + 1):
        journal.write_bytes(content[:length])
        asked: list[str] = []
        assert complete_journal(journal, producer(asked)) == whole
        assert journal.read_bytes() == content
        assert asked == IDS[content[:length].count(b"\n") :]


@pytest.mark.parametrize("damage", [b"\0" * 20, b"\0" * 20 + b"\n", b"{\n", b"\xff\n"])
def test_what_follows_damage_is_asked_for_again(journal: Path, damage: bytes) -> None:
    """After a power loss a block in the middle may be empty."""
    whole = complete_journal(journal, producer([]))
    first, *others = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + damage + b"".join(others))
    asked: list[str] = []
    assert complete_journal(journal, producer(asked)) == whole
    assert asked == IDS[1:]
    assert rows_of(journal) == list(whole.values())


FULL_DISK = """
import signal, sys
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
from backtranslation.jobs import progress
from backtranslation.jobs.journal import complete_journal

def produce(there):
    setrlimit(RLIMIT_FSIZE, (len('{"id": "a"}') + 9, RLIM_INFINITY))
    yield {"id": "a"}
    yield {"id": "b"}
    sys.exit("half a row was taken for a whole one")

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    complete_journal(Path(sys.argv[1]), produce)
except OSError:
    print("full")
"""


def test_a_row_that_the_disk_took_half_of_is_an_error(journal: Path) -> None:
    """The first write of the second row is cut short, and only the next one fails."""
    command = [sys.executable, "-c", FULL_DISK, str(journal)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("full\n", "")
    assert journal.read_text() == '{"id": "a"}\n{"id": "'
    asked: list[str] = []
    complete_journal(journal, producer(asked))
    assert asked == ["b", "c", "d"] and [row["id"] for row in rows_of(journal)] == IDS


def test_a_complete_journal_stays_as_it_is(journal: Path) -> None:
    complete_journal(journal, producer([]))
    content, asked = journal.read_bytes(), list[str]()
    complete_journal(journal, producer(asked))
    assert journal.read_bytes() == content and asked == []


class Parrot:
    """An engine that answers in the order of the prompts' lengths, longest first, and is killed after some answers."""

    def __init__(self, patience: int = 100) -> None:
        self.patience = patience
        self.asked: list[str] = []

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in sorted(requests, key=lambda request: -len(request.prompt)):
            self._note(request.id)
            yield Completion(request.id, request.prompt * request.seed, len(request.prompt), request.seed > 1)

    def room(self, prompt: str) -> int:
        return sys.maxsize

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        for row_id, text in sorted(prompts, key=lambda prompt: -len(prompt[1])):
            self._note(row_id)
            yield Choice(row_id, [len(text) / 7, 1 - len(text) / 7], 0.5)

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        for pair in sorted(pairs, key=lambda pair: -len(pair.ids)):
            self._note(pair.id)
            yield ReplyLikelihood(pair.id, [-len(pair.ids) / 7])

    def _note(self, row_id: str) -> None:
        if len(self.asked) == self.patience:
            raise KeyboardInterrupt
        self.asked.append(row_id)


REQUESTS = [Request(row_id, "x" * (number + 1), number) for number, row_id in enumerate(IDS)]
PROMPTS = [(request.id, request.prompt) for request in REQUESTS]
PAIRS = [EncodedPair(row_id, array("i", range(number + 1)), 0) for number, row_id in enumerate(IDS)]


def generate(engine: Parrot, journal: Path) -> dict[str, Completion]:
    return generate_all(engine, REQUESTS, Sampling(), journal, Limits())


def choose(engine: Parrot, journal: Path) -> dict[str, Choice]:
    return choose_all(engine, PROMPTS, ["1", "2"], journal, Limits())


def measure(engine: Parrot, journal: Path) -> dict[str, Row]:
    return measure_all(engine, PAIRS, journal, lambda likelihood: {"sum": sum(likelihood.log_probabilities)})


@pytest.mark.parametrize("ask", [generate, choose, measure])
@pytest.mark.parametrize("patience", range(len(IDS)))
def test_a_killed_engine_goes_on(
    ask: Callable[[Parrot, Path], dict[str, object]], patience: int, tmp_path: Path
) -> None:
    """The answers of a killed and a second process are those of a quiet one, bit for bit, each made once."""
    killed, again = Parrot(patience), Parrot()
    with pytest.raises(KeyboardInterrupt):
        ask(killed, tmp_path / "rows.jsonl")
    resumed = ask(again, tmp_path / "rows.jsonl")
    assert killed.asked + again.asked == ["d", "c", "b", "a"]
    assert resumed == ask(Parrot(), tmp_path / "quiet.jsonl")


@pytest.mark.parametrize("patience", range(len(IDS)))
def test_tokens_of_a_killed_engine_are_those_of_a_quiet_one(
    patience: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_report", progress._Report())
    progress.report_to(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        generate(Parrot(patience), tmp_path / "rows.jsonl")
    progress.report_to(tmp_path)
    completions = generate(Parrot(), tmp_path / "rows.jsonl")
    assert progress.reported_cost(tmp_path).tokens == sum(row.tokens for row in completions.values()) > 0
