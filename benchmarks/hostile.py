"""The hostile set in figures: what was tried, what came of it, seconds of the processor and memory of the worst.

    PYTHONPATH=.:tests python benchmarks/hostile.py

Prints the Markdown table of docs/reliability.md. The inputs are built in a temporary folder (`TMPDIR`); the largest has
60 MB.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence

from helpers.hostile import CASES
from helpers.hostile.runner import Result, fault, meet_all


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="inputs met at a time (default: 2)")
    args = parser.parse_args()

    cases = {(case.kind, case.name): case for case in CASES}
    by_kind: dict[str, list[Result]] = defaultdict(list)
    faults = []
    for result in meet_all(processes=args.processes):
        by_kind[result.kind].append(result)
        if found := fault(cases[result.kind, result.name], result):
            faults.append(f"{result.kind}: {result.name}: {found}")

    print("| inputs | tried | counted | stopped with a message | most time, s | most memory, MB |")
    print("|---|---|---|---|---|---|")
    for kind, results in by_kind.items():
        print(describe(kind, results))
    print(describe("**all**", [result for results in by_kind.values() for result in results]))
    print("\n".join(["", f"{len(faults)} not as expected", *faults]))


def describe(kind: str, results: Sequence[Result]) -> str:
    """A row of the table."""
    counted = sum(bool(reasons_of(result)) for result in results)
    stopped = sum(result.outcome == "stopped" for result in results)
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.megabytes)
    return (
        f"| {kind} | {len(results)} | {counted} | {stopped} | {slowest.seconds:.1f} ({slowest.name}) "
        f"| {largest.megabytes:,.0f} ({largest.name}) |"
    )


def reasons_of(result: Result) -> list[str]:
    """The reasons under which something was left out."""
    reasons = (reason for reason in result.met.counts if reason.startswith(("records/", "files/", "rows/")))
    return [reason for reason in reasons if not reason.endswith("/read")]


if __name__ == "__main__":
    main()
