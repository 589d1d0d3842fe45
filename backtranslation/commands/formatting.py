"""Figures and tables as people read them."""

import math
from collections.abc import Iterable, Sequence


def align(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table with columns as wide as they need be; columns without text are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def format_seconds(seconds: float) -> str:
    """A time as people say it: 17 s, 12 min, 3 h 20 min, 4 days."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 1440:.0f} days"


def format_bytes(size: float) -> str:
    """A size with its unit, in powers of 1000."""
    if size < 1000:
        return f"{size:.0f} bytes"
    units = ["kB", "MB", "GB", "TB"]
    power = min(int(math.log(size, 1000)), len(units))
    return f"{size / 1000**power:,.1f} {units[power - 1]}"
