"""Locks that are gone with their process, however it ends (flock), and small files that processes share under one."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backtranslation.jobs.manifests import work_folder
from backtranslation.jobs.progress import log


@contextmanager
def locked_file(path: Path) -> Iterator[Path]:
    """Hold the lock of a small file, made if need be, to read it and write it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(descriptor)


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a small file; None where there is none, or one torn by a kill."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


@contextmanager
def locked_work(store: Path, stage: str, key: str) -> Iterator[Path]:
    """Hold the lock of a work folder until this process ends, however it ends."""
    work = work_folder(store, stage, key)
    while True:
        try:
            work.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(work / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except (FileExistsError, FileNotFoundError):
            continue  # the process that held it has just finished, and removed the folder
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info(f"another process is making {stage}/{key}; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The lock may be that of a folder which is gone by now.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), (work / "lock").stat()):
                break
        os.close(descriptor)
    try:
        yield work
    finally:
        os.close(descriptor)


def is_locked(work: Path) -> bool:
    """Whether a process is at work in a work folder now."""
    try:
        with (work / "lock").open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
