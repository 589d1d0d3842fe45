"""What a job costs on a SLURM cluster, with profiles/slurm as it is: jobs that do nothing, side by side and in a row.

python benchmarks/slurm_overhead.py    # on a cluster
python tests/helpers/slurm_cluster.py .venv/bin/python benchmarks/slurm_overhead.py    # on a pretended one
"""

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

PROFILE = Path(__file__).parent.parent / "profiles/slurm"
SNAKEFILE = """
rule all:
    input:
        expand("beside/{number}", number=range(int(config["beside"]))),
        f"row/{config['row']}" if config["row"] else [],


rule begin:
    output:
        "row/0",
    localrule: True
    shell:
        "touch {output}"


rule go_on:
    input:
        lambda wildcards: f"row/{int(wildcards.number) - 1}",
    output:
        r"row/{number,[1-9]\\d*}",
    shell:
        "touch {output}"


rule do_nothing:
    output:
        "beside/{number}",
    shell:
        "touch {output}"
"""


def main() -> None:
    """Measure, and print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20, help="jobs side by side (default: %(default)s)")
    parser.add_argument("--row", type=int, default=3, help="jobs one after the other (default: %(default)s)")
    args = parser.parse_args()
    print("| jobs | whole run, s | s for each job | of these in SLURM, median s |\n|---|---|---|---|")
    for beside, row in ((args.jobs, 0), (0, args.row)):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            seconds = run_jobs(Path(folder), beside, row)
            inside = median(seconds_in_slurm(Path(folder)))
        jobs, way = (beside, "side by side") if beside else (row, "in a row")
        print(f"| {jobs} {way} | {seconds:.0f} | {seconds / jobs:.1f} | {inside:.0f} |")


def run_jobs(folder: Path, beside: int, row: int) -> float:
    """Seconds of a run with so many jobs."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--workflow-profile", str(PROFILE)]
    started = time.monotonic()
    subprocess.run([*command, "--config", f"beside={beside}", f"row={row}"], cwd=folder, check=True)
    return time.monotonic() - started


def seconds_in_slurm(folder: Path) -> list[float]:
    """From start to end of every job that was begun from a folder."""
    command = ["squeue", "--states=all", "--noheader", "--format=%Z|%S|%e"]
    lines = [line.split("|") for line in subprocess.check_output(command, text=True).splitlines()]
    return [
        (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
        for place, start, end in lines
        if place == str(folder)
    ]


if __name__ == "__main__":
    main()
