"""Write one figure of a report as a file of its own, on white, for a page of the documentation.

python benchmarks/report_figure.py results/report/index.html "Shares measured against the truth" docs/truth.svg
"""

import argparse
import re
from pathlib import Path

STYLE = 'style="background:white;color:#222"'  # in the page, text and lines have the page's own ink


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="report/index.html of a run")
    parser.add_argument("label", help="how the figure's description begins")
    parser.add_argument("output", type=Path, help="output: the figure, .svg")
    args = parser.parse_args()
    figures = re.findall(r"<svg .*?</svg>", args.report.read_text(encoding="utf-8"), re.DOTALL)
    found = [figure for figure in figures if f'aria-label="{args.label}' in figure]
    if not found:
        parser.error(f"{args.report} has no figure whose description begins with {args.label!r}")
    args.output.write_text(found[0].replace("<svg ", f"<svg {STYLE} ", 1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
