"""The texts at whose end it is read how probable a model finds each of several numbers, and these numbers."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from backtranslation.models.chat import cut_text, encode_text, render_prompt
from backtranslation.models.labels import find_score_label
from backtranslation.models.prompts import PromptSet, judge_message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCORE_CHOICES = (" 1", " 2", " 3", " 4", " 5")
JUDGEMENT_CHOICES = (" 1", " 2")


class Question(NamedTuple):
    """What a judge is shown: an instruction and two answers to it."""

    instruction: str
    first: str
    second: str

    def reversed(self) -> "Question":
        """The same with the answers in the other order."""
        return Question(self.instruction, self.second, self.first)


def text_before_score(prompt: str, written: str, label: str) -> str:
    """A scorer's prompt and what it wrote, up to the place of its score; SCORE_CHOICES are read there.

    If it names no score, all that it wrote and a line with the label; if it wrote nothing, the label.
    """
    if found := find_score_label(written, label):
        return prompt + written[: found.end()].rstrip()
    return prompt + (f"{written.rstrip()}\n{label}" if written.strip() else label)


def text_before_judgement(tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet, question: Question) -> str:
    """The question to a judge, up to the number of the better response; JUDGEMENT_CHOICES are read there."""
    return render_prompt(tokenizer, judge_message(prompts, *question)) + prompts.judge_label


def judgement_message(prompts: PromptSet, question: Question) -> str:
    """The question to a judge whose chat template is not ours: it ends with the label, so that a reply begins with the
    number.
    """
    return f"{judge_message(prompts, *question)}\n\n{prompts.judge_label}"


def cut_question(
    tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet, question: Question, room: Callable[[str], int]
) -> Question:
    """A question that leaves the judge room for a number (`room`, as of an engine) in both orders of its answers.

    If it is too long, instruction and answers are cut to one number of tokens, and those that have fewer stay whole: so
    neither answer and neither order has an advantage. Nothing is left of them where the words around are too long.
    """
    lengths = [len(encode_text(tokenizer, text)) for text in question]
    budget, cut = max(lengths), question
    while budget and (excess := -_least_room(tokenizer, prompts, cut, room)) > 0:
        wanted = _tokens_kept(lengths, budget) - excess
        budget = max(0, bisect_right(range(budget), wanted, key=partial(_tokens_kept, lengths)) - 1)
        cut = Question(*(cut_text(tokenizer, text, budget) for text in question))
    return cut


def _least_room(
    tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet, question: Question, room: Callable[[str], int]
) -> int:
    """What the longer order leaves beside the number."""
    orders = (question, question.reversed())
    return min(room(text_before_judgement(tokenizer, prompts, order) + JUDGEMENT_CHOICES[0]) for order in orders)


def _tokens_kept(lengths: Sequence[int], budget: int) -> int:
    """Tokens of texts of these lengths, each cut to a budget."""
    return sum(min(length, budget) for length in lengths)
