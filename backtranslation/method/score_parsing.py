"""Self-curation: the score in a scorer's text (paper, section 2.3). What cannot be read is a reason, never a number.

The rules avoid faults of earlier reproductions: the first line that holds a score and nothing else counts, otherwise
the last score; decimals are scores, `45` and `10` are not.
"""

import re
from collections.abc import Sequence

from backtranslation.letters import UNSPACED
from backtranslation.models.labels import NUMBER, OPENING, find_score_label

# A second number, or a unit; in scripts without spaces, a letter may follow that has nothing to do with the number.
AMBIGUOUS = re.compile(rf"[*_\s]*([-\u2013,]|to|or){OPENING}\d|[^\W{UNSPACED}]|%", re.IGNORECASE)


def parse_score(raw: str, label: str) -> tuple[float | None, str | None]:
    """(score from 1 to 5, None), or (None, why there is none).

    Reasons: empty, no_score (nothing like the label), no_number (nothing after it), ambiguous (`4-5`, `4 or 5`),
    other_scale (`8/10`), out_of_range.
    """
    if not raw.strip():
        return None, "empty"
    found = find_score_label(raw, label)
    if found is None:
        return None, "no_score"
    number = NUMBER.match(raw, found.end())
    if number is None:
        return None, "no_number"
    if AMBIGUOUS.match(raw[number.end() :].partition("\n")[0]):
        return None, "ambiguous"
    if number[2] not in (None, "5"):
        return None, "other_scale"
    score = float(number[1].replace(",", "."))
    return (score, None) if 1 <= score <= 5 else (None, "out_of_range")


def expected_score(label_probabilities: Sequence[float]) -> float:
    """Mean of 1..5 under five probabilities that sum to 1."""
    return sum(score * share for score, share in zip(range(1, 6), label_probabilities, strict=True))
