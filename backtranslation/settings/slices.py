"""What all settings have in common: checked types, slices that a stage depends on, and their canonical JSON."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from backtranslation.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]

PositiveInt = Annotated[int, Field(ge=1)]

Count = Annotated[int, Field(ge=0)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


BRACE_IN_TEXT = re.compile(r'\{(?!["}])')  # JSON's own stand before a key, or an end


class SettingsError(UserError):
    """The configuration cannot be used; the message is one readable line per fault, each naming its key."""


def did_you_mean(word: object, choices: Collection[str]) -> str:
    """The end of a message about a word that is none of the choices: the one that is nearly it, if there is one."""
    near = get_close_matches(str(word).lower(), choices, n=1, cutoff=0.7)
    return f"; did you mean {near[0]}?" if near else ""


class Slice(BaseModel):
    """Base of all settings: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # Settings that say how the work is done on the machine at hand: a change of them makes no result stale.
    execution_keys: ClassVar[tuple[str, ...]] = ()

    def only(self, *names: str) -> dict[str, Any]:
        """Some of the settings: what a stage depends on."""
        return self.model_dump(mode="json", include=set(names))

    def identity(self) -> dict[str, Any]:
        """What a result depends on, but for rounding."""
        return self.without(*self.execution_keys) | {name: part.identity() for name, part in self._sections()}

    def execution(self) -> dict[str, Any]:
        """The other part."""
        inner = {name: found for name, part in self._sections() if (found := part.execution())}
        return self.only(*self.execution_keys) | inner

    def completed(self, execution: Mapping[str, Any]) -> Self:
        """The settings with the part that a result does not depend on; other keys in it are left alone."""
        part = {key: value for key, value in execution.items() if key in self.execution_keys}
        inner = {name: part.completed(execution.get(name, {})).model_dump() for name, part in self._sections()}
        return self.model_validate(self.model_dump() | part | inner)

    def _sections(self) -> Iterator[tuple[str, "Slice"]]:
        """The settings in it that have settings of their own, and may matter to a result."""
        for name in type(self).model_fields:
            part = getattr(self, name)
            if isinstance(part, Slice) and name not in self.execution_keys:
                yield name, part

    def modules(self) -> tuple[str, ...]:
        """Modules of the library that these settings choose by name: their code makes a result too."""
        parts = [getattr(self, name) for name in type(self).model_fields]
        return tuple(module for part in parts if isinstance(part, Slice) for module in part.modules())

    def without(self, *names: str) -> dict[str, Any]:
        """The settings but for some: paths, above all, whose content counts and not their name."""
        return self.model_dump(mode="json", exclude=set(names))


def spec(**slices: Slice | Mapping[str, Any] | list[Any] | str | int | float | bool | None) -> str:
    """Canonical JSON (sorted keys, no white space) of exactly the settings that a stage depends on.

    Braces inside texts are escaped: Snakemake would take {model} in the command of a server for a wildcard.
    """
    plain = {name: value.identity() if isinstance(value, Slice) else value for name, value in slices.items()}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return BRACE_IN_TEXT.sub(r"\\u007b", text)
