"""The engine on plain transformers: continuous batching, and what all prompts begin with computed once.

Models whose attention the slots do not know are run in padded batches. The random numbers of a row come from its own
seed, so a result depends on its neighbours by no more than rounding. Knows token ids, not what texts mean.
"""

import sys
from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from backtranslation.jobs.progress import log
from backtranslation.models.chat import encode_text, end_token_ids
from backtranslation.models.continuations import find_parting
from backtranslation.models.engine import Choice, Completion, EngineError, ReplyLikelihood, Request
from backtranslation.models.engines.padded_batches import PaddedBatches
from backtranslation.models.engines.slot_attention import UnsupportedAttentionError
from backtranslation.models.engines.slots import Slots
from backtranslation.models.loading import load_for_inference, max_positions
from backtranslation.models.pairs import EncodedPair
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling


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
        self.model, self.tokenizer = model.eval(), tokenizer
        self.positions = max_positions(model.config) or sys.maxsize
        self.end_ids = sorted(end_token_ids(tokenizer))
        self.batches = PaddedBatches(model, self.positions, self.end_ids, batch_tokens)
        self.slots = _make_slots(model, self.end_ids, batch_tokens)

    def room(self, prompt: str) -> int:
        """Positions of the model that a prompt leaves over."""
        return self.positions - len(encode_text(self.tokenizer, prompt))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Complete every request, the longest prompts first.

        A reply ends unfinished where the model has no more positions. Raises EngineError when a prompt fills them all.
        """
        sequences = [encode_text(self.tokenizer, request.prompt) for request in requests]
        self._check_lengths([request.id for request in requests], sequences)

        limits = [min(sampling.max_new_tokens, self.positions - len(ids)) for ids in sequences]
        runner = self._runner(max((len(ids) for ids in sequences), default=0) + sampling.max_new_tokens)
        replies = runner.complete(sequences, limits, [request.seed for request in requests], sampling)
        for row, tokens, ended in replies:
            yield Completion(requests[row].id, self._decode(tokens), len(tokens), ended)

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        """Shares of the choices after every text, and their mass, from the first token in which they differ.

        Raises EngineError when two choices begin with the same token, or a text is too long for the model.
        """
        partings = [find_parting(self.tokenizer, row_id, text, choices) for row_id, text in prompts]
        sequences = [parting.common for parting in partings]
        self._check_lengths([row_id for row_id, _ in prompts], sequences)
        runner = self._runner(max(map(len, sequences), default=0))
        for row, logits in runner.read_logits(sequences, [1 + parting.begun for parting in partings]):
            likely, (common, firsts, begun) = logits.log_softmax(-1), partings[row]
            chosen = likely[-1, firsts]
            # The choices begin with the last tokens of the sequence, such as a space: a model may prefer others.
            mass = chosen.logsumexp(-1) + likely[range(begun), common[len(common) - begun :]].sum()
            yield Choice(prompts[row][0], chosen.softmax(-1).tolist(), mass.exp().item())

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
        sequences = [pair.ids.tolist() for pair in pairs]
        replies = [ids[pair.prompt_tokens :] for ids, pair in zip(sequences, pairs, strict=True)]
        runner = self._runner(max(map(len, sequences), default=0))
        for row, logits in runner.read_logits(sequences, [len(reply) + 1 for reply in replies]):
            # The last position tells what would follow.
            targets = torch.tensor(replies[row], device=logits.device)
            losses = functional.cross_entropy(logits[:-1], targets, reduction="none")
            yield ReplyLikelihood(pairs[row].id, (-losses).tolist())

    def _runner(self, longest: int) -> Slots | PaddedBatches:
        """What runs rows that come to so many tokens."""
        if self.slots is None or self.slots.fits(longest):
            return self.slots or self.batches
        log.info(
            f"padded batches: rows of {longest:,} tokens are longer than the {self.slots.window:,} of its attention"
        )
        return self.batches

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _check_lengths(self, ids: Sequence[str], sequences: Sequence[list[int]]) -> None:
        for row_id, tokens in zip(ids, sequences, strict=True):
            if len(tokens) >= self.positions:
                raise EngineError(
                    f"row {row_id}: its prompt of {len(tokens)} tokens is too long for the {self.positions} positions"
                    " of the model"
                )


def _make_slots(model: PreTrainedModel, end_ids: Sequence[int], batch_tokens: int | None) -> Slots | None:
    """Slots for a model, or None if its attention cannot be computed in them; the log says why."""
    try:
        return Slots(model, end_ids, batch_tokens)
    except UnsupportedAttentionError as error:
        log.info(f"padded batches do the work, more slowly: {model.config.model_type} cannot be run in slots, {error}")
        return None
