"""How good a model is: loss on held-out pairs, answers to held-out instructions, and which of two answers is better.

Knows nothing of how the model was made. Win rates and intervals are made from these rows in `statistics`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from backtranslation.files import Row
from backtranslation.models.engine import Engine, ReplyLikelihood, generate_all, make_requests, measure_all
from backtranslation.models.pairs import EncodedPair, encode_usable
from backtranslation.settings.generation import Sampling
from backtranslation.settings.limits import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PairLoss:
    """Loss of one pair: mean nats per target token, and the number of these; or why it was not measured."""

    id: str
    loss: float | None
    tokens: int
    failure: str | None = None


def held_out_losses(engine: Engine, pairs: Sequence[EncodedPair], journal: Path) -> list[PairLoss]:
    """Loss of every pair, in the order given; those that the journal holds are not measured again."""

    def condense(likelihood: ReplyLikelihood) -> Row:
        values = likelihood.log_probabilities
        return {"loss": -fmean(values), "tokens": len(values)}

    measured = measure_all(engine, pairs, journal, condense)
    return [PairLoss(**measured[pair.id]) for pair in pairs]


def measure_losses(
    engine: Engine, rows: Sequence[Row], encode: Callable[[Row], EncodedPair], journal: Path, limits: Limits
) -> Row:
    """{"loss", "tokens", "pairs": a PairLoss for every row}, of which those that cannot be measured say why.

    Raises DataError if clearly more cannot be than may be unusable.
    """
    usable, left_out = encode_usable(rows, encode, limits)
    measured = {pair.id: pair for pair in held_out_losses(engine, usable, journal)}
    losses = [measured.get(row["id"]) or PairLoss(row["id"], None, 0, left_out[row["id"]]) for row in rows]
    loss, tokens = mean_loss(losses)
    return {"loss": loss, "tokens": tokens, "pairs": [vars(pair) for pair in losses]}


def mean_loss(losses: Iterable[PairLoss]) -> tuple[float | None, int]:
    """(Mean nats over all target tokens, None if there are none; number of target tokens)."""
    nats, tokens = 0.0, 0
    for pair in losses:
        nats += (pair.loss or 0.0) * pair.tokens
        tokens += pair.tokens
    return nats / tokens if tokens else None, tokens


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
