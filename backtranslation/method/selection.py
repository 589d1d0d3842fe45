"""Which scored candidates become training data: a threshold, and at most the best n. No model is needed.

Knows nothing of where scores come from.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backtranslation.errors import DataError
from backtranslation.settings.selection import Selection


def select_rows(scores: pa.Table, selection: Selection) -> NDArray[np.bool_]:
    """Which rows are kept, of a table with the columns id, score (null where the text named none), expected_score.

    With `top_n`, ties at the border are broken by the expected score, then by id. Raises DataError, with the highest
    score there is, if nothing is kept: training on an empty selection would silently give M0 again.
    """
    column = "score" if selection.by == "parsed" else "expected_score"
    values = scores[column].to_numpy()  # nan where null
    kept = values >= selection.threshold
    if not kept.any():
        rated = values[~np.isnan(values)]
        best = f"the highest {selection.by} score is {rated.max():g}" if len(rated) else "none has a score"
        raise DataError(
            f"selection.threshold {selection.threshold:g} keeps none of {len(values)} candidates: {best}, "
            f"{len(values) - len(rated)} have none"
        )
    if selection.top_n is not None:
        rows = np.flatnonzero(kept)
        keys = {column: "descending", "expected_score": "descending", "id": "ascending"}
        order = pc.sort_indices(scores.select(list(keys)).take(rows), sort_keys=list(keys.items()))
        kept[rows[order[selection.top_n :]]] = False
    return kept
