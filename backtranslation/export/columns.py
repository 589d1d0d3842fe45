"""Columns of a data set, written once: for Parquet, and for the card, by which `datasets` knows their types.

A type is a name that both know (string, float64, int64, bool), a list of one type, or an object of named types.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, Any]

TURN = {"role": "string", "content": "string"}


def arrow_schema(columns: Columns) -> "pa.Schema":
    """The schema of a Parquet file."""
    import pyarrow as pa

    return pa.schema({name: _arrow_type(kind) for name, kind in columns.items()})


def _arrow_type(kind: Any) -> "pa.DataType":
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(_arrow_type(kind[0]))
    if isinstance(kind, Mapping):
        return pa.struct({name: _arrow_type(part) for name, part in kind.items()})
    return pa.type_for_alias(kind)


def card_features(columns: Columns) -> list[dict[str, Any]]:
    """The same as `features` in the head of a data set card."""
    return [{"name": name, **_card_type(kind)} for name, kind in columns.items()]


def _card_type(kind: Any) -> dict[str, Any]:
    if isinstance(kind, Mapping):
        return {"struct": card_features(kind)}
    if not isinstance(kind, list):
        return {"dtype": kind}
    [item] = kind
    return {"list": card_features(item) if isinstance(item, Mapping) else item}
