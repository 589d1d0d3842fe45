"""The jobs of the workflow as Snakemake sees them, read back into what each asks of the store.

The only module of the library that knows Snakemake, but for the command that starts it. A rule names the files of a
stage and its settings; the contract of the stage makes of them here what it makes of its command line when the job
runs, so that both come to the same key.
"""

import json
import logging
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backtranslation.errors import UserError
from backtranslation.files import write_json
from backtranslation.jobs.contract import load_contract
from backtranslation.jobs.manifests import Job, StoreError, settings_folder, short_digest
from backtranslation.jobs.named_paths import last_made, named_paths
from backtranslation.jobs.stage import StageCall
from backtranslation.settings.run import Settings, check_values, load_settings
from backtranslation.shipped import PACKAGE, SNAKEFILE, WORKFLOW

PINNED = "pinned_settings"  # the key of a configuration that names a file with all settings
CLOCK_SKEW_SECONDS = 2  # what clocks of one cluster may differ by
# What looks at all results whatever Snakemake remembers; the store computes only what changed.
LOOK_AT_ALL = "snakemake --forceall"
RECORD_NAME = 254  # longer names of Snakemake's records are cut into folders


@dataclass(frozen=True)
class WorkflowJob:
    """A job, the store that it asks, and whether Snakemake by itself would run it now.

    `rewritten` are the inputs that jobs which are no stages have yet to write, or to write anew.
    """

    job: Job
    store: Path
    is_due: bool
    rewritten: frozenset[str] = frozenset()


def find_snakefile(given: Path | None = None) -> Path:
    """The Snakefile that is meant: one that is named, else the one Snakemake finds in the folder, else what ships.

    Raises UserError when the one that is named is missing.
    """
    from snakemake.common import SNAKEFILE_CHOICES

    if given is not None and not given.exists():
        raise UserError(f"{given}: no such file")
    return given or next((path for path in SNAKEFILE_CHOICES if path.exists()), SNAKEFILE)


def list_jobs(configfiles: list[Path], target: str | None = None, snakefile: Path | None = None) -> list[WorkflowJob]:
    """All jobs that a target (a rule or a path; by default everything) needs, each after those whose results it reads.

    Jobs that call no stage are left out. Raises UserError when a file is missing or there is no such target.
    """
    from snakemake.exceptions import RuleException, WorkflowError

    check_configfiles(configfiles)
    path = find_snakefile(snakefile)
    try:
        dag = _build_graph(path, configfiles, target)
    except (RuleException, WorkflowError) as error:
        raise UserError(str(error).strip().splitlines()[0]) from None
    jobs = [found for job in _in_order(dag) if (found := _read_workflow_job(dag, job))]
    if not jobs and target is None:
        raise UserError(f"{path}: no job of this workflow is a stage of backtranslation")
    return jobs


def check_configfiles(configfiles: Sequence[Path]) -> None:
    """Raise UserError if a file cannot be used, or is a target that Snakemake takes for one of the configuration."""
    for path in configfiles[:1]:
        if not path.exists():
            raise UserError(f"{path}: no such file; give the --configfile of the run, as you give it to snakemake")
        read_configfile(path)
    for path in configfiles[1:]:
        try:
            read_configfile(path)
        except UserError:
            raise UserError(
                f"{path}: no file of a configuration, and Snakemake takes every word after --configfile for one: put"
                f" targets before it ({path} --configfile {configfiles[0]})"
            ) from None


def read_configfile(path: Path) -> dict[str, Any]:
    """What Snakemake reads from a file of the configuration. Raises UserError naming the file."""
    from snakemake.common.configfile import load_configfile
    from snakemake.exceptions import WorkflowError

    try:
        found: dict[str, Any] = load_configfile(str(path))
        check_values(found)
    except (WorkflowError, ValueError, OSError) as error:  # SettingsError, no UTF-8, a number too long for Python
        raise UserError(f"{path}: {str(error).strip().splitlines()[0]}") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deep") from None
    return found


def _build_graph(snakefile: Path, configfiles: list[Path], target: str | None) -> Any:
    """Snakemake's graph of jobs, made as its own commands that print it do: no public interface gives the jobs."""
    from snakemake.api import SnakemakeApi
    from snakemake.logging import logger
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        logger.setLevel(logging.WARNING)
        workflow_api = api.workflow(
            # As for a cluster, whose jobs one may plan from a machine with fewer GPUs.
            resource_settings=ResourceSettings(cores=1, nodes=1),
            config_settings=ConfigSettings(configfiles=configfiles),
            snakefile=snakefile,
        )
        workflow_api.dag(DAGSettings(targets={target} if target else set(), force_incomplete=True))
        workflow = workflow_api._workflow
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow._build_dag()
        return workflow.dag


def _in_order(dag: Any) -> Iterator[Any]:
    """Snakemake's jobs, each after those it depends on, in an order that is always the same."""
    for group in dag.toposorted():
        yield from sorted(group, key=lambda job: (job.rule.name, list(job.output)))


def _read_workflow_job(dag: Any, job: Any) -> WorkflowJob | None:
    call = job.params.get("call")
    if not isinstance(call, StageCall):
        return None
    asked = load_contract(call.script).job(job.params.spec, call.files)
    if short_digest(asked.code) != job.params.code:
        raise StoreError(
            f"rule {job.rule.name}: code_digest must get the settings that choose modules, as the spec does"
        )
    rewritten = {
        str(path)
        for maker, paths in dag.dependencies[job].items()
        if not isinstance(maker.params.get("call"), StageCall)
        for path in paths
        if dag.needrun(maker) or not Path(path).exists()
    }
    return WorkflowJob(asked, call.store, bool(dag.needrun(job)), frozenset(rewritten))


def read_configfiles(configfiles: list[Path]) -> Settings:
    """The settings that Snakemake reads from such files. Raises UserError as `load_settings` does."""
    from snakemake.utils import update_config

    check_configfiles(configfiles)
    merged: dict[str, Any] = {}
    for path in configfiles:
        update_config(merged, read_configfile(path))
    return load_settings(read_configuration(merged, WORKFLOW / "config.yaml"))


def results_made_otherwise(workflow: Any, store: Path) -> list[str]:
    """Named results made from other settings or code than the rules now give, of which Snakemake has no record.

    Without its record in .snakemake/ Snakemake takes any file that is there for fresh. To be called after
    all rules are known.
    """
    found = []
    for path in named_paths(store):
        if not Path(path).exists() or _has_record(path):
            continue
        rule = _producer(workflow, path)
        if rule is None:
            continue
        spec, code = rule.params.spec, rule.params.code
        try:
            spec = spec(SimpleNamespace(**rule.get_wildcards(path))) if callable(spec) else spec
            made = last_made(store, path)
        except KeyError:
            continue  # a shard that is no longer in the corpus: no job asks for its results
        except StoreError:
            found.append(path)
            continue
        if made is not None and (made.spec != json.loads(spec) or short_digest(made.code) != code):
            found.append(path)
    return found


def pin_settings(workflow: Any, settings: Settings, store: Path) -> None:
    """Let jobs on a cluster have the settings with which their run began, whatever is edited while they wait.

    Each of them parses the workflow anew, hours later. They get the name of a file with all settings in place of the
    files of the configuration.
    """
    values = settings.model_dump(mode="json")
    path = settings_folder(store) / f"{short_digest(values)}.json"
    if not path.exists():
        write_json(path, values)
    given = workflow.config_settings.config_args or []
    workflow.config_settings.configfiles = []
    workflow.config_settings.config_args = [*given, f"{PINNED}={path}"]


def read_configuration(config: Mapping[str, Any], default: Path | str) -> dict[str, Any]:
    """The whole configuration of a run, from what Snakemake was given.

    One that names a base model is a run of its own; any other changes the default run, which is in the file `default`.
    A `configfile:` in the Snakefile would lay the former over the default too, and a 7B model would silently train with
    the learning rate of the miniature one. A job of a cluster gets the configuration with which its run began. Raises
    SettingsError as `check_values` does.
    """
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    check_values(config)
    if PINNED in config:
        return dict(json.loads(Path(config[PINNED]).read_text()))
    if "base_model" in config:
        return dict(config)
    changed: dict[str, Any] = load_configfile(str(default))
    update_config(changed, config)
    return changed


def check_library() -> None:
    """End with a message if scripts would import another library than the one with which the rules are read.

    Snakemake looks for modules beside the Snakefile first, and the interpreter of a script does not.
    """
    command = [sys.executable, "-c", "import backtranslation; print(backtranslation.__file__)"]
    found = subprocess.run(command, cwd="/", capture_output=True, text=True).stdout.strip()
    if not found or not PACKAGE.samefile(Path(found).parent):
        sys.exit(
            f"{PACKAGE} is not the library that {sys.executable} has installed ({found or 'none'}): install this one"
            f" (pip install -e {PACKAGE.parent}), or run the workflow of the other (backtranslation run)"
        )


def computes_here(workflow: Any) -> bool:
    """Whether jobs are started on this machine, and not handed to a cluster, nor by one to this machine."""
    # The executor is not known yet while rules are read. `--jobs` is for those of clusters; see `check_jobs`.
    return workflow.resource_settings.nodes is None and not workflow.remote_exec


def check_jobs(workflow: Any) -> None:
    """Raise UserError if `--jobs` is given on one machine, where Snakemake would then count no cores."""
    if workflow.local_exec and workflow.resource_settings.nodes is not None:
        raise UserError("--jobs (-j) is for the jobs of a cluster; on this machine, say --cores N")


def limit_gpus(workflow: Any, gpus: int) -> int:
    """How many GPUs the jobs on this machine may use at once: as many as there are, unless the user limits them.

    Snakemake counts what jobs ask for against `--resources gpu=N`, and does not limit it where that is not given.
    """
    if "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", gpus)
    return min(gpus, workflow.global_resources["gpu"].value)


def _producer(workflow: Any, path: str) -> Any:
    """The rule that makes a path, if there is one."""
    return next((rule for rule in workflow.rules if rule.is_producer(path)), None)


def _has_record(path: str) -> bool:
    """Whether Snakemake remembers how it made a path (its file backend names records so)."""
    name = urlsafe_b64encode(path.encode()).decode()
    parts = [name[start : start + RECORD_NAME] for start in range(0, len(name), RECORD_NAME)]
    return Path(".snakemake/metadata", *(f"@{part}" for part in parts[:-1]), parts[-1]).exists()


def settle_times(store: Path) -> None:
    """Set times in the future to now: Snakemake would refuse what is made, earlier than these, from these."""
    now = time.time()
    for path in named_paths(store):
        for file in (Path(path), Path(path) / ".snakemake_timestamp"):
            with suppress(FileNotFoundError, NotADirectoryError):
                if file.stat().st_mtime > now + CLOCK_SKEW_SECONDS:
                    os.utime(file, (now, now))
