"""What each threshold of the selection would keep of the candidates that a finished run has scored.

    snakemake
    python benchmarks/thresholds.py results

Prints a Markdown table for every iteration: candidates that are kept, by either kind of score; in the miniature world
also how many of them are good pairs by the truth (precision), and how many of all good pairs they are (recall).
"""

import argparse
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from backtranslation import layout
from backtranslation.files import read_rows
from backtranslation.method.selection import distribution
from backtranslation.miniature.truth import judge_candidates
from backtranslation.score_names import COLUMNS, RATED

THRESHOLDS = (3, 3.5, 4, 4.25, 4.5, 5)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results folder of a finished run")
    results = parser.parse_args().results
    good = good_pairs(results)
    for found, path in layout.find(results, layout.SCORE_TABLE):
        print(f"\nIteration {found['iteration']}\n")
        tell_thresholds(path, good)


def good_pairs(results: Path) -> set[str]:
    """Ids of the candidates that are good pairs; none where no truth is known."""
    truth = layout.locate(results, layout.MINIATURE_TRUTH)
    if not truth.exists():
        return set()
    candidates = chain.from_iterable(read_rows(path) for _, path in layout.find(results, layout.CANDIDATES))
    judged = judge_candidates(list(read_rows(truth)), list(candidates))
    return {row_id for row_id, candidate in judged.items() if candidate.in_pool and candidate.good}


def tell_thresholds(table: Path, good: set[str]) -> None:
    """Print what every threshold keeps of a table of scores, and how the scores are distributed."""
    scores = pq.read_table(table)
    is_good = np.array([row_id in good for row_id in scores["id"].to_pylist()])
    print("| by | threshold | kept | share | precision | recall |\n|---|---|---|---|---|---|")
    for by in RATED:
        values = scores[COLUMNS[by]].to_numpy().astype(float)
        for threshold in THRESHOLDS:
            kept = values >= threshold
            found = (kept & is_good).sum()
            precision, recall = (f"{found / of:.3f}" if good and of else "-" for of in (kept.sum(), len(good)))
            print(f"| {by} | {threshold:g} | {kept.sum()} | {kept.mean():.1%} | {precision} | {recall} |")
    for by in RATED:
        values = scores[COLUMNS[by]].to_numpy().astype(float)
        print(f"\n{by}:", ", ".join(f"{name}: {count}" for name, count in distribution(values, by).items()))


if __name__ == "__main__":
    main()
