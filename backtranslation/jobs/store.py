"""The store of finished results: every result is found by what it was made from, kept whole, and linked to named paths.

A result's key is the hash of its stage, its settings, its code and the content of its inputs. `make` looks a job up by
its key; only if nothing is found, the job computes, in a work folder of its own under that key and behind a lock. The
finished folder is renamed into the store at once, whole or not at all, with a manifest that says what it was made from.

    <store>/results/<stage>/<key>/   finished results, read-only, each with its manifest.json
    <store>/work/<stage>/<key>/      results in the making: lock, progress, and what a killed job goes on from
    <store>/names/<path>.json        which result a named path was linked to last
    <store>/names/<path>.claim       the key that the last job started for a path wants; also the lock for linking it
    <store>/digests/                 digests of large files, so that 16 GB of weights are read once
    <store>/settings/                settings of runs whose jobs wait in the queue of a cluster
    <store>/damaged/                 results found damaged, until somebody removes them

Times decide nothing here. What a result is, `manifests` says; what a path names, `named_paths`. Knows nothing of
Snakemake, of models, or of what the files hold.
"""

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from re import match

from backtranslation.errors import DataError
from backtranslation.files import count_rows, write_json
from backtranslation.jobs.content_digests import (
    digest_content,
    digest_of_folder,
    read_digest,
    remember_digest,
    visible_files,
)
from backtranslation.jobs.leases import visible_gpus
from backtranslation.jobs.locks import locked_work
from backtranslation.jobs.manifests import (
    MANIFEST,
    InputRecord,
    Job,
    Kept,
    Manifest,
    OutputRecord,
    StoreError,
    damaged_folder,
    digest_cache,
    find,
    make_key,
    output_paths,
    result_folder,
    result_folders,
    suffix,
    work_folder,
)
from backtranslation.jobs.named_paths import claim_paths, last_made, link_outputs, made_output, read_name, remove
from backtranslation.jobs.progress import log, reported_cost


def digest_inputs(store: Path, job: Job) -> dict[str, list[str]]:
    """Digests of the content of all inputs. Raises DataError for one that is missing or no longer what was made."""
    return {name: [digest_input(store, path) for path in paths] for name, paths in job.inputs.items()}


def digest_input(store: Path, path: str) -> str:
    """Digest of a file's or folder's content, which must be that of its manifest if it is a named result."""
    try:
        digest = digest_content(digest_cache(store), Path(path))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file") from None
    except OSError as error:  # a link to itself, a folder that may not be read
        raise DataError(f"{error.filename}: {error.strerror}") from None
    record = made_output(store, path)
    if record is not None and record.digest != digest:
        _read_stored_again(store, path, record)
        raise DataError(
            f"{path} is damaged, or was edited by hand: it is not what was made. Delete it and run again to have it"
            f" made again, or accept it with `backtranslation keep {path}`"
        )
    return digest


def _read_stored_again(store: Path, path: str, record: OutputRecord) -> None:
    """Digest the stored files of a damaged path anew: they may be the same files, and their times may not show it.

    So may be files of other results, which are linked and not copied.
    """
    name = read_name(store, path)
    assert name is not None  # it has a record
    stored = [file for file in record.digests(result_folder(store, name.stage, name.key)) if file.exists()]
    digests = {file.stat().st_ino: read_digest(file) for file in stored}
    for file in (file for folder in result_folders(store) for file in folder.rglob("*")):
        if digest := digests.get(file.stat().st_ino):
            remember_digest(digest_cache(store), file, digest)


def make(
    store: Path,
    job: Job,
    compute: Callable[[dict[str, list[Path]], Path], None],
    wait: Callable[[], object] = lambda: None,
) -> Manifest:
    """Find the result of a job, or compute it, and link it to its named paths.

    `compute` gets the paths it must write, by argument, and a work folder in which it finds again whatever it left
    there when it was killed; `wait` comes before it, and its time is not counted. A second process with the same job
    waits for the first. Raises StoreError when an output was not written, or when a job started later wants these
    paths; DataError for an input that cannot be used.
    """
    digests = digest_inputs(store, job)
    key = make_key(job, digests)
    claim_paths(store, job, key)
    manifest = find_whole(store, job.stage, key)
    if manifest is None or work_folder(store, job.stage, key).exists():
        with locked_work(store, job.stage, key) as work:
            # The process that held the lock may have made it; one that was killed then may have left its work.
            manifest = find_whole(store, job.stage, key)
            if manifest is None:
                wait()
                manifest = _compute(store, job, key, digests, work, compute)
            shutil.rmtree(work, ignore_errors=True)
    else:
        os.utime(result_folder(store, job.stage, key) / MANIFEST)  # last used now; see `list_unused`
        log.info(f"found {job.stage}/{key}")
    link_outputs(store, job, manifest)
    return manifest


def find_whole(store: Path, stage: str, key: str) -> Manifest | None:
    """The manifest of a stored result if its files are what it says, and it can be read."""
    try:
        manifest = find(store, stage, key)
    except StoreError:
        return None
    return manifest if manifest and not damaged_files(store, manifest) else None


def damaged_files(store: Path, manifest: Manifest) -> list[Path]:
    """Stored files and folders whose content is not that of the manifest."""
    folder = result_folder(store, manifest.stage, manifest.key)
    return [
        folder / record.file
        for records in manifest.outputs.values()
        for record in records
        if not (folder / record.file).exists()
        or digest_content(digest_cache(store), folder / record.file, stored=True) != record.digest
    ]


def _compute(
    store: Path,
    job: Job,
    key: str,
    digests: dict[str, list[str]],
    work: Path,
    compute: Callable[[dict[str, list[Path]], Path], None],
) -> Manifest:
    """Let the stage write its outputs, describe them, and move all into the store in one step."""
    if result_folder(store, job.stage, key).exists():
        log.warning(f"{result_folder(store, job.stage, key)} is damaged; it is made again")
    folder = work / "outputs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    outputs = _places(folder, job)
    started, clock = datetime.now(UTC), time.monotonic()
    earlier = reported_cost(work)
    compute(outputs, work)
    cost = earlier.after(time.monotonic() - clock, len(visible_gpus()), reported_cost(work).tokens)
    if digest_inputs(store, job) != digests:
        _empty(work)
        raise StoreError(f"{job.stage}: its inputs changed while it ran, so what it made is dropped; run again")
    manifest = Manifest(
        stage=job.stage,
        key=key,
        spec=job.spec,
        code=job.code,
        inputs=_input_records(job, digests),
        outputs={name: [_describe(job, path) for path in paths] for name, paths in outputs.items()},
        started=started.isoformat(timespec="seconds"),
        seconds=round(cost.seconds, 3),
        gpu_seconds=round(cost.gpu_seconds, 3),
        tokens=cost.tokens,
        host=socket.gethostname(),
        packages=_packages(),
    )
    _commit(store, folder, manifest)
    return manifest


def _empty(work: Path) -> None:
    """Remove what a job could go on from; its lock stays."""
    for path in work.iterdir():
        if path.name != "lock":
            remove(path)


def _input_records(job: Job, digests: dict[str, list[str]]) -> dict[str, list[InputRecord]]:
    return {
        name: [InputRecord(path=path, digest=digest) for path, digest in zip(paths, digests[name], strict=True)]
        for name, paths in job.inputs.items()
    }


def _places(folder: Path, job: Job) -> dict[str, list[Path]]:
    """Where the outputs lie within a result: the names say what a file is, whatever it is linked to."""
    return {
        name: [
            folder / (name + (f"-{index}" if len(paths) > 1 else "") + suffix(path)) for index, path in enumerate(paths)
        ]
        for name, paths in job.outputs.items()
    }


def _describe(job: Job, path: Path) -> OutputRecord:
    if not path.exists():
        raise StoreError(f"{job.stage} did not write its output {path.name}")
    if path.is_dir():
        files = {name: read_digest(path / name) for name in visible_files(path)}
        total = sum((path / name).stat().st_size for name in files)
        return OutputRecord(file=path.name, digest=digest_of_folder(files), bytes=total, files=files)
    rows = count_rows(path) if path.name.endswith((".jsonl", ".jsonl.zst")) else None
    return OutputRecord(file=path.name, digest=read_digest(path), bytes=path.stat().st_size, rows=rows)


def _commit(store: Path, folder: Path, manifest: Manifest) -> None:
    """Make the files read-only and durable, then give the folder its place in the store; the lock must be held.

    What lies there is damaged, half removed, or no longer what a person wants to keep: it is moved aside.
    """
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    for parent, _, files in os.walk(folder):
        for name in files:
            path = Path(parent, name)
            path.chmod(0o444)
            _sync(path)
        _sync(Path(parent))
    place = result_folder(store, manifest.stage, manifest.key)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        aside = damaged_folder(store) / f"{manifest.stage}-{manifest.key}-{time.time_ns()}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        place.rename(aside)
        log.info(f"what lay at {place} is moved to {aside}")
    folder.rename(place)
    _sync(place.parent)
    for records in manifest.outputs.values():
        for record in records:
            for path, digest in record.digests(place).items():
                remember_digest(digest_cache(store), path, digest)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _packages() -> dict[str, str]:
    """Versions of Python and of what this project requires: recorded, but no part of the key."""
    found = {"python": sys.version.split()[0]}
    try:
        requirements = requires("backtranslation") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        requirements = []
    for requirement in requirements:
        name = match(r"[\w.-]+", requirement)
        if name is not None and "extra ==" not in requirement:
            found[name[0]] = version(name[0])
    return found


def keep_result(store: Path, job: Job, differences: list[str]) -> Manifest:
    """Accept what now lies at a job's named paths as its result; the manifest says so for ever.

    Raises StoreError if a path names no result of this store.
    """
    paths = output_paths(job)
    made = last_made(store, paths[0])
    if made is None:
        raise StoreError(f"{paths[0]}: no manifest says how it was made, so it cannot be kept")
    if missing := [path for path in paths if not Path(path).exists()]:
        raise StoreError(f"{missing[0]}: no such file")
    digests = digest_inputs(store, job)
    key = make_key(job, digests)
    with locked_work(store, job.stage, key) as work:
        folder = work / "outputs"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        outputs = _places(folder, job)
        for output, sources in job.outputs.items():
            for source, copy in zip(sources, outputs[output], strict=True):
                _copy(Path(source), copy)
        kept = Kept(date=datetime.now(UTC).isoformat(timespec="seconds"), made_as=made.key, differences=differences)
        manifest = made.model_copy(
            update={
                "key": key,
                "spec": job.spec,
                "code": job.code,
                "inputs": _input_records(job, digests),
                "outputs": {output: [_describe(job, path) for path in copies] for output, copies in outputs.items()},
                "kept": [*made.kept, kept],
            }
        )
        _commit(store, folder, manifest)
        shutil.rmtree(work, ignore_errors=True)
    claim_paths(store, job, key)
    link_outputs(store, job, manifest)
    return manifest


def _copy(source: Path, target: Path) -> None:
    """Copy a file, or the visible files of a folder."""
    if not source.is_dir():
        shutil.copyfile(source, target)
        return
    for name in visible_files(source):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
