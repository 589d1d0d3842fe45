"""What every rule file uses: the checked settings, the names of shards and models, and how a script is called."""

import sys
from pathlib import Path

from backtranslation.files import UserError
from backtranslation.readers import list_shards
from backtranslation.settings import check_files, load_settings, looks_like_folder, miniature_files, model_names, spec

try:
    settings = load_settings(config)
    check_files(settings)
    SHARDS = {shard.name: shard for shard in list_shards(settings.corpus.sources, settings.generated_files())}
except UserError as error:
    sys.exit(str(error))  # the message alone: a traceback into this file would help nobody

MODELS = model_names(settings)
ITERATIONS = range(1, settings.iterations + 1)

# The interpreter that runs Snakemake has the library; `python` on PATH may be another.
PYTHON = sys.executable
SCRIPTS = Path(workflow.basedir) / "scripts"


pathvars:
    results=settings.results,


wildcard_constraints:
    shard=r"[^/]+",
    iteration=r"[1-9]\d*",
    model=r"backward|unselected|M\d+",


def model_input(path):
    """A model as an input file, unless it is a name on the hub."""
    return path if looks_like_folder(path) else []
