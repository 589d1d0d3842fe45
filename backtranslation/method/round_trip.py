"""Round trip: does an instruction that was written for a response lead back to it, by a forward model's likelihood?

For every held-out response, the instruction that the backward model wrote for it ranks the response among others by how
much likelier it makes them (`method.likelihood`). Needs no judge, and no reference but the responses themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path

from backtranslation.corpus.ngrams import text_hash
from backtranslation.files import Row, row_hash
from backtranslation.method.gains import likelihood_gain
from backtranslation.method.likelihood import Encode, measure_likelihoods
from backtranslation.models.engine import Engine
from backtranslation.settings.limits import Limits

CANDIDATES = 20


@dataclass(frozen=True)
class RoundTrip:
    """Where a response came among `candidates`, itself included, by its instruction (1: first); None with a failure.

    Such a response was not retrieved: its instruction cannot be used, or it is too long for the model.
    """

    id: str
    rank: int | None
    candidates: int
    failure: str | None = None

    @property
    def reciprocal_rank(self) -> float:
        """1 for the first place, 1/2 for the second, and so on; 0 if the response was not retrieved."""
        return 1 / self.rank if self.rank else 0.0


def make_round_trips(
    engine: Engine,
    encode: Encode,
    written: Sequence[Row],
    held_out: Mapping[str, str],
    random_seed: int,
    work: Path,
    limits: Limits,
) -> list[RoundTrip]:
    """The round trip of every row {"id", "instruction", "rejection"} written for a response of `held_out` (by id).

    `encode` gives a row {"id", "instruction", "response"} as the forward model is asked. From the folder `work` a
    killed process continues. Raises DataError if clearly more pairs cannot be encoded than may be unusable.
    """
    usable = {row["id"]: row["instruction"] for row in written if row["rejection"] is None}
    candidates = {row_id: draw_responses(row_id, held_out, random_seed) for row_id in usable}
    rows = [
        {"id": f"{row_id}/{other}", "instruction": usable[row_id], "response": held_out[other]}
        for row_id, others in candidates.items()
        for other in others
    ]
    measured = {row["id"]: row for row in measure_likelihoods(engine, encode, rows, "forward", work, limits)}

    def retrieve(row: Row) -> RoundTrip:
        row_id = row["id"]
        if row["rejection"] is not None:
            return RoundTrip(row_id, None, 0, row["rejection"])
        own, *others = (measured[f"{row_id}/{other}"] for other in candidates[row_id])
        if own["failure"]:
            return RoundTrip(row_id, None, 0, own["failure"])
        gains = [likelihood_gain(other) for other in others if not other["failure"]]
        return RoundTrip(row_id, 1 + sum(gain >= likelihood_gain(own) for gain in gains), 1 + len(gains))

    return [retrieve(row) for row in written]


def draw_responses(row_id: str, held_out: Mapping[str, str], random_seed: int) -> list[str]:
    """Ids of a response and CANDIDATES - 1 others, fewer where there are no more: those with the smallest hashes.

    A response that is the same text, but for spaces, case and punctuation, is no other.
    """
    own = text_hash(held_out[row_id])
    others = (other for other, response in held_out.items() if text_hash(response) != own)
    return [row_id, *nsmallest(CANDIDATES - 1, others, key=lambda other: row_hash(random_seed, row_id, other))]
