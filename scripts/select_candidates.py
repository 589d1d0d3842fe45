"""Select the candidates of one iteration by their scores, over all shards.

Writes the curated pairs, rows {"id", "instruction", "response", "score", "expected_score"}, and a Parquet table of
every scored candidate with the columns id, score, failure, expected_score, selected.
"""

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from backtranslation.files import Row, join_rows, read_rows, write_rows
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


class Spec(Slice):
    """Settings of this stage."""

    selection: Selection


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--candidates", type=Input, required=True, nargs="+", help="candidates of every shard")
    parser.add_argument("--scores", type=Input, required=True, nargs="+", help="their scores")
    parser.add_argument("--curated", type=Output, required=True, help="output: selected pairs, .jsonl.zst")
    parser.add_argument("--table", type=Output, required=True, help="output: all scores, .parquet")
    return parser


def curate_candidates(args: argparse.Namespace) -> None:
    """Select over all shards, of which only the scores are held at once, then write shard by shard."""
    spec = Spec.model_validate_json(args.spec)

    import pyarrow as pa

    from backtranslation.method.selection import select_candidates

    tables = [_read_scores(path) for path in args.scores]
    scores = pa.concat_tables(tables)
    selected = select_candidates(scores, spec.selection)
    log.info("%d of %d candidates kept", selected.sum(), len(selected))
    write_rows(args.curated, _curated_pairs(args.candidates, args.scores, selected))
    _write_table(args.table, tables, selected)


def _read_scores(path: str) -> "pa.Table":
    """The scores of a shard by columns, without the texts."""
    import pyarrow as pa

    kinds = {"id": pa.string(), "score": pa.float64(), "failure": pa.string(), "expected_score": pa.float64()}
    rows = [{name: row[name] for name in kinds} for row in read_rows(path)]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _curated_pairs(candidate_files: list[str], score_files: list[str], selected: Iterable[bool]) -> Iterator[Row]:
    is_selected = iter(selected)
    for candidate_file, score_file in zip(candidate_files, score_files, strict=True):
        for candidate, score in join_rows(candidate_file, score_file, lambda row: row["rejection"] is None):
            if next(is_selected):
                pair = {name: candidate[name] for name in ("id", "instruction", "response")}
                yield pair | {"score": score["score"], "expected_score": score["expected_score"]}


def _write_table(path: str, tables: "list[pa.Table]", selected: "NDArray[np.bool_]") -> None:
    """Write the scores of all shards, each a row group, with what became of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, tables[0].schema.append(pa.field("selected", pa.bool_()))) as writer:
        start = 0
        for table in tables:
            writer.write_table(table.append_column("selected", [selected[start : start + len(table)]]))
            start += len(table)


if __name__ == "__main__":
    run_stage(__file__, build_parser(), curate_candidates)
