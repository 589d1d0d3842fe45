"""Which of two answers is better: a judge is asked in both orders, and the probability of its choice is read.

Win rates and intervals are made from these rows in `report.statistics`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.models.choices import JUDGEMENT_CHOICES, text_before_judgement
from backtranslation.models.engine import Engine, choose_all
from backtranslation.models.prompts import PromptSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def judge_in_both_orders(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: PromptSet,
    first_answers: Sequence[Row],
    second_answers: Sequence[Row],
    work: Path,
) -> list[Row]:
    """The probability that the first model's answer is the better one, shown first and shown second.

    `work` is a folder from which a killed process continues. Nothing is generated: the probabilities of the two choices
    are read at the place where the judge names one. Raises DataError when the two models did not answer the same
    instructions.
    """
    if [row["id"] for row in first_answers] != [row["id"] for row in second_answers]:
        raise DataError("the two files of answers do not hold the same instructions in the same order")

    def chances(shown_first: Sequence[Row], shown_second: Sequence[Row], journal: Path) -> dict[str, float]:
        questions = [
            (one["id"], text_before_judgement(tokenizer, prompts, one["instruction"], one["answer"], two["answer"]))
            for one, two in zip(shown_first, shown_second, strict=True)
        ]
        chosen = choose_all(engine, questions, JUDGEMENT_CHOICES, journal)
        return {row_id: shares[0] for row_id, shares in chosen.items()}

    forward = chances(first_answers, second_answers, work / "forward.jsonl")
    reverse = chances(second_answers, first_answers, work / "reversed.jsonl")
    return [
        {"id": row["id"], "first_wins_forward": forward[row["id"]], "first_wins_reversed": 1 - reverse[row["id"]]}
        for row in first_answers
    ]
