"""Which scored candidates become training data: a threshold, and at most the best n. No model is needed.

Knows nothing of where scores come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backtranslation.files import DataError
from backtranslation.settings import Selection


@dataclass(frozen=True, slots=True)
class Scored:
    """The numbers of one candidate; `score` is None where the text named none."""

    id: str
    score: float | None
    expected_score: float

    def value(self, by: str) -> float | None:
        """The score that selection looks at: `parsed` or `expected`."""
        return self.score if by == "parsed" else self.expected_score


def select_candidates(scored: Sequence[Scored], selection: Selection) -> set[str]:
    """Ids of the candidates that are kept.

    With `top_n`, ties at the border are broken by the expected score, then by id. Raises DataError, with the highest
    score there is, if nothing is kept: training on an empty selection would silently give M0 again.
    """
    rated = [(value, row.expected_score, row.id) for row in scored if (value := row.value(selection.by)) is not None]
    kept = [row for row in rated if row[0] >= selection.threshold]
    if not kept:
        best = f"the highest {selection.by} score is {max(rated)[0]:g}" if rated else "none has a score"
        raise DataError(
            f"selection.threshold {selection.threshold:g} keeps none of {len(scored)} candidates: {best}, "
            f"{len(scored) - len(rated)} have none"
        )
    kept.sort(key=lambda row: (-row[0], -row[1], row[2]))
    return {row[2] for row in kept[: selection.top_n]}
