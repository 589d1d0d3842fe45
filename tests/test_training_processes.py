"""Real processes of scripts/train_model.py: several workers, kills, SIGTERM, another number of workers afterwards."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from helpers.trainings import FIVE_ROWS, assert_curve_is_table, assert_same_training, changed, command_builder
from transformers import AutoModelForCausalLM

from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.training import Lora, Training

Command = Callable[..., list[str]]
LONGER = changed(FIVE_ROWS, epochs=20, rows_per_device=1)


def finish(command: list[str]) -> str:
    """Run a training to its end; what it logged."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_of(script: subprocess.Popen) -> list[psutil.Process]:
    """The script, torchrun, and the workers, as far as there are any."""
    process = psutil.Process(script.pid)
    return [process, *process.children(recursive=True)]


def catches_sigterm(process: psutil.Process) -> bool:
    try:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_for_steps(script: subprocess.Popen, processes: int) -> None:
    """Wait until the workers are at their steps, where they catch SIGTERM, as do those that started several of them."""
    catching = processes if processes == 1 else processes + 2
    wait_until(lambda: script.poll() is not None or sum(map(catches_sigterm, processes_of(script))) == catching)
    assert script.poll() is None


def terminate_all(script: subprocess.Popen) -> None:
    """What SLURM sends ahead of a time limit."""
    for process in processes_of(script):
        process.terminate()


def test_two_processes_train_as_one(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows in the same steps, spread over two gloo processes, give the same model, tokens, and one curve."""
    # Some platforms set these for every program.
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    for name, processes in (("one", 1), ("two", 2)):
        training = changed(FIVE_ROWS, rows_per_device=1, processes=processes, trackers=["tensorboard"])
        finish(command(name, training, threads=2))
        [curve] = (tmp_path / name / "logs/tensorboard").iterdir()
        assert_curve_is_table(curve, tmp_path / name / "model.tsv")
        [manifest] = (tmp_path / name / "store/results/train_model").glob("*/manifest.json")
        table = pd.read_csv(tmp_path / name / "model.tsv", sep="\t")
        assert json.loads(manifest.read_text())["tokens"] == table.tokens.iloc[-1]
    assert_same_training(tmp_path / "one/model", tmp_path / "two/model")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "two/model").dtype == torch.float32


@pytest.mark.parametrize(
    ("architecture", "method"), [("gemma", "full"), pytest.param("llama", "lora", marks=pytest.mark.long)]
)
def test_a_sharded_training_gives_the_same_ordinary_model(
    architecture: str,
    method: str,
    model_folder: Callable[[str], Path],
    prompt_settings: Prompts,
    tmp_path: Path,
) -> None:
    """FSDP2 over two gloo processes, activations computed twice; of tied weights, and of adapters."""
    command = command_builder(BaseModelSettings(path=str(model_folder(architecture))), prompt_settings, tmp_path)
    alone = changed(FIVE_ROWS, method=method, lora=Lora(dropout=0).model_dump())
    finish(command("alone", alone))
    log = finish(command("sharded", changed(alone, processes=2, sharding="always", gradient_checkpointing=True)))
    assert "sharded over 2 processes" in log and "Warning" not in log
    assert_same_training(tmp_path / "alone/model", tmp_path / "sharded/model")
    files = [sorted(path.name for path in (tmp_path / name / "model").iterdir()) for name in ("alone", "sharded")]
    assert files[0] == files[1]


@pytest.mark.long
def test_two_trainings_in_two_processes_at_once(command: Command, tmp_path: Path) -> None:
    """Each finds ports of its own."""
    training = changed(FIVE_ROWS, processes=2)
    scripts = [
        subprocess.Popen(command(name, training), stderr=subprocess.PIPE, text=True) for name in ("one", "other")
    ]
    for script in scripts:
        assert script.communicate()[1] and script.returncode == 0
    assert_same_training(tmp_path / "one/model", tmp_path / "other/model")


@pytest.mark.parametrize(
    ("method", "before", "sharding", "after"),
    [
        ("full", 1, "auto", 1),
        pytest.param("lora", 2, "auto", 1, marks=pytest.mark.long),
        pytest.param("lora", 1, "always", 2, marks=pytest.mark.long),
        pytest.param("full", 2, "always", 1, marks=pytest.mark.long),
    ],
)
def test_a_killed_training_goes_on_with_any_number_of_processes(
    method: str, before: int, sharding: str, after: int, command: Command, tmp_path: Path
) -> None:
    """Killed with SIGKILL, a further checkpoint half written; the end is that of a quiet run.

    A checkpoint says itself whether it is sharded.
    """
    quiet = changed(LONGER, method=method, lora=Lora(dropout=0).model_dump())
    training = changed(quiet, save_minutes=0.001)
    first = changed(training, processes=before, sharding=sharding)
    script = subprocess.Popen(command("killed", first), stderr=subprocess.DEVNULL)
    pattern = "killed/store/work/train_model/*/checkpoints/whole-*"
    wait_until(lambda: list(tmp_path.glob(pattern)) or script.poll() is not None)
    workers = processes_of(script)[1:]
    script.kill()
    assert script.wait() == -signal.SIGKILL and not (tmp_path / "killed/model").exists()
    psutil.wait_procs(workers, timeout=10)
    whole = max(int(path.name.rpartition("-")[2]) for path in tmp_path.glob(pattern))
    half = next(tmp_path.glob(pattern)).parent / "checkpoint-100000"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")

    log = finish(command("killed", changed(training, processes=after)))
    assert f"going on from step {whole:,}" in log and ("sharded over" in log) == (sharding == "always")
    assert not half.parent.exists()
    finish(command("quiet", quiet))
    assert_same_training(tmp_path / "quiet/model", tmp_path / "killed/model")


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.long), 2])
def test_sigterm_saves_a_checkpoint_and_ends(processes: int, command: Command, tmp_path: Path) -> None:
    """Sent to every process; one line says what happened, and the retry goes on from the step that was in hand."""
    training = changed(LONGER, processes=processes)
    with (tmp_path / "log").open("w") as log:
        script = subprocess.Popen(command("stopped", training), stdout=log, stderr=log)
    wait_for_steps(script, processes)
    terminate_all(script)
    assert script.wait() == 1
    text = (tmp_path / "log").read_text()
    assert text.splitlines()[-1].startswith("train_model: error: stopped by SIGTERM") and "Traceback" not in text
    [whole] = tmp_path.glob("stopped/store/work/train_model/*/checkpoints/*")
    step = int(whole.name.removeprefix("whole-"))
    assert f"going on from step {step:,}" in finish(command("stopped", training))
    finish(command("quiet", LONGER))
    assert_same_training(tmp_path / "quiet/model", tmp_path / "stopped/model")


def test_sigterm_saves_a_checkpoint_when_nobody_reads_the_log_any_more(command: Command, tmp_path: Path) -> None:
    """The `tee` of the log ends by the same signal, which reaches the script alone, as `kill` would send it."""
    tee = subprocess.Popen(["tee", tmp_path / "log"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    script = subprocess.Popen(command("stopped", LONGER), stdout=tee.stdin, stderr=tee.stdin)
    assert tee.stdin is not None
    tee.stdin.close()
    wait_for_steps(script, 1)
    tee.terminate()
    tee.wait()
    script.terminate()
    assert script.wait() == 1
    [whole] = tmp_path.glob("stopped/store/work/train_model/*/checkpoints/*")
    assert re.fullmatch(r"whole-\d+", whole.name)


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_before_the_first_step_ends_at_once(processes: int, command: Command, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        script = subprocess.Popen(command("stopped", changed(LONGER, processes=processes)), stdout=log, stderr=log)
    wait_until(lambda: list(tmp_path.glob("stopped/store/work/train_model/*")))
    wait_until(lambda: len(processes_of(script)) >= (4 if processes > 1 else 1))
    started, everyone = time.monotonic(), processes_of(script)
    terminate_all(script)
    assert script.wait() not in (0, None) and time.monotonic() - started < 20
    assert not psutil.wait_procs(everyone, timeout=5)[1]
    assert not list(tmp_path.glob("stopped/store/work/train_model/*/checkpoints/*"))


def test_sigterm_to_the_script_alone_reaches_a_launcher_without_workers(command: Command, tmp_path: Path) -> None:
    script = subprocess.Popen(command("stopped", changed(LONGER, processes=2)))
    wait_until(lambda: len(processes_of(script)) == 2 and catches_sigterm(processes_of(script)[0]))
    everyone = processes_of(script)
    script.terminate()
    assert script.wait(20) == 1
    assert not psutil.wait_procs(everyone[1:], timeout=5)[1]


def test_fewer_gpus_than_processes_are_an_error(command: Command) -> None:
    training: Training = changed(FIVE_ROWS, processes=2)
    done = subprocess.run(
        command("model", training, "--gpus=1"), capture_output=True, text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "0,1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: config: training.forward.processes: 2 processes, and --gpus 1 for them" in done.stderr
