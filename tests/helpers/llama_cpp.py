"""llama.cpp's server for a Llama of transformers, which it reads as one file: 32-bit weights and byte-level BPE.

    python tests/helpers/llama_cpp.py MODEL PORT

The server is `llama-server` where there is one on the PATH, otherwise the same one inside the package xllamacpp.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

SLOTS = 16  # requests that are worked on at once


def main(folder: str, port: str) -> None:
    """Serve a model on a port of the loopback, with room in every slot for as many tokens as the model takes."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    # A file without a name is gone with the server, whatever ends it.
    with tempfile.TemporaryFile(suffix=".gguf") as file:
        path = Path(f"/proc/self/fd/{file.fileno()}")
        write_gguf(Path(folder), path)
        context = SLOTS * AutoConfig.from_pretrained(folder).max_position_embeddings
        if program := shutil.which("llama-server"):
            os.set_inheritable(file.fileno(), True)
            place = ["--model", str(path), "--host", "127.0.0.1", "--port", port]
            shape = ["--parallel", str(SLOTS), "--ctx-size", str(context)]
            exact = ["--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32"]
            work = ["--threads", threads, "--threads-batch", threads]
            os.execv(program, [program, *place, *shape, *exact, *work])
        _serve_in_this_process(path, int(port), context, int(threads))


def _serve_in_this_process(path: Path, port: int, context: int, threads: int) -> None:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.port, settings.n_parallel, settings.n_ctx = port, SLOTS, context
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(settings)
    print(f"listening on {server.listening_address}", flush=True)
    threading.Event().wait()


def llama_cpp_version() -> str:
    """The version that the server will report."""
    if program := shutil.which("llama-server"):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        build = re.search(r"build (\d+), commit (\w+)", said.stdout + said.stderr)
        assert build, said
        return f"b{build[1]}-{build[2]}"

    import xllamacpp

    return f"b{xllamacpp.BUILD_INFO['build_number']}-{xllamacpp.BUILD_INFO['commit']}"


def write_gguf(folder: Path, path: Path) -> None:
    """Write the Llama of a folder to a GGUF file."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    _add_shape(writer, model.config)
    _add_tokenizer(writer, AutoTokenizer.from_pretrained(folder), folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    for name, weight in weights.items():
        known = names.get_name(name, try_suffixes=(".weight",)) or name  # llama.cpp refuses those it does not know
        writer.add_tensor(known, _rotated(name, weight, model.config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    """The numbers of a LlamaConfig, all of which are there once it is loaded."""
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    core = json.loads((folder / "tokenizer.json").read_text())
    # llama.cpp knows pre-tokenizers by names of its own: smollm takes digits one by one, gpt-2 is the plain one.
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm" if "Digits" in json.dumps(core["pre_tokenizer"]) else "gpt-2")
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    kinds = [gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL for number in range(len(tokens))]
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in core["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)


def _rotated(name: str, weight: np.ndarray, config: Any) -> np.ndarray:
    """Weights as llama.cpp has them: in those of queries and keys, what RoPE turns together lies side by side."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    return np.ascontiguousarray(weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2)).reshape(weight.shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
