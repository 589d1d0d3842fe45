"""Select the candidates of one iteration by their scores, over all shards.

Writes the curated pairs, rows {"id", "instruction", "response", "score", "expected_score"}, and a Parquet table of
every scored candidate with the columns id, score, failure, expected_score, selected.
"""

import argparse
from collections.abc import Iterator

from backtranslation.files import Row, join_rows, read_rows, write_rows
from backtranslation.progress import log, run_script, start_job
from backtranslation.selection import Scored, select_candidates
from backtranslation.settings import Selection, Slice


class Spec(Slice):
    """Settings of this stage."""

    selection: Selection


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--candidates", required=True, nargs="+", help="candidates of every shard, .jsonl.zst")
    parser.add_argument("--scores", required=True, nargs="+", help="scores of every shard, in the same order")
    parser.add_argument("--curated", required=True, help="output: selected pairs, .jsonl.zst")
    parser.add_argument("--table", required=True, help="output: all scores, .parquet")
    args = parser.parse_args()
    start_job("select_candidates")
    spec = Spec.model_validate_json(args.spec)

    scored = [Scored(row["id"], row["score"], row["expected_score"]) for f in args.scores for row in read_rows(f)]
    selected = select_candidates(scored, spec.selection)
    log.info("%d of %d candidates kept", len(selected), len(scored))
    write_rows(args.curated, _curated_pairs(args.candidates, args.scores, selected))
    _write_table(args.table, args.scores, selected)


def _curated_pairs(candidate_files: list[str], score_files: list[str], selected: set[str]) -> Iterator[Row]:
    for candidate_file, score_file in zip(candidate_files, score_files, strict=True):
        for candidate, score in join_rows(candidate_file, score_file, lambda row: row["rejection"] is None):
            if candidate["id"] in selected:
                pair = {name: candidate[name] for name in ("id", "instruction", "response")}
                yield pair | {"score": score["score"], "expected_score": score["expected_score"]}


def _write_table(path: str, score_files: list[str], selected: set[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("id", pa.string()), ("score", pa.float64()), ("failure", pa.string()), ("expected_score", pa.float64()),
         ("selected", pa.bool_())]
    )  # fmt: skip
    with pq.ParquetWriter(path, schema) as writer:
        for score_file in score_files:
            rows = [row | {"selected": row["id"] in selected} for row in read_rows(score_file)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


if __name__ == "__main__":
    run_script(main)
