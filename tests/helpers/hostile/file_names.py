"""Hostile names of files, and things among the inputs that are no files."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from backtranslation.corpus.shards import list_shards
from backtranslation.jobs.store import digest_input
from backtranslation.settings.corpus import Source
from helpers.hostile.archives import beside_good
from helpers.hostile.cases import Case, Met, extract, good_page

NAMES = {
    "quotes": "a'b\"c",
    "a command": "$(touch owned)",
    "backticks": "`touch owned`",
    "a line end": "a\nb",
    "escape sequences": "\x1b[2J\x07",
    "a leading dash": "--force",
    "spaces": " a  b ",
    "letters of other scripts": "\u6587\u4ef6 \u0444\u0430\u0439\u043b \U0001f331",
    "right-to-left": "\u202egnp",
    "no UTF-8": os.fsdecode(b"\xff\xfe"),
    "a glob": "[a]*?",
    "a template": "{{ 7 * 7 }}{shard}",
    "a backslash": "a\\nb",
    "a semicolon": "a; touch owned; b",
    "200 characters": "a" * 200,
    "a percent sign": "%s%n%(name)s",
}


# Snakemake cannot be told of these: it would look for another file, or cannot write the name down.
IMPOSSIBLE = ("a template", "no UTF-8")


def named(name: str, file_name: str) -> Case:
    """A WARC file of a hostile name, which is found, named and read, or refused."""

    def build(folder: Path) -> Path:
        path = folder / f"{file_name}.warc"
        path.write_bytes(beside_good())
        return path

    def meet(path: Path) -> Met:
        shards = list_shards([Source(name="web", paths=[f"{path.parent}/*.warc"])])
        assert [shard.path for shard in shards] == [str(path)]
        assert shards[0].name.replace("-", "").replace(".", "").replace("_", "").isalnum() and shards[0].name.isascii()
        digest_input(path.parent / "store", str(path))
        return extract("warc")(path)

    if name in IMPOSSIBLE:
        return Case(name, "file name", build, meet, "rename it", stops=True)
    return Case(name, "file name", build, meet)


def among_pages(name: str, add: Callable[[Path], object], expected: str = "fine", stops: bool = False) -> Case:
    """Something in a folder of HTML files."""

    def build(folder: Path) -> Path:
        pages = folder / "pages"
        pages.mkdir()
        for number in (1, 2):
            (pages / f"{number}.html").write_text(good_page(number))
        add(pages)
        return pages

    def meet(pages: Path) -> Met:
        digest_input(pages.parent / "store", str(pages))
        return extract("html")(pages)

    return Case(name, "file name", build, meet, expected, stops)


def instead_of_file(name: str, make: Callable[[Path], object], expected: str) -> Case:
    """Something in the place of a corpus file."""

    def build(folder: Path) -> Path:
        path = folder / "pages.jsonl"
        make(path)
        return path

    def meet(path: Path) -> Met:
        digest_input(path.parent / "store", str(path))
        return extract("jsonl")(path)

    return Case(name, "file name", build, meet, expected, stops=True)


def write_page(name: str, folder: Path) -> None:
    """A page under a name."""
    (folder / name).write_text(good_page(3))


def in_folder(folder: Path) -> None:
    """Pages in a folder whose name is that of a page."""
    (folder / "0.html").mkdir()
    (folder / "0.html" / "3.html").write_text(good_page(3))


FILE_CASES = [
    *(named(name, file_name) for name, file_name in NAMES.items()),
    *(among_pages(f"pages: {name}", partial(write_page, f"{file_name}.html")) for name, file_name in NAMES.items()),
    among_pages("a pipe", lambda pages: os.mkfifo(pages / "0.html")),
    among_pages("a device", lambda pages: (pages / "0.html").symlink_to("/dev/zero")),
    among_pages("a folder named like a page", in_folder),
    among_pages("a loop of folders", lambda pages: (pages / "0").symlink_to(pages)),
    among_pages("a link to itself", lambda pages: (pages / "0").symlink_to("0"), "0: Too many levels", stops=True),
    among_pages("a page outside of the folder", lambda pages: (pages / "0.html").symlink_to("/etc/passwd")),
    instead_of_file("a pipe instead of a file", os.mkfifo, "neither a file nor a folder"),
    instead_of_file(
        "a device instead of a file", lambda path: path.symlink_to("/dev/zero"), "neither a file nor a folder"
    ),
    instead_of_file("a folder instead of a file", lambda path: path.mkdir(), "pages.jsonl"),
    instead_of_file("a broken link instead of a file", lambda path: path.symlink_to("nothing"), "pages.jsonl"),
    instead_of_file("a link to itself instead of a file", lambda path: path.symlink_to(path.name), "pages.jsonl"),
]
