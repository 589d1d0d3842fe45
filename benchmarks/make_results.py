"""Make all results of the workflow in this folder in one process, recorded as Snakemake records them.

For many_shards.py: thousands of jobs take minutes, not hours. The commands of scripts run within this process.
"""

import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import DAGSettings, ExecutionSettings, OutputSettings, Quietness, ResourceSettings


def main() -> None:
    """Run every job of the default target after those that it needs."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow_api = api.workflow(ResourceSettings(cores=1), snakefile=Path("Snakefile"))
        workflow_api.dag(DAGSettings())
        workflow = workflow_api._workflow
        workflow._prepare_dag(forceall=False, ignore_incomplete=False, lock_warn_only=False)
        workflow._build_dag()
        workflow.execution_settings = ExecutionSettings()
        workflow.iocache.deactivate()  # the files that it knows of are about to change
        for jobs in workflow.dag.toposorted():
            for job in jobs:
                if job.shellcmd:
                    run(job)
                    workflow.async_run(workflow.persistence.finished(job))


def run(job: Any) -> None:
    """Run the command of a job; that of a stage without its log."""
    for path in [*job.output, *job.log]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    words = shlex.split(job.shellcmd)
    if sys.executable not in words or "-m" in words:
        subprocess.run(job.shellcmd, shell=True, check=True)
        return
    sys.argv = words[words.index(sys.executable) + 1 : words.index("2>&1")]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
