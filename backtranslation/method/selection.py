"""Which scored candidates become training data: a threshold, a quantile, at most the best n. No model is needed.

Knows nothing of where scores come from.
"""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backtranslation.errors import DataError
from backtranslation.jobs.progress import log
from backtranslation.score_names import COLUMNS, ScoreName
from backtranslation.settings.selection import Selection

FEW = 0.01  # a selection of a smaller share is worth a warning
# In which scores are told that are no whole numbers.
BINS: dict[str, NDArray[np.float64]] = {"expected": np.linspace(1, 5, 9), "combined": np.linspace(0, 1, 11)}


def select_rows(scores: pa.Table, selection: Selection) -> NDArray[np.bool_]:
    """Which rows are kept, of a table with the column id and those of scores, each null where there is none.

    `quantile` and `top_n` keep the highest scores; ties at the border are broken by the expected score, then by id.
    Raises DataError, with the distribution of the scores, if nothing is kept: training on an empty selection would
    silently give M0 again. Warns, likewise, if less than 1 % is kept.
    """
    values = scores[COLUMNS[selection.by]].to_numpy().astype(float)  # nan where null
    scored = ~np.isnan(values)
    kept = scored if selection.threshold is None else scored & (values >= selection.threshold)
    check_share(values, int(kept.sum()), selection)
    limits = [int(kept.sum())]
    if selection.quantile is not None:
        limits.append(math.ceil(round((1 - selection.quantile) * int(scored.sum()), 6)))
    if selection.top_n is not None:
        limits.append(selection.top_n)
    rows = np.flatnonzero(kept)
    keys = {COLUMNS[selection.by]: "descending", "expected_score": "descending", "id": "ascending"}
    order = pc.sort_indices(scores.select(list(keys)).take(rows), sort_keys=list(keys.items()))
    kept[rows[order[min(limits) :]]] = False
    return kept


def check_share(values: NDArray[np.float64], kept: int, selection: Selection) -> None:
    """Raise DataError if none of the scores is kept (nan where there is none), and warn if few are."""
    if kept >= max(1, FEW * len(values)):
        return
    if not len(values):
        raise DataError(
            "there are no candidates to select from: every segment or instruction was dropped, for the reasons that the"
            " logs of filter_instructions and the funnel of the segments count"
        )
    found = "\n".join(f"  {name}: {count:,}" for name, count in distribution(values, selection.by).items())
    limit = "selection" if selection.threshold is None else f"selection.threshold {selection.threshold:g}"
    summary = f"{limit} keeps {kept or 'none'} of {len(values):,} candidates by their {selection.by} scores:\n{found}\n"
    if kept and selection.threshold is None:
        log.warning(f"{summary}See in the scores of this iteration why others have none")
    elif kept:
        log.warning(f"{summary}A lower threshold keeps more (docs/selection.md)")
    elif np.isnan(values).all():
        raise DataError(f"{summary}No threshold helps: see in the scores of this iteration why there are none")
    else:
        highest = math.floor(100 * np.nanmax(values)) / 100
        raise DataError(
            f"{summary}Lower selection.threshold to {highest:g} or less, or set selection.by to another score"
            " (docs/selection.md)"
        )


def distribution(values: NDArray[np.float64], by: ScoreName) -> dict[str, int]:
    """How many candidates have each score, the lowest first; scores that are no whole numbers in bins, by both ends."""
    rated = values[~np.isnan(values)]
    missing = {"no score": len(values) - len(rated)} if len(rated) < len(values) else {}
    if by == "parsed":
        found, counts = np.unique(rated, return_counts=True)
        return {f"score {score:g}": count for score, count in zip(found, counts.tolist(), strict=True)} | missing
    histogram, edges = np.histogram(rated, BINS.get(by, 10))
    names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges.tolist())]
    told: Counter[str] = Counter()
    for name, count in zip(names, histogram.tolist(), strict=True):  # of scores all alike, bins have the same name
        told[name] += count
    return {name: count for name, count in told.items() if count} | missing
