"""Scoring without a rubric: how much likelier a reply becomes by the text that it replies to.

The mean log probability of a reply's tokens after its prompt, less the same after an empty prompt: of a response after
its instruction (the logarithm of IFD, Li et al. 2024, arXiv 2308.12032), and backwards of an instruction after its
response (r-IFD). No token is generated, and no skill is asked for that a small model lacks.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite, nan
from pathlib import Path
from statistics import fmean
from typing import Literal

from backtranslation.files import Row
from backtranslation.models.engine import Engine, ReplyLikelihood, measure_all
from backtranslation.models.pairs import EncodedPair, encode_usable
from backtranslation.settings.limits import Limits

NOT_MEASURABLE = "not_measurable"
EDGE_TOKENS = 16  # how a reply begins and ends is looked at apart: there stands what does not belong to it

# What is shown to a model, and what it is measured on.
SIDES: dict[str, tuple[str, str]] = {"forward": ("instruction", "response"), "backward": ("response", "instruction")}

Encode = Callable[[Row], EncodedPair]


def measure_likelihoods(
    engine: Engine,
    encode: Encode,
    rows: Sequence[Row],
    task: Literal["forward", "backward"],
    work: Path,
    limits: Limits,
) -> Iterator[Row]:
    """The likelihood of every row's reply after its prompt (`given`) and after an empty one (`alone`).

    Gives rows {"id", "given", "alone", "failure"}, the former two as `condense` makes them, null where nothing could be
    measured. A reply that stands in several rows is measured alone once. `work` is a folder from which a killed process
    continues. Raises DataError if clearly more rows than may be cannot be used.
    """
    shown, measured = SIDES[task]
    usable, left_out = encode_usable(rows, encode, limits)
    first_with = {row[measured]: row["id"] for row in reversed(rows) if row["id"] not in left_out}
    unshown = [{**row, shown: ""} for row in rows if first_with.get(row[measured]) == row["id"]]
    given = measure_all(engine, usable, work / "given.jsonl", condense)
    alone = measure_all(engine, [encode(row) for row in unshown], work / "alone.jsonl", condense)
    for row in rows:
        failure = left_out.get(row["id"])
        if not failure and not all(map(_is_finite, (given[row["id"]], alone[first_with[row[measured]]]))):
            failure = NOT_MEASURABLE
        yield {
            "id": row["id"],
            "given": None if failure else _without_id(given[row["id"]]),
            "alone": None if failure else _without_id(alone[first_with[row[measured]]]),
            "failure": failure,
        }


def condense(likelihood: ReplyLikelihood) -> Row:
    """A reply in five numbers: its tokens, but for the one that ends it; their mean log probability, that of the first
    and the last EDGE_TOKENS of them, and the log probability that it ends there. In nats.
    """
    *tokens, end = likelihood.log_probabilities
    if not tokens:
        return {"tokens": 0, "mean": nan, "begin": nan, "tail": nan, "end": end}
    return {
        "tokens": len(tokens),
        "mean": fmean(tokens),
        "begin": fmean(tokens[:EDGE_TOKENS]),
        "tail": fmean(tokens[-EDGE_TOKENS:]),
        "end": end,
    }


def _is_finite(condensed: Row) -> bool:
    """Whether all is known of a reply: a model may overflow, and a reply may be nothing but its end."""
    return all(isfinite(condensed[part]) for part in ("mean", "begin", "tail", "end"))


def _without_id(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "id"}
