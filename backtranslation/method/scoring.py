"""Self-curation: where a scorer's text names its score, and the expected score over the digits (paper, section 2.3).

Knows nothing of how text is generated. Numbers in the text are read by `score_parsing`.
"""

import re
from collections.abc import Sequence

SCORE_LABEL = re.compile(r"\bscore\b[*_\s]*[:=][*_\s]*", re.IGNORECASE)
DIGITS = ("1", "2", "3", "4", "5")


def text_before_score(raw: str) -> str:
    """The scorer's text up to the place of its last score; if it names none, its whole text with an empty score line.

    The next token after it, read with `SCORE_CHOICES`, is the digit.
    """
    labels = list(SCORE_LABEL.finditer(raw))
    return raw[: labels[-1].end()].rstrip() if labels else f"{raw.rstrip()}\nScore:"


SCORE_CHOICES = tuple(f" {digit}" for digit in DIGITS)


def expected_score(digit_probabilities: Sequence[float]) -> float:
    """Mean of 1..5 under five probabilities that sum to 1."""
    return sum(float(digit) * share for digit, share in zip(DIGITS, digit_probabilities, strict=True))
