"""Instruction backtranslation: from web pages to a self-improved model.

Read the rule files in this order; each is one step of the method.
"""

from backtranslation.shipped import WORKFLOW
from snakemake.utils import min_version

min_version("9.20")

# Those of the library: Snakemake cannot include files beside a Snakefile that lies at the top of a git repository.
RULES = WORKFLOW / "rules"


include: RULES / "common.smk"
include: RULES / "corpus.smk"
include: RULES / "seed.smk"
include: RULES / "train.smk"
include: RULES / "augment.smk"
include: RULES / "curate.smk"
include: RULES / "audit.smk"
include: RULES / "evaluate.smk"
include: RULES / "package.smk"
include: RULES / "report.smk"


if settings.miniature:

    include: RULES / "miniature.smk"


rule all:
    default_target: True
    input:
        layout.REPORT,
        layout.SETTINGS,
        PACKAGED_MODELS,
        layout.RESULTS_CARD,


RUN_LOG = None


onstart:
    check_jobs(workflow)
    if RUN_LOG:
        RUN_LOG.silence_jobs()
    if not workflow.local_exec:
        pin_settings(workflow, settings, STORE)


onsuccess:
    if RUN_LOG:
        RUN_LOG.succeed()


onerror:
    if RUN_LOG:
        RUN_LOG.fail()


if workflow.is_main_process:
    check_library()
    if Path(workflow.main_snakefile).resolve() == (WORKFLOW / "Snakefile").resolve():
        RUN_LOG = install_run_log(workflow, settings.results, STORE)
    warn_of_lost_records()
    if not workflow.output_settings.dryrun:
        settle_times(STORE)
