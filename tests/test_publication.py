"""`backtranslation push`, against a stand-in of the hub's HTTP interface; never tried on the real one."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.hub import BASE, TOKEN, Repository, UploadHub, serve_uploads

from backtranslation.commands.command_line import main
from backtranslation.commands.formatting import format_bytes

CARD = "---\nlicense: apache-2.0\n---\n# A model\n"
NAME = "owner/name"
# What lies in folders of models and data sets at times, and is nobody's business.
PRIVATE_FILES = [
    ".snakemake_timestamp", ".git/config", "adapter/.hidden", "manifest.json", "checkpoint-7/optimizer.pt",
    "parts/checkpoint-7/optimizer.pt", "parts/manifest.json",
]  # fmt: skip


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with its card."""
    folder = shutil.copytree(BASE, tmp_path / "M1", ignore=shutil.ignore_patterns("manifest.json"))
    return write_files(folder, {"README.md": CARD.encode()})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set with its card."""
    folder = write_files(tmp_path / "pairs", {"README.md": b"---\nconfigs: []\n---\n# Pairs\n"})
    (folder / "data").mkdir()
    pq.write_table(pa.table({"instruction": [f"Say {number}." for number in range(2000)]}), folder / "data/a.parquet")
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter alone, with its card."""
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights" * 1000, "README.md": CARD.encode()}
    return write_files(tmp_path / "M1" / "adapter", files)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, no token, and large files by the LFS protocol, as where `hf_xet` is not installed."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # it asks the hub by itself
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A hub that takes uploads, and a token for it."""
    hub = UploadHub(tmp_path / "chunks")
    with serve_uploads(hub):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def push(*arguments: object) -> None:
    main(["push", *map(str, arguments), "--repo", NAME])


def fault(*arguments: object) -> str:
    """The one line that a refused push ends with."""
    with pytest.raises(SystemExit) as end:
        push(*arguments)
    (line,) = str(end.value).splitlines()
    return line


# What arrives


@pytest.mark.parametrize("what", ["model", "data", "adapter"])
def test_every_byte_arrives_in_a_private_repository(
    what: str, hub: UploadHub, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue(what)
    sent = contents(folder)
    write_files(folder, dict.fromkeys(PRIVATE_FILES, b"secret"))
    push(folder)
    kind = "dataset" if what == "data" else "model"
    (wanted,) = hub.created
    assert (wanted.get("type", "model"), wanted["organization"], wanted["name"]) == (kind, "owner", "name")
    repository = hub.repositories[f"{kind}s/{NAME}"]
    assert repository.private
    assert repository.small | {path: hub.stored[digest] for path, digest in repository.large.items()} == sent
    assert {Path(path).suffix for path in repository.large} & {".safetensors", ".parquet"}
    page = f"{hub.address}/{'datasets/' if what == 'data' else ''}{NAME}"
    assert capsys.readouterr().out.startswith(f"{page} (private) has {len(sent)} files, ")


def test_large_files_arrive_in_chunks_where_hf_xet_is_installed(
    adapter: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    weights = random.Random(0).randbytes(6000)  # less than a chunk, and nothing in it to compress
    write_files(adapter, {"adapter_model.safetensors": weights})
    push(adapter)
    repository = hub.repositories[f"models/{NAME}"]
    assert repository.private and repository.small["README.md"] == CARD.encode()
    assert "adapter_model.safetensors" in repository.large
    assert any(weights in content for content in contents(hub.chunks).values())
    assert {authorization for *_, authorization in hub.requests} == {f"Bearer {TOKEN}"}


def test_the_token_of_the_environment_goes_to_the_hub_and_nowhere_else(
    model: Path, hub: UploadHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(model)
    for method, _, authorization in hub.requests:
        assert authorization == (None if method == "PUT" else f"Bearer {TOKEN}")  # where large files go, a link admits
    output = capsys.readouterr()
    assert TOKEN not in output.out + output.err


def test_public_only_when_told(data: Path, hub: UploadHub, capsys: pytest.CaptureFixture[str]) -> None:
    push(data, "--public")
    assert not hub.repositories[f"datasets/{NAME}"].private
    assert "(public)" in capsys.readouterr().out


def test_a_model_of_the_run_by_its_name(model: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    Path("elsewhere/store").mkdir(parents=True)
    Path("elsewhere/models").mkdir()
    model.rename("elsewhere/models/M1")
    Path("run.yaml").write_text("results: elsewhere\n")
    push("M1", "--configfile", "run.yaml")
    assert "model.safetensors" in hub.repositories[f"models/{NAME}"].large
    assert "elsewhere has no model M2 (there are M1)" in fault("M2", "--configfile", "run.yaml")


def test_weights_of_an_earlier_upload_go_and_other_files_stay(model: Path, hub: UploadHub) -> None:
    earlier = Repository(private=True, small={"notes.md": b"mine", "config.json": b"{}"})
    earlier.large = {"model-00001-of-00002.safetensors": "1" * 64}
    hub.repositories[f"models/{NAME}"] = earlier
    push(model)
    assert hub.created == []
    assert earlier.small["notes.md"] == b"mine" and earlier.small["config.json"] == (model / "config.json").read_bytes()
    assert list(earlier.large) == [name for name in contents(model) if name in earlier.large]


def test_a_killed_upload_goes_on_with_what_is_missing(
    adapter: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(adapter, {"second.safetensors": b"more" * 5000})
    digests = {path.name: sha256(path) for path in adapter.glob("*.safetensors")}
    hub.stalled = digests["second.safetensors"]
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "backtranslation.commands.command_line", "push", str(adapter), "--repo", NAME]
    with subprocess.Popen(command, env=environment) as process:
        wait_until(lambda: digests["adapter_model.safetensors"] in hub.stored and uploads(hub) == set(digests.values()))
        process.kill()
    assert hub.repositories[f"models/{NAME}"].large == {}
    hub.stalled = None
    hub.requests.clear()
    push(adapter)
    assert hub.repositories[f"models/{NAME}"].large == digests
    assert uploads(hub) == {digests["second.safetensors"]}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uploads(hub: UploadHub) -> set[str]:
    return {path.rpartition("/")[2] for method, path, _ in hub.requests if method == "PUT"}


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# What is refused


def test_a_dry_run_needs_neither_token_nor_network(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {name: len(content) for name, content in contents(model).items()}
    write_files(model, dict.fromkeys(PRIVATE_FILES, b"secret"))
    push(model, "--dry-run", "--json")
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert answer == {
        "address": None, "folder": str(model), "files": sizes, "repository": NAME, "kind": "model", "private": True
    }  # fmt: skip
    push(model, "--dry-run", "--public")
    first, *files, last = capsys.readouterr().out.splitlines()
    assert first == f"{model} would go to the public model {NAME}:"
    assert [line.split() for line in files] == [[name, *format_bytes(size).split()] for name, size in sizes.items()]
    assert last.startswith(f"{len(sizes)} files, ") and last.endswith("Nothing was sent.")


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_folder_without_its_card_stays_here(arguments: tuple[str, ...], model: Path, hub: UploadHub) -> None:
    (model / "README.md").unlink()
    assert f"{model}: no card (README.md)" in fault(model, *arguments)
    assert hub.requests == []


def test_half_a_model_stays_here(model: Path, hub: UploadHub) -> None:
    (model / "model.safetensors").unlink()
    assert "no weights (*.safetensors)" in fault(model)
    (model / "config.json").unlink()
    (model / "generation_config.json").unlink(missing_ok=True)
    for path in model.glob("*.json"):
        path.unlink()
    assert "neither a model (adapter_config.json or config.json) nor a data set" in fault(model)
    assert "no such folder" in fault(model.parent / "none" / "at" / "all")
    assert hub.requests == []


def test_no_token_but_that_of_the_environment(
    model: Path, hub: UploadHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("hf_of_the_login")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN")
    assert "environment variable HF_TOKEN" in fault(model)
    monkeypatch.setenv("HF_TOKEN", "hf_first\nhf_second")
    assert "HF_TOKEN holds what no token has" in (line := fault(model)) and "hf_" not in line
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "refuses the token in HF_TOKEN (401)"), (403, f"may not write to {NAME} (403)"), (503, "refuses this: ")],
)
def test_a_refusal_is_one_line(status: int, said: str, model: Path, hub: UploadHub) -> None:
    hub.refusal = status
    assert said in (line := fault(model)) and TOKEN not in line


@pytest.mark.parametrize(
    ("private", "arguments", "said"),
    [
        (False, (), "is there and public: say --public"),
        (True, ("--public",), "is there and private: leave --public out"),
    ],
)
def test_a_repository_that_others_can_see_is_no_surprise(
    private: bool, arguments: tuple[str, ...], said: str, model: Path, hub: UploadHub
) -> None:
    hub.repositories[f"models/{NAME}"] = Repository(private)
    assert said in fault(model, *arguments)
    assert hub.repositories[f"models/{NAME}"].small == {}


def test_what_the_hub_says_of_a_card_is_shown(model: Path, hub: UploadHub) -> None:
    write_files(model, {"README.md": b"---\nlicense: [\n---\n"})
    assert "Invalid metadata in README.md" in fault(model)


def test_no_network(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "the hub (http://127.0.0.1:9) cannot be reached (" in (line := fault(model)) and TOKEN not in line


@pytest.mark.parametrize("name", ["name", "a b/c", "owner/name/more", "--"])
def test_a_name_that_no_repository_can_have(name: str, model: Path) -> None:
    with pytest.raises(SystemExit, match="--repo: give owner/name"):
        main(["push", str(model), f"--repo={name}", "--dry-run"])
