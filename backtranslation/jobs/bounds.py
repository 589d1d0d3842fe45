"""Work on items that nobody vouches for, in a child process that the kernel ends when one of them takes too much.

C code hears no signal and frees no memory, so only the end of a process bounds it. Bounds are in seconds of the
processor, which a slow disk or a busy machine does not use up, and in bytes of data (heap, stacks, private mappings).
"""

import math
import os
import resource
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from backtranslation.errors import UserError
from backtranslation.jobs.process import die_with_parent

T = TypeVar("T")

SEND_SECONDS = 0.2
OUT_OF_MEMORY = 3  # exit code
STATM_DATA = 5  # place of the data pages in /proc/self/statm


@dataclass(frozen=True)
class Items:
    """Which items are still to be worked on, by number from 1 on; whoever comes to one asks for it.

    `place` is shared with the parent: the item that is worked on, or minus the one that was finished last.
    """

    after: int = 0
    without: frozenset[int] = frozenset()
    until: int | None = None
    seconds: float = math.inf
    place: Any = None

    def begin(self, number: int) -> bool:
        """Whether to work on an item; if so, its time begins."""
        if number <= self.after or number in self.without:
            return False
        if self.place is None:
            return True
        self.place.value = number
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + self.seconds))
        return True


ALL = Items()


@dataclass(frozen=True)
class Ended:
    """An item that ended its process; without a number, the way to the next one did, and what follows is given up."""

    number: int | None
    reason: str


@dataclass
class _Message(Generic[T]):
    """What was made of the items up to a number, since the message before."""

    number: int = 0
    results: list[T] = field(default_factory=list)
    is_last: bool = False


def work_in_bounds(
    produce: Callable[[Items], Iterator[tuple[int, T]]], seconds: float, memory: int
) -> Generator[T | Ended]:
    """Yield what `produce` yields with the numbers of items, in its order, and those that had to be ended.

    `produce` runs in a child process and asks `Items.begin` before each item, which may then take `seconds` of the
    processor; `memory` bytes may be added to those in use. When an item ends the process, another goes on after the
    last item whose result has arrived. A UserError is raised here too; any other exception counts as such an end.
    Raises UserError when the process is killed from outside, which is no item's fault.
    """
    context = get_context("fork")
    items = Items(seconds=seconds, place=context.RawValue("q", 0))
    while True:
        receiver, sender = context.Pipe(duplex=False)
        items.place.value = -items.after
        process = context.Process(target=_work, args=(produce, items, receiver, sender, memory, os.getpid()))
        process.start()
        sender.close()
        try:
            for message in _receive(receiver):
                items = replace(items, after=message.number)
                yield from message.results
                if message.is_last:
                    return
            process.join()
        finally:
            receiver.close()
            process.kill()
            process.join()
        if process.exitcode in (-signal.SIGKILL, -signal.SIGTERM):
            raise UserError("the process that reads was killed from outside, perhaps for want of memory: run again")
        place, reason = items.place.value, _reason(process.exitcode)
        if place > 0:
            items = replace(items, without=items.without | {place})
            yield Ended(place, reason)
        else:
            yield Ended(None, reason)
            if items.after == -place:
                return
            items = replace(items, until=-place)  # what was finished had not arrived yet


def _receive(receiver: Connection) -> Iterator[_Message[Any]]:
    """Messages until the process at the other end is gone; a UserError among them is raised."""
    with suppress(EOFError, ConnectionResetError):
        while True:
            message = receiver.recv()
            if isinstance(message, UserError):
                raise message
            yield message


def _work(
    produce: Callable[[Items], Iterator[tuple[int, T]]],
    items: Items,
    receiver: Connection,
    sender: Connection,
    memory: int,
    parent: int,
) -> None:
    """The child process: produce, and send what there is several times a second."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    receiver.close()
    _limit(resource.RLIMIT_CORE, 0)
    _limit_memory(memory)
    if not items.after:  # else it first passes over what is done, which takes its time
        _limit(resource.RLIMIT_CPU, math.ceil(items.seconds))
    message = _Message[T](items.after)
    sent = time.monotonic()
    try:
        for message.number, result in produce(items):
            items.place.value = -message.number
            message.results.append(result)
            if message.number == items.until:
                break
            if time.monotonic() - sent >= SEND_SECONDS:
                sender.send(message)
                message = _Message(message.number)
                sent = time.monotonic()
        message.is_last = True
        sender.send(message)
    except UserError as error:
        sender.send(error)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _limit(kind: int, value: int) -> None:
    """Lower a limit of this process, or raise it as far as it may."""
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _limit_memory(added: int) -> None:
    """Let this process have so many bytes of data more than it has now."""
    with suppress(FileNotFoundError):  # no Linux: then memory has no bound
        pages = int(Path("/proc/self/statm").read_text().split()[STATM_DATA])
        _limit(resource.RLIMIT_DATA, pages * resource.getpagesize() + added)


def _reason(exit_code: int | None) -> str:
    """Why a process ended, in the words of the funnel."""
    if exit_code == -signal.SIGXCPU:
        return "took too long"
    return "took too much memory" if exit_code == OUT_OF_MEMORY else "broke the reader"
