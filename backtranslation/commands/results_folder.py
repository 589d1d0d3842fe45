"""The results folder that a command speaks of."""

from collections.abc import Sequence
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.workflow_jobs import WorkflowJob, read_configfiles
from backtranslation.errors import UserError


def results_of(configfiles: list[Path]) -> Path:
    """The results folder of the run with these settings. Raises UserError if there is no such folder yet."""
    results = Path(read_configfiles(configfiles).results)
    if not results.is_dir():
        raise UserError(
            f"{results}: no such folder in {Path.cwd()}: this run has not begun, or another one is meant (--configfile)"
        )
    return results


def store_of(results: Path) -> Path:
    """The store of a results folder."""
    return layout.locate(results, layout.STORE)


def name_results(results: Path) -> str:
    """A line that says which run an answer is about."""
    return f"Results folder: {results}"


def name_stores(jobs: Sequence[WorkflowJob]) -> list[str]:
    """The same for jobs: those of one workflow may belong to several results folders."""
    return [name_results(folder) for folder in sorted({item.store.parent for item in jobs})]
