"""Attention over slots: every row has keys and values of its own, and all share those of their common beginning.

A forward pass takes one flat row of tokens, without padding: first one new token of each row that is being written,
then whole prompts. Attention to the shared beginning is one product for all tokens; it is merged with that to a row's
own tokens by their log-sum-exp, as FlashAttention merges blocks (Dao et al., 2022, section 3.1). transformers calls
`attend` through its AttentionInterface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "slots"
READY_TOKENS = 64
# Settings of a model's attention that change nothing here, or that the caller has looked at (sliding windows).
KNOWN_ARGUMENTS = {
    "attention_mask", "cache", "cache_position", "dropout", "is_causal", "output_attentions", "past_key_values",
    "position_embeddings", "position_ids", "sliding_window", "use_cache",
}  # fmt: skip


class UnsupportedAttentionError(Exception):
    """A model's attention has a part that is not computed here."""


@dataclass
class KeysAndValues:
    """Keys and values of one layer, (rows, heads, tokens, size of a head); the first `ready` tokens may be read.

    What lies behind these is whatever was in the memory: no number, perhaps, and so not even harmless behind a mask.
    """

    keys: Tensor
    values: Tensor
    ready: int = 0

    @property
    def bytes_per_token(self) -> int:
        """What the keys and values of one token of a row take."""
        return sum(each.shape[1] * each.shape[3] * each.element_size() for each in (self.keys, self.values))

    def make_ready(self, tokens: int) -> None:
        """Set to zero what may be read next; by pieces, so that a processor gives memory for no more than is used."""
        if tokens > self.ready:
            until = min(max(tokens, self.ready + READY_TOKENS), self.keys.shape[2])
            self.keys[:, :, self.ready : until] = 0
            self.values[:, :, self.ready : until] = 0
            self.ready = until


class SlotCache:
    """Keys and values by layer: of the rows in the slots (`own`), and of what all rows begin with (`shared`).

    Memory is taken once, when a layer first writes to it, for `slots` rows of `capacity` tokens.
    """

    def __init__(self, slots: int, capacity: int, shared: dict[int, KeysAndValues] | None = None) -> None:
        self.slots, self.capacity = slots, capacity
        self.own: dict[int, KeysAndValues] = {}
        self.shared = shared or {}

    @torch.inference_mode()
    def move(self, sources: Tensor, targets: Tensor, tokens: int) -> None:
        """Copy the first tokens of some slots over those of others."""
        for layer in self.own.values():
            for stored in (layer.keys, layer.values):
                here = sources.to(stored.device), targets.to(stored.device)
                stored[here[1], :, :tokens] = stored[here[0], :, :tokens]

    def layer(self, number: int, keys: Tensor, values: Tensor, tokens: int) -> KeysAndValues:
        """The storage of a layer for keys and values like these, (1, heads, tokens, size), of so many tokens a row."""
        if number not in self.own:
            rooms = ((self.slots, each.shape[1], self.capacity, each.shape[3]) for each in (keys, values))
            self.own[number] = KeysAndValues(keys.new_empty(next(rooms)), values.new_empty(next(rooms)))
        self.own[number].make_ready(tokens)
        return self.own[number]


@dataclass
class Step:
    """What the tokens of a forward pass are.

    The first token belongs to slot 0, the second to slot 1, and so on: `lengths` are the tokens of these slots with
    this one. Prompts follow, `prompts` their numbers of tokens; they go into the next slots (`keep`), or a single one
    is the shared beginning (`is_shared`).
    """

    cache: SlotCache
    lengths: Sequence[int]
    prompts: Sequence[int]
    keep: bool = True
    is_shared: bool = False

    def __post_init__(self) -> None:
        self.decoding = len(self.lengths)
        self.width, self.longest = max(self.lengths, default=0), max(self.prompts, default=0)
        # Places of the new tokens in their slots, and which tokens they may look at, (slots, 1, 1, width).
        self.places = torch.tensor(self.lengths, dtype=torch.long) - 1
        self.visible = (torch.arange(self.width) <= self.places[:, None])[:, None, None]
        # Where the tokens of the prompts are, (prompts, longest): after its last token, a prompt repeats it.
        counts = torch.tensor(self.prompts, dtype=torch.long)
        starts = self.decoding + counts.cumsum(0) - counts
        span = torch.arange(self.longest)
        self.gather = starts[:, None] + span.minimum(counts[:, None] - 1)
        self.real = span < counts[:, None]

    def to(self, device: torch.device) -> "Step":
        """This step, with what is computed once for all layers on the device of one of them."""
        if self.places.device != device:
            self.places, self.visible = self.places.to(device), self.visible.to(device)
            self.gather, self.real = self.gather.to(device), self.real.to(device)
        return self


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    slots: Step | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of a layer in the form that transformers asks for; without slots, its own over padded batches.

    `query` is (1, heads, tokens, size), the result (1, tokens, heads, size). Raises UnsupportedAttentionError for
    what a model asks beyond that, such as sinks.
    """
    if slots is None:
        whole, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **others)
        return whole, None
    unknown = [
        name for name in others.keys() - KNOWN_ARGUMENTS if others[name] is not None and others[name] is not False
    ]
    if unknown:
        raise UnsupportedAttentionError(f"its attention has {', '.join(sorted(unknown))}")
    slots, layer = slots.to(query.device), cast(int, module.layer_idx)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts = []
    if slots.decoding:
        parts.append(_attend_in_slots(slots, layer, query, key, value, scale))
    if slots.prompts:
        parts.append(_attend_in_prompts(slots, layer, query, key, value, scale))
    out = torch.cat([part[0] for part in parts]) if len(parts) > 1 else parts[0][0]
    if shared := slots.cache.shared.get(layer):
        weights = torch.cat([part[1] for part in parts]) if len(parts) > 1 else parts[0][1]
        before, before_weights = _attend_to_shared(shared, query, scale)
        out = torch.lerp(before, out, torch.sigmoid(weights - before_weights)[..., None].to(out.dtype))
    if slots.is_shared:
        slots.cache.shared[layer] = KeysAndValues(key, value)
    return out[None], None


def _attend_in_slots(
    step: Step, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Of one new token of each slot to its own tokens: (slots, heads, size), and log-sum-exps (slots, heads)."""
    count, stored = step.decoding, step.cache.layer(layer, key, value, step.width)
    rows = torch.arange(count, device=key.device)
    stored.keys[rows, :, step.places] = key[0, :, :count].transpose(0, 1)
    stored.values[rows, :, step.places] = value[0, :, :count].transpose(0, 1)
    heads, kv_heads = query.shape[1], key.shape[1]
    # The heads that share keys are rows of one product.
    grouped = query[0, :, :count].transpose(0, 1).reshape(count, kv_heads, heads // kv_heads, -1)
    out, weights = attend_weighted(
        grouped,
        stored.keys[:count, :, : step.width],
        stored.values[:count, :, : step.width],
        scale,
        visible=step.visible,
    )
    return out.reshape(count, heads, -1), weights.reshape(count, heads)


def _attend_in_prompts(
    step: Step, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Of all tokens of the prompts to those of their own before them: (tokens, heads, size) and (tokens, heads)."""
    # Padded at the end, where no token of the prompt itself looks.
    queries, keys, values = (each[0][:, step.gather].transpose(0, 1) for each in (query, key, value))
    if step.keep:
        stored = step.cache.layer(layer, key, value, step.longest)
        places = slice(step.decoding, step.decoding + len(step.prompts))
        stored.keys[places, :, : step.longest] = keys
        stored.values[places, :, : step.longest] = values
    out, weights = attend_weighted(queries, keys, values, scale, is_causal=True)
    return out.transpose(1, 2)[step.real], weights.transpose(1, 2)[step.real]


def _attend_to_shared(shared: KeysAndValues, query: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Of all tokens to the shared beginning: (tokens, heads, size) and (tokens, heads)."""
    _, heads, tokens, size = query.shape
    kv_heads = shared.keys.shape[1]
    flat = query.reshape(1, kv_heads, heads // kv_heads * tokens, size)
    out, weights = attend_weighted(flat, shared.keys, shared.values, scale)
    return out.reshape(heads, tokens, -1).transpose(0, 1), weights.reshape(heads, tokens).transpose(0, 1)


def attend_weighted(
    query: Tensor, key: Tensor, value: Tensor, scale: float, visible: Tensor | None = None, is_causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention, and the log of the sum of its exponentials: with it, attention to two sets of keys can be merged.

    `query` is (rows, heads, queries, size), key and value have a divisor of its heads; `visible` is (rows, 1, 1, keys).
    """
    if query.device.type == "cpu" and query.shape[-1] == value.shape[-1]:
        mask = None
        if visible is not None:
            mask = torch.zeros(visible.shape, dtype=query.dtype).masked_fill(~visible, -torch.inf)
            mask = mask.expand(len(query), 1, query.shape[2], key.shape[2])
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return cast(tuple[Tensor, Tensor], kernel(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale))
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if query.device.type == "cuda" and visible is None:
        fast = torch.ops.aten._scaled_dot_product_efficient_attention
        out, weights, *_ = fast(query, key, value, None, True, 0.0, is_causal, scale=scale)
        return out, weights[..., : query.shape[2]]
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    weights = scores.logsumexp(-1)
    return (scores - weights[..., None]).exp().to(value.dtype) @ value, weights


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
