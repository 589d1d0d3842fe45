"""Tiny real models of several architectures, tokenizers trained on the spot, and pairs of random words."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from backtranslation.files import Row

ROOT = Path(__file__).parent.parent.parent
TEXT = (
    "the a small old red lamp kettle garden bicycle needs often water oil light and then of with under how why do"
    " you clean repair choose keep best Score: Better: 1 2 3 4 5 first second it is was good bad reason because"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message.role }}\n{{ message.content | trim }}<|close|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
START_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '[INST] ' + message.content + ' [/INST]' if message.role == 'user' else ' ' + message.content + eos_token }}"
    "{% endfor %}"
)
SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
KEYS: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}
CONFIGS: dict[str, Callable[[int], PreTrainedConfig]] = {
    "llama": lambda vocabulary: LlamaConfig(vocab_size=vocabulary, max_position_embeddings=512, **SIZES),
    "qwen": lambda vocabulary: Qwen3Config(vocab_size=vocabulary, max_position_embeddings=512, **SIZES, **KEYS),
    "mistral": lambda vocabulary: MistralConfig(
        vocab_size=vocabulary, max_position_embeddings=512, sliding_window=48, **SIZES, **KEYS
    ),
    "gpt2": lambda vocabulary: GPT2Config(vocab_size=vocabulary, n_positions=512, n_embd=32, n_layer=2, n_head=4),
    "opt": lambda vocabulary: OPTConfig(
        vocab_size=vocabulary, max_position_embeddings=512, hidden_size=32, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=4, word_embed_proj_dim=32,
    ),
    "gemma": lambda vocabulary: Gemma3TextConfig(
        vocab_size=vocabulary, max_position_embeddings=512, sliding_window=48, query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"], **SIZES, **KEYS,
    ),
}  # fmt: skip
TOKENIZERS = {"llama": "plain", "qwen": "chat", "mistral": "start", "gpt2": "plain", "opt": "plain", "gemma": "start"}


def sentence(generator: random.Random, least: int, most: int) -> str:
    return " ".join(generator.choices(TEXT.split(), k=generator.randint(least, most)))


def make_pairs(count: int, seed: int = 0) -> list[Row]:
    """Pairs of random words, of very different lengths."""
    generator = random.Random(seed)
    return [
        {
            "id": f"pair-{number}",
            "instruction": sentence(generator, 3, 9),
            "response": sentence(generator, 5, 10 if number % 2 else 50),
        }
        for number in range(count)
    ]


def build_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE. plain: only a token for the end; chat: a template too; start: every text begins with a token."""
    special = {"plain": ["<|end|>"], "chat": ["<|end|>", "<|pad|>", "<|turn|>", "<|close|>"], "start": ["<s>", "</s>"]}
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=[AddedToken(token, special=True) for token in special[kind]],
    )  # fmt: skip
    core.train_from_iterator((row["response"] for row in make_pairs(200)), trainer)
    if kind == "start":
        start = core.token_to_id("<s>")
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
        return PreTrainedTokenizerFast(
            tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=START_TEMPLATE
        )
    if kind == "chat":
        return PreTrainedTokenizerFast(
            tokenizer_object=core, eos_token="<|end|>", pad_token="<|pad|>", chat_template=CHAT_TEMPLATE,
            extra_special_tokens=["<|turn|>", "<|close|>"],
        )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>")


def build_model_folder(folder: Path, architecture: str) -> None:
    """A random model with its tokenizer."""
    tokenizer = build_tokenizer(TOKENIZERS[architecture])
    config = CONFIGS[architecture](len(tokenizer))
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    # Wide weights give sharp predictions, so that equality of two outputs means something.
    config.initializer_range = 0.2
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
