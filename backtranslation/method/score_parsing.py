"""Self-curation: the score in a scorer's text (paper, section 2.3). What cannot be read is a reason, never a number.

The rules avoid faults of earlier reproductions: the last score counts, decimals are scores, `45` and `10` are not.
"""

import re
from collections import Counter
from collections.abc import Sequence

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.letters import UNSPACED
from backtranslation.models.labels import label_pattern
from backtranslation.tally import exceeds

NUMBER = re.compile(r"(-?\d+(?:[.,]\d+)?)(?:\s*(?:/|out of)\s*(\d+))?")
# A second number, or a unit; in scripts without spaces, a letter may follow that has nothing to do with the number.
AMBIGUOUS = re.compile(rf"[*_\s]*([-\u2013]|to|or)\s*\d|[^\W{UNSPACED}]|%", re.IGNORECASE)
EXAMPLES = 3


def parse_score(raw: str, label: str) -> tuple[float | None, str | None]:
    """(score from 1 to 5, None), or (None, why there is none).

    Reasons: empty, no_score (nothing like the label), no_number (nothing after it), ambiguous (`4-5`, `4 or 5`),
    other_scale (`8/10`), out_of_range.
    """
    if not raw.strip():
        return None, "empty"
    labels = list(label_pattern(label).finditer(raw))
    if not labels:
        return None, "no_score"
    rest = raw[labels[-1].end() :]
    number = NUMBER.match(rest)
    if number is None:
        return None, "no_number"
    if AMBIGUOUS.match(rest[number.end() :]):
        return None, "ambiguous"
    if number[2] not in (None, "5"):
        return None, "other_scale"
    score = float(number[1].replace(",", "."))
    return (score, None) if 1 <= score <= 5 else (None, "out_of_range")


def expected_score(digit_probabilities: Sequence[float]) -> float:
    """Mean of 1..5 under five probabilities that sum to 1."""
    return sum(score * share for score, share in zip(range(1, 6), digit_probabilities, strict=True))


def parse_judgement(row: Row, label: str) -> Row:
    """A generated score with its numbers: {"id", "raw", "score", "failure", "expected_score"}.

    A candidate that could not be shown to the scorer keeps that as its failure, and has neither number.
    """
    score, failure = (None, row["failure"]) if row["failure"] else parse_score(row["raw"], label)
    shares = row["digit_probabilities"]
    expected = None if shares is None else round(expected_score(shares), 6)
    return {"id": row["id"], "raw": row["raw"], "score": score, "failure": failure, "expected_score": expected}


def check_unparsable(scores: Sequence[Row], max_share: float) -> None:
    """Raise DataError, with counts by reason and three raw texts, if clearly too many scores could not be read."""
    failed = [row for row in scores if row["failure"]]
    if not exceeds(len(failed), len(scores), max_share):
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(r["failure"] for r in failed).most_common())
    examples = "\n".join(f"  {row['id']} ({row['failure']}): {row['raw']!r}" for row in failed[:EXAMPLES])
    raise DataError(
        f"{len(failed)} of {len(scores)} scores cannot be read ({reasons}), more than scoring.max_unparsable_share = "
        f"{max_share}. For example:\n{examples}"
    )
