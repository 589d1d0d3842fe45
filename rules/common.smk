"""What every rule file uses: the checked settings, the names of shards and models, and how a script is called."""

import sys
from pathlib import Path

from backtranslation.jobs.content_digests import file_states
from backtranslation.errors import UserError
from backtranslation.jobs.leases import visible_gpus
from backtranslation.jobs.manifests import short_digest
from backtranslation.jobs.named_paths import settle_times
from backtranslation.corpus.readers import list_shards
from backtranslation.settings.base_model import hub_name, looks_like_folder
from backtranslation.settings.checks import check_files, check_gpus
from backtranslation.settings.miniature import miniature_files
from backtranslation.settings.run import load_settings, model_names
from backtranslation.settings.slices import spec
from backtranslation.jobs.source_digests import source_digests
from backtranslation.commands.workflow_jobs import (
    check_jobs,
    computes_here,
    limit_gpus,
    pin_settings,
    read_configuration,
    results_made_otherwise,
)
from snakemake.logging import logger

try:
    settings = load_settings(read_configuration(config))
    check_files(settings)
    # On a cluster it is not this machine that has the GPUs.
    GPUS = limit_gpus(workflow, len(visible_gpus())) if computes_here(workflow) else None
    check_gpus(settings, GPUS or 0)
    SHARDS = {shard.name: shard for shard in list_shards(settings.corpus.sources, settings.generated_files())}
except UserError as error:
    sys.exit(str(error))  # the message alone: a traceback into this file would help nobody

MODELS = model_names(settings)
ITERATIONS = range(1, settings.iterations + 1)

# The interpreter that runs Snakemake has the library; `python` on PATH may be another.
PYTHON = sys.executable
SCRIPTS = Path(workflow.basedir) / "scripts"
STORE = f"{settings.results}/store"

# Snakemake's own prefix, and: a cluster sends SIGTERM to all processes of a job at once, but the shell and `tee` must
# outlive a training that then saves a checkpoint.
shell.prefix("set -euo pipefail; trap '' TERM; ")


pathvars:
    results=settings.results,


wildcard_constraints:
    shard=r"[^/]+",
    iteration=r"[1-9]\d*",
    model=r"backward|unselected|M\d+",


def gpus(count):
    """GPUs of a job that would use so many: none on a machine without any, where the processor does the work."""
    return 0 if GPUS == 0 else count


def model_input(path):
    """A model as an input file, unless it is a name on the hub."""
    return path if looks_like_folder(path) else []


def code(stage):
    """Digest of the source of a stage: Snakemake looks at its jobs again when it changes."""
    return short_digest(source_digests(SCRIPTS / f"{stage}.py"))


def outside(*paths):
    """State of files that no rule makes: Snakemake sees no edit that sets a time back, and none inside a folder."""
    files = [path for path in paths if path and path not in settings.generated_files() and Path(path).exists()]
    return short_digest({path: file_states(Path(path)) for path in files})


def warn_of_lost_records():
    """Name results that are stale though Snakemake, having lost its records of them, takes them for fresh."""
    stale = results_made_otherwise(workflow, Path(STORE))
    if stale:
        logger.warning(
            "Snakemake has lost its records (.snakemake/) of these results, which were made from other settings or code:\n"
            + "".join(f"  {path}\n" for path in stale)
            + "`snakemake --forceall` looks at all results and computes only what changed."
        )
