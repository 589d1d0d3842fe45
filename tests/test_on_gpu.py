"""benchmarks/on_gpu.py with tiny models on the processor: every job has its row, limits are as its head says."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from helpers.tiny_models import ROOT

ROWS = [
    "1B LoRA training", "1B LoRA training with TRL", "1B full training", "1B generation", "1B scoring by rubric",
    "1B scoring by likelihood", "8B LoRA training", "8B LoRA training with TRL", "8B generation",
    "8B scoring by rubric", "8B scoring by likelihood",
]  # fmt: skip


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import on_gpu

    return on_gpu


def test_every_job_has_a_row_of_positive_numbers() -> None:
    command = [sys.executable, "benchmarks/on_gpu.py", "--tiny", "--threads", "1", "docs/data.md", "docs/seed.md"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row[0] for row in table[2:]] == ROWS
    for name, *cells in table[2:]:
        tokens, seconds, rate, limit, share, utilization, peak, freed = cells
        for cell in (tokens, rate, limit, share, peak):
            value = float(cell.replace(",", ""))
            assert math.isfinite(value) and value > 0, f"{name}: {cells}"
        assert float(seconds) >= 0
        assert (utilization, freed) == ("-", "-"), "the processor has no peak and no memory of a GPU"


def test_a_job_that_fails_says_why(on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu_jobs import Job

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job = Job("generate", "1B", True, tmp_path, [], threads=1)
    with pytest.raises(on_gpu.JobError, match=f"ModelError: {tmp_path}/1B"):
        on_gpu.run_job(job, time.monotonic() + 600)


def test_memory_that_a_job_leaves_in_use_is_a_fault(on_gpu: ModuleType) -> None:
    from gpu_jobs import Outcome

    outcome = Outcome(["1"], None, 0)
    before = {"0": on_gpu.GIB, "1": on_gpu.GIB}
    assert not on_gpu.is_left(outcome, before, before | {"0": 9 * on_gpu.GIB}), "another GPU is no matter of this job"
    after = before | {"1": 3 * on_gpu.GIB}
    assert on_gpu.is_left(outcome, before, after)
    assert on_gpu.freed(outcome, before, after) == "**not freed** 1.00 -> 3.00"


def test_parameters_and_cache_are_those_of_the_model(on_gpu: ModuleType) -> None:
    import torch
    from gpu_jobs import LARGE, TINY
    from transformers import AutoModelForCausalLM

    for shape in (*TINY.shapes.values(), *LARGE.shapes.values()):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(shape.config(end_id=0))
        assert shape.parameters == model.num_parameters()
        layers = (module for name, module in model.named_modules() if name.endswith(("k_proj", "v_proj")))
        assert shape.cached_numbers == sum(layer.out_features for layer in layers)


def test_a_decoding_step_is_bound_by_memory_for_few_rows_and_by_operations_for_many(on_gpu: ModuleType) -> None:
    from gpu_jobs import LARGE, Measurement, Roof, decode_step, least_seconds

    shape, roof = LARGE.shapes["8B"], Roof("H100", operations=798e12, bandwidth=3.0e12)
    alone, many = (
        least_seconds(Measurement(1, 1.0, 0.0, [decode_step(shape, rows, context=0)]), roof) for rows in (1, 4096)
    )
    assert alone == pytest.approx(2 * shape.parameters / roof.bandwidth)
    assert many == pytest.approx(2 * shape.parameters * 4096 / roof.operations)
