"""A configuration to start from, for a run on one's own pages."""

from pathlib import Path

import yaml

from backtranslation.errors import UserError
from backtranslation.settings.documentation import starting_configuration
from backtranslation.shipped import WORKFLOW

EXAMPLE = WORKFLOW / "configs" / "lora-1gpu.yaml"


def write_configuration(path: Path) -> None:
    """Write a commented configuration. Raises UserError where there is a file already."""
    text = starting_configuration(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")), path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{path}: is there already; name another file") from None


def describe_configuration(path: Path) -> list[str]:
    """What to do next."""
    return [
        f"{path} is written. Change base_model.path, corpus.sources and seed.path in it, then",
        f"  backtranslation run -n --configfile {path}    # checks the settings, shows what would run",
        f"  backtranslation run --configfile {path}",
    ]
