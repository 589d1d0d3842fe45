"""Pairs in the formats that training programs read, each row with where it comes from.

Knows nothing of files; `rows` reads them out of the results.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backtranslation.export.columns import TURN, Columns
from backtranslation.files import Row
from backtranslation.score_names import COLUMNS

FormatName = Literal["messages", "alpaca", "sharegpt", "prompt-completion"]

ORIGIN: Columns = {
    "id": "string",
    "kind": "string",
    "url": "string",
    "source": "string",
    "file": "string",
    "record_offset": "int64",
    "license": "string",
    **dict.fromkeys(COLUMNS.values(), "float64"),
    "iteration": "int64",
}


@dataclass(frozen=True)
class Pair:
    """What a model is asked and what it should reply; `origin` has the columns of ORIGIN, and perhaps more."""

    question: str
    reply: str
    origin: Row


@dataclass(frozen=True)
class PairFormat:
    """The columns that hold a pair, and how question and reply are put into them."""

    columns: Columns
    fill: Callable[[str, str], Row]

    def row(self, pair: Pair) -> Row:
        """A pair as it is written."""
        return self.fill(pair.question, pair.reply) | pair.origin


def origin(
    row_id: str,
    kind: Literal["seed", "augmented"],
    segment: Row | None = None,
    score: Row | None = None,
    iteration: int | None = None,
) -> Row:
    """Where a pair comes from, in the columns of ORIGIN; what a pair has not is None."""
    page, scored = segment or {}, score or {}
    return {
        "id": row_id,
        "kind": kind,
        **{name: page.get(name) for name in ("url", "source", "file", "record_offset", "license")},
        **{name: scored.get(name) for name in COLUMNS.values()},
        "iteration": iteration,
    }


def _turn(role: str, content: str) -> Row:
    return {"role": role, "content": content}


FORMATS: dict[FormatName, PairFormat] = {
    "messages": PairFormat(
        {"messages": [TURN]},
        lambda question, reply: {"messages": [_turn("user", question), _turn("assistant", reply)]},
    ),
    "alpaca": PairFormat(
        {"instruction": "string", "input": "string", "output": "string"},
        lambda question, reply: {"instruction": question, "input": "", "output": reply},
    ),
    "sharegpt": PairFormat(
        {"conversations": [{"from": "string", "value": "string"}]},
        lambda question, reply: {
            "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": reply}]
        },
    ),
    # Lists of turns, to which TRL applies the chat template; of two texts it would join the bare words.
    "prompt-completion": PairFormat(
        {"prompt": [TURN], "completion": [TURN]},
        lambda question, reply: {"prompt": [_turn("user", question)], "completion": [_turn("assistant", reply)]},
    ),
}
