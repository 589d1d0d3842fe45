"""What every rule file uses: the checked settings, the names of shards and models, and how a stage is called."""

import json
import shlex
import sys
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.checks import check_run
from backtranslation.commands.run_log import install_run_log
from backtranslation.commands.workflow_jobs import (
    LOOK_AT_ALL,
    check_jobs,
    check_library,
    computes_here,
    limit_gpus,
    pin_settings,
    read_configuration,
    results_made_otherwise,
    settle_times,
)
from backtranslation.corpus.shards import list_shards
from backtranslation.errors import UserError
from backtranslation.export.results_card import results_card
from backtranslation.jobs.content_digests import file_states
from backtranslation.jobs.leases import visible_gpus
from backtranslation.jobs.manifests import short_digest
from backtranslation.jobs.source_digests import source_digests
from backtranslation.jobs.stage import StageCall
from backtranslation.score_names import COLUMNS
from backtranslation.settings.base_model import looks_like_folder, name_on_hub, public_name
from backtranslation.settings.evaluation import CONTROLS
from backtranslation.settings.miniature import miniature_files
from backtranslation.settings.run import comparisons, load_settings, model_names, trained_models
from backtranslation.settings.slices import spec
from backtranslation.settings.training import TrackedRun
from backtranslation.shipped import PACKAGE, SCRIPTS, WORKFLOW, find_file
from snakemake.logging import logger

# On a cluster it is not this machine that has the GPUs.
GPUS = limit_gpus(workflow, len(visible_gpus())) if computes_here(workflow) else None

try:
    configuration = read_configuration(config, WORKFLOW / "config.yaml")
    if workflow.is_main_process:  # each job reads these files too, and what was checked once is right
        check_run(configuration, GPUS or 0)
    settings = load_settings(configuration)
    SHARDS = {shard.name: shard for shard in list_shards(settings.corpus.sources, settings.generated_files())}
except UserError as error:
    sys.exit(str(error))  # the message alone: a traceback into this file would help nobody

MODELS = model_names(settings)
TRAINED_MODELS = trained_models(settings.iterations, settings.evaluation)
ITERATIONS = range(1, settings.iterations + 1)
COMPARISONS = comparisons(settings)
STORE = layout.locate(settings.results, layout.STORE)

# How every rule calls its script, whatever prefix another workflow gives its shell. The shell and `tee` ignore SIGTERM,
# which a cluster sends to all processes of a job at once: they must outlive a training that then saves a checkpoint. `tee`
# ignores SIGINT (-i) too: after Ctrl-C a stage still says how it ended. Besides its own log, what a job says goes to that of
# a cluster, which keeps it when the job is tried again; a run on one machine does not show it (`RunLog.silence_jobs`).
STAGE = "set -euo pipefail; trap '' TERM; {params.call} --spec {params.spec:q} 2>&1 | tee -i {log:q}"


pathvars:
    results=settings.results,


wildcard_constraints:
    shard=r"[^/]+",
    iteration=r"[1-9]\d*",
    scorer=r"[^/]+",
    model=rf"backward|{'|'.join(CONTROLS)}|M\d+",


def call(stage, **parts):
    """How a stage is called for a job; `parts` are settings some of which only say how the work is done.

    Snakemake does not compare parameters that are made from input, output, threads or resources.
    """

    def call_stage(wildcards, input, output, threads, resources):
        given = {name: part(wildcards) if callable(part) else part for name, part in parts.items()}
        ports = [*input.items(), *output.items()]
        return StageCall(
            script=SCRIPTS / f"{stage}.py",
            store=STORE,
            files={name: [paths] if isinstance(paths, str) else list(paths) for name, paths in ports},
            threads=threads,
            gpus=resources.get("gpu", 0),
            execution=json.dumps({name: part.execution() for name, part in given.items()}, sort_keys=True),
        )

    return call_stage


def code_digest(stage, *parts):
    """Digest of the source of a stage: Snakemake looks at its jobs again when it changes.

    `parts` are settings of the stage that choose modules of the library.
    """
    modules = [module for part in parts for module in part.modules()]
    return short_digest(source_digests(SCRIPTS / f"{stage}.py", modules))


def source_state(*paths):
    """State of files that no rule makes: Snakemake sees no edit that sets a time back, and none inside a folder."""
    files = [path for path in paths if path and path not in settings.generated_files() and Path(path).exists()]
    return short_digest({path: file_states(Path(path)) for path in files})


def template(name):
    """The file of a prompt, which may be one that ships with the workflow."""
    return find_file(getattr(settings.prompts, name))


def model_input(path):
    """A model as an input file, unless it is a name on the hub."""
    return find_file(path) if looks_like_folder(path) else []


def gpus(count):
    """GPUs of a job that would use so many: none on a machine without any, where the processor does the work."""
    return 0 if GPUS == 0 else count


def warn_of_lost_records():
    """Name results that are stale though Snakemake, having lost its records of them, takes them for fresh."""
    stale = results_made_otherwise(workflow, STORE)
    if stale:
        logger.warning(
            "Snakemake has lost its records (.snakemake/) of these results, which were made from other settings or code:\n"
            + "".join(f"  {path}\n" for path in stale)
            + f"`{LOOK_AT_ALL}` looks at all results and computes only what changed."
        )
