"""Digests of the content of files and folders; a large file is read once, however many jobs ask.

What is known is kept in a cache folder, one small file for every large file. Knows nothing of what the files hold.
"""

import hashlib
import json
import os
from pathlib import Path

from backtranslation.errors import DataError
from backtranslation.jobs.locks import locked_file, read_object

SMALL_FILE = 1 << 20  # bytes; reading such a file is cheaper than looking its digest up


def digest_content(cache: Path, path: Path, stored: bool = False) -> str:
    """SHA-256 of a file; of a folder, over its files' digests and relative paths. Hidden files do not count.

    `stored` files are read-only; links to them come and go.
    """
    if not path.is_dir():
        return digest_file(cache, path, stored)
    return digest_of_folder({name: digest_file(cache, path / name, stored) for name in visible_files(path)})


def digest_of_folder(files: dict[str, str]) -> str:
    """Digest of a folder from the digests of its files by relative path."""
    return hashlib.sha256(json.dumps(files, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def visible_files(folder: Path) -> list[str]:
    """Relative paths of all files below a folder, sorted; names that begin with a dot, and pipes, are left out."""
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(parent, name)]
        paths = (Path(parent, name) for name in files if not name.startswith("."))
        found += [str(path.relative_to(folder)) for path in paths if not _is_special(path)]
    return sorted(found)


def _is_special(path: Path) -> bool:
    """Whether a path is a pipe, a socket or a device, which cannot be read to its end; of a broken link, False."""
    return not path.is_file() and path.exists() and not path.is_dir()


def _leads_back(parent: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in."""
    return Path(parent, name).is_symlink() and Path(parent).resolve().is_relative_to(Path(parent, name).resolve())


def digest_file(cache: Path, path: Path, stored: bool = False) -> str:
    """SHA-256 of a file; a large one is read again only if its inode, size or times have changed.

    Raises DataError for a pipe, a socket or a device.
    """
    if _is_special(path):
        raise DataError(f"{path}: neither a file nor a folder")
    if path.stat().st_size < SMALL_FILE:
        return read_digest(path)
    with locked_file(_entry(cache, path)) as entry:  # whoever needs it too waits instead of reading it too
        known, signature = read_object(entry), _signature(path, stored)
        if known is not None and known.get("signature") == signature:
            return str(known["digest"])
        digest = read_digest(path)
        entry.write_text(json.dumps({"path": str(path.absolute()), "signature": signature, "digest": digest}))
        return digest


def remember_digest(cache: Path, path: Path, digest: str) -> None:
    """Note the known digest of a stored file."""
    if path.stat().st_size >= SMALL_FILE:
        with locked_file(_entry(cache, path)) as entry:
            known = {"path": str(path.absolute()), "signature": _signature(path, stored=True), "digest": digest}
            entry.write_text(json.dumps(known))


def read_digest(path: Path) -> str:
    """SHA-256 of a file, read now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _entry(cache: Path, path: Path) -> Path:
    return cache / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]


def file_states(path: Path) -> dict[str, list[int]]:
    """What shows that a file, or one of a folder, was touched, without reading it: by relative path."""
    return {name: _signature(path / name, stored=False) for name in (visible_files(path) if path.is_dir() else [""])}


def _signature(path: Path, stored: bool) -> list[int]:
    """What changes when a file does. A new link changes the status time (ctime), so that does not count if `stored`."""
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, *([] if stored else [status.st_ctime_ns])]
