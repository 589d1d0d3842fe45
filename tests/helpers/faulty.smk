"""One job for each file in `parts`; faulty_stage.py says what it does. `limit` has a minute, `node` begins on n4."""

import sys
from pathlib import Path

STAGE = Path(workflow.basedir) / "faulty_stage.py"


def place(wildcards, attempt):
    """A node that can be lost without any other part."""
    return "--nodelist=n4" if wildcards.part == "node" and attempt == 1 else "--exclude=n4"


rule all:
    input:
        expand("results/{part}.jsonl.zst", part=[path.stem for path in sorted(Path("parts").iterdir())]),


rule write_part:
    input:
        "parts/{part}.jsonl",
    output:
        "results/{part}.jsonl.zst",
    log:
        "results/logs/{part}.log",
    resources:
        slurm_extra=place,
        runtime=lambda wildcards: 1 if wildcards.part == "limit" else 10,
    shell:
        "{sys.executable:q} {STAGE:q} --spec {{}} --store results/store"
        " --part {input:q} --rows {output:q} 2>&1 | tee {log:q}"
