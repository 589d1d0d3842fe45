"""In what a job differs from the last result at its paths: settings by key, modules, inputs."""

import json
from collections.abc import Iterable
from typing import Any

from backtranslation.jobs.manifests import Job, Manifest

NAMES_SHOWN, VALUE_CHARS = 3, 60


def differences(job: Job, digests: dict[str, list[str]], last: Manifest) -> list[str]:
    """What differs between a job and its last result: settings by key, modules, inputs."""
    return setting_differences(job, last) + list(_input_differences(job, digests, last))


def setting_differences(job: Job, last: Manifest | None) -> list[str]:
    """Settings and modules in which a job differs from its last result."""
    if last is None:
        return []
    return [*_setting_differences(last.spec, job.spec), *_module_differences(last.code, job.code)]


def _setting_differences(old: Any, new: Any, key: str = "") -> Iterable[str]:
    """`key: old -> new` for every setting that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _setting_differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        yield f"setting {key}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_CHARS else f"{text[: VALUE_CHARS - 3]}..."


def _module_differences(old: dict[str, str], new: dict[str, str]) -> Iterable[str]:
    for module in sorted(old.keys() | new.keys()):
        if old.get(module) != new.get(module):
            change = "new" if module not in old else "no longer used" if module not in new else "edited"
            yield f"code {module}: {change}"


def _input_differences(job: Job, digests: dict[str, list[str]], last: Manifest) -> Iterable[str]:
    """The inputs that have other content, with their paths; a port that only has another name is none."""
    known = {record.digest for records in last.inputs.values() for record in records}
    for port in sorted(digests.keys() & job.inputs.keys()):
        changed = [path for path, digest in zip(job.inputs[port], digests[port], strict=True) if digest not in known]
        if changed:
            yield f"content of {list_names(changed)}"
        elif port in last.inputs and digests[port] != [record.digest for record in last.inputs[port]]:
            yield f"{port}: {len(last.inputs[port])} inputs before, {len(digests[port])} now, or in another order"
    wanted = {digest for found in digests.values() for digest in found}
    for port in sorted(last.inputs.keys() - digests.keys()):
        if not {record.digest for record in last.inputs[port]} <= wanted:
            yield f"{port}: {len(last.inputs[port])} inputs before, none now"


def list_names(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
