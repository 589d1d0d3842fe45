"""The benchmarks measure the project as it is now, and what they compare does the same work."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import ROOT

from backtranslation import layout
from backtranslation.jobs.contract import Role, load_contract
from backtranslation.jobs.stages import model_stages
from backtranslation.models.engines.transformers_engine import TransformersEngine
from backtranslation.models.loading import load_model, load_tokenizer
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.prompts import Prompts
from backtranslation.shipped import SCRIPTS


def test_every_stage_that_needs_a_model_has_a_stub_for_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import stub_stages

    for stage in model_stages():
        roles = {port.name: port.role for port in load_contract(SCRIPTS / f"{stage}.py").ports}
        outputs = {name for name, role in roles.items() if role is Role.OUTPUT}
        named = {
            name
            for name, parameter in inspect.signature(getattr(stub_stages, stage)).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        }
        assert outputs <= named <= roles.keys(), stage


def test_the_bare_workflow_has_the_files_of_the_project() -> None:
    text = (ROOT / "benchmarks/bare_workflow.smk").read_text(encoding="utf-8")
    named = {path.replace("{{", "{").replace("}}", "}") for path in re.findall(r'"(results/[^"]+)"', text)}
    patterns = [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
    matchers = [layout._matcher(pattern) for pattern in patterns if pattern.startswith(f"{layout.RESULTS}/")]
    strange = {path for path in named if not any(one.fullmatch(path.removeprefix("results/")) for one in matchers)}
    assert not strange


def test_a_page_gets_what_its_commands_print(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import refresh_page

    page = tmp_path / "page.md"
    block = "```console\n$ python -c print(6*{})\n{}```\n"
    page.write_text("before\n\n" + block.format(7, "41\n") + "between\n\n" + block.format(8, "") + "\n```\n$ ls\n```\n")
    monkeypatch.setattr(sys, "argv", ["refresh_page", str(page)])
    refresh_page.main()
    assert page.read_text() == (
        "before\n\n" + block.format(7, "42\n") + "between\n\n" + block.format(8, "48\n") + "\n```\n$ ls\n```\n"
    )
    page.write_text(block.format(7, "41\n") + block.format("no(", "1\n"))
    with pytest.raises(SystemExit, match="exit code 1"):
        refresh_page.main()
    assert page.read_text() == block.format(7, "42\n") + block.format("no(", "1\n")


def test_generation_is_measured_on_equal_texts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model_folder: Callable[[str], Path]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import generation

    folder = str(model_folder("qwen"))
    base = BaseModelSettings(path=folder)
    engine = TransformersEngine(
        load_model(folder, base, torch.float32), load_tokenizer(folder, base, PromptSet(Prompts()))
    )
    jobs = list(generation.make_jobs(engine, 4))
    assert [job.name for job in jobs] == ["varied lengths", "shared rubric, 24", "shared rubric, 60", "digits alone"]
    monkeypatch.setattr(generation, "BATCH_ROWS", (4, 3))
    generation.compare(engine, jobs[0])
    assert capsys.readouterr().out.endswith("4 of 4\n")
