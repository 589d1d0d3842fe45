"""Instruction backtranslation: from web pages to a self-improved model.

Read the rule files in this order; each is one step of the method.
"""

from backtranslation.commands.workflow_jobs import changes_default_run
from snakemake.utils import min_version

min_version("9.20")


# A configuration that names a base model is a run of its own; any other changes the default run.
if changes_default_run(config):

    configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"
include: "rules/corpus.smk"
include: "rules/seed.smk"
include: "rules/train.smk"
include: "rules/augment.smk"
include: "rules/curate.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


if settings.miniature:

    include: "rules/miniature.smk"


rule all:
    default_target: True
    input:
        layout.REPORT,
        layout.SETTINGS,


onstart:
    check_jobs(workflow)
    if not workflow.local_exec:
        pin_settings(workflow, settings, STORE)


if workflow.is_main_process:
    warn_of_lost_records()
    if not workflow.output_settings.dryrun:
        settle_times(STORE)
