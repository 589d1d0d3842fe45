"""Whether a model has the files that it is loaded from, wherever it is, and how large it is."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backtranslation.commands.hub import ask_for_model, cached_model
from backtranslation.settings.base_model import looks_like_folder
from backtranslation.shipped import find_file, searched_places

INDEX = "model.safetensors.index.json"
# Parts of names that files of tokenizers have, whatever kind they are.
TOKENIZER_NAMES = ("tokenizer", "vocab", "spiece", "sentencepiece", "tiktoken", "tekken")


@dataclass(frozen=True)
class InspectedModel:
    """What is wrong with a model, and what to do; where known, its parameters, and the tokens that it holds."""

    faults: list[str] = field(default_factory=list)
    parameters: int | None = None
    positions: int | None = None


def inspect_model(path: str, revision: str | None = None) -> InspectedModel:
    """Look at a model in a folder, in the cache, or on the hub."""
    if looks_like_folder(path):
        folder = Path(find_file(path))
        if not (folder / "config.json").is_file():
            return InspectedModel([f"no model (config.json) in the folder {path} (looked for {searched_places(path)})"])
        return _inspect_folder(folder, f"the folder {path}")
    cached = cached_model(path, revision)
    if cached is not None and not _lacking(_names(cached), f"the cache of {path}"):
        return _inspect_folder(cached, f"the cache of {path}")
    found = ask_for_model(path, revision)
    if isinstance(found, str):
        return InspectedModel([found])
    return InspectedModel(_lacking(found.files, f"{path} on the hub"), found.parameters)


def _inspect_folder(folder: Path, where: str) -> InspectedModel:
    faults = _lacking(_names(folder), where)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        positions = _count_positions(config)
    except (OSError, ValueError, AttributeError) as error:
        return InspectedModel([*faults, f"config.json in {where} cannot be read ({error}): get the files anew"])
    try:
        parameters = _count_parameters(folder)
    except Exception as error:  # safetensors, json: they have no class in common
        return InspectedModel([*faults, f"the weights in {where} cannot be read ({error}): get the files anew"])
    missing = sorted(_listed_weights(folder) - _names(folder))
    faults += [f"no {name} in {where}, though {INDEX} lists it: get the file" for name in missing]
    return InspectedModel(faults, parameters, positions)


def _count_positions(config: dict[str, Any]) -> int | None:
    """Tokens that a model can look back on, or None if it names no limit."""
    names = ("max_position_embeddings", "n_positions")  # the latter is GPT-2's
    found = (part[name] for part in (config, config.get("text_config") or {}) for name in names if name in part)
    return next((count for count in found if isinstance(count, int)), None)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def _lacking(names: Collection[str], where: str) -> list[str]:
    """What a model lacks, by the names of its files."""
    faults = []
    if not any(part in name for name in names for part in TOKENIZER_NAMES if name != "tokenizer_config.json"):
        faults.append(
            f"no tokenizer (tokenizer.json, tokenizer.model, or a vocabulary) in {where}: put it beside the model"
            " (`tokenizer.save_pretrained` writes it)"
        )
    if not any(name.endswith(".safetensors") for name in names):
        pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth")))
        other = f", and weights in {pickled[0]} are not read, since such files can run code" if pickled else ""
        faults.append(
            f"no weights (*.safetensors) in {where}{other}: put them there (`model.save_pretrained` writes them)"
        )
    return faults


def _listed_weights(folder: Path) -> set[str]:
    """The files that hold the weights, where there is a list of them."""
    index = folder / INDEX
    return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else set()


def _count_parameters(folder: Path) -> int:
    """Number of weights, from the heads of the files."""
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as weights:
            keys = weights.keys()  # it is no mapping, and cannot be iterated over by itself
            total += sum(math.prod(weights.get_slice(key).get_shape()) for key in keys)
    return total
