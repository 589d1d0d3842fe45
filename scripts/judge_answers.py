"""Let a model judge the answers of two others to the held-out instructions, in both orders.

Writes rows {"id", "first_wins_forward", "first_wins_reversed", "cut", "failure"}: the probability that the first
model's answer is the better one when it is shown first, and when it is shown second; whether instruction and answers
were cut to fit into the judge; and why there are no probabilities, where there are none.
"""

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import SettingsError, Slice


class Spec(Slice):
    """Settings of this stage."""

    judge: str | None
    loading: ModelLoading
    generation: Generation
    limits: Limits


def judge_answers(
    judge: Input | None,
    first: Input,
    second: Input,
    prompt: Input,
    chat_template: Input,
    judgements: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Ask the judge about every instruction, in both orders.

    judge: folder of the judge, if it is not on the hub
    first: answers of the first model, .jsonl.zst
    second: answers of the second model, .jsonl.zst
    prompt: template that asks which is better, .jinja
    chat_template: for a judge that has none, .jinja
    judgements: how probable it is that the first is better, .jsonl.zst
    """
    judge_path = str(judge) if judge else spec.judge
    if judge_path is None:
        raise SettingsError("--judge is missing, and the spec names none")

    from backtranslation.method.judging import judge_in_both_orders
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts(judge=str(prompt), chat_template=str(chat_template)))
    engine, tokenizer = load_engine(spec.generation, judge_path, spec.loading, prompts)
    answers = list(read_rows(first)), list(read_rows(second))
    write_rows(judgements, judge_in_both_orders(engine, tokenizer, prompts, *answers, workplace.folder, spec.limits))


if __name__ == "__main__":
    run_stage(judge_answers)
