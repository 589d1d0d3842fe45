"""The shards of a run: one for each corpus file, or for each part of one, with a name that does not change.

Knows formats by their suffixes, not what is in a file. Importing this module is cheap, so that the list of shards can
be made while a workflow is planned.
"""

import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field

from backtranslation.errors import UserError
from backtranslation.files import writable
from backtranslation.settings.corpus import Source
from backtranslation.settings.slices import PositiveInt, Slice

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
TEXT_SUFFIXES = (".txt", ".txt.gz", ".txt.zst")
SUFFIXES = {
    "warc": (".warc", ".warc.gz", ".warc.zst"),
    "wet": (".warc.wet", ".warc.wet.gz", ".warc.wet.zst", ".wet", ".wet.gz", ".wet.zst"),
    "html": HTML_SUFFIXES,
    "jsonl": (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst"),
    "parquet": (".parquet",),
    "text": TEXT_SUFFIXES,
}
FOLDER_FORMATS = ("html", "text")


class ShardIdentity(Slice):
    """What identifies a shard, without the place of its file."""

    name: str
    source: str
    format: Literal["warc", "wet", "html", "jsonl", "parquet", "text"]
    split: PositiveInt = Field(1, description="which part of the file, from 1 on")
    splits: PositiveInt = Field(1, description="records are dealt out to so many parts in turn")


class Shard(ShardIdentity):
    """One corpus file (or folder of HTML or text files), or one part of it."""

    path: str

    def without_path(self) -> ShardIdentity:
        """The part that a result depends on."""
        return ShardIdentity(**self.model_dump(exclude={"path"}))


def list_shards(sources: Collection[Source], promised: Collection[str] = ()) -> list[Shard]:
    """All shards in the order of the sources; names do not change when files are added.

    `promised` are files that need not exist yet, because the run makes them. Raises UserError, with a line for every
    fault that names the source: a path that matches nothing or whose format is unknown, two shards of one name.
    """
    shards: dict[str, Shard] = {}
    faults: list[str] = []
    for source in sources:
        for pattern in source.paths:
            try:
                for path, name in _matching_files(pattern, promised):
                    _add_shards(shards, source, path, name)
            except UserError as error:
                faults.append(f"config: corpus.sources: {source.name}: {error}")
    if faults:
        raise UserError("\n".join(faults))
    return list(shards.values())


def _add_shards(shards: dict[str, Shard], source: Source, path: str, name: str) -> None:
    """Add the shards of one file. Raises UserError if the names are taken, or Snakemake cannot be given the path."""
    if "{" in path or path != writable(path):
        raise UserError(
            f"{path!r}: names with braces, or that are no UTF-8, mean something else to Snakemake: rename it"
        )
    for split in range(1, source.splits + 1):
        part = f".part{split}" if source.splits > 1 else ""
        shard = Shard(
            name=f"{source.name}-{name}{part}", source=source.name, path=path, format=_file_format(source, path),
            split=split, splits=source.splits,
        )  # fmt: skip
        if shard.name in shards:
            raise UserError(_collision(shards[shard.name].path, path, shard.name))
        shards[shard.name] = shard


def _collision(first: str, second: str, shard: str) -> str:
    """What to do where two files would be one shard."""
    globs = [f"*{_known_suffix(path)}" for path in (first, second)]
    by_suffix = f", with the globs {globs[0]} and {globs[1]}" if globs[0] != globs[1] else ""
    return f"{first} and {second} would both be shard {shard}: give them to two sources with different names{by_suffix}"


def _matching_files(pattern: str, promised: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, name of its shard within the source), sorted. Raises UserError if there is nothing to read."""
    if not re.search(r"[*?\[]", pattern):
        named = Path(pattern)
        if not named.exists() and pattern not in promised:
            raise UserError(f"{pattern} does not exist (looked in {Path.cwd()})")
        if named.exists() and not (named.is_file() or named.is_dir()):
            raise UserError(f"{pattern} is neither a regular file nor a folder, and only these are read")
        yield pattern, _shard_name(named.name)
        return
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if re.search(r"[*?\[]", part))
    root = Path(*parts[:fixed])
    found = {str(path) for path in root.glob(str(Path(*parts[fixed:]))) if path.is_file()}
    found |= {path for path in promised if fnmatchcase(path, pattern)}
    if not found:
        raise UserError(f"{pattern} matches no file (looked in {Path.cwd()})")
    for path in sorted(found):
        yield path, _shard_name(str(Path(path).relative_to(root)))


def _known_suffix(path: str) -> str:
    """The longest suffix of a path that says a format; empty if there is none."""
    suffixes = (suffix for known in SUFFIXES.values() for suffix in known if path.endswith(suffix))
    return max(suffixes, key=len, default="")


def _shard_name(relative_path: str) -> str:
    stem = relative_path.removesuffix(_known_suffix(relative_path))
    return re.sub(r"[^A-Za-z0-9._-]", "_", stem or relative_path)


def _file_format(source: Source, path: str) -> str:
    if Path(path).is_dir():
        if source.format not in ("auto", *FOLDER_FORMATS):
            raise UserError(f"{path} is a folder: name its files by a glob, {path.rstrip('/')}/*")
        return "html" if source.format == "auto" else source.format
    if source.format != "auto":
        return source.format
    suffix = _known_suffix(path)
    for name, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return name
    raise UserError(f"the suffix of {path} says no format; set format to one of {', '.join(SUFFIXES)}")
