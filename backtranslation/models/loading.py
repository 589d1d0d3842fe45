"""Loading causal language models and their tokenizers, from a folder or the Hugging Face hub.

Weights are read as safetensors. Knows nothing of what the models are used for.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from backtranslation.errors import UserError
from backtranslation.jobs.progress import log
from backtranslation.models.chat import prepare_tokenizer
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.base_model import BaseModelSettings, HubName, ModelLoading

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["auto", "float32", "bfloat16"]
DROPOUT_KEYS = (
    "attention_dropout", "attn_pdrop", "dropout", "embd_pdrop", "embedding_dropout", "hidden_dropout",
    "resid_pdrop", "residual_dropout",
)  # fmt: skip


# They would fill the logs of jobs.
disable_progress_bar()


class ModelError(UserError):
    """A model or tokenizer cannot be used; the message names it."""


def device() -> torch.device:
    """The GPU if this process has one, else the processor.

    A torch without CUDA, as on the tests' machines, works on the processor and warns. Raises ModelError if a torch with
    CUDA cannot use the GPU that it was given.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        fault = f"torch {torch.__version__} cannot use the GPU {given}"
        if torch.version.cuda is not None:
            raise ModelError(f"{fault}; `nvidia-smi` may say why")
        log.warning(f"{fault}, since it is built without CUDA: the processor does the work")
    return torch.device("cpu")


def resolve_precision(precision: Precision) -> torch.dtype:
    """What `auto` stands for: bfloat16 on a GPU that has it, else float32."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32


def locate_model(folder: Path | None, hub_name: HubName | None, loading: ModelLoading) -> BaseModelSettings:
    """Where a model is, and how it is loaded: a folder that a job was given, or else one on the hub.

    Raises ModelError if the job was given neither.
    """
    if folder is not None:
        return BaseModelSettings(path=str(folder), **loading.model_dump())
    if hub_name is None:
        raise ModelError("the job was given no model: neither a folder, nor a name on the hub in its spec")
    return BaseModelSettings(**hub_name.model_dump(), **loading.model_dump())


def load_tokenizer(path: str, loading: ModelLoading, prompts: PromptSet) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, with a chat template and a padding token. Raises ModelError naming the path."""
    with _faults_named(path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, **_source(loading))
    return prepare_tokenizer(tokenizer, prompts)


def load_model(
    path: str,
    loading: ModelLoading,
    dtype: torch.dtype,
    dropout: float | None = None,
    device_map: str | None = None,
    quantization: "BitsAndBytesConfig | None" = None,
) -> "PreTrainedModel":
    """A causal language model with weights of `dtype`, in evaluation mode; on the processor without a `device_map`.

    With a `quantization`, it is on the GPU if there is one. `dropout` replaces every dropout probability of the
    architecture; None keeps them. Raises ModelError naming the path, also where weights are missing: transformers would
    draw them at random.
    """
    config = load_config(path, loading, dropout)
    quantized = {} if quantization is None else {"quantization_config": quantization}
    with _faults_named(path, "model"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, config=config, dtype=dtype, device_map=device_map, use_safetensors=True, output_loading_info=True,
            **quantized, **_source(loading),
        )  # fmt: skip
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{path}: {len(missing)} weights are missing, such as {missing[0]}")
    return cast("PreTrainedModel", model)


def build_empty_model(
    path: str, loading: ModelLoading, dtype: torch.dtype, dropout: float | None = None
) -> "PreTrainedModel":
    """The model that `load_model` gives, without its weights: they are never written to, and take no memory."""
    config = load_config(path, loading, dropout)
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=loading.trust_remote_code)
    model.tie_weights()
    return model


def load_for_inference(path: str, loading: ModelLoading) -> "PreTrainedModel":
    """A causal language model on the GPU of this process, spread over several if it has them, or on the processor.

    Raises ModelError naming the path.
    """
    dtype = resolve_precision(loading.dtype)
    if torch.cuda.device_count() > 1:
        model = load_model(path, loading, dtype, device_map="auto")
        if any(weight.device.type != "cuda" for weight in model.parameters()):
            raise ModelError(f"{path}: too large for {torch.cuda.device_count()} GPUs; raise generation.gpus")
        return model
    model = load_model(path, loading, dtype)
    # transformers wraps torch's `to` in a way that hides its arguments from mypy.
    model.to(device=device())  # type: ignore[call-arg]
    return model


def load_config(path: str, loading: ModelLoading, dropout: float | None = None) -> "PreTrainedConfig":
    """The configuration of a model, with another dropout if one is given. Raises ModelError naming the path."""
    with _faults_named(path, "configuration"):
        config = AutoConfig.from_pretrained(path, **_source(loading))
    if dropout is not None:
        _set_dropout(config, dropout)
    return config


def max_positions(config: "PreTrainedConfig") -> int | None:
    """Tokens a model can look back on, or None if it names no limit."""
    return getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)


def _set_dropout(config: "PreTrainedConfig", dropout: float) -> None:
    text_config = config.get_text_config(decoder=True)
    for key in DROPOUT_KEYS:
        if hasattr(text_config, key):
            setattr(text_config, key, dropout)


def _source(loading: ModelLoading) -> dict[str, Any]:
    """Where a model comes from; only the base model has a revision."""
    revision = loading.revision if isinstance(loading, BaseModelSettings) else None
    return {"revision": revision, "trust_remote_code": loading.trust_remote_code}


@contextmanager
def _faults_named(path: str, part: str) -> Iterator[None]:
    """Raise ModelError for whatever is raised: a damaged folder shows in errors of several libraries."""
    try:
        yield
    except Exception as error:  # of transformers, tokenizers, safetensors, torch: they have no class in common
        raise ModelError(f"{path}: cannot load the {part}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """What an error says first, and what it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return said if isinstance(error, OSError | ValueError) and said else f"{type(error).__name__}: {said}".rstrip(": ")
