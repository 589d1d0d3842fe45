"""What ships with the package: the workflow itself, and files that a configuration may name without having them.

In a checkout they lie beside the package, in an installed wheel inside it (`backtranslation/workflow`).
"""

from pathlib import Path

PACKAGE = Path(__file__).parent
WORKFLOW = PACKAGE / "workflow" if (PACKAGE / "workflow").is_dir() else PACKAGE.parent
SNAKEFILE = WORKFLOW / "Snakefile"
SCRIPTS = WORKFLOW / "scripts"


# What a configuration may name without having it: names as in a checkout, and where they lie.
NAMED = {"prompts": WORKFLOW / "prompts", "backtranslation/miniature/base": PACKAGE / "miniature" / "base"}


def find_file(path: str) -> str:
    """A path of the configuration: relative to the working directory or, where that has none, what ships under it."""
    if Path(path).is_absolute() or Path(path).exists():
        return path
    return next((str(file) for file in _shipped_files(path) if file.exists()), path)


def _shipped_files(path: str) -> list[Path]:
    """Where a path is if it ships."""
    return [place / Path(path).relative_to(name) for name, place in NAMED.items() if Path(path).is_relative_to(name)]


def searched_places(path: str) -> str:
    """Where `find_file` looks for a path, for messages."""
    return " and ".join(map(str, [Path.cwd() / path, *_shipped_files(path)]))
