"""Cross entropy of a causal language model over target tokens alone, whose logits are never all in memory.

The hidden states of the targets go through the model's head in chunks, and each chunk's logits are computed again in
the backward pass. The head is the model's own `forward` around states that are given to it, so that scaled, capped or
biased logits, tied weights and adapters are what the architecture makes of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from backtranslation.models.pairs import NO_LABEL

# Logits in memory at once, 128 MiB in float32, and up to three times that while their gradient is computed.
HELD_LOGITS = 1 << 25

Forward = Callable[..., Any]
Inputs = dict[str, Any]
ComputeLoss = Callable[[PreTrainedModel, Forward, Inputs, torch.Tensor], torch.Tensor]


def return_target_loss(model: PreTrainedModel, compute_loss: ComputeLoss) -> None:
    """Let `model`, when it is given `targets`, return their cross entropy as its loss, and no logits.

    Targets, int64 of shape (rows, tokens), are the labels of the tokens where they stand, NO_LABEL where nothing is
    learnt; the loss is their sum in nats, float32. `compute_loss` is `chunked_loss` or `whole_loss`.
    """
    forward = model.forward

    def forward_to_loss(
        *args: Any, targets: torch.Tensor | None = None, num_items_in_batch: object = None, **inputs: Any
    ) -> Any:  # the Trainer counts the targets of a step for a model that divides by them
        if targets is None:
            return forward(*args, **inputs)
        given = {name: value for name, value in inputs.items() if value is not None}
        return CausalLMOutput(loss=cast(Any, compute_loss(model, forward, given, targets)))

    model.forward = forward_to_loss


def whole_loss(model: PreTrainedModel, forward: Forward, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """The loss of `return_target_loss` from the logits of all tokens."""
    logits = forward(**inputs).logits[:, :-1].float()
    return cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=NO_LABEL, reduction="sum")


def chunked_loss(
    model: PreTrainedModel, forward: Forward, inputs: Inputs, targets: torch.Tensor, held_logits: int = HELD_LOGITS
) -> torch.Tensor:
    """The loss of `return_target_loss` from so many logits at a time, at least those of one token."""
    outputs = model.base_model(**inputs)
    learnt = targets[:, 1:] != NO_LABEL
    states, next_tokens = outputs.last_hidden_state[:, :-1][learnt], targets[:, 1:][learnt]

    def chunk_loss(states: torch.Tensor, next_tokens: torch.Tensor) -> torch.Tensor:
        logits = head_logits(model, forward, outputs, states, next_tokens)
        return cross_entropy(logits.float(), next_tokens, reduction="sum")

    tokens = max(1, held_logits // model.config.get_text_config(decoder=True).vocab_size)
    if len(next_tokens) <= tokens:  # so few can be kept for the backward pass; without any, the loss is still a graph
        return chunk_loss(states, next_tokens)
    chunks = zip(states.split(tokens), next_tokens.split(tokens), strict=True)
    losses = [checkpoint(chunk_loss, *chunk, use_reentrant=False) for chunk in chunks]
    return torch.stack(losses).sum()


def head_logits(
    model: PreTrainedModel, forward: Forward, outputs: BaseModelOutput, states: torch.Tensor, ids: torch.Tensor
) -> torch.Tensor:
    """What the model makes of hidden states, (tokens, width): logits, (tokens, vocabulary).

    `outputs` are those of the model without its head, and `ids` any tokens as many as there are states.
    """
    given = replace(outputs, last_hidden_state=states[None])
    with _replaced_forward(model.base_model, lambda *args, **inputs: given):
        return forward(input_ids=ids[None], use_cache=False).logits[0]


@torch.inference_mode()
def has_separate_head(model: PreTrainedModel, ids: torch.Tensor) -> bool:
    """Whether `head_logits` of a row of token ids, int64 (1, tokens), are the model's logits but for rounding.

    The model has its dropout switched off. The states are given backwards, so that a model that computes its own from
    the ids is found out.
    """
    expected = model(input_ids=ids, use_cache=False).logits[0].flip(0)
    try:
        outputs = model.base_model(input_ids=ids, use_cache=False)
        found = head_logits(model, model.forward, outputs, outputs.last_hidden_state[0].flip(0), ids[0])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):  # built in another way
        return False
    rounding = 1e-3 if model.dtype == torch.float32 else 5e-2
    return found.shape == expected.shape and bool((found - expected).abs().max() <= rounding * expected.abs().max())


@contextmanager
def _replaced_forward(module: torch.nn.Module, forward: Forward) -> Iterator[None]:
    own = vars(module).get("forward")  # of an instance, as accelerate sets it
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
