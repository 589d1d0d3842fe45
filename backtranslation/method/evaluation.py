"""How good a model is: loss on held-out pairs, answers to held-out instructions, and which of two answers is better.

Knows nothing of how the model was made. Win rates and intervals are made from these rows in `statistics`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from backtranslation.files import Row
from backtranslation.jobs.progress import Progress
from backtranslation.models.engine import Engine, generate_all, make_requests
from backtranslation.models.pairs import NO_LABEL, EncodedPair
from backtranslation.settings.generation import Sampling
from backtranslation.settings.limits import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOSS_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class PairLoss:
    """Loss of one pair: mean nats per target token, and the number of these; or why it was not measured."""

    id: str
    loss: float | None
    tokens: int
    failure: str | None = None


@torch.inference_mode()
def held_out_losses(model: "PreTrainedModel", pairs: Sequence[EncodedPair]) -> list[PairLoss]:
    """Loss of every pair, in the order given, the model in evaluation mode on its own device."""
    model.eval()
    found: dict[str, PairLoss] = {}
    progress = Progress(len(pairs), "held-out losses")
    for batch in _batches(pairs):
        for loss in _batch_losses(model, batch):
            found[loss.id] = loss
        progress.add(len(batch), sum(len(pair.ids) for pair in batch))
    progress.tell()
    return [found[pair.id] for pair in pairs]


def mean_loss(losses: Iterable[PairLoss]) -> tuple[float | None, int]:
    """(Mean nats over all target tokens, None if there are none; number of target tokens)."""
    nats, tokens = 0.0, 0
    for pair in losses:
        nats += (pair.loss or 0.0) * pair.tokens
        tokens += pair.tokens
    return nats / tokens if tokens else None, tokens


def _batches(pairs: Sequence[EncodedPair]) -> Iterator[list[EncodedPair]]:
    """Pairs of similar length together, at most LOSS_BATCH_TOKENS tokens with padding (one pair at least)."""
    batch: list[EncodedPair] = []
    for pair in sorted(pairs, key=lambda pair: len(pair.ids)):
        if batch and len(pair.ids) * (len(batch) + 1) > LOSS_BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def _batch_losses(model: "PreTrainedModel", batch: Sequence[EncodedPair]) -> Iterator[PairLoss]:
    """Losses of pairs padded on the right: ids, labels and mask have the shape (pairs, longest)."""
    longest = max(len(pair.ids) for pair in batch)
    ids, labels, mask = (torch.full((len(batch), longest), fill) for fill in (0, NO_LABEL, 0))
    for row, pair in enumerate(batch):
        ids[row, : len(pair.ids)] = torch.tensor(pair.ids.tolist())
        labels[row, : len(pair.ids)] = torch.tensor(pair.labels)
        mask[row, : len(pair.ids)] = 1
    logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
    for pair, pair_logits, pair_labels in zip(batch, logits[:, :-1], labels[:, 1:].to(model.device), strict=True):
        learnt = pair_labels != NO_LABEL
        loss = functional.cross_entropy(pair_logits[learnt].float(), pair_labels[learnt])
        yield PairLoss(pair.id, loss.item(), int(learnt.sum()))


def answer_instructions(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    pairs: Sequence[Row],
    sampling: Sampling,
    random_seed: int,
    journal: Path,
    limits: Limits,
) -> list[Row]:
    """Answers to held-out instructions, in the order of the pairs, asked by the chat template of the tokenizer.

    Gives rows {"id", "instruction", "reference", "answer", "failure"}; an instruction that is too long for the model
    has an empty answer and the failure prompt_too_long. Raises DataError if clearly more are than may be unusable.
    """
    messages = ((pair["id"], pair["instruction"]) for pair in pairs)
    requests = make_requests(tokenizer, messages, random_seed, "evaluate_model")
    answers = generate_all(engine, requests, sampling, journal, limits)
    return [
        {
            "id": pair["id"],
            "instruction": pair["instruction"],
            "reference": pair["response"],
            "answer": answers[pair["id"]].text.strip(),
            "failure": answers[pair["id"]].failure,
        }
        for pair in pairs
    ]
