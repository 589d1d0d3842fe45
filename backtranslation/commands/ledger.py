"""What the results of a run cost, in lines for people; what there is to add up, `jobs/costs` does."""

from collections.abc import Iterable, Sequence

from backtranslation.commands.formatting import align, format_seconds
from backtranslation.commands.workflow_jobs import WorkflowJob
from backtranslation.jobs.costs import StageCost, list_costs, total_cost
from backtranslation.jobs.manifests import output_paths
from backtranslation.jobs.named_paths import last_made

HEADER = ("stage", "model or iteration", "results", "time", "GPU time", "tokens")


def cost_of_jobs(jobs: Iterable[WorkflowJob]) -> tuple[list[StageCost], list[str]]:
    """Costs of the results that lie where the jobs of a run put them, and the paths where none lies yet."""
    named = [(item.store, output_paths(item.job)[0]) for item in jobs]
    return list_costs(named), [path for store, path in named if last_made(store, path) is None]


def describe_costs(costs: Sequence[StageCost], unmade: Sequence[str]) -> list[str]:
    """The costs as a table for people, with their sum."""
    total = total_cost(costs)
    lines = align([HEADER, *map(_cells, costs), _cells(total)]) if costs else []
    if total.last_started:
        lines.append(f"All of this is work of one job after the other; the latest was started {total.last_started}.")
    if total.tokens is not None:
        lines.append("Tokens: those that models were trained or measured on, and those that they wrote.")
    if unmade:
        lines.append(f"{len(unmade):,} results are not made yet, and not counted.")
    return lines


def describe_subject(model: str | None, iteration: str | None, scorer: str | None) -> str:
    """What results of a stage belong to; a scorer is one of the audit."""
    parts = [model, f"iteration {iteration}" if iteration else None, f"audit of {scorer}" if scorer else None]
    return ", ".join(filter(None, parts))


def _cells(cost: StageCost) -> list[str]:
    return [
        cost.stage or "from nothing",
        describe_subject(cost.model, cost.iteration, cost.scorer),
        f"{cost.results:,}",
        format_seconds(cost.seconds),
        format_seconds(cost.gpu_seconds) if cost.gpu_seconds else "",
        "" if cost.tokens is None else f"{cost.tokens:,}",
    ]
