"""Whether results are whole and made from the present settings, code and inputs; and accepting those that are not.

Reads the jobs of the workflow, the manifests of the store, and every file; changes nothing but what `keep` is asked to.
"""

from dataclasses import dataclass, field
from pathlib import Path

from backtranslation.commands.differences import differences
from backtranslation.commands.workflow_jobs import WorkflowJob
from backtranslation.errors import UserError
from backtranslation.jobs.content_digests import digest_content, digest_of_folder, read_digest, visible_files
from backtranslation.jobs.manifests import (
    Job,
    Manifest,
    StoreError,
    digest_cache,
    find,
    make_key,
    output_paths,
    output_records,
    result_folder,
    result_folders,
)
from backtranslation.jobs.named_paths import last_made, made_output, read_name
from backtranslation.jobs.store import digest_inputs, find_whole, keep_result


@dataclass(frozen=True)
class Fault:
    """What is wrong with a result: `damaged`, `missing`, or `made from other settings`, code or inputs."""

    path: str
    fault: str
    details: list[str] = field(default_factory=list)


def verify_results(jobs: list[WorkflowJob]) -> list[Fault]:
    """Every fault of the stored and of the named results; every file is read, whatever is known of it."""
    faults = [fault for store in sorted({item.store for item in jobs}) for fault in _stored_faults(store)]
    damaged = {fault.path for fault in faults}
    for item in jobs:
        faults += _named_faults(item, damaged)
    return faults


def _stored_faults(store: Path) -> list[Fault]:
    faults = []
    for folder in result_folders(store):
        try:
            manifest = find(store, folder.parent.name, folder.name)
        except StoreError as error:
            faults.append(Fault(str(folder), "damaged", [str(error)]))
            continue
        if manifest is None:
            faults.append(Fault(str(folder), "damaged", ["it has no manifest"]))
            continue
        for record in output_records(manifest):
            path = folder / record.file
            if not path.exists() or _digest_read_now(path) != record.digest:
                faults.append(Fault(str(path), "damaged", ["not what its manifest says"]))
    return faults


def _named_faults(item: WorkflowJob, damaged: set[str]) -> list[Fault]:
    """Faults of the paths that a job's result should be linked to."""
    paths = output_paths(item.job)
    faults = [fault for path in paths if (fault := _named_fault(item.store, path, damaged))]
    last = last_made(item.store, paths[0]) if not faults else None
    return faults + _made_otherwise(item, last) if last else faults


def _named_fault(store: Path, path: str, damaged: set[str]) -> Fault | None:
    """What is wrong with a named path itself."""
    if not Path(path).exists():
        return Fault(path, "missing")
    try:
        name, record = read_name(store, path), made_output(store, path)
    except StoreError as error:
        return Fault(path, "damaged", [str(error)])
    if name is None or record is None:
        return Fault(path, "made outside the store", ["no manifest says how"])
    stored = result_folder(store, name.stage, name.key) / record.file
    is_whole = _shares_files(Path(path), stored) or _digest_read_now(Path(path)) == record.digest
    if str(stored) in damaged or not is_whole:
        return Fault(path, "damaged", ["not what its manifest says"])
    return None


def _made_otherwise(item: WorkflowJob, last: Manifest) -> list[Fault]:
    """Whether a result was made from other settings, code or inputs than the present ones."""
    job, store = item.job, item.store
    inputs = [path for paths in job.inputs.values() for path in paths]
    if missing := [path for path in inputs if not Path(path).exists()]:
        return [Fault(output_paths(job)[0], "cannot be checked", [f"its input {missing[0]} is missing"])]
    digests = {
        name: [digest_content(digest_cache(store), Path(path)) for path in paths] for name, paths in job.inputs.items()
    }
    if make_key(job, digests) == last.key:
        return []
    return [Fault(output_paths(job)[0], "made from other settings", differences(job, digests, last))]


def _shares_files(named: Path, stored: Path) -> bool:
    """Whether a named file, or every file of a named folder, is the stored one itself."""
    if not named.is_dir():
        return stored.exists() and named.samefile(stored)
    names = visible_files(named)
    return names == visible_files(stored) and all((named / name).samefile(stored / name) for name in names)


def _digest_read_now(path: Path) -> str:
    if path.is_dir():
        return digest_of_folder({name: read_digest(path / name) for name in visible_files(path)})
    return read_digest(path)


def describe_faults(faults: list[Fault]) -> list[str]:
    """The faults as lines for people."""
    if not faults:
        return ["every result is whole and was made from the present settings, code and inputs"]
    lines = []
    for fault in faults:
        lines += [f"{fault.path}: {fault.fault}", *(f"    {detail}" for detail in fault.details)]
    return lines


# Keeping


@dataclass(frozen=True)
class KeptResult:
    """A result that was accepted, by its first path, and in what it differs from what a run would make."""

    path: str
    differences: list[str]


def keep_paths(jobs: list[WorkflowJob], paths: list[str]) -> list[KeptResult]:
    """Accept the results at these paths, or below these folders, under the present settings, code and inputs.

    Results that need no accepting are left out. Raises UserError for a path that no job makes.
    """
    if unknown := [path for path in paths if not any(_is_below(item.job, path) for item in jobs)]:
        raise UserError(f"{unknown[0]}: no job of the workflow makes it")
    wanted = [item for item in jobs if any(_is_below(item.job, path) for path in paths)]
    kept = (_keep_job(item, is_named=not set(paths).isdisjoint(output_paths(item.job))) for item in wanted)
    return [result for result in kept if result]


def _keep_job(item: WorkflowJob, is_named: bool) -> KeptResult | None:
    """Accept the result of one job, if a run would not find it; one that is not there must be named to be a fault."""
    job, store = item.job, item.store
    last = last_made(store, output_paths(job)[0])
    is_there = last is not None and all(Path(path).exists() for path in output_paths(job))
    if not is_there and not is_named:
        return None
    digests = digest_inputs(store, job)
    is_edited = is_there and _is_edited(item)
    if find_whole(store, job.stage, make_key(job, digests)) and not is_edited:
        return None
    changes = differences(job, digests, last) if last else []
    if is_edited:
        changes.append("edited by hand")
    keep_result(store, job, changes)
    return KeptResult(output_paths(job)[0], changes)


def describe_kept(kept: list[KeptResult]) -> list[str]:
    """What was accepted, as lines for people."""
    lines = [] if kept else ["nothing to accept: these results are what a run would find"]
    for result in kept:
        lines += [f"kept {result.path}", *(f"    {difference}" for difference in result.differences)]
    return lines


def _is_below(job: Job, path: str) -> bool:
    """Whether an output of a job is a path, or below it."""
    return any(Path(output).is_relative_to(path) for output in output_paths(job))


def _is_edited(item: WorkflowJob) -> bool:
    """Whether a named path of a job holds something else than what was made."""
    records = [(path, made_output(item.store, path)) for path in output_paths(item.job)]
    return any(
        record and digest_content(digest_cache(item.store), Path(path)) != record.digest for path, record in records
    )
