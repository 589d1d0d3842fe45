"""What the last model is compared with, to tell the worth of the selection from that of more data."""

from collections.abc import Iterable
from heapq import nsmallest

from backtranslation.files import row_hash


def draw_candidates(ids: Iterable[str], count: int, random_seed: int) -> set[str]:
    """So many of the ids, drawn by chance: those whose hashes are the smallest, whatever order they come in."""
    return set(nsmallest(count, ids, key=lambda row_id: row_hash("draw_random_candidates", random_seed, row_id)))
