"""Which scored candidates become training data: a threshold, and at most the best n. No model is needed.

Knows nothing of where scores come from.
"""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backtranslation.errors import DataError
from backtranslation.jobs.progress import log
from backtranslation.settings.selection import Selection

FEW = 0.01  # a selection of a smaller share is worth a warning
BIN = 0.5  # width of the bins in which expected scores are told


def select_rows(scores: pa.Table, selection: Selection) -> NDArray[np.bool_]:
    """Which rows are kept, of a table with the columns id, score, expected_score, each null where there is none.

    With `top_n`, ties at the border are broken by the expected score, then by id. Raises DataError, with the
    distribution of the scores, if nothing is kept: training on an empty selection would silently give M0 again. Warns,
    likewise, if the threshold keeps less than 1 %.
    """
    column = "score" if selection.by == "parsed" else "expected_score"
    values = scores[column].to_numpy().astype(float)  # nan where null
    kept = values >= selection.threshold
    check_share(values, int(kept.sum()), selection)
    if selection.top_n is not None:
        rows = np.flatnonzero(kept)
        keys = {column: "descending", "expected_score": "descending", "id": "ascending"}
        order = pc.sort_indices(scores.select(list(keys)).take(rows), sort_keys=list(keys.items()))
        kept[rows[order[selection.top_n :]]] = False
    return kept


def check_share(values: NDArray[np.float64], kept: int, selection: Selection) -> None:
    """Raise DataError if a threshold keeps none of the scores (nan where there is none), and warn if it keeps few."""
    if kept >= max(1, FEW * len(values)):
        return
    if not len(values):
        raise DataError(
            "there are no candidates to select from: every segment or instruction was dropped, for the reasons that the"
            " logs of filter_instructions and the funnel of the segments count"
        )
    found = "\n".join(f"  {name}: {count:,}" for name, count in distribution(values, selection.by).items())
    summary = (
        f"selection.threshold {selection.threshold:g} keeps {kept or 'none'} of {len(values):,} candidates by"
        f" their {selection.by} scores:\n{found}\n"
    )
    if kept:
        log.warning(f"{summary}A lower threshold keeps more (docs/selection.md)")
    elif np.isnan(values).all():
        raise DataError(f"{summary}No threshold helps: see in the scores of this iteration what the model wrote")
    else:
        other = "expected" if selection.by == "parsed" else "parsed"
        highest = math.floor(100 * np.nanmax(values)) / 100
        raise DataError(
            f"{summary}Lower selection.threshold to {highest:g} or less, or set selection.by to {other}"
            " (docs/selection.md)"
        )


def distribution(values: NDArray[np.float64], by: str) -> dict[str, int]:
    """How many candidates have each score, the lowest first; expected scores in bins, named by both ends."""
    rated = values[~np.isnan(values)]
    steps = rated if by == "parsed" else np.minimum(np.floor(rated / BIN), 5 / BIN - 1) * BIN
    found, counts = np.unique(steps, return_counts=True)
    names = [f"score {step:g}" if by == "parsed" else f"{step:g} to {step + BIN:g}" for step in found]
    told = dict(zip(names, counts.tolist(), strict=True))
    return told | ({"no score": len(values) - len(rated)} if len(rated) < len(values) else {})
