"""Rows of human-written pairs as people keep them: JSON lines, a JSON array, Parquet, a data set on the hub.

A row that cannot be read is counted in a `Tally` and passed over. Knows nothing of what the rows mean; our own files,
which may have no bad row, are those of `files`.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from backtranslation.errors import DataError
from backtranslation.files import Row, open_binary
from backtranslation.settings.seed import HubDataset
from backtranslation.tally import Tally

PACKED = ("", ".gz", ".zst")
JSON_SUFFIXES = tuple(suffix + packed for suffix in (".jsonl", ".ndjson", ".json") for packed in PACKED)
BATCH_ROWS = 1000

LocatedRow = tuple[str, Row]  # where the row is, for messages


def stored_rows(path: Path, tally: Tally) -> Iterator[LocatedRow]:
    """Yield the rows of a file in their order, each with where it is.

    Counts `rows/read`, and refuses what is no row. Raises DataError naming the file if it is no regular file, has none
    of the known suffixes, or is damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}")
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, tally)
    elif path.name.endswith(JSON_SUFFIXES):
        yield from _json_rows(path, tally)
    else:
        raise DataError(f"{path}: its suffix is none of {', '.join((*JSON_SUFFIXES, '.parquet'))}")


def dataset_rows(dataset: HubDataset, tally: Tally) -> Iterator[LocatedRow]:
    """Yield the rows of a data set on the hub, or in the cache, as `stored_rows` does those of a file.

    Raises DataError if it cannot be loaded.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{dataset.name}: needs the package datasets: pip install 'backtranslation[datasets]'"
        ) from None

    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(dataset.name, dataset.subset, split=dataset.split, revision=dataset.revision)
    except Exception as error:  # of a network, a cache, a builder, pyarrow: they have no other class in common
        raise DataError(f"{dataset.name}: cannot be loaded ({_first_line(error)})") from None
    for number, row in enumerate(table, start=1):
        tally.counts["rows/read"] += 1
        yield f"row {number} of {dataset.name}", row


def _json_rows(path: Path, tally: Tally) -> Iterator[LocatedRow]:
    """The objects of JSON lines or of an array."""
    number = 0
    try:
        with open_binary(path) as stream:
            parse = _array_values if _begins_an_array(stream) else _line_values
            for number, value, fault in parse(stream, path):
                tally.counts["rows/read"] += 1
                where = f"row {number} of {path.name}"
                if fault:
                    tally.refuse("rows/not JSON", f"{where} ({fault})")
                elif not isinstance(value, dict):
                    tally.refuse("rows/not a JSON object", where)
                else:
                    yield where, value
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged after row {number} ({error}); get the file anew") from None


def _begins_an_array(stream: IO[bytes]) -> bool:
    """Whether the file is one JSON array. Reads nothing."""
    head: bytes = stream.peek(1 << 10)  # type: ignore[attr-defined]  # all that `open_binary` gives are buffered
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _line_values(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Any, str]]:
    """Number, value and fault of every line that is not blank."""
    for number, line in enumerate(stream, start=1):
        if line.strip():
            try:
                yield number, json.loads(line), ""
            except (ValueError, RecursionError) as error:
                yield number, None, str(error)


def _array_values(stream: IO[bytes], path: Path) -> Iterator[tuple[int, Any, str]]:
    """Number and value of every item. Raises DataError if the array is not valid JSON as a whole."""
    try:
        values = json.loads(stream.read())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: begins as a JSON array, but is not valid JSON ({error})") from None
    for number, value in enumerate(values, start=1):
        yield number, value, ""


def _parquet_rows(path: Path, tally: Tally) -> Iterator[LocatedRow]:
    """The rows of a table."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=BATCH_ROWS):
                for row, fault in _batch_rows(batch):
                    number += 1
                    tally.counts["rows/read"] += 1
                    where = f"row {number} of {path.name}"
                    if row is None:
                        tally.refuse("rows/values that cannot be read", f"{where} ({fault})")
                    else:
                        yield where, row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        fault = f"damaged after row {number}" if number else "not a Parquet file"
        raise DataError(f"{path}: {fault} ({_first_line(error)})") from None


def _batch_rows(batch: Any) -> Iterable[tuple[Row | None, str]]:
    """The rows of a batch; where one cannot be converted (invalid UTF-8, a date out of range), None and the fault."""
    try:
        return [(row, "") for row in batch.to_pylist()]
    except (ValueError, OverflowError):
        return [_one_row(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _one_row(batch: Any) -> tuple[Row | None, str]:
    try:
        return batch.to_pylist()[0], ""
    except (ValueError, OverflowError) as error:
        return None, _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
