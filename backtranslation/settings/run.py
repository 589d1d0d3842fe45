"""The settings of a whole run: the only reader of the configuration, and the JSON schema of config.yaml."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, model_validator

from backtranslation.settings.augmentation import Augmentation
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.corpus import Corpus
from backtranslation.settings.evaluation import Evaluation
from backtranslation.settings.generation import Generation
from backtranslation.settings.limits import Limits
from backtranslation.settings.miniature import Miniature, miniature_files
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.resources import Resources
from backtranslation.settings.scoring import Scoring
from backtranslation.settings.seed import HeldOut, SeedPairs
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import Count, SettingsError, Slice
from backtranslation.settings.training import Training, Trainings


class Settings(Slice):
    """A complete run."""

    results: str = Field("results", description="folder of all results")
    random_seed: int = Field(
        1, description="all random choices follow from it: held-out pairs, order of training, sampling (by row)"
    )
    miniature: Miniature | None = Field(
        None,
        description="A generated world (docs/miniature.md), or null. It supplies corpus.sources, seed and held_out "
        "where they are not given.",
    )
    base_model: BaseModelSettings
    corpus: Corpus
    seed: SeedPairs
    held_out: HeldOut
    prompts: Prompts = Prompts()
    training: Trainings = Trainings()
    augmentation: Augmentation = Augmentation()
    scoring: Scoring = Scoring()
    selection: Selection = Selection()
    iterations: Count = Field(
        2, description="rounds of scoring, selection and training (steps 5 and 6): M1, M2, ...; 0: M0 alone"
    )
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()
    limits: Limits = Limits()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _take_from_miniature(cls, given: Any) -> Any:
        """Let the miniature world supply the pages and the pairs; what cannot be read is left for the checks."""
        if not isinstance(given, dict) or not isinstance(given.get("miniature"), dict):
            return given
        warc_files = given["miniature"].get("warc_files", Miniature.model_fields["warc_files"].default)
        if not isinstance(warc_files, int):
            return given
        world = miniature_files(given.get("results", "results"), warc_files)
        supplied: dict[str, dict[str, Any]] = {
            "corpus": {"sources": [{"name": "miniature", "paths": world.pages}]},
            "seed": {"path": world.seed},
            "held_out": {"pairs": {"path": world.held_out}},
        }
        if "size" in (given.get("held_out") or {}):
            del supplied["held_out"]
        return given | {key: _overlay(value, given.get(key)) for key, value in supplied.items()}

    def identity(self) -> dict[str, Any]:
        """What results depend on: everything but how the work is done on the machine at hand."""
        return self.model_dump(
            mode="json",
            exclude={
                "resources": True,
                "limits": True,
                "generation": set(Generation.execution_keys),
                "training": {"forward": set(Training.execution_keys), "backward": set(Training.execution_keys)},
            },
        )

    def generated_files(self) -> frozenset[str]:
        """Input files that the run makes itself."""
        if self.miniature is None:
            return frozenset()
        world = miniature_files(self.results, self.miniature.warc_files)
        return frozenset([*world.pages, world.seed, world.held_out])


def _overlay(supplied: dict[str, Any], given: Any) -> Any:
    """What was given over what is supplied, key by key."""
    if given is None:
        return supplied
    return supplied | given if isinstance(given, dict) else given


def load_settings(config: Mapping[str, Any]) -> Settings:
    """Check a configuration as Snakemake merged it.

    Raises SettingsError, with one line per fault that names the key.
    """
    try:
        return Settings.model_validate(dict(config))
    except ValidationError as error:
        raise SettingsError("\n".join(_fault_line(fault) for fault in error.errors())) from None


def _fault_line(fault: Any) -> str:
    """One readable line for one fault found by pydantic."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    if fault["type"] == "extra_forbidden":
        return f"config: {key}: no such setting"
    if fault["type"] == "missing":
        return f"config: {key}: must be given"
    message = fault["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(fault["input"], dict) else f" (found: {fault['input']!r})"
    return f"config: {key or 'settings'}: {message}{shown}"


def json_schema() -> str:
    """The JSON schema of config.yaml, for editors."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def model_names(settings: Settings) -> list[str]:
    """Forward models in the order of the method, the control last."""
    names = [f"M{iteration}" for iteration in range(settings.iterations + 1)]
    if settings.evaluation.unselected_control and settings.iterations:
        names.append("unselected")
    return names
