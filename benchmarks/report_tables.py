"""Print the tables of a report as Markdown, each under its heading, for a page of the documentation.

    python benchmarks/report_tables.py results/real-135m/report/index.html
    python benchmarks/report_tables.py results/real-135m/report/index.html "Held-out loss" "Pairwise win rates"

With headings, those tables alone.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resiliparse.parse.html import HTMLTree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="report/index.html of a run")
    parser.add_argument("headings", nargs="*", help="headings whose tables are printed (default: all)")
    args = parser.parse_args()
    found = list(read_tables(args.report.read_text(encoding="utf-8")))
    if missing := set(args.headings) - {heading for heading, _ in found}:
        parser.error(f"{args.report} has no table under {', '.join(sorted(missing))}")
    for heading, rows in found:
        if not args.headings or heading in args.headings:
            print(f"\n{heading}\n")
            print(*markdown_lines(rows), sep="\n")


def read_tables(page: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The tables of a page, each with the heading that it stands under; the first row is that of its head."""
    heading = ""
    body: Any = HTMLTree.parse(page).body
    for node in body.query_selector_all("h2, h3, table"):
        if node.tag != "table":
            heading = plain(node)
            continue
        rows = node.query_selector_all("tr")
        yield heading, [[plain(cell) for cell in row.query_selector_all("th, td")] for row in rows]


def plain(node: Any) -> str:
    return " ".join(node.text.split())


def markdown_lines(rows: list[list[str]]) -> Iterator[str]:
    head, *body = rows
    for row in (head, ["---"] * len(head), *body):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    main()
