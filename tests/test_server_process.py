"""A server that a job starts: it ends with the job, however that ends, and with all that it has started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helpers.faulty_server import Behaviour, command
from helpers.tiny_models import ROOT, build_tokenizer

from backtranslation.jobs.server_process import fill_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer is all that such a server needs."""
    folder = tmp_path_factory.mktemp("model")
    build_tokenizer("plain").save_pretrained(folder)
    return folder


JOB = """
import shlex, sys, time, urllib.request
from contextlib import suppress
from pathlib import Path
from backtranslation.jobs.server_process import ServerProcess, free_port

port = free_port()
words = shlex.split(sys.argv[1].replace("{model}", sys.argv[2]).replace("{port}", str(port)))
server = ServerProcess(words, Path(sys.argv[3]) / "server.log")
while server.is_running():
    with suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
        print("ready", flush=True)
        break
    time.sleep(0.05)
if sys.argv[4] != "end":
    time.sleep(3600)
"""


@contextmanager
def running_job(
    folder: Path, ending: str, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A job whose server answers, and all processes below it: supervisor, server, and a child in its own session."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, command(Behaviour()), str(folder), str(tmp_path), ending],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert job.stdout
        processes: list[psutil.Process] = []
        if ending != "end":
            assert job.stdout.readline() == "ready\n"
            processes = psutil.Process(job.pid).children(recursive=True)
            assert len(processes) == 3
        yield job, processes
    finally:
        job.kill()
        job.wait()


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_server_and_all_its_processes_end_with_the_job(ending: str, folder: Path, tmp_path: Path) -> None:
    """One of them has left its session, as servers' workers may."""
    with running_job(folder, ending, tmp_path) as (job, processes):
        job.send_signal(signal.Signals[ending])
        job.wait(timeout=15)
        _, alive = psutil.wait_procs(processes, timeout=15)
        assert not alive


def test_a_server_is_gone_when_its_job_is_done(folder: Path, tmp_path: Path) -> None:
    with running_job(folder, "end", tmp_path) as (job, _):
        assert job.wait(timeout=15) == 0
        left = [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(one.info["cmdline"])]
        assert not [one for one in left if "supervisor" in str(one.info["cmdline"])]


def test_a_server_ends_with_its_supervisor(folder: Path, tmp_path: Path) -> None:
    with running_job(folder, "SIGKILL", tmp_path) as (_, (supervisor, server, child)):
        supervisor.kill()
        _, alive = psutil.wait_procs([server], timeout=10)
        child.kill()  # which only a supervisor finds
        assert not alive


def test_a_command_is_filled_in_word_by_word() -> None:
    given = "serve '{model}' --port={port} -tp {gpus} --x '{\"a\": 1}'"
    assert fill_in(given, "/a b/{port}", 80, 0) == ["serve", "/a b/{port}", "--port=80", "-tp", "1", "--x", '{"a": 1}']
