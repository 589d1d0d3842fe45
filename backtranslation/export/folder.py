"""A folder that `datasets.load_dataset` reads without arguments: data files, a card, and a list of what was written.

Rows come as a stream and are never held; the folder is there whole or not at all. Knows nothing of what the rows mean.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal

from backtranslation.errors import UserError
from backtranslation.export.columns import Columns, arrow_schema
from backtranslation.files import Row, row_hash, write_json

FileType = Literal["parquet", "jsonl", "json"]
CARD = "README.md"
RECORD = "export.json"  # names the files of an export, so that nothing else is ever overwritten
ROW_GROUP = 5000  # rows of a Parquet file in memory at once

AddRow = Callable[[Row], Any]


def split_name(row_id: str, test_share: float) -> str:
    """The split of a row by the hash of its id: it stays in it whatever else is exported, and wherever it stands."""
    draw = int(row_hash("export", row_id), 16) / 2**64
    return "test" if draw < test_share else "train"


def write_files(
    folder: Path, rows: Iterable[tuple[str, Row]], names: Iterable[str], columns: Columns, file_type: FileType
) -> Counter[str]:
    """Write each row to the file that is named with it; gives the number of rows of each.

    Raises UserError if one of the named files has no row: a split or a model without any is no data set.
    """
    openers = {"parquet": _parquet_file, "jsonl": _json_lines, "json": _json_list}
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(openers[file_type](folder / f"{name}.{file_type}", columns)) for name in names
        }
        for name, row in rows:
            files[name](row)
            counts[name] += 1
    if empty := [name for name in files if not counts[name]]:
        raise UserError(f"nothing is written: no row belongs to {', '.join(empty)}")
    return counts


@contextmanager
def _parquet_file(path: Path, columns: Columns) -> Iterator[AddRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(columns)
    waiting: list[Row] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        def add(row: Row) -> None:
            waiting.append(row)
            if len(waiting) == ROW_GROUP:
                write()

        yield add
        if waiting:
            write()


@contextmanager
def _json_lines(path: Path, columns: Columns) -> Iterator[AddRow]:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        yield lambda row: stream.write(_json(row, columns) + "\n")


@contextmanager
def _json_list(path: Path, columns: Columns) -> Iterator[AddRow]:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        before = chain(["[\n"], repeat(",\n"))
        yield lambda row: stream.write(next(before) + _json(row, columns))
        stream.write("\n]\n")


def _json(row: Row, columns: Columns) -> str:
    """A row as JSON, its columns in their order."""
    return json.dumps({name: row[name] for name in columns}, ensure_ascii=False)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """An empty neighbour of a folder that takes its place when all went well.

    Raises UserError if something lies there that is no earlier export.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    partial, replaced = (folder.with_name(f".{folder.name}.{os.getpid()}.{word}") for word in ("partial", "replaced"))
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Raise UserError unless a folder is missing or empty, or holds what an export wrote and nothing else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is there already, and no folder: name another one")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if strangers := sorted(found - _recorded(folder)):
        raise UserError(f"{folder}: holds {strangers[0]}, which no export wrote: name another folder, or empty it")


def _recorded(folder: Path) -> set[str]:
    """The files that an export says it wrote there."""
    try:
        return {RECORD, *json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_record(folder: Path, facts: Row) -> Row:
    """Note what an export is, and its files; gives the whole note."""
    record = facts | {"files": sorted(path.name for path in folder.iterdir())}
    write_json(folder / RECORD, record)
    return record
