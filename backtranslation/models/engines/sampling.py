"""Drawing the next token of every row, each with a random number of its own."""

import torch

from backtranslation.settings.generation import Sampling

NUCLEUS_TOKENS = 256


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
