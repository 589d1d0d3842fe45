"""What of a store nobody refers to any more, and its removal, harmless whenever it is interrupted."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.formatting import align, format_bytes
from backtranslation.errors import UserError
from backtranslation.jobs.locks import is_locked, read_object
from backtranslation.jobs.manifests import (
    MANIFEST,
    damaged_folder,
    digest_cache,
    result_folders,
    work_folder,
    work_folders,
)
from backtranslation.jobs.named_paths import claims, named_paths, read_name

IN_USE_SECONDS = 60  # a result found so lately may be about to be linked


@dataclass(frozen=True)
class Unused:
    """A folder of the store that can go; `bytes_freed` leaves out files that have other names too."""

    folder: str
    bytes_freed: int


def list_unused(store: Path, keep_days: float) -> list[Path]:
    """Folders that can go: results that no named path refers to, work that no job wants, and damaged results.

    What was used in the last `keep_days` days stays, and what a process uses now.
    """
    latest = time.time() - max(keep_days * 86400, IN_USE_SECONDS)
    wanted = claims(store)
    results, work = result_folders(store), work_folders(store)
    made = {_identity(folder) for folder in results if (folder / MANIFEST).exists()}
    needed = _named_results(store) | _awaited_results(store, wanted)
    unneeded = [folder for folder in results if _identity(folder) not in needed]
    in_the_making = set(wanted.values()) - made
    unneeded += [folder for folder in work if _identity(folder) not in in_the_making]
    return sorted(damaged_folder(store).glob("*")) + [
        folder
        for folder in unneeded
        if _last_used(folder) < latest and not is_locked(work_folder(store, folder.parent.name, folder.name))
    ]


def _identity(folder: Path) -> str:
    """The result, as `stage/key`, that a folder holds or will hold."""
    return f"{folder.parent.name}/{folder.name}"


def _last_used(folder: Path) -> float:
    """When a folder of results or work was used last; now, if a job has just removed it."""
    for path in (folder / MANIFEST, folder):
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
    return time.time()


def _awaited_results(store: Path, wanted: dict[str, str]) -> set[str]:
    """What jobs wanted and their paths do not name yet: one was killed before it could link its finished result."""
    named = {path: read_name(store, path) for path in wanted}
    return {wanted[path] for path, name in named.items() if name is None or wanted[path] != f"{name.stage}/{name.key}"}


def _named_results(store: Path) -> set[str]:
    """The results, as `stage/key`, whose named paths are there."""
    names = (read_name(store, path) for path in named_paths(store) if Path(path).exists())
    return {f"{name.stage}/{name.key}" for name in names if name}


def remove_unused(results: Path, keep_days: float, dry_run: bool) -> list[Unused]:
    """Remove what `list_unused` lists, unless it is a `dry_run`, and digests of files that are gone.

    Raises UserError naming a folder that must not be touched.
    """
    store = layout.locate(results, layout.STORE)
    folders = list_unused(store, keep_days)
    unused = [Unused(str(folder), _bytes_freed(folder)) for folder in folders]
    if not dry_run:
        _remove(store, folders)
        _forget_digests(store)
    return unused


def _remove(store: Path, folders: Sequence[Path]) -> None:
    """Move all aside, then delete: once the first is deleted no job finds any, so none is ever seen half deleted."""
    moved = []
    try:
        for folder in folders:
            with suppress(FileNotFoundError):  # its job, or another removal, was faster
                moved.append(_move_aside(store, folder))
        for folder in moved:
            shutil.rmtree(folder)
    except PermissionError as error:
        raise UserError(f"{error.filename}: cannot be removed ({error.strerror})") from None


def _bytes_freed(folder: Path) -> int:
    states = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return sum(state.st_size for state in states if state.st_nlink == 1)


def _move_aside(store: Path, folder: Path) -> Path:
    """Take a folder to the damaged results, where the next removal finds it if this one is interrupted."""
    aside = damaged_folder(store) / f"{folder.parent.name}-{folder.name}-{time.time_ns()}"
    aside.parent.mkdir(exist_ok=True)
    return folder if folder.parent == aside.parent else folder.rename(aside)


def _forget_digests(store: Path) -> None:
    """Drop what is known of large files that are gone."""
    for entry in (digest_cache(store)).glob("*"):
        known = read_object(entry)
        if known is not None and not Path(known["path"]).exists():
            entry.unlink(missing_ok=True)


def describe_removal(unused: Sequence[Unused], dry_run: bool) -> list[str]:
    """What was removed, or would be, in lines for people."""
    if not unused:
        return ["Nothing to remove: every stored result is named, in use, or was used lately."]
    total = format_bytes(sum(item.bytes_freed for item in unused))
    folders = f"{len(unused):,} folder{'s' if len(unused) > 1 else ''}"
    last = f"{folders} would go and free {total}." if dry_run else f"{folders} removed, {total} freed."
    return [*align([format_bytes(item.bytes_freed), item.folder] for item in unused), last]
