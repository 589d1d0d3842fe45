"""Records and rows that are left out: counted by reason and named in the log; too many unusable ones stop the job."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from backtranslation.errors import DataError

log = logging.getLogger("backtranslation")

EXAMPLES_IN_LOG = 5
EXAMPLES_IN_ERROR = 3


@dataclass
class Tally:
    """Counts by reason. What cannot be used (`refuse`) is also counted apart from what is not wanted (`skip`)."""

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def skip(self, reason: str, where: str, level: int = logging.INFO) -> None:
        """Count something that is not wanted, and name the first few."""
        self.counts[reason] += 1
        if self.counts[reason] <= EXAMPLES_IN_LOG:
            last = " (further ones are only counted)" if self.counts[reason] == EXAMPLES_IN_LOG else ""
            log.log(level, "skipped, %s: %s%s", reason, where, last)

    def refuse(self, reason: str, where: str) -> None:
        """Count something that cannot be used, and name the first few."""
        self.skip(reason, where, logging.WARNING)
        self.refused[reason] += 1
        if len(self.examples) < EXAMPLES_IN_ERROR:
            self.examples.append(f"{reason}: {where}")

    def check(self, total: int, unit: str, max_share: float) -> None:
        """Raise DataError, with counts by reason and three examples, if too many of so many cannot be used."""
        if not exceeds(self.refused.total(), total, max_share):
            return
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.refused.most_common())
        examples = "\n".join(f"  {example}" for example in self.examples)
        raise DataError(
            f"{self.refused.total():,} of {total:,} {unit} cannot be used ({reasons}), more than"
            f" limits.max_unusable_share = {max_share:g}. For example:\n{examples}"
        )


def exceeds(failed: int, total: int, max_share: float) -> bool:
    """Whether clearly more than a share failed: the whole 95 % Wilson interval lies above, as a shard may be small.

    What failed may be more than was counted: a damaged stretch of a file is no record.
    """
    if not failed:
        return False

    from scipy.stats import binomtest  # takes longer to import than most shards to parse

    return bool(binomtest(failed, max(failed, total)).proportion_ci(method="wilson").low > max_share)
