"""The workflows that benchmarks/many_shards.py measures are those of the project as it is now."""

import inspect
import re

import pytest
from helpers.tiny_models import ROOT

from backtranslation import layout
from backtranslation.jobs.contract import Role, load_contract
from backtranslation.jobs.stages import model_stages
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
