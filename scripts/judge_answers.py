"""Let a model judge the answers of two others to the held-out instructions, in both orders.

Writes rows {"id", "first_wins_forward", "first_wins_reversed"}: the probability that the first model's answer is the
better one when it is shown first, and when it is shown second.
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import SettingsError, Slice


class Spec(Slice):
    """Settings of this stage."""

    judge: str | None
    loading: ModelLoading
    generation: Generation


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--judge", type=Input, nargs="?", help="folder of the judge, if it is not on the hub")
    parser.add_argument("--first", type=Input, required=True, help="answers of the first model, .jsonl.zst")
    parser.add_argument("--second", type=Input, required=True, help="answers of the second model, .jsonl.zst")
    parser.add_argument("--prompt", type=Input, required=True, help="template that asks which is better, .jinja")
    parser.add_argument("--chat-template", type=Input, required=True, help="for a judge that has none, .jinja")
    parser.add_argument("--judgements", type=Output, required=True, help="output, .jsonl.zst")
    return parser


def judge_pair(args: argparse.Namespace) -> None:
    """Ask the judge about every instruction, in both orders."""
    spec = Spec.model_validate_json(args.spec)
    judge = args.judge or spec.judge
    if judge is None:
        raise SettingsError("--judge is missing, and the spec names none")

    from backtranslation.method.evaluation import judge_answers
    from backtranslation.models.engine import load_engine
    from backtranslation.models.prompts import PromptSet

    prompts = PromptSet(Prompts(judge=args.prompt, chat_template=args.chat_template))
    engine, tokenizer = load_engine(spec.generation.completed(args.execution), judge, spec.loading, prompts)
    first, second = list(read_rows(args.first)), list(read_rows(args.second))
    write_rows(args.judgements, judge_answers(engine, tokenizer, prompts, first, second, args.work))


if __name__ == "__main__":
    run_stage(__file__, build_parser(), judge_pair)
