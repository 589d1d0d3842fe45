"""A model or a data set for the Hugging Face hub: what of a folder goes there, and the upload.

`huggingface_hub` does the upload: it sends no content that the hub has, so a killed upload is simply started again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtranslation.commands.formatting import align, format_bytes
from backtranslation.commands.model_files import inspect_model
from backtranslation.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
MODEL_FILES = {"config.json", "adapter_config.json"}
DATA_SUFFIXES = (".parquet", ".jsonl", ".jsonl.zst", ".json")
# Patterns in which * also stands for slashes: hidden files and folders, what jobs note, checkpoints of the Trainer.
LEFT_OUT = [".*", "*/.*", "manifest.json", "*/manifest.json", "checkpoint-*", "*/checkpoint-*"]
# What an earlier upload left would be read beside the new files, such as the second of two parts that are now one.
REPLACED = ["*.safetensors", "*.safetensors.index.json", "*.parquet", "*.jsonl", "*.jsonl.zst"]


@dataclass(frozen=True)
class Publication:
    """A folder, the size in bytes of each file of it that goes, and the repository (`owner/name`) it goes to."""

    folder: str
    files: dict[str, int]
    repository: str
    kind: str  # model or dataset, as the hub says
    private: bool


def prepare_publication(folder: Path, repository: str, private: bool) -> Publication:
    """What would go to the hub, which is not asked. Raises UserError naming what the folder lacks."""
    _check_name(repository)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    files = _list_files(folder)
    if CARD not in files:
        raise UserError(f"{folder}: no card ({CARD}), which says on the hub what this is: write one there")
    if MODEL_FILES & files.keys():
        if "config.json" in files and (faults := inspect_model(f"{folder.absolute()}").faults):
            raise UserError("; ".join(faults))
        return Publication(str(folder), files, repository, "model", private)
    if not any(name.endswith(DATA_SUFFIXES) for name in files):
        model, data = " or ".join(sorted(MODEL_FILES)), ", ".join(DATA_SUFFIXES)
        raise UserError(f"{folder}: neither a model ({model}) nor a data set ({data})")
    return Publication(str(folder), files, repository, "dataset", private)


def publish(publication: Publication) -> str:
    """Upload, into a new repository or one that is as private or public as is asked for; returns its address.

    Shows progress on a terminal. Raises UserError for whatever keeps it from being done.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=_read_token())
    with _faults_explained(publication.repository, api.endpoint):
        _open_repository(api, publication)
        commit = api.upload_folder(
            repo_id=publication.repository, repo_type=publication.kind, folder_path=publication.folder,
            ignore_patterns=list(LEFT_OUT), delete_patterns=list(REPLACED),
            commit_message=f"Upload {Path(publication.folder).resolve().name}",
        )  # fmt: skip
    return str(commit.repo_url)


def describe_publication(publication: Publication, address: str | None) -> list[str]:
    """The files with their sizes, and where they are now, or would be where there is no address."""
    visibility = "private" if publication.private else "public"
    total = f"{_count_files(publication)}, {format_bytes(sum(publication.files.values()))}"
    if address is not None:
        return [f"{address} ({visibility}) has {total} from {publication.folder}."]
    return [
        f"{publication.folder} would go to the {visibility} {publication.kind} {publication.repository}:",
        *align([name, format_bytes(size)] for name, size in publication.files.items()),
        f"{total}. Nothing was sent.",
    ]


def _count_files(publication: Publication) -> str:
    return f"{len(publication.files):,} file{'s' if len(publication.files) > 1 else ''}"


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if "/" not in repository:
        raise UserError("--repo: give owner/name, of letters, digits, '-', '_' and '.'")


def _list_files(folder: Path) -> dict[str, int]:
    """The files that go, in order, with their sizes; those that `upload_folder` takes with the same patterns."""
    from huggingface_hub.utils import filter_repo_objects

    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.glob("**/*"))
        if path.is_file()
    }
    return {name: sizes[name] for name in filter_repo_objects(sizes, ignore_patterns=LEFT_OUT)}


def _read_token() -> str:
    """The token of the environment, and no other. No message may show it, as one about a broken header would."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise UserError("no token: put one with write access into the environment variable HF_TOKEN")
    if not (token.isascii() and token.isprintable()):
        raise UserError("HF_TOKEN holds what no token has: line ends, control characters, or letters beyond ASCII")
    return token


def _open_repository(api: "HfApi", publication: Publication) -> None:
    """Make the repository, or see that the one that is there is as private as is asked for."""
    from huggingface_hub.errors import RepositoryNotFoundError

    name, kind = publication.repository, publication.kind
    try:
        found = api.repo_info(name, repo_type=kind)
    except RepositoryNotFoundError:
        api.create_repo(name, repo_type=kind, private=publication.private)
        return
    if found.private and not publication.private:
        raise UserError(f"{name} is there and private: leave --public out, or make it public on the hub first")
    if publication.private and not found.private:
        raise UserError(f"{name} is there and public: say --public if all may see this, or name another with --repo")


@contextmanager
def _faults_explained(repository: str, address: str) -> Iterator[None]:
    """Raise UserError for whatever the hub's client raises, which differs between its releases and ways to upload."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of huggingface_hub, httpx or requests: they have no class in common
        raise UserError(_explain(error, repository, address)) from None


def _explain(error: Exception, repository: str, address: str) -> str:
    status = _status(error)
    if status == 401:
        return f"{address} refuses the token in HF_TOKEN (401): it has expired or is mistyped; make a new one"
    if status == 403:
        return f"the token in HF_TOKEN may not write to {repository} (403): it needs write access there"
    said = "; ".join(line.strip() for line in str(error).splitlines() if line.strip()) or type(error).__name__
    if status is not None or type(error) is ValueError:  # the latter for what the hub says of a card
        return f"{repository}: {address} refuses this: {said}"
    return (
        f"the hub ({address}) cannot be reached ({said.rstrip('.')}): check the network and run this again; what has"
        " arrived is not sent again"
    )


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of an error, or of the one that caused it."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None
