"""Let a model judge the answers of two others to the held-out instructions, in both orders.

Writes rows {"id", "first_wins_forward", "first_wins_reversed", "mass", "cut", "input_tokens", "output_tokens",
"failure"}: the probability that the first model's answer is the better one when it is shown first, and when it is shown
second; how probable it is that the judge names one of the two at all; whether instruction and answers were cut to fit
into the judge; the tokens that a server counted; and why there are no probabilities, where there are none.
"""

from importlib import import_module
from pathlib import Path

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation
from backtranslation.settings.judge_server import JudgeServer
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import SettingsError, Slice


class Spec(Slice):
    """Settings of this stage: those of a judge at a server, or those of a local one."""

    judge_server: JudgeServer | None = None
    judge: str | None = None
    loading: ModelLoading | None = None
    generation: Generation | None = None
    limits: Limits


def judge_answers(
    judge: Input | None,
    first: Input,
    second: Input,
    prompt: Input,
    chat_template: Input | None,
    judgements: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Ask the judge about every instruction, in both orders.

    judge: folder of the judge, if it is neither on the hub nor at a server
    first: answers of the first model, .jsonl.zst
    second: answers of the second model, .jsonl.zst
    prompt: template that asks which is better, .jinja
    chat_template: for a local judge that has none, .jinja
    judgements: how probable it is that the first is better, .jsonl.zst
    """
    answers = list(read_rows(first)), list(read_rows(second))
    if spec.judge_server:
        write_rows(judgements, _ask_server(spec.judge_server, answers, prompt, spec.limits, workplace))
    else:
        write_rows(judgements, _ask_model(judge, answers, prompt, chat_template, spec, workplace))


def _ask_server(
    server: JudgeServer, answers: tuple[list[Row], list[Row]], prompt: Path, limits: Limits, workplace: Workplace
) -> list[Row]:
    """The judgements of a model at a server, whose module is imported, and part of a key, for no other judge."""
    from backtranslation.models.prompts import PromptSet

    (module,) = server.modules()
    judged: list[Row] = import_module(module).judge_with_server(
        server, PromptSet(Prompts(judge=str(prompt))), *answers, workplace.folder, limits
    )
    return judged


def _ask_model(
    judge: Path | None,
    answers: tuple[list[Row], list[Row]],
    prompt: Path,
    chat_template: Path | None,
    spec: Spec,
    workplace: Workplace,
) -> list[Row]:
    """The judgements of a local model."""
    judge_path = str(judge) if judge else spec.judge
    if judge_path is None or chat_template is None or spec.loading is None or spec.generation is None:
        raise SettingsError("a local judge needs --judge or its name in the spec, --chat-template, loading, generation")

    from backtranslation.method.judging import judge_in_both_orders
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts(judge=str(prompt), chat_template=str(chat_template)))
    engine, tokenizer = load_engine(spec.generation, judge_path, spec.loading, prompts)
    return judge_in_both_orders(engine, tokenizer, prompts, *answers, workplace.folder, spec.limits)


if __name__ == "__main__":
    run_stage(judge_answers)
