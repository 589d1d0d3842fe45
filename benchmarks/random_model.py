"""A Llama of random weights with a tokenizer of plain words, for measuring speed where the content does not matter."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 2048


def build_model(folder: Path, hidden_size: int, layers: int) -> None:
    """Write a model of `layers` layers of width `hidden_size` over 2,048 words to a folder."""
    words = {"<unknown>": 0, "<end>": 1} | {f"word{number}": number for number in range(2, VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unknown>", eos_token="<end>")
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden_size, intermediate_size=3 * hidden_size, num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // 64), max_position_embeddings=4096, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def random_ids(generator: random.Random, count: int) -> list[int]:
    """Token ids of so many random words."""
    return [generator.randrange(2, VOCABULARY) for _ in range(count)]


def random_text(generator: random.Random, count: int) -> str:
    """So many random words."""
    return " ".join(f"word{number}" for number in random_ids(generator, count))
