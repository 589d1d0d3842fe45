"""Continuous batching: rows are written side by side in slots, and a slot whose row has ended takes the next at once.

Prompts go through the model without padding, in the same forward pass as the new tokens of the other rows; what
`slot_attention` computes once is what they all begin with. Knows token ids alone.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain

import numpy as np
import psutil
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from backtranslation.models.engines.padded_batches import Reply, shared_beginning
from backtranslation.models.engines.sampling import next_tokens
from backtranslation.models.engines.slot_attention import (
    NAME,
    KeysAndValues,
    SlotCache,
    Step,
    UnsupportedAttentionError,
)
from backtranslation.settings.generation import Sampling

MAX_SLOTS = {"cpu": 128, "cuda": 512}
# Tokens of prompts in one forward pass: enough to keep the device busy, few enough for its caches and memory.
PROMPT_TOKENS = {"cpu": 2048, "cuda": 16384}
CACHE_MEMORY_SHARE = {"cpu": 0.25, "cuda": 0.6}
# Numbers over the whole vocabulary that are held at once.
HELD_LOGITS = {"cpu": 1 << 27, "cuda": 1 << 30}
# How far logits may lie from those of the model's own attention, as a share of their size: rounding, and no more.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}


@dataclass
class Writing:
    """A row in a slot: its number, the tokens of its prompt behind the shared ones, and those written so far.

    There is a random number (`uniforms`) for every token that may be written.
    """

    row: int
    prompt: list[int]
    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class SharedTokens:
    """What all rows begin with: how many tokens, and their keys and values by layer."""

    tokens: int
    layers: dict[int, KeysAndValues]


class Slots:
    """Runs a model in slots; `batch_tokens` bounds the tokens of all slots together.

    Raises UnsupportedAttentionError for a model whose results would differ from its own.
    """

    def __init__(self, model: PreTrainedModel, end_ids: Sequence[int], batch_tokens: int | None) -> None:
        self.model, self.batch_tokens = model, batch_tokens
        self.end_ids, device = set(end_ids), model.device.type
        self.window = _shortest_window(model)
        self.prompt_tokens, self.max_slots = PROMPT_TOKENS[device], MAX_SLOTS[device]
        self.vocabulary = model.config.get_text_config(decoder=True).vocab_size
        own = model.config._attn_implementation
        _install_attention(model)
        try:
            self.bytes_per_token = self._compare_with_own()
        except UnsupportedAttentionError:
            model.set_attn_implementation(own)
            raise

    def fits(self, tokens: int) -> bool:
        """Whether attention reaches over rows of so many tokens."""
        return tokens < self.window

    def complete(
        self, prompts: Sequence[list[int]], limits: Sequence[int], seeds: Sequence[int], sampling: Sampling
    ) -> Iterator[Reply]:
        """Write a reply to every prompt, of so many tokens at most (`limits`)."""
        if not prompts:
            return
        shared = self._share(prompts)
        waiting = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))

        def begin(row: int) -> Writing:
            uniforms = np.random.default_rng(seeds[row]).random(limits[row])
            return Writing(row, prompts[row][shared.tokens :], uniforms)

        while waiting:
            capacity = max(len(prompts[row]) - shared.tokens + limits[row] for row in waiting)
            done = set()
            try:
                for reply in self._write(deque(waiting), begin, capacity, shared, sampling):
                    done.add(reply.row)
                    yield reply
            except torch.cuda.OutOfMemoryError:
                if self.max_slots == 1:
                    raise
                self._halve()
            # After a lack of memory, what was being written is written again: random numbers are those of the rows.
            waiting = [row for row in waiting if row not in done]

    def read_logits(self, sequences: Sequence[list[int]], kept: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """By number of the sequence, the logits at the last `kept` of its positions, (kept, vocabulary)."""
        if not sequences:
            return
        # What is shared must leave the positions whose logits are kept to every row.
        shared = self._share([ids[: len(ids) - count + 1] for ids, count in zip(sequences, kept, strict=True)])
        tails = [ids[shared.tokens :] for ids in sequences]
        rows = deque(sorted(range(len(tails)), key=lambda row: -len(tails[row])))
        while rows:
            some = self._take(rows, tails, kept)
            try:
                logits = self._read([tails[row] for row in some], [kept[row] for row in some], shared)
            except torch.cuda.OutOfMemoryError:
                if self.max_slots == 1:
                    raise
                self._halve()
                rows.extendleft(reversed(some))
                continue
            yield from zip(some, logits, strict=True)

    def _write(
        self,
        waiting: deque[int],
        begin: Callable[[int], Writing],
        capacity: int,
        shared: SharedTokens,
        sampling: Sampling,
    ) -> Iterator[Reply]:
        """Write rows of at most `capacity` tokens of their own, as many at a time as there are slots."""
        cache = SlotCache(self._count_slots(capacity), capacity, shared.layers)
        writing = list[Writing]()
        while waiting or writing:
            begun = self._admit(waiting, begin, cache.slots - len(writing))
            logits = self._continue(writing, begun, cache, shared.tokens)
            writing += begun
            uniforms = [one.uniforms[len(one.tokens)] for one in writing]
            drawn = next_tokens(logits, torch.tensor(uniforms, device=logits.device), sampling)
            for one, token in zip(writing, drawn.tolist(), strict=True):
                one.tokens.append(token)
            yield from filter(None, map(self._end, writing))
            writing = self._close_gaps(writing, cache)

    def _admit(self, waiting: deque[int], begin: Callable[[int], Writing], free: int) -> list[Writing]:
        """Begin the next rows for the free slots, as many as one forward pass takes; a last one may be too much."""
        begun, tokens = list[Writing](), 0
        while waiting and len(begun) < free and tokens < self.prompt_tokens:
            begun.append(begin(waiting.popleft()))
            tokens += len(begun[-1].prompt)
        return begun

    def _continue(self, writing: list[Writing], begun: list[Writing], cache: SlotCache, shared: int) -> Tensor:
        """Logits of the next token of the rows in the slots, and of those that begin: (rows, vocabulary)."""
        own = [len(one.prompt) + len(one.tokens) for one in writing]
        prompts = [len(one.prompt) for one in begun]
        step = Step(cache, own, prompts)
        last = [*range(len(own)), *(len(own) - 1 + end for end in accumulate(prompts))]
        tokens = [one.tokens[-1] for one in writing] + [token for one in begun for token in one.prompt]
        positions = [shared + length - 1 for length in own] + [
            shared + place for count in prompts for place in range(count)
        ]
        return self._forward(step, tokens, positions, last)

    def _end(self, one: Writing) -> Reply | None:
        """The reply of a row, if it has come to its end."""
        if one.tokens[-1] in self.end_ids:
            return Reply(one.row, one.tokens[:-1], ended=True)
        return Reply(one.row, one.tokens, ended=False) if len(one.tokens) == len(one.uniforms) else None

    def _close_gaps(self, writing: list[Writing], cache: SlotCache) -> list[Writing]:
        """The rows that are not at their end, moved to the first slots."""
        still = [slot for slot, one in enumerate(writing) if self._end(one) is None]
        gaps = sorted(set(range(len(still))).difference(still))
        last = still[len(still) - len(gaps) :]
        if gaps:
            width = max(len(writing[slot].prompt) + len(writing[slot].tokens) for slot in last)
            cache.move(torch.tensor(last), torch.tensor(gaps), width)
        there = dict(zip(gaps, last, strict=True))
        return [writing[there.get(slot, slot)] for slot in range(len(still))]

    def _share(self, prompts: Sequence[list[int]]) -> SharedTokens:
        """Run what all prompts begin with, once."""
        common = shared_beginning(prompts)
        cache = SlotCache(0, 0)
        if common:
            step = Step(cache, [], [len(common)], keep=False, is_shared=True)
            self._forward(step, common, range(len(common)), [0])
        return SharedTokens(len(common), cache.shared)

    def _take(self, rows: deque[int], sequences: Sequence[list[int]], kept: Sequence[int]) -> list[int]:
        """The next rows that one forward pass takes; at least one."""
        most_logits, taken = HELD_LOGITS[self.model.device.type] // self.vocabulary, [rows.popleft()]
        tokens, logits = len(sequences[taken[0]]), kept[taken[0]]
        while rows and tokens < self.prompt_tokens and logits + kept[rows[0]] <= most_logits:
            taken.append(rows.popleft())
            tokens, logits = tokens + len(sequences[taken[-1]]), logits + kept[taken[-1]]
        return taken

    def _read(self, sequences: Sequence[list[int]], kept: Sequence[int], shared: SharedTokens) -> list[Tensor]:
        """Logits at the last positions of a few sequences, without what they share."""
        counts = [len(ids) for ids in sequences]
        step = Step(SlotCache(0, 0, shared.layers), [], counts, keep=False)
        places = [range(end - count, end) for end, count in zip(accumulate(counts), kept, strict=True)]
        positions = [shared.tokens + place for count in counts for place in range(count)]
        logits = self._forward(step, [*chain(*sequences)], positions, [*chain(*places)])
        return list(logits.split(list(kept)))

    @torch.inference_mode()
    def _forward(self, step: Step, tokens: Sequence[int], positions: Sequence[int], kept: Sequence[int]) -> Tensor:
        """Run a flat row of tokens at their positions; logits at the places in it that are kept, (kept, vocabulary)."""
        device = self.model.device
        logits: Tensor = self.model(
            input_ids=torch.tensor([tokens], device=device),
            # A mask of four dimensions is taken for a finished one: none is made, and none is looked at.
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            logits_to_keep=torch.tensor(kept, device=device),
            slots=step,
        ).logits
        return logits[0].float()

    def _count_slots(self, capacity: int) -> int:
        """Slots for rows of so many tokens: as many as are useful, and fit into the memory that is free now."""
        return max(1, min(self.max_slots, (self.batch_tokens or self._tokens_in_memory()) // capacity))

    def _tokens_in_memory(self) -> int:
        """Tokens whose keys and values fit into a share of the memory that is free now."""
        if self.model.device.type == "cuda":
            devices = {parameter.device for parameter in self.model.parameters()}
            # Layers are spread evenly.
            free = len(devices) * min(torch.cuda.mem_get_info(device)[0] for device in devices)
        else:
            free = psutil.virtual_memory().available
        return int(CACHE_MEMORY_SHARE[self.model.device.type] * free / self.bytes_per_token)

    def _halve(self) -> None:
        """Do half as much at once from now on."""
        torch.cuda.empty_cache()
        self.max_slots, self.prompt_tokens = self.max_slots // 2, max(1, self.prompt_tokens // 2)

    def _compare_with_own(self) -> int:
        """Try a few tokens in slots, and return the bytes that the keys and values of one token take.

        Raises UnsupportedAttentionError where the logits are not those of the model's own attention.
        """
        ids = [(7 * number + 3) % self.vocabulary for number in range(15)]
        beginning, prompts, nexts = ids[:4], [ids[4:10], ids[10:13]], ids[13:]
        expected = torch.stack(
            [self._own_logits(beginning + ids, 2) for ids in ([*p, n] for p, n in zip(prompts, nexts, strict=True))]
        )
        try:
            shared = SlotCache(0, 0)
            self._forward(Step(shared, [], [4], keep=False, is_shared=True), beginning, range(4), [0])
            cache = SlotCache(2, 8, shared.shared)
            begun = [Writing(row, ids, np.zeros(1)) for row, ids in enumerate(prompts)]
            first = self._continue([], begun, cache, 4)
            for one, token in zip(begun, nexts, strict=True):
                one.tokens.append(token)
            second = self._continue(begun, [], cache, 4)
        except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise UnsupportedAttentionError(f"its code does not take them ({type(error).__name__})") from error
        found = torch.stack([first, second], 1)
        difference = ((found - expected).norm() / (expected - expected.mean()).norm()).item()
        if not difference <= TOLERANCE.get(self.model.dtype, 1e-3):
            raise UnsupportedAttentionError(f"its logits come out differently (by {difference:.1%})")
        return sum(layer.bytes_per_token for layer in cache.own.values())

    @torch.inference_mode()
    def _own_logits(self, ids: list[int], kept: int) -> Tensor:
        """The last logits of a sequence by the model's own attention, (kept, vocabulary)."""
        tokens = torch.tensor([ids], device=self.model.device)
        logits: Tensor = self.model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits
        return logits[0].float()


def _shortest_window(model: PreTrainedModel) -> int:
    """Tokens over which the attention of every layer reaches.

    Raises UnsupportedAttentionError for layers that are not attention, or of a kind that is not known here.
    """
    shortest = sys.maxsize
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            shortest = min(shortest, layer.sliding_window)
        elif type(layer) is not DynamicLayer:
            raise UnsupportedAttentionError(f"it has layers of the kind {type(layer).__name__}")
    return shortest


def _install_attention(model: PreTrainedModel) -> None:
    """Let a model call the attention over slots, which leaves padded batches to the model's own.

    Raises UnsupportedAttentionError if that is not torch's.
    """
    own = model.config._attn_implementation
    if own not in ("sdpa", NAME):
        raise UnsupportedAttentionError(f"its attention is {own!r}")
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise UnsupportedAttentionError("its attention cannot be replaced")
