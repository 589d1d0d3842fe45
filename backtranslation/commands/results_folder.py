"""The results folder that a command speaks of."""

from collections.abc import Sequence
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.workflow_jobs import WorkflowJob, find_snakefile, list_jobs, read_configfiles
from backtranslation.errors import UserError
from backtranslation.shipped import SNAKEFILE


def results_of(configfiles: list[Path], snakefile: Path | None) -> Path:
    """The results folder of the run with these settings. Raises UserError if there is none yet, or more than one.

    Another workflow, of which this one is a module, says itself where the results of its jobs lie.
    """
    path = find_snakefile(snakefile)
    if path.samefile(SNAKEFILE):
        results = Path(read_configfiles(configfiles).results)
    else:
        results = _only_folder(path, list_jobs(configfiles, snakefile=path))
    if not layout.locate(results, layout.STORE).is_dir():
        raise UserError(
            f"{results}: no results there (in {Path.cwd()}): this run has not begun, or another is meant (--configfile)"
        )
    return results


def _only_folder(snakefile: Path, jobs: Sequence[WorkflowJob]) -> Path:
    first, *others = sorted({item.store.parent for item in jobs})
    if others:
        raise UserError(
            f"{snakefile}: its jobs have several results folders ({first}, {', '.join(map(str, others))}): name one by"
            f" --snakefile {SNAKEFILE} and the --configfile of its run alone"
        )
    return first


def name_results(results: Path) -> str:
    """A line that says which run an answer is about."""
    return f"Results folder: {results}"


def name_stores(jobs: Sequence[WorkflowJob]) -> list[str]:
    """The same for jobs: those of one workflow may belong to several results folders."""
    return [name_results(folder) for folder in sorted({item.store.parent for item in jobs})]
