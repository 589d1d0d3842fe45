"""The results folder that a command speaks of."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.workflow_jobs import WorkflowJob, find_snakefile, list_jobs, read_configfiles
from backtranslation.errors import UserError
from backtranslation.settings.run import Settings, load_settings
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


def settings_of(configfiles: list[Path], snakefile: Path | None) -> Settings:
    """The settings of the run. Those of a module of another workflow are the ones that lie beside its results.

    Raises UserError as `results_of` does, and if such a run has not come to its end.
    """
    if find_snakefile(snakefile).samefile(SNAKEFILE):
        return read_configfiles(configfiles)
    path = layout.locate(results_of(configfiles, snakefile), layout.SETTINGS)
    if not path.exists():
        raise UserError(f"{path}: not there yet: run the workflow to its end first")
    return load_settings(json.loads(path.read_text(encoding="utf-8")))


def _only_folder(snakefile: Path, jobs: Sequence[WorkflowJob]) -> Path:
    first, *others = sorted({item.store.parent for item in jobs})
    if others:
        raise UserError(
            f"{snakefile}: its jobs have several results folders ({first}, {', '.join(map(str, others))}): name one by"
            f" --snakefile {SNAKEFILE} and the --configfile of its run alone"
        )
    return first


def find_model(named: str | None, configfiles: list[Path], snakefile: Path | None) -> str:
    """A model by its folder, its name in the run that is meant (`M1`), or on the hub; by default the run's last `M`.

    Raises UserError, with the names of the models there, if there is no such folder beside them.
    """
    if named is not None and ("/" in named or Path(named).is_dir()):
        if not Path(named).is_dir() and (others := _models_in(Path(named).parent)):
            raise UserError(f"{named}: no model there; there are {', '.join(others)}")
        return named
    results = results_of(configfiles, snakefile)
    models = {found["model"]: path for found, path in layout.find(results, layout.MODEL)}
    iterations = [int(name[1:]) for name in models if re.fullmatch(r"M\d+", name)]
    name = named or f"M{max(iterations, default=1)}"
    if name not in models:
        there = f"there are {', '.join(models)}" if models else "none is finished"
        raise UserError(f"{results} has no model {name} ({there}); a model may also be named by its folder")
    return str(models[name])


def _models_in(folder: Path) -> list[str]:
    """Names of the folders in a folder that hold a model."""
    return sorted(path.parent.name for path in folder.glob("*/config.json"))


def name_results(results: Path) -> str:
    """A line that says which run an answer is about."""
    return f"Results folder: {results}"


def name_stores(jobs: Sequence[WorkflowJob]) -> list[str]:
    """The same for jobs: those of one workflow may belong to several results folders."""
    return [name_results(folder) for folder in sorted({item.store.parent for item in jobs})]
