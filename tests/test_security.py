"""What comes from outside must not run, steer the terminal, or carry secrets into results."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.configurations import smallest
from helpers.hostile.archives import ESCAPE, beside_good
from helpers.hostile.file_names import IMPOSSIBLE, NAMES
from helpers.hostile.model_folders import MAP, PICKLE, Payload, indexed, load, model, pickled, with_code
from helpers.hostile.pairs import PAIRS
from helpers.hostile.templates import ATTACKS, SCORE, TRACE
from helpers.small_run import SECRET
from helpers.warc_files import record, write_warc

from backtranslation.commands.workflow_jobs import read_configfile
from backtranslation.errors import DataError, UserError
from backtranslation.jobs.content_digests import digest_content, visible_files
from backtranslation.jobs.process import printable
from backtranslation.models.loading import ModelError
from backtranslation.models.prompts import PromptError, PromptSet
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.run import check_values
from backtranslation.settings.slices import SettingsError

ROOT = Path(__file__).parent.parent


def test_the_payload_of_these_tests_runs_where_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload()))
    assert Path(TRACE).exists()


CODE = {
    "a pickle": pickled("pytorch_model.bin"),
    "a pickle that an index names": indexed("pytorch_model.bin", PICKLE),
    "a module that auto_map names": with_code("config.json", auto_map=MAP, model_type="owned"),
}


@pytest.mark.parametrize("kind", CODE)
def test_no_code_of_a_model_runs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = model(kind, CODE[kind]).build(tmp_path)
    with pytest.raises(ModelError, match=str(folder)):
        load(folder)
    assert not Path(TRACE).exists()


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def without_norm(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        del weights["model.norm.weight"]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})

    with pytest.raises(ModelError, match="1 weights are missing, such as model.norm.weight"):
        load(model("any", without_norm).build(tmp_path))


@pytest.mark.parametrize("attack", ATTACKS)
def test_templates_are_rendered_in_a_sandbox(attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("score.jinja").write_text(SCORE + ATTACKS[attack])
    with pytest.raises(PromptError, match="score.jinja"):
        _ = PromptSet(Prompts(score="score.jinja")).score
    assert not Path(TRACE).exists()


def test_control_characters_are_not_printed() -> None:
    assert printable("a\x1b[2J\x07\x9b\tb\nc") == "a\ufffd[2J\ufffd\ufffd\tb\nc"


def test_the_log_of_a_job_holds_no_control_characters(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "a.warc", record(b"gone", url=f"https://a/{ESCAPE}", status="404 Not Found"))
    spec = {"shard": {"name": "a", "source": "web", "format": "warc"}}
    outputs = (
        "--segments",
        tmp_path / "a.jsonl.zst",
        "--funnel",
        tmp_path / "a.json",
        "--dropped",
        tmp_path / "d.jsonl",
    )
    command = [
        sys.executable,
        ROOT / "scripts/extract_segments.py",
        "--store",
        tmp_path / "store",
        "--pages",
        path,
        *outputs,
    ]
    done = subprocess.run([*map(str, command), "--spec", json.dumps(spec)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "404" in done.stderr and "owned" in done.stderr
    assert printable(done.stderr) == done.stderr


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pages" / "a.html"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    (tmp_path / "pages" / "b.html").symlink_to("/dev/zero")
    (tmp_path / "pages" / "c.html").touch()
    assert visible_files(pipe.parent) == ["c.html"]
    with pytest.raises(DataError, match="a.html: neither a file nor a folder"):
        digest_content(tmp_path, pipe)


def test_names_of_files_do_not_reach_the_shell(tmp_path: Path) -> None:
    names = [file_name for name, file_name in NAMES.items() if name not in IMPOSSIBLE and len(set(file_name)) > 1]
    for file_name in names:
        (tmp_path / f"{file_name}.warc").write_bytes(beside_good())
    (tmp_path / "seed.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    (tmp_path / "run.yaml").write_text(
        "base_model: {path: backtranslation/miniature/base}\nseed: {path: seed.jsonl}\nheld_out: {size: 1}\n"
        "corpus: {sources: [{name: web, paths: ['*.warc']}]}\n"
    )
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", "2", "--quiet", "all"]
    options = ["--until", "extract_segments", "--configfile", "run.yaml"]
    done = subprocess.run(
        [*map(str, command), *options], cwd=tmp_path, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / TRACE).exists()
    assert len(list((tmp_path / "results/extraction").rglob("*.funnel.json"))) == len(names)


def test_secrets_of_the_environment_are_not_in_a_run(finished_run: Path) -> None:
    files = [path for path in finished_run.rglob("*") if path.is_file()]
    assert any(path.name == "manifest.json" for path in files) and any(path.suffix == ".log" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("address", ["https://user:secret@example.org/m", "https://secret@example.org/m"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(SettingsError, match="base_model.path: an address with a password or token") as caught:
        check_values(smallest(base_model={"path": address}))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", {"a": ["\udfff"]}])
def test_text_that_no_file_can_hold_is_refused(value: object) -> None:
    with pytest.raises(SettingsError, match=r"config: results.*: holds NUL or half a surrogate pair"):
        check_values(smallest(results=value))


def test_a_configuration_that_aliases_make_endless_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("augmentation: &a {b: *a}\n")
    with pytest.raises(UserError, match=f"{path}: config: more than"):
        read_configfile(path)
