"""Let a forward model judge every candidate of a shard by the rubric.

Writes rows {"id", "raw", "digit_probabilities"}: what the model wrote, and the probabilities of the digits 1..5 at the
place of its score (they sum to 1).
"""

import argparse

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    sampling: Sampling
    generation: Generation
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--candidates", type=Input, required=True, help="candidates of the shard, .jsonl.zst")
    parser.add_argument("--model", type=Input, required=True, help="folder of the model that scores")
    parser.add_argument("--prompt", type=Input, required=True, help="template with the rubric, .jinja")
    parser.add_argument("--judgements", type=Output, required=True, help="output, .jsonl.zst")
    return parser


def score_candidates(args: argparse.Namespace) -> None:
    """Let the model write, then read its probabilities at the place of the score."""
    spec = Spec.model_validate_json(args.spec)

    from backtranslation.models.chat import render_prompt
    from backtranslation.models.choices import SCORE_CHOICES, text_before_score
    from backtranslation.models.engine import Request, choose_all, generate_all, load_engine, row_seed
    from backtranslation.models.prompts import PromptSet, score_message

    prompts = PromptSet(Prompts(score=args.prompt))
    (args.work / "label.txt").write_text(prompts.score_label, encoding="utf-8")  # for whoever reads the journal
    engine, tokenizer = load_engine(spec.generation.completed(args.execution), args.model, spec.loading, prompts)
    requests = [
        Request(
            row["id"],
            render_prompt(tokenizer, score_message(prompts, row["instruction"], row["response"])),
            row_seed(spec.random_seed, row["id"], "score_candidates"),
        )
        for row in read_rows(args.candidates)
        if row["rejection"] is None
    ]
    written = generate_all(engine, requests, spec.sampling, args.work / "completions.jsonl")
    until_score = [
        (request.id, text_before_score(request.prompt, written[request.id].text, prompts.score_label))
        for request in requests
    ]
    probabilities = choose_all(engine, until_score, SCORE_CHOICES, args.work / "probabilities.jsonl")
    write_rows(
        args.judgements,
        ({"id": row.id, "raw": written[row.id].text, "digit_probabilities": probabilities[row.id]} for row in requests),
    )


if __name__ == "__main__":
    run_stage(__file__, build_parser(), score_candidates)
