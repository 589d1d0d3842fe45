"""The folder of a model that people take: used plainly, the model is asked and sampled as it was evaluated.

Files alone: no model is loaded, and weights are linked, not copied.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backtranslation.files import link_file, replace_file, write_json
from backtranslation.jobs.progress import log
from backtranslation.models.chat_templates import shape_user_turns
from backtranslation.models.prompts import UserTurn
from backtranslation.settings.base_model import HubName
from backtranslation.settings.generation import Sampling

ADAPTER = "adapter"  # the folder within a model's that holds its adapter alone, where it was trained as one
CHAT_TEMPLATE, GENERATION, ADAPTER_CONFIG = "chat_template.jinja", "generation_config.json", "adapter_config.json"
LICENSE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")


@dataclass(frozen=True)
class License:
    """What the base model says of its license: the metadata of its card, and its files. Both may be empty."""

    metadata: dict[str, Any]
    files: list[Path]


def set_up_folder(trained: Path, folder: Path, turn: UserTurn, sampling: Sampling) -> None:
    """Write a model folder that shows what a user says as `turn` does, and samples as `sampling` says, by itself."""
    shutil.copytree(trained, folder, copy_function=link_file, ignore=shutil.ignore_patterns(".*"))
    template = (folder / CHAT_TEMPLATE).read_text(encoding="utf-8")
    with replace_file(folder / CHAT_TEMPLATE) as stream:  # the file itself is linked, and stays as it is
        stream.write(shape_user_turns(template, turn))
    _update_json(folder / GENERATION, sampling_arguments(sampling))


def sampling_arguments(sampling: Sampling) -> dict[str, Any]:
    """The sampling in the words of transformers, whose own default cuts to the 50 most probable tokens."""
    if sampling.temperature == 0:
        return {"do_sample": False, "max_new_tokens": sampling.max_new_tokens}
    chosen = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return {"do_sample": True, **chosen, "max_new_tokens": sampling.max_new_tokens}


def complete_adapter(folder: Path, base: str, revision: str | None) -> None:
    """Let the adapter in a model folder say what model it belongs to; give it the tokenizer, sampling and license."""
    adapter = folder / ADAPTER
    _update_json(adapter / ADAPTER_CONFIG, {"base_model_name_or_path": base, "revision": revision})
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("config.json", "README.md") and ".safetensors" not in path.name:
            link_file(path, adapter / path.name)


def find_license(base: Path | None, hub_name: HubName | None) -> License:
    """The license of a base model, a folder or one on the hub; nothing, with a warning, if the hub cannot be asked."""
    from huggingface_hub import metadata_load, snapshot_download

    if base is None and hub_name is not None:
        wanted = ["README.md", *LICENSE_FILES]
        try:
            base = Path(snapshot_download(hub_name.path, revision=hub_name.revision, allow_patterns=wanted))
        except Exception as error:  # of huggingface_hub, requests or the file system: it is a note, not a result
            said = (str(error) or repr(error)).splitlines()[0]
            log.warning(f"{hub_name.path}: its license cannot be read ({said})")
    if base is None:
        return License({}, [])
    card = base / "README.md"
    metadata = (metadata_load(card) or {}) if card.exists() else {}
    keys = ("license", "license_name", "license_link")
    files = sorted({path for pattern in LICENSE_FILES for path in base.glob(pattern) if path.is_file()})
    return License({key: metadata[key] for key in keys if metadata.get(key)}, files)


def _update_json(path: Path, values: dict[str, Any]) -> None:
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)
