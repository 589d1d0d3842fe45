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
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from backtranslation.models.chat import encode_text, end_token_ids
from backtranslation.models.engine import Choice, Completion, EngineError, ReplyLikelihood, Request
from backtranslation.models.loading import load_for_inference, max_positions
from backtranslation.models.pairs import EncodedPair
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling

MIN_SHARED_TOKENS = 16
NUCLEUS_TOKENS = 256
MAX_ROWS = {"cpu": 64, "cuda": 512}
# On a processor, attention over a larger batch outgrows the caches: half the speed at 30,000 tokens.
CPU_BATCH_TOKENS = 8192
GPU_MEMORY_SHARE, CPU_MEMORY_SHARE = 0.8, 0.25
# Numbers over the whole vocabulary that are held at once when replies are measured: every token has as many as it.
MEASURED_LOGITS = {"cpu": 1 << 28, "cuda": 1 << 30}
Result = TypeVar("Result")


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

        lengths = [len(ids) + sampling.max_new_tokens for ids in sequences]
        yield from self._in_batches(sequences, lengths, complete)

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        """Shares of the choices after every text, and their mass, from the first token in which they differ.

        Raises EngineError when two choices begin with the same token, or a text is too long for the model.
        """
        ids = [row_id for row_id, _ in prompts]
        sequences, first_tokens, forced = [], [], []
        for row_id, text in prompts:
            variants = [encode_text(self.tokenizer, text + choice) for choice in choices]
            common = common_prefix(variants)
            firsts = [variant[len(common)] for variant in variants if len(variant) > len(common)]
            if len(set(firsts)) < len(choices):
                raise EngineError(f"row {row_id}: the choices {', '.join(choices)} do not differ in their first token")
            sequences.append(common)
            first_tokens.append(firsts)
            # Tokens that the choices begin with in common, such as a space: a model may prefer others.
            forced.append(max(0, len(common) - len(encode_text(self.tokenizer, text))))
        self._check_lengths(ids, sequences)

        def weigh(rows: list[int], prefix: Prefix) -> list[Choice]:
            firsts = torch.tensor([first_tokens[row] for row in rows], device=self.model.device)
            begun = [min(forced[row], len(sequences[row]) - 1) for row in rows]
            logits = self._prefill([sequences[row] for row in rows], prefix, keep=1 + max(begun)).logits.float()
            likely = logits.log_softmax(-1)
            chosen = likely[:, -1].gather(1, firsts)
            masses = chosen.logsumexp(-1)
            for place, (row, tokens) in enumerate(zip(rows, begun, strict=True)):
                for back in range(1, tokens + 1):
                    masses[place] += likely[place, -1 - back, sequences[row][-back]]
            return [
                Choice(ids[row], shares, mass)
                for row, shares, mass in zip(rows, chosen.softmax(-1).tolist(), masses.exp().tolist(), strict=True)
            ]

        # What is shared must leave the logits before the forced tokens to every row.
        prompts_alone = [ids[: len(ids) - count] for ids, count in zip(sequences, forced, strict=True)]
        yield from self._in_batches(prompts_alone, [len(ids) for ids in sequences], weigh)

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        """Log probabilities of the tokens of every reply.

        Raises EngineError when a pair is too long for the model.
        """
        for pair in pairs:
            if len(pair.ids) > self.positions:
                raise EngineError(
                    f"row {pair.id}: its {len(pair.ids)} tokens are too many for the {self.positions} positions of the"
                    " model"
                )
        prompts = [pair.ids[: pair.prompt_tokens].tolist() for pair in pairs]
        replies = [pair.ids[pair.prompt_tokens :].tolist() for pair in pairs]

        def measure_rows(rows: list[int], prefix: Prefix) -> list[ReplyLikelihood]:
            found = self._measure([prompts[row] for row in rows], [replies[row] for row in rows], prefix)
            return [ReplyLikelihood(pairs[row].id, values) for row, values in zip(rows, found, strict=True)]

        vocabulary = self.model.config.get_text_config(decoder=True).vocab_size
        most = MEASURED_LOGITS[self.model.device.type] // vocabulary
        yield from self._in_batches(prompts, [len(pair.ids) for pair in pairs], measure_rows, most)

    @torch.inference_mode()
    def _measure(self, prompts: Sequence[list[int]], replies: Sequence[list[int]], prefix: Prefix) -> list[list[float]]:
        """The log probability of every token of the replies."""
        sequences = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
        # Padded on the left, all replies end at the last position, whose own logits tell what would follow.
        logits = self._prefill(sequences, prefix, keep=max(map(len, replies)) + 1).logits
        found = []
        for reply, row in zip(replies, logits, strict=True):
            targets = torch.tensor(reply, device=row.device)
            losses = functional.cross_entropy(row[-len(reply) - 1 : -1].float(), targets, reduction="none")
            found.append((-losses).tolist())
        return found

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
        common = common_prefix(prompts)[: min(map(len, prompts)) - 1]
        cache = DynamicCache(config=self.model.config)
        if len(prompts) == 1 or len(common) < MIN_SHARED_TOKENS or not _can_share(cache, longest):
            return Prefix(0, None)
        tokens = torch.tensor([common], device=self.model.device)
        self.model(input_ids=tokens, use_cache=True, logits_to_keep=1, **{self.cache_argument: cache})
        return Prefix(len(common), cache)

    def _start(self, sequences: Sequence[list[int]], prefix: Prefix) -> Batch:
        """Run the prompts, up to the logits of the first token of their replies."""
        batch = self._prefill(sequences, prefix, keep=1)
        batch.logits = batch.logits[:, -1].float()
        return batch

    @torch.inference_mode()
    def _prefill(self, sequences: Sequence[list[int]], prefix: Prefix, keep: int) -> Batch:
        """Run sequences, padded on the left of what follows the shared prefix; logits of the last `keep` positions."""
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
            logits_to_keep=keep,
            **{self.cache_argument: cache},
        ).logits
        return Batch(cache, attention, positions[:, -1:] + 1, logits)

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
