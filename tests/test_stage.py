"""Stages as commands: what a command line says of inputs and outputs, and that every script can be read so."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from backtranslation.jobs.manifests import Job
from backtranslation.jobs.source_digests import source_digests
from backtranslation.jobs.stage import Input, Output, command_line, read_job, stage_parser

ROOT = Path(__file__).parent.parent
# It makes what ships with the project, by hand, and is no stage of a run.
SCRIPTS = sorted(set((ROOT / "scripts").glob("*.py")) - {ROOT / "scripts" / "pretrain_miniature_base.py"})
COMMON = {"help", "spec", "store", "threads", "gpus", "execution", "work"}
every_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def build_parser() -> argparse.ArgumentParser:
    """A parser with inputs and outputs of every kind."""
    parser = stage_parser("An example.")
    parser.add_argument("--pages", type=Input, nargs="+", required=True)
    parser.add_argument("--base", type=Input, nargs="?")
    parser.add_argument("--more-pages", type=Input, nargs="*", default=[])
    parser.add_argument("--copies", type=Output, nargs="+", required=True)
    parser.add_argument("--table", type=Output, required=True)
    return parser


CODE = {"test_stage.py": "0123"}
SMALLEST = ["--spec", '{"b": 1, "a": [2]}', "--store", "results/store", "--pages", "p", "--copies", "c", "--table", "t"]


def read(*arguments: str) -> Job:
    """The job of a command line for this file, which serves as a script."""
    return read_job("test_stage", CODE, build_parser().parse_args([*SMALLEST, *arguments]))


def test_inputs_and_outputs_are_lists_by_argument() -> None:
    job = read("--pages", "p1", "p2", "--base", "folder", "--copies", "c1", "c2", "--more-pages", "q")
    assert job.inputs == {"pages": ["p1", "p2"], "base": ["folder"], "more_pages": ["q"]}
    assert job.outputs == {"copies": ["c1", "c2"], "table": ["t"]}
    # Plain text, which becomes plain JSON.
    assert {type(path) for paths in (*job.inputs.values(), *job.outputs.values()) for path in paths} == {str}


def test_stage_settings_and_code_are_those_given() -> None:
    job = read()
    assert job.stage == "test_stage"
    assert job.spec == {"a": [2], "b": 1}
    assert job.code == CODE


@pytest.mark.parametrize("arguments", [[], ["--base"], ["--more-pages"], ["--base", "--more-pages"]], ids=" ".join)
def test_an_argument_without_a_value_is_none(arguments: list[str]) -> None:
    """The workflow names every option, and leaves the value out where there is nothing."""
    assert read(*arguments) == read()
    assert read().inputs == {"pages": ["p"]}


def test_what_says_how_the_work_is_done_is_no_part_of_the_job() -> None:
    assert read("--threads", "8", "--execution", '{"processes": 2}', "--work", "w", "--store", "elsewhere") == read()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--pages", "p 1", "p2", "--base", "", "--copies", "c1", "c2", "--threads", "3"],
        ["--more-pages", "--base", "b'\"é\n", "--work", "results/store/work/x/1", "--execution", '{"processes": 2}'],
    ],
)
def test_a_command_line_can_be_made_from_arguments(arguments: list[str]) -> None:
    args = build_parser().parse_args([*SMALLEST, *arguments])
    words = command_line(args)
    assert build_parser().parse_args(words) == args


EXAMPLE = """
import argparse
import os
from pathlib import Path
from backtranslation.errors import UserError
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser

def build_parser():
    parser = stage_parser(__doc__)
    parser.add_argument("--pages", type=Input, nargs="*", default=[])
    parser.add_argument("--copies", type=Output, nargs="*", default=[])
    parser.add_argument("--single", type=Output, nargs="+")
    parser.add_argument("--folder", type=Output, required=True)
    return parser

def compute(args):
    with (args.work.parents[3] / "computed").open("a") as stream:
        stream.write("once\\n")
    if args.execution != "{}":
        raise UserError("this fault can be mended")
    for page, copy in zip(args.pages, args.copies, strict=True):
        Path(copy).write_text(Path(page).read_text().upper())
    (single,) = args.single
    Path(single).write_text(args.spec)
    Path(args.folder).mkdir()
    (Path(args.folder) / "threads").write_text(str(args.threads))
    (Path(args.folder) / "gpus").write_text(os.environ["CUDA_VISIBLE_DEVICES"])

if __name__ == "__main__":
    run_stage(__file__, build_parser(), compute)
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
        assert (results / "single.tsv").read_text() == '{"a": 1}'
        assert (results / "model" / "threads").read_text() == "1"
        assert (results / "computed").read_text() == "once\n"
    assert "found example/" in done.stderr and "example 1: " in done.stderr
    assert run_example(tmp_path, "--spec", '{"a": 2}').returncode == 0
    assert (results / "computed").read_text() == "once\n" * 2
    assert (results / "single.tsv").read_text() == '{"a": 2}'


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


def test_a_fault_of_the_user_is_one_line(tmp_path: Path) -> None:
    done = run_example(tmp_path, "--spec", "{}", "--execution", '{"x": 1}')
    assert (done.returncode, done.stderr) == (1, "example: error: this fault can be mended\n")
    assert not (tmp_path / "results" / "single.tsv").exists()
    done = run_example(tmp_path, "--spec", "{}", "--pages", "one.txt", "absent.txt")
    assert (done.returncode, done.stderr) == (1, "example: error: absent.txt: no such file\n")


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@every_script
def test_every_argument_of_a_script_is_an_input_or_an_output(path: Path) -> None:
    """A path that is neither would not be part of what its result depends on."""
    parser = load_script(path).build_parser()
    roles = {action.dest: action for action in parser._actions if action.dest not in COMMON}
    assert {action.type for action in roles.values()} <= {Input, Output}
    words = ["--spec", "{}", "--store", "results/store"]
    given: dict[type, dict[str, list[str]]] = {Input: {}, Output: {}}
    for name, action in roles.items():
        paths = [f"{name}-{number}" for number in range(2 if action.nargs in ("*", "+") else 1)]
        given[action.type][name] = paths
        words += [action.option_strings[0], *paths]
    job = read_job(path.stem, source_digests(path), parser.parse_args(words))
    assert (job.stage, job.inputs, job.outputs) == (path.stem, given[Input], given[Output])
    assert job.outputs
    assert job.code.keys() >= {path.name} and json.dumps(job.code)


@every_script
def test_every_argument_of_a_script_is_explained(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = load_script(path).build_parser()
    assert [action.dest for action in parser._actions if not action.help] == []
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--help"])
    assert ended.value.code == 0
    assert "--store" in capsys.readouterr().out


def test_to_find_a_result_no_script_loads_a_heavy_library() -> None:
    """The store is asked before the first of them is needed, so that a result that is there costs no second."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'scripts.{name}')\n"
        "    heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'matplotlib'} & sys.modules.keys()\n"
        "    if heavy: sys.exit(f'{name} loads {heavy}')\n"
    )
    command = [sys.executable, "-c", code, *(path.stem for path in SCRIPTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
