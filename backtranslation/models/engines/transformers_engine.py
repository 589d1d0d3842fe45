"""The engine on plain transformers: batches sorted by length and sized to the memory, a shared prefix computed once.

Left-padded batches over a DynamicCache; rows that have ended leave the batch. The random numbers of a row come from its
own seed, so a result depends on the batch it is in by no more than rounding. Knows token ids, not what texts mean.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import psutil
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from backtranslation.models.chat import encode_text, end_token_ids
from backtranslation.models.engine import Completion, EngineError, Request
from backtranslation.models.loading import load_for_inference, max_positions
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling

MIN_SHARED_TOKENS = 16
NUCLEUS_TOKENS = 256
MAX_ROWS = {"cpu": 64, "cuda": 512}
# On a processor, attention over a larger batch outgrows the caches: half the speed at 30,000 tokens.
CPU_BATCH_TOKENS = 8192
GPU_MEMORY_SHARE, CPU_MEMORY_SHARE = 0.8, 0.25
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prefix:
    """Tokens that all sequences begin with, and their keys and values, computed once; no cache if there are none."""

    tokens: int
    cache: DynamicCache | None


@dataclass
class Batch:
    """Rows in the middle of generation: attention mask (rows, tokens so far), next position and logits of each row."""

    cache: DynamicCache
    mask: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor


def load_engine(
    model_path: str, loading: ModelLoading, generation: Generation, tokenizer: PreTrainedTokenizerBase
) -> "TransformersEngine":
    """The engine with a model in it; see `engine.load_engine`. Raises ModelError naming the path."""
    return TransformersEngine(load_for_inference(model_path, loading), tokenizer, generation.batch_tokens)


class TransformersEngine:
    """A model and its tokenizer, ready to generate; see `engine.Engine` for the contract."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int | None = None
    ) -> None:
        self.model, self.tokenizer, self.batch_tokens = model.eval(), tokenizer, batch_tokens
        self.positions = max_positions(model.config) or sys.maxsize
        self.cache_argument = _cache_argument(model)
        self.end_ids = torch.tensor(sorted(end_token_ids(tokenizer)), device=model.device)

    def room(self, prompt: str) -> int:
        """Positions of the model that a prompt leaves over."""
        return self.positions - len(encode_text(self.tokenizer, prompt))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Complete every request, the longest prompts first.

        A reply ends unfinished where the model has no more positions. Raises EngineError when a prompt fills them all.
        """
        sequences = [encode_text(self.tokenizer, request.prompt) for request in requests]
        self._check_lengths([request.id for request in requests], sequences)

        def complete(rows: list[int], prefix: Prefix) -> list[Completion]:
            seeds = [requests[row].seed for row in rows]
            replies = self._complete([sequences[row] for row in rows], prefix, seeds, sampling)
            return [
                Completion(requests[row].id, self._decode(reply), len(reply), ended)
                for row, (reply, ended) in zip(rows, replies, strict=True)
            ]

        yield from self._in_batches(sequences, sampling.max_new_tokens, complete)

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[tuple[str, list[float]]]:
        """Shares of the choices after every text, from the first token in which they differ.

        Raises EngineError when two choices begin with the same token, or a text is too long for the model.
        """
        ids = [row_id for row_id, _ in prompts]
        sequences, first_tokens = [], []
        for row_id, text in prompts:
            variants = [encode_text(self.tokenizer, text + choice) for choice in choices]
            common = common_prefix(variants)
            firsts = [variant[len(common)] for variant in variants if len(variant) > len(common)]
            if len(set(firsts)) < len(choices):
                raise EngineError(f"row {row_id}: the choices {', '.join(choices)} do not differ in their first token")
            sequences.append(common)
            first_tokens.append(firsts)
        self._check_lengths(ids, sequences)

        def weigh(rows: list[int], prefix: Prefix) -> list[tuple[str, list[float]]]:
            firsts = torch.tensor([first_tokens[row] for row in rows], device=self.model.device)
            logits = self._start([sequences[row] for row in rows], prefix).logits.gather(1, firsts)
            return [(ids[row], shares) for row, shares in zip(rows, logits.softmax(-1).tolist(), strict=True)]

        yield from self._in_batches(sequences, 0, weigh)

    def _in_batches(
        self,
        sequences: Sequence[list[int]],
        new_tokens: int,
        work: Callable[[list[int], Prefix], list[Result]],
    ) -> Iterator[Result]:
        """Do the work on batches of row numbers, the longest first; a batch that does not fit is halved."""
        if not sequences:
            return
        prefix = self._share_prefix(sequences, new_tokens)
        rows = sorted(range(len(sequences)), key=lambda row: -len(sequences[row]))
        budget = self.batch_tokens or self._tokens_in_memory()
        while rows:
            count = max(1, min(MAX_ROWS[self.model.device.type], budget // (len(sequences[rows[0]]) + new_tokens)))
            try:
                results = work(rows[:count], prefix)
            except torch.cuda.OutOfMemoryError:
                if count == 1:
                    raise
                torch.cuda.empty_cache()
                budget = min(count, len(rows)) // 2 * (len(sequences[rows[0]]) + new_tokens)
                continue
            rows = rows[count:]
            yield from results

    @torch.inference_mode()
    def _share_prefix(self, sequences: Sequence[list[int]], new_tokens: int) -> Prefix:
        """Compute what all sequences begin with, where that is worth it and exact."""
        longest, shortest = max(map(len, sequences)), min(map(len, sequences))
        common = common_prefix(sequences)[: shortest - 1]
        cache = DynamicCache(config=self.model.config)
        if len(sequences) == 1 or len(common) < MIN_SHARED_TOKENS or not _can_share(cache, longest + new_tokens):
            return Prefix(0, None)
        tokens = torch.tensor([common], device=self.model.device)
        self.model(input_ids=tokens, use_cache=True, logits_to_keep=1, **{self.cache_argument: cache})
        return Prefix(len(common), cache)

    @torch.inference_mode()
    def _start(self, sequences: Sequence[list[int]], prefix: Prefix) -> Batch:
        """Run the prompts, padded on the left of what follows the shared prefix."""
        tails = [ids[prefix.tokens :] for ids in sequences]
        width = max(map(len, tails))
        padding = [width - len(tail) for tail in tails]
        tokens = [[self.tokenizer.pad_token_id] * pad + tail for pad, tail in zip(padding, tails, strict=True)]
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
            logits_to_keep=1,
            **{self.cache_argument: cache},
        ).logits[:, -1]
        return Batch(cache, attention, positions[:, -1:] + 1, logits.float())

    @torch.inference_mode()
    def _complete(
        self, sequences: Sequence[list[int]], prefix: Prefix, seeds: Sequence[int], sampling: Sampling
    ) -> list[tuple[list[int], bool]]:
        """Generate the tokens of every reply, and whether it came to an end."""
        limits = [min(sampling.max_new_tokens, self.positions - len(ids)) for ids in sequences]
        limit = max(limits)
        uniforms = torch.tensor(np.stack([np.random.default_rng(seed).random(limit) for seed in seeds]))
        uniforms = uniforms.to(self.model.device)
        written = torch.full((len(seeds), limit), int(self.end_ids[0]), device=self.model.device)
        rows = torch.arange(len(seeds), device=self.model.device)
        last_steps = torch.tensor(limits, device=self.model.device) - 1
        ended = torch.zeros_like(rows, dtype=torch.bool)
        batch = self._start(sequences, prefix)
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

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _check_lengths(self, ids: Sequence[str], sequences: Sequence[list[int]]) -> None:
        for row_id, tokens in zip(ids, sequences, strict=True):
            if len(tokens) >= self.positions:
                raise EngineError(
                    f"row {row_id}: its prompt of {len(tokens)} tokens is too long for the {self.positions} positions"
                    " of the model"
                )

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


def next_tokens(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """One token per row by nucleus sampling (Holtzman et al., 2020), the nucleus cut at the row's uniform number.

    `logits` is (rows, vocabulary), `uniforms` (rows,) in [0, 1). The cut goes through the vocabulary in its own order,
    which rounding does not change as it does an order by probability. Temperature 0 takes the most probable token.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ranked = _most_probable(probabilities, sampling.top_p)
        inside = ranked.cumsum(-1) - ranked < sampling.top_p
        least = ranked.masked_fill(~inside, 2.0).amin(-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    tokens = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    return tokens[:, 0].clamp_max(logits.shape[-1] - 1)


def _most_probable(probabilities: torch.Tensor, mass: float) -> torch.Tensor:
    """The largest probabilities of each row, falling: enough of them to hold `mass` in every row.

    Sorting the whole vocabulary costs a sixth of the time of a small model; nearly always a few hundred tokens do.
    """
    ranked = probabilities.topk(min(NUCLEUS_TOKENS, probabilities.shape[-1])).values
    if bool((ranked.sum(-1) >= mass).all()):
        return ranked
    return probabilities.sort(-1, descending=True).values


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest list that all begin with: what the first and the last of them in sorted order have in common."""
    first, last = min(sequences), max(sequences)
    differing = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differing, min(len(first), len(last)))]


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
