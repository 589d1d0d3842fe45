"""The stages of the workflow: what each is, its own script says; here is which there are, and which run a model."""

from pathlib import Path

from backtranslation.jobs.source_digests import source_digests
from backtranslation.shipped import SCRIPTS


def list_stages() -> list[Path]:
    """The scripts of all stages; other scripts make what ships with the project."""
    return sorted(path for path in SCRIPTS.glob("*.py") if "run_stage(" in path.read_text(encoding="utf-8"))


def model_stages() -> list[str]:
    """The stages that load a model, and so want a GPU where there is one."""
    return [path.stem for path in list_stages() if "backtranslation.models.loading" in source_digests(path)]
