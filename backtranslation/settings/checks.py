"""Checks of settings against this machine: files that must be there, GPUs that must be enough."""

from importlib.util import find_spec
from pathlib import Path

from backtranslation.settings.base_model import looks_like_folder
from backtranslation.settings.generation import ENGINES
from backtranslation.settings.prompts import PROMPT_FILES
from backtranslation.settings.run import Settings
from backtranslation.settings.slices import SettingsError
from backtranslation.shipped import find_file, searched_places


def check_files(settings: Settings) -> None:
    """Raise SettingsError, one line per file, if a file that the settings name is missing."""
    missing = [
        f"config: prompts.{key}: no such file: {path} (looked for {searched_places(path)})"
        for key, path in ((key, getattr(settings.prompts, key)) for key in PROMPT_FILES)
        if not Path(find_file(path)).is_file()
    ]
    pairs = {"seed.path": settings.seed, "held_out.pairs.path": settings.held_out.pairs}
    missing += [
        f"config: {key}: no such file: {given.path} (looked in {Path.cwd()})"
        for key, given in pairs.items()
        if given and given.path not in settings.generated_files() and not Path(given.path).is_file()
    ]
    for key, path in {
        "base_model.path": settings.base_model.path,
        "evaluation.judge": settings.evaluation.judge,
    }.items():
        if path is not None and looks_like_folder(path) and not (Path(find_file(path)) / "config.json").is_file():
            missing.append(
                f"config: {key}: no model (config.json) in the folder {path} (looked for {searched_places(path)})"
            )
    if missing:
        raise SettingsError("\n".join(missing))


def check_packages(settings: Settings) -> None:
    """Raise SettingsError if the package of the chosen engine is not installed."""
    package = ENGINES[settings.generation.engine].package
    if find_spec(package) is None:
        raise SettingsError(
            f"config: generation.engine: {settings.generation.engine} needs the package {package}, which is not"
            " installed"
        )


def check_gpus(settings: Settings, gpus: int) -> None:
    """Raise SettingsError naming the settings that ask for more GPUs than a machine has; without any it needs none."""
    asked = {
        "generation.gpus": settings.generation.gpus,
        "training.backward.processes": settings.training.backward.processes,
        "training.forward.processes": settings.training.forward.processes,
    }
    faults = [
        f"config: {key}: {count} GPUs for one job, but this machine has {gpus} to give"
        for key, count in asked.items()
        if count > gpus > 0
    ]
    if faults:
        raise SettingsError("\n".join(faults))
