"""The connection to a server: many requests in flight, sent again where that may help, and a server that is restarted.

Knows nothing of what is asked.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx2 as httpx

from backtranslation.jobs.progress import log
from backtranslation.jobs.server_process import ServerProcess, fill_in, free_port
from backtranslation.models.engine import NOT_ANSWERED, REFUSED, EngineError
from backtranslation.settings.judge_server import JudgeServer
from backtranslation.settings.server import Server

ATTEMPTS = 8
TIMEOUTS = 2  # of these
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds
POLL_SECONDS = 0.5
SHOWN = 300  # characters of a server's answer in a message

Row = TypeVar("Row")
Result = TypeVar("Result")
Read = TypeVar("Read")


class Call(NamedTuple):
    """A request: POST with a body, GET without."""

    path: str
    body: dict[str, Any] | None = None


class ServerFaultError(Exception):
    """No answer, or none that can be used; the next may be."""

    def __init__(
        self, message: str, retry_after: float = 0.0, timed_out: bool = False, malformed: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after, self.timed_out, self.malformed = retry_after, timed_out, malformed


class RowFailedError(Exception):
    """A row has no answer, through no fault of the others; `reason` is for counting."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Connection:
    """A server, which is started by the settings' command when it is first used, or is there already.

    `prove` is called whenever it has started, and raises EngineError if it is not to be used. `probe` gives a
    request that any healthy server answers soon.
    """

    def __init__(
        self,
        settings: Server | JudgeServer,
        model: str,
        gpus: int,
        work: Path,
        probe: Callable[[], Call],
        prove: Callable[[], Awaitable[None]],
    ) -> None:
        self.settings, self.model, self.gpus, self.work = settings, model, gpus, work
        self.probe, self.prove = probe, prove
        self.url = settings.url
        self.process: ServerProcess | None = None
        self.starts = 0

    def answer_all(
        self, rows: Iterable[Row], answer: Callable[[Row], Awaitable[Result]], most: int | None = None
    ) -> Iterator[Result]:
        """The answers to all rows as they come, with at most so many in flight (None: as the settings say)."""
        waiting, in_flight = iter(rows), set[asyncio.Task[Result]]()
        most = min(most or self.settings.concurrency, self.settings.concurrency)

        async def next_answers() -> set[asyncio.Task[Result]]:
            while len(in_flight) < most and (row := next(waiting, None)) is not None:
                in_flight.add(asyncio.ensure_future(answer(row)))
            if not in_flight:
                return set()
            done, _ = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
            in_flight.difference_update(done)
            return done

        with asyncio.Runner() as runner:
            runner.run(self._open())
            try:
                while done := runner.run(next_answers()):
                    # An error must not take along what has come at the same moment.
                    for task in sorted(done, key=lambda task: task.exception() is not None):
                        yield task.result()
            finally:
                runner.run(self._close(in_flight))

    def start(self) -> None:
        """Start the server, unless it is there, and let it prove itself."""
        for _ in self.answer_all([], self._no_answer):
            pass

    def stop(self) -> None:
        """End the server, if it was started here."""
        if self.process:
            self.process.stop()
            self.process = None
            self.starts = 0

    async def ask(self, call: Call, read: Callable[[Any], Read], may_restart: bool = True) -> Read:
        """What is read from the server's answer; asked again, after growing pauses, where there is none.

        Raises RowFailedError if the server refuses this request, or answers others but not this one; EngineError if it
        answers none, and may not be started again.
        """
        attempt = timeouts = 0
        while attempt < ATTEMPTS and timeouts < TIMEOUTS:
            start = self.starts
            try:
                return _read(read, await self._send(call))
            except ServerFaultError as fault:
                last = fault
            if last.malformed and not may_restart:
                raise RowFailedError(NOT_ANSWERED, str(last))
            if may_restart and await self._restart_if_down(start, last):
                attempt = timeouts = 0
                continue
            if self.process and not self.process.is_running():
                break
            await asyncio.sleep(_pause(attempt, last))
            attempt, timeouts = attempt + 1, timeouts + last.timed_out
        if may_restart and await self._answers():
            raise RowFailedError(NOT_ANSWERED, str(last))
        raise EngineError(f"{self._name()} does not answer: {last}{self._last_lines()}")

    async def fetch(self, path: str) -> Any:
        """What is found at a path; None where nothing is."""
        try:
            return await self.ask(Call(path), lambda found: found, may_restart=False)
        except RowFailedError:
            return None

    # The server

    async def _open(self) -> None:
        self.lock = asyncio.Lock()
        self.http = httpx.AsyncClient(
            headers=self._key(), timeout=None, limits=httpx.Limits(max_connections=None),
            trust_env=self.settings.url is not None,  # no proxy leads to a server of the job's own
        )  # fmt: skip
        if not self.starts:
            await self._start()

    async def _close(self, in_flight: set[asyncio.Task[Result]]) -> None:
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
        await self.http.aclose()

    async def _start(self) -> None:
        """Start the server, if the settings say how, and wait until it has proved itself."""
        if isinstance(self.settings, Server) and self.settings.command:
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            words = fill_in(self.settings.command, self.model, port, self.gpus)
            log_file = self.work / "server.log"
            log.info(f"starting the server, which writes to {log_file}: {' '.join(words)}")
            self.process = ServerProcess(words, log_file)
            await self._wait_until_ready(self.process, self.settings.start_seconds)
        else:
            await self._find()
        self.starts += 1
        await self.prove()

    async def _find(self) -> None:
        """Look whether there is a server, which may have no page of its own health, or none for us."""
        try:
            await self._send(Call("/health"))
        except ServerFaultError as fault:
            raise EngineError(f"no server answers at {self.url} ({self.settings.section}.url): {fault}") from None
        except (RowFailedError, EngineError):
            pass

    async def _wait_until_ready(self, process: ServerProcess, seconds: int) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                await self._send(Call("/health"))
                return
            except (ServerFaultError, RowFailedError):
                pass
            if not process.is_running():
                raise EngineError(f"{self._name()} {process.how_it_ended()} before it answered{self._last_lines()}")
            if asyncio.get_running_loop().time() > deadline:
                said = self._last_lines()
                self.stop()
                raise EngineError(
                    f"{self._name()} does not answer after {seconds} seconds"
                    f" ({self.settings.section}.start_seconds){said}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _restart_if_down(self, start: int, fault: ServerFaultError) -> bool:
        """Start the server again if it has died or hangs; whether it is another than at the time of the fault."""
        async with self.lock:
            if self.starts != start:
                return True
            if not self.process or not isinstance(self.settings, Server):
                return False
            if self.process.is_running() and not (fault.timed_out and not await self._answers()):
                return False
            how = "hangs" if self.process.is_running() else self.process.how_it_ended()
            if self.starts > self.settings.restarts:
                raise EngineError(
                    f"{self._name()} {how}, and was started {self.starts} times already"
                    f" ({self.settings.section}.restarts){self._last_lines()}"
                )
            log.warning(f"{self._name()} {how}: it is started again")
            self.process.kill()
            await self._start()
            return True

    async def _answers(self) -> bool:
        """Whether the server answers at all."""
        try:
            await self._send(self.probe())
        except RowFailedError:
            return True
        except ServerFaultError:
            return False
        return True

    # Requests

    async def _send(self, call: Call) -> Any:
        """One request. Gives JSON, or None for an empty answer."""
        try:
            async with asyncio.timeout(self.settings.request_seconds):
                method = "GET" if call.body is None else "POST"
                response = await self.http.request(method, f"{self.url}{call.path}", json=call.body)
        except TimeoutError:
            limit = f"{self.settings.request_seconds} seconds ({self.settings.section}.request_seconds)"
            message = f"no answer within {limit}"
            raise ServerFaultError(message, timed_out=True) from None
        except httpx.TransportError as error:
            raise ServerFaultError(f"{type(error).__name__}: {error}") from None
        except httpx.InvalidURL as error:
            raise EngineError(f"config: {self.settings.section}.url: {error}") from None
        if not response.is_success:
            raise self._refusal(call, response)
        try:
            return response.json() if response.content else None
        except ValueError:
            message = f"an answer that is no JSON: {self._shown(response.text)}"
            raise ServerFaultError(message, malformed=True) from None

    def _refusal(self, call: Call, response: httpx.Response) -> Exception:
        """What an answer other than a success means."""
        status, said = response.status_code, f"HTTP {response.status_code}: {self._shown(response.text)}"
        if status in (401, 403):
            return EngineError(
                f"{self._name()} wants a key ({said}): {self.settings.section}.key_variable names the environment"
                " variable that holds it"
            )
        if status == 404 and call.body is not None:
            return EngineError(f"{self._name()} has no {call.path}, or no model {self.model} ({said})")
        if status in (408, 429) or status >= 500:
            return ServerFaultError(said, retry_after=_seconds(response.headers.get("retry-after")))
        return RowFailedError(REFUSED, said)

    def _key(self) -> dict[str, str]:
        """The header with the key, which nothing else is to hold."""
        variable = self.settings.key_variable
        if variable is None:
            return {}
        if not os.environ.get(variable):
            raise EngineError(f"config: {self.settings.section}.key_variable: {variable} is not set in the environment")
        return {"Authorization": f"Bearer {os.environ[variable]}"}

    def _shown(self, text: str) -> str:
        """The beginning of what a server says, without the key: some repeat it."""
        key = os.environ.get(self.settings.key_variable or "")
        return " ".join((text.replace(key, "***") if key else text).split())[:SHOWN]

    def _name(self) -> str:
        if self.process and isinstance(self.settings, Server):
            return f"the server ({self.settings.preset})"
        return f"the server at {self.url}"

    def _last_lines(self) -> str:
        if self.process is None:
            return ""
        return f"; the end of {self.process.log_file}:\n{self.process.last_lines()}"

    @staticmethod
    async def _no_answer(row: None) -> None:
        return None


def _read(read: Callable[[Any], Read], reply: Any) -> Read:
    """What is read from a reply. Raises ServerFaultError if it holds something else."""
    try:
        return read(reply)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        shown = " ".join(str(reply).split())[:SHOWN]
        message = f"an answer of another form ({type(error).__name__}: {error}): {shown}"
        raise ServerFaultError(message, malformed=True) from None


def _pause(attempt: int, fault: ServerFaultError) -> float:
    """Seconds to wait before a request is sent again: longer each time, and not all at the same moment."""
    return max(fault.retry_after, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.5))


def _seconds(retry_after: str | None) -> float:
    """The header Retry-After where it is a number; a date in it is left aside."""
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
