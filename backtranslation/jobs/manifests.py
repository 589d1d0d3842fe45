"""Jobs, the manifests of their results, and the keys by which a result is found.

Knows where in a store a result lies, not how it gets there.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from backtranslation.errors import UserError

KEY_LENGTH = 32
MANIFEST = "manifest.json"


class StoreError(UserError):
    """A result cannot be made, stored or linked; the message names it."""


@dataclass(frozen=True)
class Job:
    """A stage with all that its result depends on (settings, code by module, inputs), and the paths that name it.

    Inputs and outputs are lists of paths under the names of the stage's arguments.
    """

    stage: str
    spec: Any
    code: dict[str, str]
    inputs: dict[str, list[str]]
    outputs: dict[str, list[str]]


class InputRecord(BaseModel):
    """An input of a finished result, by path and content."""

    path: str
    digest: str


class OutputRecord(BaseModel):
    """A file or folder of a finished result; `rows` of JSON lines, `files` (relative path -> digest) of a folder."""

    file: str
    digest: str
    bytes: int
    rows: int | None = None
    files: dict[str, str] | None = None

    def digests(self, folder: Path) -> dict[Path, str]:
        """The digest of each of its files, where `folder` holds the result."""
        if self.files is None:
            return {folder / self.file: self.digest}
        return {folder / self.file / name: digest for name, digest in self.files.items()}


class Kept(BaseModel):
    """A result that a person accepted under other settings, code or inputs than it was made with."""

    date: str
    made_as: str
    differences: list[str]


class Manifest(BaseModel):
    """What a result was made from, what it is, and what it cost.

    `tokens` are those that a model was trained or measured on, or wrote, without the prompts of what it wrote; None
    where a stage has none, and for results made before tokens were counted.
    """

    stage: str
    key: str
    spec: Any
    code: dict[str, str]
    inputs: dict[str, list[InputRecord]]
    outputs: dict[str, list[OutputRecord]]
    started: str
    seconds: float
    gpu_seconds: float
    tokens: int | None = None
    host: str
    packages: dict[str, str]
    kept: list[Kept] = []


def output_paths(job: Job) -> list[str]:
    """The paths that name a job's outputs."""
    return [path for paths in job.outputs.values() for path in paths]


def output_records(manifest: Manifest) -> list[OutputRecord]:
    """The outputs of a result, in the order of the paths of its job."""
    return [record for records in manifest.outputs.values() for record in records]


def make_key(job: Job, inputs: dict[str, list[str]]) -> str:
    """The identity of a result: hash of stage, settings, code, digests of the inputs and kinds of the outputs."""
    outputs = {name: [suffix(path) for path in paths] for name, paths in job.outputs.items()}
    identity = {"stage": job.stage, "spec": job.spec, "code": job.code, "inputs": inputs, "outputs": outputs}
    return short_digest(identity)


def suffix(path: str) -> str:
    """The end of a path that says what kind of file it is: .jsonl.zst, .json, nothing for a folder."""
    suffixes = [part for part in Path(path).suffixes if part[1:].isalpha()]
    is_compressed = suffixes[-1:] in ([".zst"], [".gz"])
    return "".join(suffixes[-2:] if is_compressed else suffixes[-1:])


def short_digest(value: Any) -> str:
    """Hash of a JSON value; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def find(store: Path, stage: str, key: str) -> Manifest | None:
    """The manifest of a stored result, if there is one. Raises StoreError naming a manifest that cannot be read."""
    path = result_folder(store, stage, key) / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise StoreError(f"{path}: damaged; delete its folder and run again") from None


def result_folders(store: Path, stage: str = "*") -> list[Path]:
    """Where all finished results lie, or those of a stage, in order."""
    return sorted((store / "results").glob(f"{stage}/*"))


def work_folders(store: Path) -> list[Path]:
    """Where results are being made, in order."""
    return sorted((store / "work").glob("*/*"))


def damaged_folder(store: Path) -> Path:
    """Where what was found damaged, or is about to be removed, is put aside."""
    return store / "damaged"


def digest_cache(store: Path) -> Path:
    """Where the digests of large files are kept."""
    return store / "digests"


def settings_folder(store: Path) -> Path:
    """Where settings of runs lie whose jobs wait in the queue of a cluster."""
    return store / "settings"


def result_folder(store: Path, stage: str, key: str) -> Path:
    """Where a finished result lies."""
    return store / "results" / stage / key


def work_folder(store: Path, stage: str, key: str) -> Path:
    """Where a result is made."""
    return store / "work" / stage / key
