"""The paths by which people know results: which result each names, who may link it there, and the linking.

A job notes the key that it wants for its paths (its claim) when it starts. One left over from a killed run, with other
settings, finds another claim at its end and links nothing.
"""

import os
import shutil
from pathlib import Path

from pydantic import BaseModel

from backtranslation.files import link_file
from backtranslation.jobs.content_digests import digest_content
from backtranslation.jobs.locks import locked_file, read_object
from backtranslation.jobs.manifests import (
    Job,
    Manifest,
    OutputRecord,
    StoreError,
    digest_cache,
    find,
    output_paths,
    result_folder,
)


class Name(BaseModel):
    """The result, and the output of it, that a named path was linked to."""

    stage: str
    key: str
    output: str
    index: int


def read_name(store: Path, path: str) -> Name | None:
    """Which result a path was linked to last."""
    entry = _name_entry(store, path)
    known = read_object(entry) if entry else None
    return Name(**known) if known else None


def made_output(store: Path, path: str) -> OutputRecord | None:
    """What the manifest says of a named path, or None if the path is no result of this store."""
    name = read_name(store, path)
    manifest = find(store, name.stage, name.key) if name else None
    return manifest.outputs[name.output][name.index] if name and manifest else None


def last_made(store: Path, path: str) -> Manifest | None:
    """The manifest of the result that a path was linked to last, if it is still there."""
    name = read_name(store, path)
    return find(store, name.stage, name.key) if name else None


def named_paths(store: Path) -> list[str]:
    """All paths that were ever linked to a result, in order."""
    names = store / "names"
    return [str(store.parent / entry.relative_to(names).with_suffix("")) for entry in sorted(names.rglob("*.json"))]


def claims(store: Path) -> dict[str, str]:
    """The result, as `stage/key`, that the last job wanted for each path which names its results."""
    names = store / "names"
    entries = sorted(names.rglob("*.claim"))
    return {str(store.parent / entry.relative_to(names).with_suffix("")): entry.read_text() for entry in entries}


def _write_name(entry: Path, name: Name) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    partial = entry.with_suffix(".partial")
    partial.write_text(name.model_dump_json())
    partial.replace(entry)


def _name_entry(store: Path, path: str) -> Path | None:
    """Where the store notes a path; None for one that is not below the store's parent and so not a result."""
    relative = os.path.relpath(path, store.parent)
    return None if relative.startswith("..") else store / "names" / f"{relative}.json"


def _claim_entry(store: Path, job: Job) -> Path:
    """The claim of a job's outputs, under the first of them."""
    first = output_paths(job)[0]
    entry = _name_entry(store, first)
    if entry is None:
        raise StoreError(f"{first}: results must lie in {store.parent}, the folder of the store")
    return entry.with_suffix(".claim")


def claim_paths(store: Path, job: Job, key: str) -> None:
    """Note which key is wanted at these paths now: a job left over from before must not link its result there."""
    with locked_file(_claim_entry(store, job)) as claim:
        claim.write_text(f"{job.stage}/{key}")


def link_outputs(store: Path, job: Job, manifest: Manifest) -> None:
    """Link the files of a result to their named paths, and note which result they name."""
    folder = result_folder(store, manifest.stage, manifest.key)
    with locked_file(_claim_entry(store, job)) as claim:
        if claim.read_text() != f"{manifest.stage}/{manifest.key}":
            raise StoreError(
                f"{manifest.stage}/{manifest.key} is stored but not linked to {output_paths(job)[0]}:"
                " a job started later makes that path from other settings, code or inputs"
            )
        for output, paths in job.outputs.items():
            for index, (path, record) in enumerate(zip(paths, manifest.outputs[output], strict=True)):
                name = Name(stage=job.stage, key=manifest.key, output=output, index=index)
                # A job left over from before must not replace what others may be reading now.
                if not _is_linked(store, path, record, name):
                    _link(store, folder / record.file, Path(path), record)
                    entry = _name_entry(store, path)
                    assert entry is not None  # the claim would have failed
                    _write_name(entry, name)


def _is_linked(store: Path, path: str, record: OutputRecord, name: Name) -> bool:
    """Whether a named path is what it should be already."""
    return (
        read_name(store, path) == name
        and Path(path).exists()
        and digest_content(digest_cache(store), Path(path)) == record.digest
    )


def _link(store: Path, stored: Path, named: Path, record: OutputRecord) -> None:
    """Put a stored file or folder at a named path, in place of what is there; never seen half done."""
    named.parent.mkdir(parents=True, exist_ok=True)
    partial, replaced = (named.with_name(f".{named.name}.{word}") for word in ("partial", "replaced"))
    remove(partial)
    remove(replaced)
    if record.files is not None:
        partial.mkdir()
    else:
        # Whoever runs jobs may set the time of an output; shared with an earlier output, it would make that look new.
        shared = stored.stat().st_nlink > 1 + (named.exists() and named.samefile(stored))
        (shutil.copy2 if shared else link_file)(stored, partial)
    for name in record.files or {}:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        link_file(stored / name, partial / name)
    if named.is_dir() or (partial.is_dir() and named.exists()):  # only a file takes the place of a file in one step
        named.rename(replaced)
        remove(replaced)
    partial.replace(named)
    remove(partial)  # a link that replaces another link to the same file stays


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
