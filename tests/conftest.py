"""Fixtures for tests that need a model, a tokenizer, the project's prompts, or a finished run of the workflow."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.small_run import copy_run, make_run
from helpers.tiny_models import ROOT, build_model_folder, build_tokenizer
from helpers.trainings import command_builder
from transformers import PreTrainedTokenizerBase

from backtranslation.jobs.locks import locked_file
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.prompts import Prompts


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only lose by more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a random model of an architecture, made once."""

    def build(architecture: str) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"base-{architecture}"
        if not folder.exists():
            build_model_folder(folder, architecture)
        return folder

    return build


@pytest.fixture
def base(model_folder: Callable[[str], Path]) -> BaseModelSettings:
    return BaseModelSettings(path=str(model_folder("llama")))


@pytest.fixture(scope="session")
def prompt_settings() -> Prompts:
    """The prompt files of the project, wherever the tests are run from."""
    files = {key: str(ROOT / value) for key, value in Prompts().model_dump().items() if value.endswith(".jinja")}
    return Prompts(**files)


@pytest.fixture
def command(base: BaseModelSettings, prompt_settings: Prompts, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of scripts/train_model.py, as `command_builder` makes it."""
    return command_builder(base, prompt_settings, tmp_path)


@pytest.fixture(scope="session")
def prompts(prompt_settings: Prompts) -> PromptSet:
    return PromptSet(prompt_settings)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerBase]:
    return {kind: build_tokenizer(kind) for kind in ("plain", "chat", "start")}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run at its end, made once for all processes of the tests, which work on copies."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with locked_file(folder / "finished-run.lock"):
        run = folder / "finished-run"
        return run if (run / "results/report/index.html").exists() else make_run(run)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the finished run, in which Snakemake has nothing to do."""
    copy = copy_run(finished_run, tmp_path / "run")
    yield copy
    shutil.rmtree(copy)
