"""What ships with the package: the workflow itself, and files that a configuration may name without having them.

In a checkout they lie beside the package, in an installed wheel inside it (`backtranslation/workflow`).
"""

from pathlib import Path

PACKAGE = Path(__file__).parent
WORKFLOW = PACKAGE / "workflow" if (PACKAGE / "workflow").is_dir() else PACKAGE.parent
SNAKEFILE = WORKFLOW / "Snakefile"
SCRIPTS = WORKFLOW / "scripts"


def find_file(path: str) -> str:
    """A path of the configuration: relative to the working directory or, where that has none, what ships under it."""
    if Path(path).is_absolute() or Path(path).exists():
        return path
    shipped = (folder / path for folder in _FOLDERS)
    return next((str(file) for file in shipped if file.exists()), path)


def searched_folders() -> str:
    """Where `find_file` looks, for messages."""
    return " and ".join(dict.fromkeys(map(str, (Path.cwd(), *_FOLDERS))))


# Templates are named from the workflow's folder, the model of the default run from that of the package.
_FOLDERS = (WORKFLOW, PACKAGE.parent)
