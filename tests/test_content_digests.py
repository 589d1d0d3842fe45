"""Digests of content: what they see, and that a large file is read no more often than it must be."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backtranslation.jobs import content_digests
from backtranslation.jobs.content_digests import (
    SMALL_FILE,
    digest_content,
    digest_file,
    digest_of_folder,
    file_states,
    read_digest,
    remember_digest,
    visible_files,
)

LARGE = b"x" * SMALL_FILE


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in order."""
    paths: list[Path] = []

    def note(path: Path) -> str:
        paths.append(path)
        return read_digest(path)

    monkeypatch.setattr(content_digests, "read_digest", note)
    return paths


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_in_place(path: Path, content: bytes) -> None:
    """Write over a file of the same length and set its old time back; only the status time (ctime) shows it."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of a file system has coarse ticks
        time.sleep(0.001)
        with path.open("r+b") as stream:
            stream.write(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)


@pytest.mark.parametrize("content", [b"", b"small", LARGE[:-1], LARGE, LARGE + b"y"], ids=len)
@pytest.mark.parametrize("stored", [False, True])
def test_the_digest_of_a_file_is_its_sha256(cache: Path, tmp_path: Path, content: bytes, stored: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for _ in range(2):
        assert digest_content(cache, path, stored) == digest_file(cache, path, stored) == sha256(content)


def test_only_large_files_are_noted(cache: Path, tmp_path: Path, reads: list[Path]) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(LARGE[:-1])
    large.write_bytes(LARGE)
    for path in (small, small, large, large):
        digest_file(cache, path)
    assert reads == [small, small, large]
    assert len(list(cache.iterdir())) == 1


def test_a_known_digest_is_taken_without_reading(cache: Path, tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    remember_digest(cache, path, "what was found before")
    assert digest_file(cache, path, stored=True) == "what was found before"
    assert reads == []


def test_a_relative_and_an_absolute_path_are_one_file(
    cache: Path, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    monkeypatch.chdir(tmp_path)
    assert digest_file(cache, Path("large")) == digest_file(cache, tmp_path / "large")
    assert len(reads) == 1


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_an_edit_in_place_with_the_old_time_set_back_is_seen(cache: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    digest_file(cache, path)
    states = file_states(path)
    write_in_place(path, content.swapcase())
    assert digest_file(cache, path) == sha256(content.swapcase()) != sha256(content)
    assert file_states(path) != states


def test_another_file_of_the_same_size_and_time_is_seen(cache: Path, tmp_path: Path) -> None:
    """Also where links do not count: a stored file that was replaced has another inode."""
    path, other = tmp_path / "large", tmp_path / "other"
    path.write_bytes(LARGE)
    other.write_bytes(LARGE.swapcase())
    for stored in (False, True):
        digest_file(cache, path, stored)
        kept = path.stat()
        os.utime(other, ns=(kept.st_atime_ns, kept.st_mtime_ns))
        content = other.read_bytes()
        path.replace(tmp_path / "before")
        other.replace(path)
        (tmp_path / "before").replace(other)
        assert digest_file(cache, path, stored) == sha256(content)


def test_touched_and_longer_files_are_read_again(cache: Path, tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    for number in (1, 2):
        os.utime(path, ns=(number, number))
        assert digest_file(cache, path, stored=True) == sha256(LARGE)
        assert len(reads) == number
    path.write_bytes(LARGE + b"y")
    os.utime(path, ns=(2, 2))
    assert digest_file(cache, path, stored=True) == sha256(LARGE + b"y")


def test_new_links_to_a_stored_file_do_not_count(cache: Path, tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    digest_file(cache, path, stored=True)
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        time.sleep(0.001)
        (tmp_path / "link").hardlink_to(path)
        (tmp_path / "link").unlink()
    assert digest_file(cache, path, stored=True) == sha256(LARGE)
    assert reads == [path]


@pytest.mark.parametrize("torn", [b"", b'{"path": "/a", "signat', b"\0" * 100, b"\xff\xfe{", b'"text"', b"[1]"])
def test_a_torn_entry_of_the_cache_is_made_anew(cache: Path, tmp_path: Path, reads: list[Path], torn: bytes) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    digest_file(cache, path)
    (entry,) = cache.iterdir()
    entry.write_bytes(torn)
    assert digest_file(cache, path) == digest_file(cache, path) == sha256(LARGE)
    assert len(reads) == 2


READER = """
import sys, time
from pathlib import Path
from backtranslation.jobs import content_digests
def slow_digest(path, read_digest=content_digests.read_digest):
    print("read", flush=True)
    time.sleep(0.5)
    return read_digest(path)
content_digests.read_digest = slow_digest
print("ready", flush=True)
sys.stdin.readline()
print(content_digests.digest_file(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_of_several_processes_at_once_one_reads(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    command = [sys.executable, "-c", READER, str(cache), str(path)]
    readers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("go\n")
    told = [reader.communicate()[0].split() for reader in readers]
    assert sorted(told, key=len) == [[sha256(LARGE)], [sha256(LARGE)], ["read", sha256(LARGE)]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small file and, deeper, a large one."""
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "config.json").write_text("{}")
    (tmp_path / "folder" / "deep" / "weights").write_bytes(LARGE)
    return tmp_path / "folder"


def test_the_digest_of_a_folder_is_that_of_its_files_and_their_paths(cache: Path, folder: Path, tmp_path: Path) -> None:
    digest = digest_content(cache, folder)
    assert digest == digest_of_folder({"deep/weights": sha256(LARGE), "config.json": sha256(b"{}")})
    shutil.copytree(folder, tmp_path / "copy")
    assert digest_content(cache, tmp_path / "copy") == digest
    (folder / "config.json").rename(folder / "deep" / "config.json")
    moved = digest_content(cache, folder)
    (folder / "deep" / "config.json").write_text("[]")
    edited = digest_content(cache, folder)
    (folder / "more").write_text("")
    assert len({digest, moved, edited, digest_content(cache, folder)}) == 4


def test_hidden_files_and_folders_do_not_count(cache: Path, folder: Path) -> None:
    digest, states = digest_content(cache, folder), file_states(folder)
    (folder / ".snakemake_timestamp").touch()
    (folder / "deep" / ".partial").write_text("half")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("a")
    assert visible_files(folder) == ["config.json", "deep/weights"]
    assert digest_content(cache, folder) == digest
    assert file_states(folder) == states


def test_the_large_files_of_a_folder_are_read_once(cache: Path, folder: Path, reads: list[Path]) -> None:
    for _ in range(3):
        digest_content(cache, folder)
    assert reads.count(folder / "deep" / "weights") == 1


def test_the_files_of_a_linked_folder_count(cache: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "inner").symlink_to(folder)
    before = digest_content(cache, tmp_path / "outer")
    (folder / "config.json").write_text("[]")
    assert digest_content(cache, tmp_path / "outer") != before


def test_states_show_what_was_touched_without_reading(folder: Path, reads: list[Path]) -> None:
    states = file_states(folder)
    assert states == file_states(folder) and states.keys() == {"config.json", "deep/weights"}
    os.utime(folder / "config.json", ns=(1, 1))
    after = file_states(folder)
    assert after["config.json"] != states["config.json"] and after["deep/weights"] == states["deep/weights"]
    assert list(file_states(folder / "config.json")) == [""]
    assert reads == []
