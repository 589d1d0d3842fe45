"""What a run will find and what it will compute, why, and at what cost.

Reads the jobs of the workflow and the manifests of the store; changes no result.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backtranslation.commands.differences import differences, list_names, setting_differences
from backtranslation.commands.formatting import format_seconds
from backtranslation.commands.workflow_jobs import LOOK_AT_ALL, WorkflowJob
from backtranslation.jobs.manifests import (
    Job,
    Manifest,
    StoreError,
    find,
    make_key,
    output_paths,
    output_records,
    result_folder,
    result_folders,
)
from backtranslation.jobs.named_paths import last_made
from backtranslation.jobs.store import digest_input, find_whole

State = Literal["found", "computed", "waits"]
# Of a named path: its digest once all before it is done, or the job that has yet to decide it.
_Upstream = dict[str, str | Job]


@dataclass(frozen=True)
class PlannedJob:
    """What will become of a job.

    `found`: its result is in the store. `computed`: it is not, for the reasons `why`. `waits`: that depends on how the
    results it reads come out; if they come out as they are, it is found. `seconds` and `gpu_seconds` are what earlier
    results of the stage took, None if there are none. `is_due`: Snakemake by itself will look at it.
    """

    stage: str
    output: str
    state: State
    why: list[str]
    seconds: float | None
    gpu_seconds: float | None
    is_due: bool


def plan_jobs(jobs: list[WorkflowJob]) -> list[PlannedJob]:
    """What will become of every job, in the order given: each after those whose results it reads."""
    costs = {store: _Costs(store) for store in {item.store for item in jobs}}
    upstream: _Upstream = {}
    return [_plan_job(item, upstream, costs[item.store]) for item in jobs]


def _plan_job(item: WorkflowJob, upstream: _Upstream, costs: "_Costs") -> PlannedJob:
    """Plan one job, and note in `upstream` what its results will be."""
    job, store, paths = item.job, item.store, output_paths(item.job)
    last = last_made(store, paths[0])
    found: Manifest | None = None
    if awaited := _awaited(item, upstream):
        state: State = "waits"
        why = [f"reads {list_names(awaited)}", *setting_differences(job, last)]
    else:
        found, why = _look_up(store, job, last, upstream)
        state = "found" if found else "computed"
    if found and not item.is_due:
        for path in filter(os.path.exists, paths):  # a run stops at one that was edited by hand, and so does the plan
            digest_input(store, path)
    upstream.update(zip(paths, _digests(found), strict=True) if found else dict.fromkeys(paths, job))
    seconds, gpu_seconds = (0.0, 0.0) if found else costs.expect(job, last)
    return PlannedJob(job.stage, paths[0], state, why, seconds, gpu_seconds, item.is_due)


def _look_up(store: Path, job: Job, last: Manifest | None, upstream: _Upstream) -> tuple[Manifest | None, list[str]]:
    """The result of a job whose inputs are known, or why there is none."""
    digests = {name: [_digest_now(store, path, upstream) for path in paths] for name, paths in job.inputs.items()}
    key = make_key(job, digests)
    if found := find_whole(store, job.stage, key):
        return found, []
    if result_folder(store, job.stage, key).exists():
        return None, ["its stored result is damaged"]
    if last is None:
        return None, ["never made before"]
    return None, differences(job, digests, last) or ["its stored result is gone"]


def _digests(manifest: Manifest) -> list[str]:
    return [record.digest for record in output_records(manifest)]


def _awaited(item: WorkflowJob, upstream: _Upstream) -> list[str]:
    """The inputs that are not known yet, by path."""
    paths = [path for paths in item.job.inputs.values() for path in paths]
    return [path for path in paths if path in item.rewritten or isinstance(upstream.get(path), Job)]


def _digest_now(store: Path, path: str, upstream: _Upstream) -> str:
    """Digest of an input as it will be when the job runs."""
    known = upstream.get(path)
    return known if isinstance(known, str) else digest_input(store, path)


# Cost


class _Costs:
    """Expected seconds of jobs: those of the last result at the same path, else the mean of the stage."""

    def __init__(self, store: Path) -> None:
        self.by_stage: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for folder in result_folders(store):
            with suppress(StoreError):  # `verify` names it; it only says nothing of costs
                if manifest := find(store, folder.parent.name, folder.name):
                    self.by_stage[manifest.stage].append((manifest.seconds, manifest.gpu_seconds))

    def expect(self, job: Job, last: Manifest | None) -> tuple[float | None, float | None]:
        """(Seconds, GPU seconds) that a job will take, or (None, None)."""
        known = [(last.seconds, last.gpu_seconds)] if last else self.by_stage[job.stage]
        if not known:
            return None, None
        seconds, gpu_seconds = (sum(column) / len(known) for column in zip(*known, strict=True))
        return seconds, gpu_seconds


def stage_seconds(store: Path) -> dict[str, float]:
    """Mean seconds of the jobs of each stage that has results in a store."""
    costs = _Costs(store).by_stage
    return {stage: sum(seconds for seconds, _ in known) / len(known) for stage, known in costs.items()}


def describe_plan(planned: list[PlannedJob]) -> list[str]:
    """The plan as lines for people: for every state its jobs by stage, with the reasons that they share."""
    lines = []
    for state, meaning in MEANINGS.items():
        jobs = [job for job in planned if job.state == state]
        if jobs or state == "found":
            lines.append(f"{len(jobs):,} {meaning}{_cost(jobs) if state != 'found' else ''}")
        if state != "found":
            lines += _describe_jobs(jobs)
    if all(job.state == "found" for job in planned):
        lines.append("nothing to compute")
    overlooked = [job.output for job in planned if job.state != "found" and not job.is_due]
    if overlooked:
        lines += [
            f"Snakemake sees no reason to look at {list_names(overlooked)}:",
            f"`{LOOK_AT_ALL}` looks at all and computes only the above.",
        ]
    return lines


MEANINGS = {
    "found": "found in the store",
    "computed": "to compute",
    "waits": "to find if what they read comes out as it was, else to compute",
}


def _describe_jobs(jobs: list[PlannedJob]) -> Iterable[str]:
    """Every stage with its jobs; jobs of a stage that are computed for the same reasons stand together."""
    alike: dict[tuple[str, ...], list[PlannedJob]] = defaultdict(list)
    for job in jobs:
        alike[(job.stage, *(job.why if job.state == "computed" else []))].append(job)
    for group in alike.values():
        yield f"  {group[0].stage}: {list_names([job.output for job in group])}"
        yield from (f"      {reason}" for reason in group[0].why)


def _cost(jobs: list[PlannedJob]) -> str:
    """What jobs took before, one after the other."""
    known = [job for job in jobs if job.seconds is not None]
    if not jobs:
        return ""
    if not known:
        return "; nothing says how long they take"
    seconds, gpu_seconds = sum(job.seconds or 0 for job in known), sum(job.gpu_seconds or 0 for job in known)
    unknown = f", {len(jobs) - len(known):,} jobs not counted" if len(known) < len(jobs) else ""
    return f"; {format_seconds(seconds)} of work, {gpu_seconds / 3600:.1f} GPU hours by what they took before{unknown}"
