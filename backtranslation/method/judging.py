"""Which of two answers is better: a judge is asked in both orders, and the probability of its choice is read.

Here a local model is the judge; `server_judging` asks one at a server. Win rates and intervals are made from these rows
in `report.statistics`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.jobs.progress import log
from backtranslation.models.choices import JUDGEMENT_CHOICES, Question, cut_question, text_before_judgement
from backtranslation.models.engine import Engine, choose_all
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.limits import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_ANSWER = "no_answer"


@dataclass(frozen=True)
class Verdict:
    """How probable a judge finds it that the answer shown first is the better one; None where `failure` says why.

    `mass` is the probability of the two choices together; None where only the judge's text tells which it is. Tokens
    are those that a server counts.
    """

    first_wins: float | None
    mass: float | None
    failure: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def judge_in_both_orders(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: PromptSet,
    first_answers: Sequence[Row],
    second_answers: Sequence[Row],
    work: Path,
    limits: Limits,
) -> list[Row]:
    """Rows as of `join_orders`, from a model that is shown cut texts where they are too long for it.

    `work` is a folder from which a killed process continues. Nothing is generated: the probabilities of the two choices
    are read at the place where the judge names one. Raises DataError as `answered_questions` does, and when clearly
    more questions are too long than may be unusable.
    """
    whole = answered_questions(first_answers, second_answers)
    shown = {row_id: cut_question(tokenizer, prompts, whole[row_id], engine.room) for row_id in whole}
    cut = {row_id for row_id in whole if shown[row_id] != whole[row_id]}
    if cut:
        log.warning(f"{len(cut)} of {len(whole)} comparisons are of texts that were cut to fit into the judge")

    def ask(questions: dict[str, Question], journal: Path) -> dict[str, Verdict]:
        texts = [(name, text_before_judgement(tokenizer, prompts, question)) for name, question in questions.items()]
        choices = choose_all(engine, texts, JUDGEMENT_CHOICES, journal, limits)
        return {
            name: Verdict(None, None, choice.failure) if choice.failure else Verdict(choice.shares[0], choice.mass)
            for name, choice in choices.items()
        }

    forward = ask(shown, work / "forward.jsonl")
    reversed_order = ask({name: shown[name].reversed() for name in shown}, work / "reversed.jsonl")
    return join_orders([row["id"] for row in first_answers], forward, reversed_order, cut)


def answered_questions(first_answers: Sequence[Row], second_answers: Sequence[Row]) -> dict[str, Question]:
    """By row id, the instructions that both models answered, with their answers.

    Raises DataError when the two models were not asked the same instructions.
    """
    if [row["id"] for row in first_answers] != [row["id"] for row in second_answers]:
        raise DataError("the two files of answers do not hold the same instructions in the same order")
    return {
        one["id"]: Question(one["instruction"], one["answer"], two["answer"])
        for one, two in zip(first_answers, second_answers, strict=True)
        if not one["failure"] and not two["failure"]
    }


def join_orders(
    row_ids: Sequence[str],
    forward: Mapping[str, Verdict],
    reversed_order: Mapping[str, Verdict],
    cut: Collection[str] = (),
) -> list[Row]:
    """What a judge says of the first model's answer, shown first and shown second, for all rows.

    Gives rows {"id", "first_wins_forward", "first_wins_reversed", "mass", "cut", "input_tokens", "output_tokens",
    "failure"}: the smaller mass of both orders, whether the judge was shown cut texts, the tokens of both orders, and
    why there are no probabilities where there are none: no_answer, or the failure of an order.
    """

    def join(row_id: str) -> Row:
        found = [order[row_id] for order in (forward, reversed_order) if row_id in order]
        failure = next((verdict.failure for verdict in found if verdict.failure), None if found else NO_ANSWER)
        chances: tuple[float | None, ...] = (None, None, None)
        if failure is None:
            one, other = (verdict.first_wins for verdict in found if verdict.first_wins is not None)
            masses = [verdict.mass for verdict in found if verdict.mass is not None]
            chances = (one, 1 - other, min(masses, default=None))
        return {
            "id": row_id,
            **dict(zip(("first_wins_forward", "first_wins_reversed", "mass"), chances, strict=True)),
            "cut": failure is None and row_id in cut,
            "input_tokens": _add_up(verdict.input_tokens for verdict in found),
            "output_tokens": _add_up(verdict.output_tokens for verdict in found),
            "failure": failure,
        }

    return [join(row_id) for row_id in row_ids]


def _add_up(counts: Iterable[int | None]) -> int | None:
    """The sum of the counts that are told."""
    told = [count for count in counts if count is not None]
    return sum(told) if told else None
