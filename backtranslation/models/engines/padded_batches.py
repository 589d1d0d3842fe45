"""Batches of rows padded on the left, for models whose attention `slot_attention` does not know.

Rows are sorted by length, batches sized to the memory, and rows that have ended leave the batch. A common beginning is
computed once where padding behind it changes nothing. Knows token ids alone.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

import numpy as np
import psutil
import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from backtranslation.models.continuations import common_prefix
from backtranslation.models.engines.sampling import next_tokens
from backtranslation.settings.generation import Sampling

MIN_SHARED_TOKENS = 16
MAX_ROWS = {"cpu": 64, "cuda": 512}
# On a processor, attention over a larger batch outgrows the caches: half the speed at 30,000 tokens.
CPU_BATCH_TOKENS = 8192
GPU_MEMORY_SHARE, CPU_MEMORY_SHARE = 0.8, 0.25
# Numbers over the whole vocabulary that are held at once: every logit that is kept has as many as it.
HELD_LOGITS = {"cpu": 1 << 28, "cuda": 1 << 30}
Result = TypeVar("Result")


class Reply(NamedTuple):
    """What was written for a row, by its number: tokens without the one that ended it (`ended`)."""

    row: int
    tokens: list[int]
    ended: bool


@dataclass(frozen=True)
class Prefix:
    """Tokens that all sequences begin with, and their keys and values, computed once; no cache if there are none."""

    tokens: int
    cache: DynamicCache | None


@dataclass
class Batch:
    """Rows in the middle of generation: attention mask (rows, tokens so far), next position and logits of each row.

    The logits are (rows, vocabulary) while tokens are written, and (rows, positions kept, vocabulary) after a prefill.
    """

    cache: DynamicCache
    mask: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor


class PaddedBatches:
    """Runs a model in batches; `positions` are those it has, `batch_tokens` bounds the tokens of a batch."""

    def __init__(
        self, model: PreTrainedModel, positions: int, end_ids: Sequence[int], batch_tokens: int | None
    ) -> None:
        self.model, self.positions, self.batch_tokens = model, positions, batch_tokens
        self.end_ids = torch.tensor(end_ids, device=model.device)
        self.cache_argument = _cache_argument(model)

    def complete(
        self, prompts: Sequence[list[int]], limits: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> Iterator[Reply]:
        """Write a reply to every prompt, of so many tokens at most (`limits`)."""

        def complete_rows(rows: list[int], prefix: Prefix) -> list[Reply]:
            replies = self._complete(
                [prompts[row] for row in rows],
                [limits[row] for row in rows],
                [seeds[row] for row in rows],
                prefix,
                sampling,
            )
            return [Reply(row, tokens, ended) for row, (tokens, ended) in zip(rows, replies, strict=True)]

        yield from self._in_batches(
            prompts, [len(ids) + limit for ids, limit in zip(prompts, limits, strict=True)], complete_rows
        )

    def read_logits(self, sequences: Sequence[list[int]], kept: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
        """By number of the sequence, the logits at the last `kept` of its positions, (kept, vocabulary)."""
        vocabulary = self.model.config.get_text_config(decoder=True).vocab_size

        def read_rows(rows: list[int], prefix: Prefix) -> list[tuple[int, torch.Tensor]]:
            # Padded on the left, all sequences end at the last position.
            logits = self._prefill([sequences[row] for row in rows], prefix, max(kept[row] for row in rows)).logits
            return [(row, values[-kept[row] :].float()) for row, values in zip(rows, logits, strict=True)]

        # What is shared must leave the positions whose logits are kept to every row.
        beginnings = [ids[: len(ids) - count + 1] for ids, count in zip(sequences, kept, strict=True)]
        most = HELD_LOGITS[self.model.device.type] // vocabulary
        yield from self._in_batches(beginnings, [len(ids) for ids in sequences], read_rows, most)

    def _in_batches(
        self,
        prompts: Sequence[list[int]],
        lengths: Sequence[int],
        work: Callable[[list[int], Prefix], list[Result]],
        most_tokens: int = sys.maxsize,
    ) -> Iterator[Result]:
        """Do the work on batches of row numbers, the longest first; a batch that does not fit is halved.

        `lengths` are those that the rows come to in the end, in tokens.
        """
        if not prompts:
            return
        prefix = self._share_prefix(prompts, max(lengths))
        rows = sorted(range(len(prompts)), key=lambda row: -lengths[row])
        budget = min(self.batch_tokens or self._tokens_in_memory(), most_tokens)
        while rows:
            count = max(1, min(MAX_ROWS[self.model.device.type], budget // lengths[rows[0]]))
            try:
                results = work(rows[:count], prefix)
            except torch.cuda.OutOfMemoryError:
                if count == 1:
                    raise
                torch.cuda.empty_cache()
                budget = min(count, len(rows)) // 2 * lengths[rows[0]]
                continue
            rows = rows[count:]
            yield from results

    @torch.inference_mode()
    def _share_prefix(self, prompts: Sequence[list[int]], longest: int) -> Prefix:
        """Compute what all prompts begin with, where that is worth it and exact; rows come to `longest` tokens."""
        common = shared_beginning(prompts)
        cache = DynamicCache(config=self.model.config)
        if not common or not _can_share(cache, longest):
            return Prefix(0, None)
        tokens = torch.tensor([common], device=self.model.device)
        self.model(input_ids=tokens, use_cache=True, logits_to_keep=1, **{self.cache_argument: cache})
        return Prefix(len(common), cache)

    @torch.inference_mode()
    def _prefill(self, sequences: Sequence[list[int]], prefix: Prefix, keep: int) -> Batch:
        """Run sequences, padded on the left of what follows the shared prefix; logits of the last `keep` positions."""
        tails = [ids[prefix.tokens :] for ids in sequences]
        width = max(map(len, tails))
        padding = [width - len(tail) for tail in tails]
        # Any token does: the mask hides it.
        tokens = [[0] * pad + tail for pad, tail in zip(padding, tails, strict=True)]
        mask = [[1] * prefix.tokens + [0] * pad + [1] * (width - pad) for pad in padding]
        attention = torch.tensor(mask, device=self.model.device)
        positions = (attention.cumsum(1) - 1).clamp_min(0)
        if prefix.cache is None:
            cache = DynamicCache(config=self.model.config)
        else:
            cache = copy.deepcopy(prefix.cache)
            cache.batch_repeat_interleave(len(tails))
        logits = self.model(
            input_ids=torch.tensor(tokens, device=self.model.device),
            attention_mask=attention,
            position_ids=positions[:, prefix.tokens :],
            use_cache=True,
            logits_to_keep=keep,
            **{self.cache_argument: cache},
        ).logits
        return Batch(cache, attention, positions[:, -1:] + 1, logits)

    @torch.inference_mode()
    def _complete(
        self,
        sequences: Sequence[list[int]],
        limits: Sequence[int],
        seeds: Sequence[int],
        prefix: Prefix,
        sampling: Sampling,
    ) -> list[tuple[list[int], bool]]:
        """Generate the tokens of every reply, and whether it came to an end."""
        limit = max(limits)
        uniforms = torch.tensor(np.stack([np.random.default_rng(seed).random(limit) for seed in seeds]))
        uniforms = uniforms.to(self.model.device)
        written = torch.full((len(seeds), limit), int(self.end_ids[0]), device=self.model.device)
        rows = torch.arange(len(seeds), device=self.model.device)
        last_steps = torch.tensor(limits, device=self.model.device) - 1
        ended = torch.zeros_like(rows, dtype=torch.bool)
        batch = self._prefill(sequences, prefix, keep=1)
        batch.logits = batch.logits[:, -1].float()
        for step in range(limit):
            tokens = next_tokens(batch.logits, uniforms[rows, step], sampling)
            written[rows, step] = torch.where(ended, self.end_ids[0], tokens)
            ended |= torch.isin(tokens, self.end_ids) | (last_steps[rows] == step)
            still = (~ended).nonzero()[:, 0]
            if not len(still):
                break
            # Moving the cache costs about as much as one step, so a few rows must have ended.
            if len(still) <= len(rows) * 7 // 8:
                rows, ended, tokens = rows[still], ended[still], tokens[still]
                batch.cache.reorder_cache(cast(torch.LongTensor, still))
                batch.mask, batch.positions = batch.mask[still], batch.positions[still]
            self._step(batch, tokens)
        ends = set(self.end_ids.tolist())
        return [_until_end(reply[:most], ends) for reply, most in zip(written.tolist(), limits, strict=True)]

    def _step(self, batch: Batch, tokens: torch.Tensor) -> None:
        """Append one token to every row."""
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(tokens), 1)], 1)
        logits = self.model(
            input_ids=tokens[:, None],
            attention_mask=batch.mask,
            # Rows that have ended may still be in the batch.
            position_ids=batch.positions.clamp_max(self.positions - 1),
            use_cache=True,
            **{self.cache_argument: batch.cache},
        ).logits[:, -1]
        batch.logits, batch.positions = logits.float(), batch.positions + 1

    def _tokens_in_memory(self) -> int:
        """Tokens whose keys, values and activations fit into the memory that is free now."""
        config = self.model.config.get_text_config(decoder=True)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        numbers = 2 * config.num_hidden_layers * heads * head_size + 4 * config.hidden_size + 3 * inner
        if self.model.device.type == "cuda":
            devices = {parameter.device for parameter in self.model.parameters()}
            free = GPU_MEMORY_SHARE * min(torch.cuda.mem_get_info(device)[0] for device in devices)
            return int(free / (numbers * self.model.dtype.itemsize))
        free = CPU_MEMORY_SHARE * psutil.virtual_memory().available
        return min(CPU_BATCH_TOKENS, int(free / (numbers * self.model.dtype.itemsize)))


def shared_beginning(prompts: Sequence[list[int]]) -> list[int]:
    """What all prompts begin with, if it is long enough to be worth computing once; a token is left to each."""
    common = common_prefix(prompts)[: min(map(len, prompts)) - 1]
    return common if len(prompts) > 1 and len(common) >= MIN_SHARED_TOKENS else []


def _cache_argument(model: PreTrainedModel) -> str:
    """What a model calls its cache; before transformers 5.22, and maybe in a model's own code, the name was another."""
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def _can_share(cache: DynamicCache, tokens: int) -> bool:
    """Whether padding between prefix and rest changes nothing: attention must reach over all the tokens."""
    return all(
        type(layer) is DynamicLayer or (type(layer) is DynamicSlidingWindowLayer and tokens < layer.sliding_window)
        for layer in cache.layers
    )


def _until_end(tokens: list[int], end_ids: set[int]) -> tuple[list[int], bool]:
    """The tokens before the first that ends a reply, and whether there is one."""
    length = next((index for index, token in enumerate(tokens) if token in end_ids), len(tokens))
    return tokens[:length], length < len(tokens)
