"""Rows of scores with what a test says of them."""

from typing import Any

from backtranslation.files import Row
from backtranslation.method.scores import NAMES


def scored(row_id: str, texts: list[str] | None = None, failures: dict[str, str] | None = None, **known: Any) -> Row:
    """A row as compute_scores writes it; what is not said is null."""
    row: Row = {"id": row_id, **dict.fromkeys(("texts", "finished", "label_mass", *NAMES))}
    return row | {"texts": texts, "failures": dict.fromkeys(NAMES) | (failures or {})} | known


def reasons(row: Row) -> dict[str, str]:
    """Why a row of scores has not those that it could have."""
    return {name: reason for name, reason in row["failures"].items() if reason}


def judged(row_id: str, text: str, shares: list[float] | None = None, mass: float = 0.9) -> Row:
    """A row as score_candidates writes it, of a model that wrote one text."""
    sample = {"text": text, "finished": True, "label_probabilities": shares or [0.2] * 5, "label_mass": mass}
    return {"id": row_id, "samples": [sample], "failure": None}


def not_judged(row_id: str, failure: str = "prompt_too_long") -> Row:
    """The same of a candidate that could not be asked about."""
    return {"id": row_id, "samples": [], "failure": failure}
