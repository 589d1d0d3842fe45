"""Llamas of random weights, for measuring speed where the content does not matter, and a tokenizer of plain words."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

VOCABULARY = 2048


@dataclass(frozen=True)
class LlamaShape:
    """The size of a Llama; `tied`: the weights of the last layer are those of the first."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool = False

    @property
    def parameters(self) -> int:
        """Number of all weights."""
        width = self.hidden_size
        attention = 2 * width * width + width * self.cached_numbers // self.layers
        block = attention + 3 * width * self.intermediate_size + 2 * width
        return self.layers * block + width + (1 if self.tied else 2) * self.vocabulary * width

    @property
    def cached_numbers(self) -> int:
        """Keys and values that the cache holds for every token."""
        return 2 * self.layers * self.key_value_heads * self.hidden_size // self.heads

    def config(self, end_id: int) -> LlamaConfig:
        """The configuration of transformers, for a tokenizer whose replies end with this token."""
        return LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=self.hidden_size, intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.key_value_heads,
            max_position_embeddings=4096, bos_token_id=None, eos_token_id=end_id, tie_word_embeddings=self.tied,
        )  # fmt: skip


def build_model(folder: Path, hidden_size: int, layers: int) -> None:
    """Write a model of `layers` layers of width `hidden_size` over 2,048 words to a folder."""
    words = {"<unknown>": 0, "<end>": 1} | {f"word{number}": number for number in range(2, VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unknown>", eos_token="<end>")
    heads = max(1, hidden_size // 64)
    build_llama(folder, LlamaShape(hidden_size, 3 * hidden_size, layers, heads, heads, VOCABULARY), tokenizer)


def build_llama(
    folder: Path,
    shape: LlamaShape,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> None:
    """Write a model of a shape and its tokenizer to a folder; its weights are drawn on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape.config(tokenizer.eos_token_id), dtype=dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def random_ids(generator: random.Random, count: int) -> list[int]:
    """Token ids of so many random words."""
    return [generator.randrange(2, VOCABULARY) for _ in range(count)]


def random_text(generator: random.Random, count: int) -> str:
    """So many random words."""
    return " ".join(f"word{number}" for number in random_ids(generator, count))
