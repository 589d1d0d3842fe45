"""The base model of the miniature world: its tokenizer, its shape and its pre-training.

Knows nothing of instructions, chat templates or fine-tuning; documents come in as text.
"""

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<end>"
IGNORED = -100


def train_tokenizer(documents: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text can be written, digits stand alone, `END` ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False)


def new_model(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> LlamaForCausalLM:
    """A Llama with random weights; heads are 32 wide, input and output embeddings are shared."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            num_key_value_heads=width // 32,
            max_position_embeddings=4096,  # rotary positions are no parameters: room for pages of the real web
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
        )
    )


def packed_batches(
    documents: Iterator[str], tokenizer: PreTrainedTokenizerFast, rows: int, row_tokens: int
) -> Iterator[Tensor]:
    """Batches of token ids, shape (rows, row_tokens), without end.

    Documents are laid end to end, each closed by `END`; one that no longer fits opens the next row, and the gap
    is filled with `END`. Longer documents are cut.
    """
    row: list[int] = []
    batch: list[list[int]] = []
    while True:
        for ids in tokenizer(list(islice(documents, 256)))["input_ids"]:
            ids = [*ids[: row_tokens - 1], tokenizer.eos_token_id]
            if len(row) + len(ids) > row_tokens:
                batch.append(row + [tokenizer.eos_token_id] * (row_tokens - len(row)))
                row = []
            row += ids
            if len(batch) == rows:
                yield torch.tensor(batch)
                batch = []


def _loss(model: Any, ids: Tensor, end: int) -> Tensor:
    """Mean loss per token in nats; an `END` after an `END` is filling and counts for nothing."""
    labels = ids.clone()
    labels[:, 1:][(ids[:, 1:] == end) & (ids[:, :-1] == end)] = IGNORED
    return model(input_ids=ids, labels=labels, use_cache=False).loss


def pretrain(
    model: LlamaForCausalLM,
    batches: Iterator[Tensor],
    end: int,
    steps: int,
    learning_rate: float,
    report: Callable[[int, float, float], None],
    checkpoint: Callable[[LlamaForCausalLM, int], None],
    compiled: bool = True,
) -> float:
    """Train in place with AdamW, bfloat16 autocast and a cosine schedule; return the mean loss of the last 50 steps.

    The batches hold token ids in which `end` closes a text.
    `report(step, loss, tokens per second)` and `checkpoint(model, step)` are called every 50 and 250 steps.
    """
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    warm_up = min(100, steps // 10 + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warm_up) * (0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2),
    )
    loss_of = torch.compile(_loss) if compiled else _loss
    model.train()
    losses: list[float] = []
    tokens, started = 0, time.monotonic()
    for step, ids in enumerate(islice(batches, steps), start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, ids, end)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += ids.numel()
        if step % 50 == 0 or step == steps:
            report(step, sum(losses[-50:]) / len(losses[-50:]), tokens / (time.monotonic() - started))
        if step % 250 == 0 and step < steps:
            checkpoint(model, step)
    return sum(losses[-50:]) / len(losses[-50:])


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights (bfloat16 safetensors), configuration and tokenizer."""
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)
