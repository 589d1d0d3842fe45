"""Packing: examples of different lengths laid end to end in rows of one length, and rows made into batches.

Each example keeps its own positions, counted from 0, and there is no attention mask: transformers reads the borders
from the positions and lets no example see another. Knows nothing of models and training.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backtranslation.models.pairs import NO_LABEL, EncodedPair

if TYPE_CHECKING:
    import torch


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Spread examples over rows by best fit, longest first: each goes where the least room is left over.

    Parameters are in tokens; the result holds, for every row, the indexes of its examples. Raises ValueError when an
    example is longer than `capacity`.
    """
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (tokens left, row), in order
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[index]
        if length > capacity:
            raise ValueError(f"example {index} has {length} tokens, a row holds {capacity}")
        place = bisect_left(open_rows, (length, -1))
        if place < len(open_rows):
            room, row = open_rows.pop(place)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        insort(open_rows, (room - length, row))
    return rows


def collate(rows: Sequence[Sequence[EncodedPair]]) -> dict[str, "torch.Tensor"]:
    """Batch of packed rows: input_ids, labels and position_ids, each (rows, tokens of the longest row), int64.

    The room after a short row, and the whole of one without examples, counts as one more example, without labels.
    """
    import torch

    width = max(1, *(sum(len(pair.ids) for pair in row) for row in rows))
    batch: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
    for row in rows:
        room = width - sum(len(pair.ids) for pair in row)
        batch["input_ids"].append([token for pair in row for token in pair.ids] + [0] * room)
        batch["labels"].append([label for pair in row for label in pair.labels] + [NO_LABEL] * room)
        lengths = [len(pair.ids) for pair in row] + [room]
        batch["position_ids"].append([position for length in lengths for position in range(length)])
    return {name: torch.tensor(values) for name, values in batch.items()}
