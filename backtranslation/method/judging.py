"""Which of two answers is better: a judge is asked in both orders, and the probability of its choice is read.

Win rates and intervals are made from these rows in `report.statistics`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.jobs.progress import log
from backtranslation.models.choices import JUDGEMENT_CHOICES, Question, cut_question, text_before_judgement
from backtranslation.models.engine import Choice, Engine, choose_all
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.limits import Limits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def judge_in_both_orders(
    engine: Engine,
    tokenizer: "PreTrainedTokenizerBase",
    prompts: PromptSet,
    first_answers: Sequence[Row],
    second_answers: Sequence[Row],
    work: Path,
    limits: Limits,
) -> list[Row]:
    """The probability that the first model's answer is the better one, shown first and shown second.

    Gives rows {"id", "first_wins_forward", "first_wins_reversed", "cut", "failure"}: whether the judge was shown cut
    texts, see `cut_question`, and why there are no probabilities where there are none (no_answer, or as in `Choice`).
    `work` is a folder from which a killed process continues. Nothing is generated: the probabilities of the two choices
    are read at the place where the judge names one. Raises DataError when the two models did not answer the same
    instructions, and when clearly more questions are too long than may be unusable.
    """
    if [row["id"] for row in first_answers] != [row["id"] for row in second_answers]:
        raise DataError("the two files of answers do not hold the same instructions in the same order")

    whole = {
        one["id"]: Question(one["instruction"], one["answer"], two["answer"])
        for one, two in zip(first_answers, second_answers, strict=True)
        if not one["failure"] and not two["failure"]
    }
    shown = {row_id: cut_question(tokenizer, prompts, whole[row_id], engine.room) for row_id in whole}
    cut = {row_id for row_id in whole if shown[row_id] != whole[row_id]}
    if cut:
        log.warning(f"{len(cut)} of {len(whole)} comparisons are of texts that were cut to fit into the judge")

    def chances_of_first(questions: dict[str, Question], journal: Path) -> dict[str, Choice]:
        texts = [(name, text_before_judgement(tokenizer, prompts, question)) for name, question in questions.items()]
        return choose_all(engine, texts, JUDGEMENT_CHOICES, journal, limits)

    forward = chances_of_first(shown, work / "forward.jsonl")
    reverse = chances_of_first({name: shown[name].reversed() for name in shown}, work / "reversed.jsonl")

    def judgement(row_id: str) -> Row:
        found = [order[row_id] for order in (forward, reverse) if row_id in order]
        failure = next((choice.failure for choice in found if choice.failure), None if found else "no_answer")
        if failure is None:
            one, other = found
            chances = {"first_wins_forward": one.shares[0], "first_wins_reversed": 1 - other.shares[0]}
            return {"id": row_id, **chances, "cut": row_id in cut, "failure": None}
        nothing = dict.fromkeys(("first_wins_forward", "first_wins_reversed"))
        return {"id": row_id, **nothing, "cut": False, "failure": failure}

    return [judgement(row["id"]) for row in first_answers]
