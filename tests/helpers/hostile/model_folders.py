"""Hostile model folders: code in place of weights, files that lie, files that are missing."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.prompts import Prompts
from backtranslation.shipped import find_file
from helpers.hostile.cases import Case, Met
from helpers.hostile.templates import TRACE, assert_unharmed


class Payload:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {TRACE}",)


PICKLE = pickle.dumps({"weight": Payload()})
CODE = f"import pathlib\npathlib.Path({TRACE!r}).touch()\nclass Owned:\n    pass\n"


def load(folder: Path) -> Met:
    """Load tokenizer and weights as a stage does."""
    import torch

    from backtranslation.models.loading import load_model, load_tokenizer
    from backtranslation.models.prompts import PromptSet

    def load_both() -> None:
        load_tokenizer(str(folder), ModelLoading(), PromptSet(Prompts(chat_template=find_file("prompts/chat.jinja"))))
        load_model(str(folder), ModelLoading(), torch.float32)

    assert_unharmed(load_both)
    return Met()


def model(name: str, change: Callable[[Path], object], expected: str = "model", stops: bool = True) -> Case:
    """A case of a folder that was a good model before a change."""

    def build(folder: Path) -> Path:
        path = folder / "model"
        shutil.copytree(find_file("backtranslation/miniature/base"), path)
        change(path)
        return path

    return Case(name, "model folder", build, load, expected, stops, needs_torch=True)


def write(**files: bytes | str) -> Callable[[Path], None]:
    """Replace files; `config_json` is config.json."""

    def change(folder: Path) -> None:
        for name, content in files.items():
            stem, _, suffix = name.rpartition("_")
            (folder / f"{stem}.{suffix}").write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def configured(file: str = "config.json", **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def without(*names: str) -> Callable[[Path], None]:
    """Remove files."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def pickled(name: str) -> Callable[[Path], None]:
    """Weights that are a pickle, under a name."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(PICKLE)

    return change


def with_code(file: str, **changes: Any) -> Callable[[Path], None]:
    """A folder with a module, and a JSON file that names it."""

    def change(folder: Path) -> None:
        (folder / "owned.py").write_text(CODE)
        configured(file, **changes)(folder)

    return change


def weights(header: Any, length: int | None = None, data: bytes = bytes(64)) -> Callable[[Path], None]:
    """A safetensors file with any header and length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + data
    return write(model_safetensors=content)


def indexed(file: str, content: bytes | None = None) -> Callable[[Path], None]:
    """An index that names another file for the weights, which may be there."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        if content is not None:
            (folder / file).write_bytes(content)
        index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": file}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def tensor(**changes: Any) -> dict[str, Any]:
    """A header with one tensor."""
    return {"model.norm.weight": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} | changes}


MAP = {"AutoConfig": "owned.Owned", "AutoModelForCausalLM": "owned.Owned"}

MODEL_CASES = [
    model("a good one", lambda folder: None, "fine", stops=False),
    model("pickled weights", pickled("pytorch_model.bin")),
    model("pickled weights by the name of safetensors", pickled("model.safetensors")),
    model(
        "pickled weights beside good ones",
        lambda folder: (folder / "pytorch_model.bin").write_bytes(PICKLE),
        "fine",
        stops=False,
    ),
    model("pickled weights by an index", indexed("pytorch_model.bin", PICKLE)),
    model("weights outside of the folder", indexed("../../../../../../etc/passwd")),
    model("weights of an unknown file", indexed("model-00001-of-00001.safetensors")),
    model("code for a known architecture", with_code("config.json", auto_map=MAP), "fine", stops=False),
    model("code for an unknown architecture", with_code("config.json", auto_map=MAP, model_type="owned")),
    model(
        "code of another repository",
        configured(auto_map={key: f"owner/name--{value}" for key, value in MAP.items()}, model_type="owned"),
    ),
    model(
        "code of a tokenizer",
        with_code(
            "tokenizer_config.json", auto_map={"AutoTokenizer": ["owned.Owned", "owned.Owned"]}, tokenizer_class="Owned"
        ),
        "custom code",
    ),
    model(
        "a tokenizer by a name that is code",
        configured("tokenizer_config.json", tokenizer_class="__import__('os')"),
        "fine",
        stops=False,
    ),
    model("no config.json", without("config.json")),
    model("no weights", without("model.safetensors")),
    model("no tokenizer", without("tokenizer.json", "tokenizer_config.json")),
    model("config.json: garbage", write(config_json=bytes(range(256)))),
    model("config.json: empty", write(config_json="")),
    model("config.json: null", write(config_json="null")),
    model("config.json: a list", write(config_json="[]")),
    model("config.json: an empty object", write(config_json="{}")),
    model("config.json: nested too deep", write(config_json="[" * 100_000)),
    model("config.json: an unknown architecture", configured(model_type="owned")),
    model("config.json: a number as architecture", configured(model_type=5)),
    model("config.json: a path as architecture", configured(model_type="../../owned")),
    model("config.json: text as size", configured(hidden_size="many")),
    model("config.json: a negative size", configured(hidden_size=-4)),
    model("config.json: no heads", configured(num_attention_heads=0)),
    model("config.json: another size", configured(hidden_size=48)),
    model("config.json: a vocabulary of null", configured(vocab_size=None)),
    model("tokenizer.json: garbage", write(tokenizer_json=bytes(range(256)))),
    model("tokenizer.json: empty", write(tokenizer_json="{}")),
    model("tokenizer.json: nested too deep", write(tokenizer_json="[" * 100_000)),
    model(
        "tokenizer.json: a model of nothing",
        configured("tokenizer.json", model={"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}),
    ),
    model("tokenizer_config.json: garbage", write(tokenizer_config_json=bytes(range(256)))),
    model("tokenizer_config.json: a list", write(tokenizer_config_json="[]")),
    model(
        "tokenizer_config.json: no token ends a text",
        configured("tokenizer_config.json", eos_token=None),
        "no end-of-sequence token",
    ),
    model("weights: empty", write(model_safetensors=b"")),
    model("weights: garbage", write(model_safetensors=bytes(range(256)) * 100)),
    model(
        "weights: cut off",
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1000]),
    ),
    model("weights: a header of an exabyte", weights(tensor(), 2**60)),
    model("weights: a header of 2**64 - 1 bytes", weights(tensor(), 2**64 - 1)),
    model("weights: a header that is no JSON", weights(b"\xff" * 100)),
    model("weights: a header nested too deep", weights(b"[" * 100_000)),
    model("weights: beyond the file", weights(tensor(data_offsets=[0, 10**15], shape=[250_000_000_000_000]))),
    model("weights: backwards", weights(tensor(data_offsets=[64, 0]))),
    model("weights: a shape that overflows", weights(tensor(shape=[2**40, 2**40]))),
    model("weights: an unknown type", weights(tensor(dtype="F999"))),
    model("weights: none of the model's", weights({"owned": tensor()["model.norm.weight"]})),
]
