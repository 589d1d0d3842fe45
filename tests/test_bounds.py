"""Work in a child process that ends when an item takes too much: what is lost, and what is not."""

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from backtranslation.errors import DataError, UserError
from backtranslation.jobs import bounds
from backtranslation.jobs.bounds import ALL, Ended, Items, work_in_bounds

MEMORY = 300 << 20
Faults = Mapping[int, Callable[[], object]]
NO_FAULTS: Faults = {}


def take_too_long() -> None:
    while True:
        pass


def take_too_much_memory() -> None:
    assert bytes(2 * MEMORY)


def end_the_process() -> None:
    faulthandler.disable()  # pytest's, which would fill its output
    os.abort()


def fail() -> None:
    raise ZeroDivisionError


def squares(items: Items, faults: Faults = NO_FAULTS, count: int = 6) -> Iterator[tuple[int, int]]:
    """The squares of the numbers from 1 on; on the way, the faults of the items."""
    for number in range(1, count + 1):
        if items.begin(number):
            faults.get(number, int)()
            yield number, number**2


def in_bounds(faults: Faults = NO_FAULTS) -> list[int | Ended]:
    return list(work_in_bounds(lambda items: squares(items, faults), seconds=1, memory=MEMORY))


def test_all_that_is_made_arrives_in_order() -> None:
    assert in_bounds() == [1, 4, 9, 16, 25, 36]
    assert [square for _, square in squares(ALL)] == [1, 4, 9, 16, 25, 36]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (take_too_long, "took too long"),
        (take_too_much_memory, "took too much memory"),
        (end_the_process, "broke the reader"),
        (fail, "broke the reader"),
    ],
)
def test_only_the_item_that_takes_too_much_is_lost(fault: Callable[[], object], reason: str) -> None:
    made = in_bounds({3: fault, 6: fault})
    assert [item for item in made if isinstance(item, Ended)] == [Ended(3, reason), Ended(6, reason)]
    assert [item for item in made if not isinstance(item, Ended)] == [1, 4, 16, 25]


def test_time_that_is_waited_does_not_count() -> None:
    assert in_bounds({2: lambda: time.sleep(3)}) == [1, 4, 9, 16, 25, 36]


def test_what_has_arrived_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bounds, "SEND_SECONDS", 0)  # every result is sent at once, so that it is known what arrived
    made = tmp_path / "made"

    def note(items: Items) -> Iterator[tuple[int, int]]:
        for number, square in squares(items, {5: fail}):
            with made.open("a") as stream:
                stream.write(f"{number} ")
            yield number, square

    assert list(work_in_bounds(note, 1, MEMORY)) == [1, 4, 9, 16, Ended(5, "broke the reader"), 36]
    assert made.read_text() == "1 2 3 4 6 "


def test_when_the_way_to_the_next_item_takes_too_much_the_rest_is_given_up() -> None:
    def stuck(items: Items) -> Iterator[tuple[int, int]]:
        yield from squares(items, {2: fail}, count=3)
        take_too_long()

    assert list(work_in_bounds(stuck, 1, MEMORY)) == [Ended(2, "broke the reader"), Ended(None, "took too long"), 1, 9]


def test_when_there_is_no_way_to_the_first_item_all_is_given_up() -> None:
    def stuck(items: Items) -> Iterator[tuple[int, int]]:
        take_too_long()
        yield from squares(items)

    assert list(work_in_bounds(stuck, 1, MEMORY)) == [Ended(None, "took too long")]


def test_an_error_for_the_user_is_raised_here() -> None:
    def refuse(items: Items) -> Iterator[tuple[int, int]]:
        yield from squares(items, count=2)
        raise DataError("a.warc: no WARC file")

    with pytest.raises(DataError, match=r"a\.warc: no WARC file"):
        list(work_in_bounds(refuse, 1, MEMORY))


def test_a_kill_from_outside_is_no_items_fault() -> None:
    with pytest.raises(UserError, match="killed from outside"):
        in_bounds({3: lambda: os.kill(os.getpid(), signal.SIGKILL)})


def test_no_process_stays_when_nobody_wants_more(tmp_path: Path) -> None:
    def endless(items: Items) -> Iterator[tuple[int, int]]:
        number = 0
        while True:
            number += 1
            items.begin(number)
            yield number, os.getpid()

    stream = work_in_bounds(endless, 1, MEMORY)
    child = next(stream)
    assert isinstance(child, int)
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
