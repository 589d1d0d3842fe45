"""Ctrl-C: what a job says that is stopped by it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from helpers.tiny_models import ROOT

SCRIPT = """
import sys, time
from backtranslation.jobs.process import run_script
def main():
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
run_script(main)
"""


def test_ctrl_c_ends_a_stage_with_one_line_that_reaches_its_log(tmp_path: Path) -> None:
    """Called as the rules call a stage, in a group of processes that all get the signal, as from a terminal."""
    (tmp_path / "count_words.py").write_text(SCRIPT)
    line = re.search(r'^STAGE = "(.+)"$', (ROOT / "rules" / "common.smk").read_text(), re.MULTILINE)
    assert line is not None
    call = f"{sys.executable} {tmp_path / 'count_words.py'}"
    shell = line[1].replace("{params.call}", call).replace("{params.spec:q}", "{{}}")
    command = shell.replace("{log:q}", str(tmp_path / "log")).replace("{{}}", "{}")
    job = subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )  # fmt: skip
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    os.killpg(job.pid, signal.SIGINT)
    said = job.communicate(timeout=30)[0]
    assert said == "count_words: stopped by Ctrl-C; what is done stays done: run again to continue\n"
    assert (tmp_path / "log").read_text() == f"ready\n{said}"
    assert job.returncode in (130, -signal.SIGINT)
