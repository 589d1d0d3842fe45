"""What results cost when they were made, by stage and by the model or iteration that they belong to; also as a file.

Read from their manifests, so that a result which a run finds costs what it cost to make: together they cost what a run
from nothing would take.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backtranslation.files import write_json
from backtranslation.jobs.manifests import Manifest
from backtranslation.jobs.named_paths import last_made
from backtranslation.jobs.process import run_script
from backtranslation.layout import wildcards_of


@dataclass(frozen=True)
class StageCost:
    """The results of a stage for one model (of two that are compared, both), for an iteration, a scorer, or neither.

    `tokens` are those of `Manifest`, `last_started` is when the making of the latest one began, ISO 8601 in UTC. All
    together have no stage.
    """

    stage: str | None
    model: str | None
    iteration: str | None
    scorer: str | None
    results: int
    seconds: float
    gpu_seconds: float
    tokens: int | None
    last_started: str | None


Subject = tuple[str | None, str | None, str | None]  # model, iteration, scorer


def list_costs(named: Iterable[tuple[Path, str]]) -> list[StageCost]:
    """Costs of the results at named paths, each with its store, in the order of the paths, a stage in one piece.

    A result with several names counts once; a path without a result does not count.
    """
    found: dict[tuple[str, str], StageCost] = {}
    for store, path in named:
        made = last_made(store, path)
        if made is not None and (made.stage, made.key) not in found:
            found[made.stage, made.key] = _cost_of(made, wildcards_of(store.parent, path))
    stages: dict[str | None, dict[Subject, list[StageCost]]] = {}
    for cost in found.values():
        stages.setdefault(cost.stage, {}).setdefault((cost.model, cost.iteration, cost.scorer), []).append(cost)
    return [_add_up(stage, subject, costs) for stage, subjects in stages.items() for subject, costs in subjects.items()]


def total_cost(costs: Sequence[StageCost]) -> StageCost:
    """All of them together."""
    return _add_up(None, (None, None, None), costs)


def _cost_of(made: Manifest, wildcards: dict[str, str]) -> StageCost:
    """The cost of one result, whose path has these wildcards."""
    compared = f"{wildcards['first']} and {wildcards['second']}" if "first" in wildcards else None
    model, iteration = wildcards.get("model", compared), wildcards.get("iteration")
    scorer = wildcards.get("scorer")
    return StageCost(made.stage, model, iteration, scorer, 1, made.seconds, made.gpu_seconds, made.tokens, made.started)


def _add_up(stage: str | None, subject: Subject, costs: Sequence[StageCost]) -> StageCost:
    tokens = [cost.tokens for cost in costs if cost.tokens is not None]
    return StageCost(
        stage,
        *subject,
        results=sum(cost.results for cost in costs),
        seconds=round(sum(cost.seconds for cost in costs), 3),
        gpu_seconds=round(sum(cost.gpu_seconds for cost in costs), 3),
        tokens=sum(tokens) if tokens else None,
        last_started=max((cost.last_started for cost in costs if cost.last_started), default=None),
    )


def costs_value(costs: Sequence[StageCost]) -> dict[str, Any]:
    """Costs as a JSON value: {"stages": [a `StageCost`, ...], "total": a `StageCost`}."""
    return {"stages": [asdict(cost) for cost in costs], "total": asdict(total_cost(costs))}


def main() -> None:
    """Write the costs of the results at the paths of standard input, one a line, as JSON.

    The same results give the same bytes, whoever found them.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, required=True, help="folder of finished results")
    parser.add_argument("--costs", type=Path, required=True, help="output: costs, .json")
    args = parser.parse_args()
    paths = sys.stdin.read().splitlines()  # of ten thousand shards, more than a command line holds
    write_json(args.costs, costs_value(list_costs((args.store, path) for path in paths)))


if __name__ == "__main__":
    run_script(main)
