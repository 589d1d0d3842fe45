"""Stages: what the signature of a function says, and what follows from it for command line, job and rule."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_run import ROOT

from backtranslation.jobs.contract import Input, Output, Role, Workplace, load_contract, read_contract
from backtranslation.jobs.manifests import Job, StoreError
from backtranslation.jobs.source_digests import source_digests
from backtranslation.jobs.stage import StageCall, build_parser, files_of, port_options
from backtranslation.jobs.stages import list_stages
from backtranslation.settings.generation import ENGINES, Generation
from backtranslation.settings.slices import Slice, spec

STAGES = list_stages()
every_stage = pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)


class Spec(Slice):
    """Settings of the example."""

    generation: Generation
    word: str = "a"


def example_stage(
    pages: list[Input],
    base: Input | None,
    prompt: Input,
    copies: list[Output],
    table: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """An example with ports of every kind.

    pages: rows, .jsonl
    """
    CALLS.append((pages, base, prompt, copies, table, spec, workplace))


CALLS: list[tuple[object, ...]] = []
CONTRACT = read_contract(example_stage)
SMALLEST = ["--spec", spec(generation=Generation()), "--store", "results/store", "--prompt", "p", "--table", "t"]


def read(*arguments: str) -> Job:
    """The job of a command line."""
    args = build_parser(CONTRACT).parse_args([*SMALLEST, *arguments])
    return CONTRACT.job(args.spec, files_of(CONTRACT, args))


def test_inputs_and_outputs_are_lists_by_port_in_the_order_of_the_signature() -> None:
    job = read("--copies", "c1", "c2", "--base", "folder", "--pages", "p1", "p2")
    assert list(job.inputs.items()) == [("pages", ["p1", "p2"]), ("base", ["folder"]), ("prompt", ["p"])]
    assert list(job.outputs.items()) == [("copies", ["c1", "c2"]), ("table", ["t"])]


def test_ports_that_may_be_missing_are_left_out() -> None:
    assert read().inputs == {"prompt": ["p"]} == read("--base", "--pages").inputs
    assert read().outputs == {"table": ["t"]}


def test_a_command_line_without_a_port_that_must_be_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser(CONTRACT).parse_args(SMALLEST[:-2])
    assert "required: --table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"prompt": ["p"], "table": ["t"], "pagse": ["p"]}, "test_stage: there is no port pagse"),
        ({"prompt": ["p"]}, "table: 0 files, where one belongs"),
        ({"prompt": ["p", "q"], "table": ["t"]}, "prompt: 2 files, where one belongs"),
        ({"prompt": ["p"], "table": ["t"], "base": ["a", "b"]}, "base: 2 files, where one belongs"),
    ],
)
def test_files_that_do_not_fit_the_ports_are_an_error(files: dict[str, list[str]], fault: str) -> None:
    with pytest.raises(StoreError, match=fault):
        CONTRACT.job(SMALLEST[1], files)


def test_a_parameter_that_is_no_port_is_an_error() -> None:
    def compute(pages: Input, count: int, spec: Spec) -> None: ...

    with pytest.raises(TypeError, match="parameter count of a stage is neither an Input nor an Output"):
        read_contract(compute)


def test_what_says_how_the_work_is_done_is_no_part_of_the_job() -> None:
    assert read("--threads", "8", "--execution", '{"generation": {"gpus": 2}}', "--store", "elsewhere") == read()


def test_settings_of_both_kinds_reach_the_function_and_files_in_the_form_of_its_parameters() -> None:
    workplace = Workplace(Path("work"), 1, 0, [])
    execution = json.dumps({"generation": {"batch_tokens": 9, "engine": "another"}})
    CONTRACT.call(
        {"pages": ["p1"], "prompt": ["p"], "table": ["t"]}, CONTRACT.read_spec(SMALLEST[1], execution), workplace
    )
    pages, base, prompt, copies, table, given, place = CALLS.pop()
    assert (pages, base, prompt, copies, table) == ([Path("p1")], None, Path("p"), [], Path("t"))
    assert given == Spec(generation=Generation(batch_tokens=9)), "an engine is no matter of execution"
    assert place is workplace


def test_a_call_is_read_as_it_was_written() -> None:
    files = {"pages": ["p 1", "b'\"é\n"], "prompt": ["p"], "table": ["t"], "copies": []}
    call = StageCall(Path("x.py"), Path("a store"), files, threads=3, execution='{"generation": {"gpus": 2}}')
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    command = f"{sys.executable} -c '{code}' {str(call).split(' ', 2)[2]}"
    words = json.loads(subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout)
    args = build_parser(CONTRACT).parse_args(["--spec", SMALLEST[1], *words])
    assert files_of(CONTRACT, args) == {name: paths for name, paths in files.items() if paths}
    assert (args.threads, args.execution, args.store) == (3, call.execution, Path("a store"))
    assert port_options({"held_out": ["x"], "none": []}) == ["--held-out", "x"]


# Choices of the settings


def test_the_chosen_engine_is_part_of_the_code() -> None:
    module = ENGINES["transformers"].module
    assert module in read().code and module not in source_digests(CONTRACT.script)


# A stage as a process

EXAMPLE = """
import os
from backtranslation.errors import UserError
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.generation import Generation
from backtranslation.settings.slices import Slice

class Spec(Slice):
    a: int = 0
    generation: Generation = Generation()

def example(
    pages: list[Input], copies: list[Output], single: Output, folder: Output, spec: Spec, workplace: Workplace
) -> None:
    with (workplace.folder.parents[3] / "computed").open("a") as stream:
        stream.write("once\\n")
    if spec.generation.batch_tokens:
        raise UserError("this fault can be mended")
    for page, copy in zip(pages, copies, strict=True):
        copy.write_text(page.read_text().upper())
    single.write_text(str(spec.a))
    folder.mkdir()
    (folder / "threads").write_text(str(workplace.threads))
    (folder / "gpus").write_text(os.environ["CUDA_VISIBLE_DEVICES"])

if __name__ == "__main__":
    run_stage(example)
"""


def run_example(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script that copies pages in capitals, in a folder that holds the pages."""
    (folder / "example.py").write_text(EXAMPLE)
    command = [
        sys.executable, "example.py", "--store", "results/store", "--pages", "one.txt", "two.txt", "--copies",
        "results/1.jsonl", "results/2.jsonl", "--single", "results/single.tsv", "--folder", "results/model",
    ]  # fmt: skip
    for name in ("one", "two"):
        (folder / f"{name}.txt").write_text(f"{name}\n")
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True)


def test_a_stage_computes_once_and_its_outputs_come_in_the_form_of_the_arguments(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for threads in ("1", "2"):
        done = run_example(tmp_path, "--spec", '{"a": 1}', "--threads", threads)
        assert done.returncode == 0, done.stderr
        assert [(results / f"{number}.jsonl").read_text() for number in (1, 2)] == ["ONE\n", "TWO\n"]
        assert (results / "single.tsv").read_text() == "1"
        assert (results / "model" / "threads").read_text() == "1"
        assert (results / "computed").read_text() == "once\n"
    assert "found example/" in done.stderr and "example 1: " in done.stderr
    assert run_example(tmp_path, "--spec", '{"a": 2}').returncode == 0
    assert (results / "computed").read_text() == "once\n" * 2
    assert (results / "single.tsv").read_text() == "2"


def test_a_stage_leases_gpus_to_compute_and_none_to_find_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"pretended-{tmp_path.name},pretended-too-{tmp_path.name}")
    done = run_example(tmp_path, "--spec", "{}", "--gpus", "3")
    assert done.returncode == 1 and "error: 3 GPUs are asked for" in done.stderr
    assert run_example(tmp_path, "--spec", "{}", "--gpus", "2").returncode == 0
    seen = (tmp_path / "results" / "model" / "gpus").read_text()
    assert seen == os.environ["CUDA_VISIBLE_DEVICES"]
    (manifest,) = (tmp_path / "results" / "store" / "results").glob("*/*/manifest.json")
    made = json.loads(manifest.read_text())
    assert made["gpu_seconds"] == pytest.approx(2 * made["seconds"], abs=0.002)
    assert "found example/" in run_example(tmp_path, "--spec", "{}", "--gpus", "3").stderr
    # Another job: without GPUs none is seen.
    assert run_example(tmp_path, "--spec", '{"a": 1}').returncode == 0
    assert (tmp_path / "results" / "model" / "gpus").read_text() == ""


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a stage said, after the line with its command."""
    command, _, rest = done.stderr.partition("\n")
    assert ": command: " in command
    return rest.removesuffix("\n")


def test_a_fault_of_the_user_is_one_line(tmp_path: Path) -> None:
    done = run_example(tmp_path, "--spec", "{}", "--execution", '{"generation": {"batch_tokens": 1}}')
    assert done.returncode == 1 and said(done) == "example: error: this fault can be mended"
    assert not (tmp_path / "results" / "single.tsv").exists()
    done = run_example(tmp_path, "--spec", "{}", "--pages", "one.txt", "absent.txt")
    assert done.returncode == 1 and said(done) == "example: error: absent.txt: no such file"


# The stages of the workflow


@every_stage
def test_a_script_is_named_after_its_stage_and_explains_every_port(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = load_contract(path)
    assert contract.compute.__name__ == contract.stage == path.stem
    assert [port.name for port in contract.ports if not port.help] == []
    assert {port.role for port in contract.ports} == (
        {Role.OUTPUT, Role.INPUT} if path.stem != MAKES_ALL else {Role.OUTPUT}
    )
    with pytest.raises(SystemExit) as ended:
        build_parser(contract).parse_args(["--help"])
    assert ended.value.code == 0
    assert "--store" in capsys.readouterr().out


MAKES_ALL = "generate_miniature_world"


@every_stage
def test_the_key_of_a_stage_names_its_script_and_modules(path: Path) -> None:
    code = source_digests(path)
    assert code.keys() >= {path.name, "backtranslation", "backtranslation.errors", "backtranslation.files"}


def test_to_find_a_result_no_script_loads_a_heavy_library() -> None:
    """The store is asked before the first of them is needed, so that a result that is there costs no second."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'scripts.{name}')\n"
        "    heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'matplotlib'} & sys.modules.keys()\n"
        "    if heavy: sys.exit(f'{name} loads {heavy}')\n"
    )
    command = [sys.executable, "-c", code, *(path.stem for path in STAGES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
