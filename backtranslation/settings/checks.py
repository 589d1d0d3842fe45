"""Checks of settings against this machine: files that must be there, GPUs that must be enough."""

from pathlib import Path

from backtranslation.settings.base_model import looks_like_folder
from backtranslation.settings.prompts import PROMPT_FILES
from backtranslation.settings.run import Settings
from backtranslation.settings.slices import SettingsError


def check_files(settings: Settings) -> None:
    """Raise SettingsError, one line per file, if a file that the settings name is missing."""
    named = {f"prompts.{key}": getattr(settings.prompts, key) for key in PROMPT_FILES}
    named["seed.path"] = settings.seed.path
    if settings.held_out.pairs is not None:
        named["held_out.pairs.path"] = settings.held_out.pairs.path
    missing = [
        f"config: {key}: no such file: {path}"
        for key, path in named.items()
        if path not in settings.generated_files() and not Path(path).is_file()
    ]
    for key, path in {
        "base_model.path": settings.base_model.path,
        "evaluation.judge": settings.evaluation.judge,
    }.items():
        if path is not None and looks_like_folder(path) and not (Path(path) / "config.json").is_file():
            missing.append(f"config: {key}: no model (config.json) in the folder {path}")
    if missing:
        raise SettingsError("\n".join(missing))


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
