"""Shards without rows: their jobs load no model and lease no GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny_models import ROOT

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import spec

COMMON = {"loading": ModelLoading(), "generation": Generation(), "limits": Limits()}
SPECS = {
    "generate_instructions": spec(**COMMON, sampling=Sampling(), random_seed=1),
    "score_candidates": spec(**COMMON, sampling=Sampling(), samples=1, random_seed=1),
    "measure_likelihood": spec(**COMMON, task="forward"),
}


@pytest.mark.parametrize(
    ("stage", "rows"),
    [
        ("generate_instructions", []),
        ("score_candidates", []),
        ("score_candidates", [{"id": "a", "instruction": "", "response": "text", "rejection": "empty"}]),
        ("measure_likelihood", [{"id": "a", "instruction": "", "response": "text", "rejection": "empty"}]),
    ],
)
def test_a_shard_without_rows_loads_no_model_and_leases_no_gpu(
    stage: str, rows: list[Row], prompt_settings: Prompts, tmp_path: Path
) -> None:
    """The model is none, torch cannot be imported, and there is no GPU to lease; with a row all of that is missed."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("no model")
    source, prompt, made = {
        "generate_instructions": ("segments", prompt_settings.backward, "instructions"),
        "score_candidates": ("candidates", prompt_settings.score, "judgements"),
        "measure_likelihood": ("candidates", prompt_settings.forward, "likelihoods"),
    }[stage]

    def run(rows: list[Row], gpus: int) -> subprocess.CompletedProcess[str]:
        write_rows(tmp_path / "rows.jsonl.zst", rows)
        command = [sys.executable, str(ROOT / f"scripts/{stage}.py"), "--spec", SPECS[stage], "--store", "store",
                   f"--gpus={gpus}", f"--{source}=rows.jsonl.zst", "--model=model", f"--prompt={prompt}",
                   f"--{made}=made.jsonl.zst"]  # fmt: skip
        environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "CUDA_VISIBLE_DEVICES": "pretended"}
        return subprocess.run(command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True)

    done = run(rows, gpus=2)
    assert done.returncode == 0, done.stderr
    assert list(read_rows(tmp_path / "made.jsonl.zst")) == []
    assert "no rows to work on: no model is loaded" in done.stderr
    full = [{"id": "b", "text": "text", "instruction": "why", "response": "text", "rejection": None}]
    assert "2 GPUs are asked for" in run(full, gpus=2).stderr
    assert "torch was imported" in run(full, gpus=0).stderr
