"""GPUs for the jobs of one machine: each job leases its own by file locks, which are gone with it, however it ends.

Snakemake counts GPUs and hands out none, and knows nothing of a second Snakemake on the same machine. Knows nothing of
what the GPUs are for, and must run before CUDA starts.
"""

import fcntl
import os
import random
import time
from pathlib import Path
from urllib.parse import quote

from backtranslation.errors import UserError
from backtranslation.jobs.manifests import short_digest
from backtranslation.jobs.progress import log

VISIBLE = "CUDA_VISIBLE_DEVICES"
# One place for all users and runs of a machine, whatever their TMPDIR.
LEASES = Path("/tmp/backtranslation-gpus")
WAIT_SECONDS = 0.5


class LeaseError(UserError):
    """A job asks for more GPUs than it can ever have."""


def visible_gpus() -> list[str]:
    """The GPUs that CUDA may use: those that the user or SLURM names (numbers, UUIDs, MIG names), else all."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return _list_gpus()
    names = [name.strip() for name in given.split(",")]
    # CUDA reads the list up to the first name that is none; -1 is the usual way to say so.
    return names[: next((index for index, name in enumerate(names) if name in ("", "-1")), len(names))]


def lease_gpus(count: int) -> list[str]:
    """Wait for `count` of the visible GPUs, and let CUDA see them alone until this process ends.

    Jobs that choose among the same GPUs take turns, so that one which needs several is not passed over for ever; none
    holds a part of its GPUs while it waits for the rest. Raises LeaseError if there are not as many.
    """
    gpus = visible_gpus() if count else []
    if len(gpus) < count:
        raise LeaseError(
            f"{count} GPUs are asked for (generation.gpus, training.<task>.processes), and {len(gpus)} can be seen"
            f" ({VISIBLE} is {os.environ.get(VISIBLE, 'not set')})"
        )
    locks: dict[str, int] = {}
    if count:
        _keep_folder()
        locks = _wait_for_turn(gpus, count)
    os.environ[VISIBLE] = ",".join(locks)
    return list(locks)


def _wait_for_turn(gpus: list[str], count: int) -> dict[str, int]:
    """The open locks of so many GPUs; they stay open until the process ends."""
    turn = _open_lock(f"turn-{short_digest([_lock_name(gpu) for gpu in gpus])}")
    try:
        if _try_lock(turn) and (locks := _lock_free(gpus, count)):
            return locks
        log.info(f"waiting for {count} of the GPUs {', '.join(gpus)}")
        fcntl.flock(turn, fcntl.LOCK_EX)
        while not (locks := _lock_free(gpus, count)):
            # Jobs that choose among overlapping lists must not keep stepping back from each other.
            time.sleep(random.uniform(0.5, 1.5) * WAIT_SECONDS)
        return locks
    finally:
        os.close(turn)


def _lock_free(gpus: list[str], count: int) -> dict[str, int]:
    """Lock so many GPUs that are free now; none if there are fewer."""
    locks: dict[str, int] = {}
    for gpu in gpus:
        lock = _open_lock(_lock_name(gpu))
        if not _try_lock(lock):
            os.close(lock)
            continue
        locks[gpu] = lock
        if len(locks) == count:
            return locks
    for lock in locks.values():
        os.close(lock)
    return {}


def _lock_name(gpu: str) -> str:
    """SLURM has given its GPUs to one job alone, and may call different GPUs of different jobs 0."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"gpu-{quote(gpu, safe='')}" + (f"-of-slurm-job-{job}" if job else "")


def _keep_folder() -> None:
    """Make the folder of the locks; while a process holds a shared lock of it, systemd removes nothing old from it."""
    if not LEASES.is_dir():
        LEASES.mkdir(exist_ok=True)
        LEASES.chmod(0o1777)
    fcntl.flock(os.open(LEASES, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_SH)


def _open_lock(name: str) -> int:
    """Open a lock file that every user of the machine can lock: reading is enough for that."""
    path = LEASES / name
    try:
        # Not created where it exists: the kernel may forbid that for another user's file in such a folder.
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW)
        os.fchmod(lock, 0o644)
        return lock


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _list_gpus() -> list[str]:
    """The GPUs of this machine as NVIDIA's driver knows them: their numbers, or UUIDs where one is cut up (MIG)."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return []
    except pynvml.NVMLError as error:
        raise LeaseError(
            f"NVIDIA's driver does not tell its GPUs ({error}): mend it, or name them in {VISIBLE} (empty for none)"
        ) from error
    gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    instances = [_list_instances(gpu) for gpu in gpus]
    if not any(instances):
        return [str(index) for index in range(len(gpus))]
    return [
        name for gpu, parts in zip(gpus, instances, strict=True) for name in parts or [pynvml.nvmlDeviceGetUUID(gpu)]
    ]


def _list_instances(gpu: object) -> list[str]:
    """UUIDs of the parts of a GPU; none if it is whole."""
    import pynvml

    try:
        mode, _ = pynvml.nvmlDeviceGetMigMode(gpu)
    except pynvml.NVMLError:
        return []  # it cannot be cut up
    if mode != pynvml.NVML_DEVICE_MIG_ENABLE:
        return []
    found = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            found.append(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)))
        except pynvml.NVMLError_NotFound:
            continue
    return found
