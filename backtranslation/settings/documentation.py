"""Configurations as commented YAML: what a comment says of a key comes from the settings' models alone."""

import inspect
import json
import math
import textwrap
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import yaml
from pydantic_core import PydanticUndefined

from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import Slice

WIDTH = 120
INDENT = "  "
LARGE = 10_000  # numbers from here on have their digits in groups
SMALL = 1e-3  # numbers below are written with an exponent

STARTING_HEADER = """\
# A run on your own pages: a small open base model, trained with LoRA on one GPU of 24 GB.
#
# Change these first:
#
#   base_model.path   the model to start from: a folder, or a name on the Hugging Face hub
#   corpus.sources    your web pages: WARC, WET, HTML, JSONL, Parquet or text files
#   seed.path         your human-written pairs of instruction and response; seed.format says how they may be stored
#
# Relative paths are relative to the working directory, the folder in which you start the run:
#
#   backtranslation run -n --configfile {name}   # checks the settings, and shows what would be computed
#   backtranslation run --configfile {name}
#
# Keys that you delete have their defaults."""


# Whole configurations


def commented_yaml(values: Mapping[str, Any]) -> str:
    """A configuration, as read from YAML, as YAML with a comment for every key that it has.

    Raises SettingsError if it is not a valid configuration.
    """
    entries = list(_entries(values, load_settings(values), None, ""))
    # Around everything that takes several lines there is room.
    gaps = ["\n" if len(above) > 1 or len(below) > 1 else "" for above, below in pairwise(entries)]
    return "".join("\n".join([*lines, gap]) for lines, gap in zip(entries, [*gaps, ""], strict=True))


def rewritten(text: str) -> str:
    """The text of a configuration with new comments; those at its head, up to the first blank line, are kept."""
    header, _, _ = text.partition("\n\n")
    return f"{header}\n\n{commented_yaml(yaml.safe_load(text))}"


def starting_configuration(values: Mapping[str, Any], name: str) -> str:
    """A complete configuration for a new user, in a file `name`: the given values, and defaults for all other keys.

    Raises SettingsError if the given values are not a valid configuration.
    """
    return f"{STARTING_HEADER.format(name=name)}\n\n{commented_yaml(load_settings(values).model_dump(mode='json'))}"


# Sections


def _entries(values: Mapping[str, Any], section: Slice, defaults: Slice | None, indent: str) -> Iterator[list[str]]:
    """The lines of every key in `values`; `section` has the same values checked, `defaults` those it has by default."""
    for key in _reading_order(type(section)):
        if key not in values:
            continue
        value, setting, field = values[key], getattr(section, key), type(section).model_fields[key]
        default = field.default if defaults is None else getattr(defaults, key)
        description = field.description or ""
        if isinstance(setting, Slice):
            opening, rest = _opening(key, values, section, indent)
            body = _section(rest, setting, default if isinstance(default, Slice) else None, indent + INDENT)
            yield [*_comment(description or _docstring(setting), indent), *opening, *body]
        elif _is_list_of_sections(setting):
            items = zip(value, setting, strict=True)
            lines = [line for item, part in items for line in _item(item, part, indent + INDENT)]
            yield [*_comment(description, indent), f"{indent}{key}:", *lines]
        else:
            yield _leaf(key, value, description + _default_note(setting, default), indent)


def _section(values: Mapping[str, Any], section: Slice, defaults: Slice | None, indent: str) -> list[str]:
    """The lines of all keys of a section."""
    return [line for lines in _entries(values, section, defaults, indent) for line in lines]


def _item(values: Mapping[str, Any], section: Slice, indent: str) -> list[str]:
    """The lines of a section that is an item of a list."""
    first, *others = _section(values, section, None, indent + INDENT)
    return [f"{indent}- {first.lstrip()}", *others]


def _is_list_of_sections(setting: Any) -> bool:
    return isinstance(setting, list) and any(isinstance(item, Slice) for item in setting)


def _reading_order(model: type[Slice]) -> list[str]:
    """The keys of a model: its own before those that it inherits."""
    named = [key for base in model.__mro__ for key in inspect.get_annotations(base) if key in model.model_fields]
    return list(dict.fromkeys(named))


def _docstring(section: Slice) -> str:
    return " ".join((inspect.getdoc(type(section)) or "").split())


# Sections that repeat another


def _opening(key: str, values: Mapping[str, Any], section: Slice, indent: str) -> tuple[list[str], Mapping[str, Any]]:
    """The line with a section's key, and the values that are left to write below it.

    Of two sections of one model, the later refers to the earlier and has only what differs.
    """
    originals = _originals(values, section)
    if key not in originals:
        anchor = f" &{key}" if key in originals.values() else ""
        empty = "" if values[key] else " {}"
        return [f"{indent}{key}:{anchor}{empty}"], values[key]
    original = values[originals[key]]
    different = {name: value for name, value in values[key].items() if name not in original or original[name] != value}
    if not different:
        return [f"{indent}{key}: *{originals[key]}"], {}
    return [f"{indent}{key}:", f"{indent}{INDENT}<<: *{originals[key]}"], different


def _originals(values: Mapping[str, Any], section: Slice) -> dict[str, str]:
    """For sections with all keys of an earlier one beside them, of the same model: the key of that one."""
    first: dict[type[Slice], str] = {}
    originals = {}
    for key in _reading_order(type(section)):
        part = getattr(section, key)
        if key in values and isinstance(part, Slice):
            earlier = first.setdefault(type(part), key)
            if earlier != key and values[earlier].keys() <= values[key].keys():
                originals[key] = earlier
    return originals


# Single values


def _leaf(key: str, value: Any, description: str, indent: str) -> list[str]:
    """The lines of a key with a plain value: the comment beside it where there is room, else above."""
    start = f"{indent}{key}: {_one_line(value)}"
    items: list[str] = []
    if len(start) > WIDTH and isinstance(value, list):
        start = f"{indent}{key}:"
        items = [f"{indent}{INDENT}- {_scalar(item)}" for item in value]
    beside = f"{start} # {description}"
    return [beside, *items] if len(beside) <= WIDTH else [*_comment(description, indent), start, *items]


def _comment(text: str, indent: str) -> list[str]:
    """A comment above a key."""
    mark = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=mark, subsequent_indent=mark, break_on_hyphens=False)


def _default_note(setting: Any, default: Any) -> str:
    """What is added to a description where a setting has another value than its default."""
    is_worth_knowing = default not in (None, [], PydanticUndefined)
    return f" (default: {_one_line(default)})" if is_worth_knowing and setting != default else ""


def _one_line(value: Any) -> str:
    """A plain value in YAML; a sentence stands in quotes, to be told from the comment that follows."""
    if isinstance(value, list):
        return f"[{', '.join(map(_scalar, value))}]"
    return _quoted(value) if isinstance(value, str) and " " in value else _scalar(value)


def _scalar(value: Any) -> str:
    """A single value in YAML. YAML 1.1 reads 5e-4 as a text, which the settings take for the number that it is."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= LARGE else str(value)
    if isinstance(value, float):
        return f"{Decimal(repr(value)).normalize():e}" if 0 < abs(value) < SMALL else repr(value)
    in_a_list = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf).strip()
    return value if in_a_list == f"[{value}]" else _quoted(value)


def _quoted(text: str) -> str:
    """A text in double quotes: what JSON has between them, YAML has too."""
    return json.dumps(text, ensure_ascii=False)
