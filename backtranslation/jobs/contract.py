"""What a stage reads, makes and depends on, said once: by the signature of the function that computes it.

    class Spec(Slice):
        filters: InstructionFilters

    def filter_instructions(segments: Input, prompt: Input, candidates: Output, spec: Spec) -> None:
        \"\"\"Judge every instruction.

        segments: segments of the shard, .jsonl.zst
        ...
        \"\"\"

A parameter of the type `Input` or `Output` is a port: a file or folder that a result is made from, or is. `Input |
None` may be missing, `list[Input]` is any number. The command line of a script, the job that the store is asked for and
what `backtranslation plan` says of it follow from this; the rule of the same name uses the same names for its files.
"""

import argparse
import importlib.util
import inspect
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from backtranslation.files import Row
from backtranslation.jobs.manifests import Job, StoreError
from backtranslation.jobs.source_digests import source_digests
from backtranslation.settings.slices import Slice


class Role(Enum):
    """Which way the files of a port go."""

    INPUT = "input"
    OUTPUT = "output"


Input = Annotated[Path, Role.INPUT]
Output = Annotated[Path, Role.OUTPUT]


@dataclass(frozen=True)
class Workplace:
    """What a stage may use while it computes; nothing of it is part of a result.

    `folder` keeps what a killed job goes on from. `command` computes the same again in the same place, for a stage that
    shares its work among several processes. `is_idle` says that there is no row to work on: there are no GPUs then, and
    nothing need be loaded.
    """

    folder: Path
    threads: int
    gpus: int
    command: Sequence[str]
    is_idle: bool = False


@dataclass(frozen=True)
class Port:
    """A parameter that names files or folders."""

    name: str
    role: Role
    is_list: bool
    is_optional: bool
    help: str

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the option of this port; without it a port that may be missing has no files."""
        words = "?" if self.is_optional else "*" if self.is_list else None
        is_required = not (self.is_list or self.is_optional)
        parser.add_argument(
            f"--{self.name.replace('_', '-')}", nargs=words, required=is_required, metavar="PATH",
            help=f"{self.role.value}: {self.help}".replace("%", "%%"),
        )  # fmt: skip

    def value(self, paths: Sequence[str]) -> Path | list[Path] | None:
        """Paths in the form that the parameter wants. Raises StoreError if it wants exactly one."""
        if self.is_list:
            return [Path(path) for path in paths]
        if len(paths) == 1:
            return Path(paths[0])
        if paths or not self.is_optional:
            raise StoreError(f"{self.name}: {len(paths)} files, where one belongs")
        return None


@dataclass(frozen=True)
class Contract:
    """A stage: the script that it is named after, the function that computes it, its ports, and its settings.

    `rows` gives the rows that it works on, from inputs that its parameters name; None if that is not told.
    """

    script: Path
    compute: Callable[..., None]
    ports: tuple[Port, ...]
    spec: type[Slice]
    rows: Callable[..., Iterator[Row]] | None = None

    @property
    def stage(self) -> str:
        """The name of the stage, of its script and of its rule."""
        return self.script.stem

    def read_spec(self, spec: str, execution: str = "{}") -> Slice:
        """The settings of the stage from JSON; `execution` holds, by part, those that no result depends on."""
        settings = self.spec.model_validate_json(spec)
        parts = json.loads(execution)
        return settings.model_copy(update={name: getattr(settings, name).completed(parts[name]) for name in parts})

    def job(self, spec: str, files: Mapping[str, Sequence[str]]) -> Job:
        """What the stage is asked to do with files, given by port. Raises StoreError naming a port that is wrong."""
        if unknown := files.keys() - {port.name for port in self.ports}:
            raise StoreError(f"{self.stage}: there is no port {', '.join(sorted(unknown))}")
        for port in self.ports:
            port.value(files.get(port.name, []))
        return Job(
            stage=self.stage,
            spec=json.loads(spec),
            code=source_digests(self.script, self.read_spec(spec).modules()),
            inputs=self._files(Role.INPUT, files),
            outputs=self._files(Role.OUTPUT, files),
        )

    def is_idle(self, files: Mapping[str, Sequence[str]]) -> bool:
        """Whether there is no row to work on: whatever model and code are, nothing is made but empty files."""
        if self.rows is None:
            return False
        wanted = inspect.signature(self.rows).parameters
        inputs = {port.name: port.value(files.get(port.name, [])) for port in self.ports if port.name in wanted}
        return next(self.rows(**inputs), None) is None

    def first_output(self, files: Mapping[str, Sequence[str]]) -> str:
        """The path by which people know a job."""
        return next(
            str(files[port.name][0]) for port in self.ports if port.role is Role.OUTPUT and files.get(port.name)
        )

    def _files(self, role: Role, files: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """The files of one role by port, in the order of the signature; ports without files are left out."""
        names = [port.name for port in self.ports if port.role is role]
        return {name: list(map(str, files[name])) for name in names if files.get(name)}

    def call(self, files: Mapping[str, Sequence[str]], spec: Slice, workplace: Workplace) -> None:
        """Compute."""
        values: dict[str, Any] = {port.name: port.value(files.get(port.name, [])) for port in self.ports}
        offered = {"spec": spec, "workplace": workplace}
        wanted = inspect.signature(self.compute).parameters.keys() & offered.keys()
        self.compute(**values, **{name: offered[name] for name in wanted})


def read_contract(compute: Callable[..., None], rows: Callable[..., Iterator[Row]] | None = None) -> Contract:
    """The contract that the signature of a function states. Raises TypeError for a parameter that is no port."""
    function = inspect.unwrap(compute)
    documented = dict(re.findall(r"^ *(\w+): (.+)$", function.__doc__ or "", re.MULTILINE))
    hints = get_type_hints(function, include_extras=True)
    ports = [
        _read_port(name, hints[name], documented.get(name, ""))
        for name in inspect.signature(function).parameters
        if name not in ("spec", "workplace")
    ]
    return Contract(Path(inspect.getfile(function)).resolve(), compute, tuple(ports), hints["spec"], rows)


def _read_port(name: str, hint: Any, help_text: str) -> Port:
    """The port that a type hint describes."""
    is_list, is_optional = get_origin(hint) is list, get_origin(hint) in (types.UnionType, _UNION)
    inner = get_args(hint)[0] if is_list or is_optional else hint
    role = next((extra for extra in get_args(inner)[1:] if isinstance(extra, Role)), None)
    if role is None:
        raise TypeError(f"parameter {name} of a stage is neither an Input nor an Output: {hint}")
    return Port(name, role, is_list, is_optional, help_text)


_UNION = get_origin(Input | None)  # `X | None` is another type where X is annotated


@cache
def load_contract(script: Path) -> Contract:
    """The contract of a script, which is imported; scripts import little before they compute."""
    found = importlib.util.spec_from_file_location(script.stem, script)
    if found is None or found.loader is None or not script.exists():
        raise StoreError(f"{script}: no such script")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return read_contract(getattr(module, script.stem))
