"""The settings of a whole run: the only reader of the configuration, and the JSON schema of config.yaml."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from reprlib import Repr
from typing import Any, get_args

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo

from backtranslation.settings.audit import Audit
from backtranslation.settings.augmentation import Augmentation
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.corpus import Corpus
from backtranslation.settings.evaluation import CONTROLS, Evaluation
from backtranslation.settings.generation import Generation
from backtranslation.settings.limits import Limits
from backtranslation.settings.miniature import Miniature, miniature_files
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.resources import Resources
from backtranslation.settings.scoring import Scoring
from backtranslation.settings.seed import HeldOut, SeedPairs
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import Count, SettingsError, Slice, did_you_mean
from backtranslation.settings.training import Trainings

MAX_VALUES = 1_000_000
MAX_DEPTH = 50
UNWRITABLE = re.compile(r"[\0\ud800-\udfff]")
ADDRESS_WITH_SECRET = re.compile(r"://[^/\s]*@")
# What a message shows of a value, which may be long or nested.
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 200


class Settings(Slice):
    """A complete run."""

    execution_keys = ("resources", "limits")

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
    audit: Audit = Audit()
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
        return _with_miniature(given)

    def generated_files(self) -> frozenset[str]:
        """Input files that the run makes itself."""
        return generated_files(self.results, self.miniature)


def _with_miniature(given: Any) -> Any:
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
    for section, otherwise in (("held_out", "size"), ("seed", "dataset")):
        if isinstance(given.get(section), dict) and given[section].get(otherwise) is not None:
            del supplied[section]
    return given | {key: _overlay(value, given.get(key)) for key, value in supplied.items()}


def generated_files(results: str, miniature: Miniature | None) -> frozenset[str]:
    """Input files that a run makes itself: those of its generated world, if it has one."""
    if miniature is None:
        return frozenset()
    world = miniature_files(results, miniature.warc_files)
    return frozenset([*world.pages, world.seed, world.held_out])


def _overlay(supplied: dict[str, Any], given: Any) -> Any:
    """What was given over what is supplied, key by key."""
    if given is None:
        return supplied
    return supplied | given if isinstance(given, dict) else given


def check_values(config: Mapping[str, Any]) -> None:
    """Refuse what no setting can be, before anything walks through it or prints it.

    Raises SettingsError for text that no file can hold, or ought to, and for more values than anybody writes: an alias
    of YAML costs a few letters, and may stand for a billion values, or hold itself.
    """
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), config)]
    count = 0
    while waiting:
        place, value = waiting.pop()
        count += 1
        if count > MAX_VALUES or len(place) > MAX_DEPTH:
            raise SettingsError(
                f"config: more than {MAX_VALUES:,} values, or nested more than {MAX_DEPTH} deep, with all that aliases"
                " (*name) repeat"
            )
        if isinstance(value, Mapping):
            waiting += [((*place, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, number), item) for number, item in enumerate(value)]
        elif isinstance(value, str) and UNWRITABLE.search(value):
            found = SHORT.repr(value)
            raise SettingsError(f"config: {_key_of(place)}: holds NUL or half a surrogate pair (found: {found})")
        elif isinstance(value, str) and ADDRESS_WITH_SECRET.search(value):
            raise SettingsError(
                f"config: {_key_of(place)}: an address with a password or token, which results and logs would keep"
            )


def load_settings(config: Mapping[str, Any]) -> Settings:
    """Check a configuration as Snakemake merged it.

    Raises SettingsError, with one line per fault that names the key.
    """
    try:
        return Settings.model_validate(dict(config))
    except ValidationError as error:
        raise SettingsError("\n".join(_fault_lines(error, config))) from None


def read_sections(config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The sections of a configuration that can be read, each without its faulty keys, and a line for each fault.

    What is right in a faulty configuration can be checked further, so that all mistakes are found at once.
    """
    try:
        return dict(Settings.model_validate(dict(config))), []
    except ValidationError as error:
        lines = _fault_lines(error, config)
        rest = deepcopy(dict(config))
        for fault in reversed(error.errors()):
            _remove(rest, _place(fault, config))
    try:
        return dict(Settings.model_validate(rest)), lines
    except ValidationError as error:
        unreadable = {fault["loc"][0] for fault in error.errors()}
    given = _with_miniature(rest)
    sections = {
        name: _read_section(field, given[name]) if name in given else field.get_default()
        for name, field in Settings.model_fields.items()
        if name not in unreadable
    }
    return sections, lines


def _read_section(field: FieldInfo, given: Any) -> Any:
    annotation: Any = field.annotation
    return TypeAdapter(annotation).validate_python(given)


def _remove(tree: Any, place: Sequence[int | str]) -> None:
    """Remove what lies at a place in nested settings, or the nearest thing around it that is there."""
    holder, key = tree, place[0] if place else None
    for part in place:
        if not _has(tree, part):
            break
        holder, key, tree = tree, part, tree[part]
    if _has(holder, key):
        del holder[key]


def _has(tree: Any, part: Any) -> bool:
    """Whether nested settings go on with a key, or a number in a list."""
    return part in tree if isinstance(tree, dict) else isinstance(tree, list) and part in range(len(tree))


def _place(fault: Any, config: Any) -> tuple[int | str, ...]:
    """Where a fault is: without the names of types that pydantic adds where a value may be of several."""
    place: list[int | str] = []
    for part in fault["loc"]:
        if not _has(config, part):
            return (*place, part) if fault["type"] == "missing" else tuple(place)
        place.append(part)
        config = config[part]
    return tuple(place)


def _fault_lines(error: ValidationError, config: Mapping[str, Any]) -> list[str]:
    """A readable line for every place of which pydantic found a fault."""
    messages: dict[str, list[str]] = {}
    for fault in error.errors():
        place = _place(fault, config) or fault["loc"]
        messages.setdefault(_key_of(place) or "settings", []).append(_fault_message(fault))
    return [f"config: {key}: {'; or '.join(found)}" for key, found in messages.items()]


def _key_of(place: Sequence[int | str]) -> str:
    """A place in nested settings as people write it: corpus.sources[0].name."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{SHORT.repr(str(part))[1:-1]}" for part in place)
    return "".join(parts).lstrip(".")


def _fault_message(fault: Any) -> str:
    """What is wrong, and what it should be."""
    if fault["type"] == "extra_forbidden":
        *place, key = fault["loc"]
        return f"no such setting{did_you_mean(key, _keys_of(place))}"
    if fault["type"] == "missing":
        return "must be given"
    shown = "" if isinstance(fault["input"], dict) else f" (found: {SHORT.repr(fault['input'])})"
    if fault["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        wanted = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
        return f"must be {wanted}{did_you_mean(fault['input'], choices)}{shown}"
    return f"{fault['msg'].removeprefix('Value error, ')}{shown}"


def _keys_of(place: Sequence[int | str]) -> list[str]:
    """The keys that a section may have."""
    model: Any = Settings
    for part in place:
        if part in model.model_fields:
            model = _section_type(model.model_fields[part].annotation)
    return list(model.model_fields)


def _section_type(annotation: Any) -> Any:
    """The model of a section, which may be an item of a list, or may be missing."""
    if isinstance(annotation, type) and issubclass(annotation, Slice):
        return annotation
    return next(filter(None, map(_section_type, get_args(annotation))), None)


def json_schema() -> str:
    """The JSON schema of config.yaml, for editors."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def model_names(settings: Settings) -> list[str]:
    """Forward models in the order of the method, the controls last; without iterations, only untouched can be one."""
    return forward_models(settings.iterations, settings.evaluation)


def comparisons(settings: Settings) -> list[tuple[str, str]]:
    """Whose answers are compared: every model with the one before it, the last also with M0 and with every control."""
    last = f"M{settings.iterations}"
    pairs = [(f"M{number}", f"M{number - 1}") for number in range(1, settings.iterations + 1)]
    others = [name for name in model_names(settings) if name == "M0" or name in CONTROLS]
    return list(dict.fromkeys([*pairs, *((last, other) for other in others if other != last)]))


def trained_models(iterations: int, evaluation: Evaluation) -> list[str]:
    """All models that are trained: the backward model first, where there are iterations, then the forward models."""
    forward = [name for name in forward_models(iterations, evaluation) if name != "untouched"]
    return ["backward", *forward] if iterations else forward


def forward_models(iterations: int, evaluation: Evaluation) -> list[str]:
    """The models of a run that answer instructions, as `model_names` gives them, from the sections that say it."""
    possible = CONTROLS if iterations else ("untouched",)
    models = [f"M{iteration}" for iteration in range(iterations + 1)]
    return models + [name for name in possible if name in evaluation.controls]
