"""The scores that a candidate may have: by which name candidates are selected, and in which column each lies."""

from typing import Literal

ScoreName = Literal["parsed", "expected", "likelihood", "backward_likelihood", "combined"]

COLUMNS: dict[ScoreName, str] = {
    "parsed": "score",
    "expected": "expected_score",
    "likelihood": "likelihood",
    "backward_likelihood": "backward_likelihood",
    "combined": "combined",
}

# The scores that each scoring.method gives.
SCORES_OF: dict[str, tuple[ScoreName, ...]] = {
    "reasoned": ("parsed", "expected"),
    "direct": ("expected",),
    "likelihood": ("likelihood", "backward_likelihood"),
    "combined": ("combined", "expected", "likelihood", "backward_likelihood"),
}

RATED: tuple[ScoreName, ...] = ("parsed", "expected")  # from 1 to 5
GAINS: tuple[ScoreName, ...] = ("likelihood", "backward_likelihood")  # in nats per token
