"""The texts at whose end it is read how probable a model finds each of several numbers, and these numbers."""

from typing import TYPE_CHECKING

from backtranslation.models.chat import render_prompt
from backtranslation.models.labels import label_pattern
from backtranslation.models.prompts import PromptSet, judge_message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SCORE_CHOICES = (" 1", " 2", " 3", " 4", " 5")
JUDGEMENT_CHOICES = (" 1", " 2")


def text_before_score(prompt: str, written: str, label: str) -> str:
    """A scorer's prompt and what it wrote, up to the place of its last score; SCORE_CHOICES are read there.

    If it names no score, all that it wrote and a line with the label.
    """
    labels = list(label_pattern(label).finditer(written))
    return prompt + (written[: labels[-1].end()].rstrip() if labels else f"{written.rstrip()}\n{label}")


def text_before_judgement(
    tokenizer: "PreTrainedTokenizerBase", prompts: PromptSet, instruction: str, first: str, second: str
) -> str:
    """The question to a judge, up to the number of the better response; JUDGEMENT_CHOICES are read there."""
    return render_prompt(tokenizer, judge_message(prompts, instruction, first, second)) + prompts.judge_label
