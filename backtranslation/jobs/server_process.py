"""A server that a job starts for itself: what it says goes to a file, and it ends with the job, however that ends."""

import atexit
import re
import shlex
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SUPERVISOR = Path(__file__).with_name("supervisor.py")
LAST_LINES = 20
PLACE = re.compile(r"\{(model|port|gpus)\}")


class ServerProcess:
    """A command that runs. It is ended, with all that it has started, by `stop`, and when this process ends."""

    def __init__(self, command: Sequence[str], log_file: Path) -> None:
        self.log_file = log_file
        with log_file.open("ab") as stream:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-P", str(SUPERVISOR), *command],
                stdin=subprocess.PIPE, stdout=stream, stderr=stream,
                start_new_session=True,  # Ctrl-C is for the job, which then ends it
            )  # fmt: skip
        # The GPUs of a job are free for the next one when the job ends: its server must be gone by then.
        atexit.register(self.stop)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._supervisor.poll() is None

    def how_it_ended(self) -> str:
        """In words, with its exit code."""
        code = self._supervisor.poll()
        return "has not ended" if code is None else f"ended with exit code {code}"

    def stop(self) -> None:
        """End it in good order, and wait until all of it is gone."""
        if self._supervisor.stdin and not self._supervisor.stdin.closed:
            with suppress(BrokenPipeError):  # it may have ended by itself
                self._supervisor.stdin.write(b".")
                self._supervisor.stdin.flush()
        self.kill()

    def kill(self) -> None:
        """End it at once, unless it is about to end, and wait until all of it is gone."""
        atexit.unregister(self.stop)
        if self._supervisor.stdin:
            with suppress(BrokenPipeError):
                self._supervisor.stdin.close()
        self._supervisor.wait()

    def last_lines(self) -> str:
        """What it said last, for a message."""
        with self.log_file.open(encoding="utf-8", errors="replace") as stream:
            lines = deque((line.rstrip() for line in stream if line.strip()), maxlen=LAST_LINES)
        return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"


def fill_in(command: str, model: str, port: int, gpus: int) -> list[str]:
    """The words of a command with {model}, {port} and {gpus} (at least 1) filled in: no shell reads them."""
    given = {"model": model, "port": str(port), "gpus": str(max(1, gpus))}
    return [PLACE.sub(lambda place: given[place[1]], word) for word in shlex.split(command)]


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
