"""Select the candidates of one iteration by their scores, over all shards.

Writes the curated pairs, rows {"id", "instruction", "response"} with their scores (`method.scores.NAMES`), and a
Parquet table of every scored candidate with the columns id, those scores, label_mass, failure (why it has not
the score that counts), selected.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.files import Row, join_rows, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.method.scores import NAMES
from backtranslation.score_names import COLUMNS
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


class Spec(Slice):
    """Settings of this stage."""

    selection: Selection


def select_candidates(candidates: list[Input], scores: list[Input], curated: Output, table: Output, spec: Spec) -> None:
    """Select over all shards, of which only the scores are held at once, then write shard by shard.

    candidates: candidates of every shard, .jsonl.zst
    scores: their scores, .jsonl.zst
    curated: selected pairs, .jsonl.zst
    table: all scores, .parquet
    """
    import pyarrow as pa

    from backtranslation.method.selection import select_rows

    tables = [_read_scores(path, COLUMNS[spec.selection.by]) for path in scores]
    selected = select_rows(pa.concat_tables(tables), spec.selection)
    log.info("%d of %d candidates kept", selected.sum(), len(selected))
    write_rows(curated, _curated_pairs(candidates, scores, selected))
    _write_table(table, tables, selected)


def _read_scores(path: Path, counting: str) -> "pa.Table":
    """The scores of a shard by columns, without the texts; failures are those of the score that counts."""
    import pyarrow as pa

    numbers = [*NAMES, "label_mass"]
    kinds = {"id": pa.string(), **dict.fromkeys(numbers, pa.float64()), "failure": pa.string()}
    rows = [
        {name: row[name] for name in ("id", *numbers)} | {"failure": row["failures"][counting]}
        for row in read_rows(path)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _curated_pairs(candidate_files: list[Path], score_files: list[Path], selected: Iterable[bool]) -> Iterator[Row]:
    is_selected = iter(selected)
    for candidate_file, score_file in zip(candidate_files, score_files, strict=True):
        for candidate, score in join_rows(candidate_file, score_file, lambda row: row["rejection"] is None):
            if next(is_selected):
                pair = {name: candidate[name] for name in ("id", "instruction", "response")}
                yield pair | {name: score[name] for name in NAMES}


def _write_table(path: Path, tables: "list[pa.Table]", selected: "NDArray[np.bool_]") -> None:
    """Write the scores of all shards, each a row group, with what became of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, tables[0].schema.append(pa.field("selected", pa.bool_()))) as writer:
        start = 0
        for table in tables:
            writer.write_table(table.append_column("selected", [selected[start : start + len(table)]]))
            start += len(table)


if __name__ == "__main__":
    run_stage(select_candidates)
