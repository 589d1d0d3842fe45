"""Let a forward model judge every candidate of a shard by the rubric.

Writes rows {"id", "raw", "digit_probabilities", "failure"}: what the model wrote, and the probabilities of the digits
1..5 at the place of its score (they sum to 1). A candidate that leaves the model no room for its reply is not
scored: it has no text, no probabilities, and the failure prompt_too_long.
"""

from collections.abc import Iterator
from pathlib import Path

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.jobs.work_files import COMPLETIONS, LABEL
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    loading: ModelLoading
    sampling: Sampling
    generation: Generation
    limits: Limits
    random_seed: int


def score_candidates(
    candidates: Input, model: Input, prompt: Input, judgements: Output, spec: Spec, workplace: Workplace
) -> None:
    """Let the model write, then read its probabilities at the place of the score.

    candidates: candidates of the shard, .jsonl.zst
    model: folder of the model that scores
    prompt: template with the rubric, .jinja
    judgements: what the model wrote, .jsonl.zst
    """
    if workplace.is_idle:
        write_rows(judgements, [])
        return

    from backtranslation.models.choices import SCORE_CHOICES, text_before_score
    from backtranslation.models.engine import choose_all, generate_all, load_engine, make_requests
    from backtranslation.models.prompts import PromptSet, score_message

    prompts = PromptSet(Prompts(score=str(prompt)))
    (workplace.folder / LABEL).write_text(prompts.score_label, encoding="utf-8")
    engine, tokenizer = load_engine(spec.generation, str(model), spec.loading, prompts)
    messages = (
        (row["id"], score_message(prompts, row["instruction"], row["response"])) for row in rows_to_score(candidates)
    )
    requests = make_requests(tokenizer, messages, spec.random_seed, "score_candidates")
    written = generate_all(
        engine, requests, spec.sampling, workplace.folder / COMPLETIONS, spec.limits,
        least_room=spec.sampling.max_new_tokens,
    )  # fmt: skip
    until_score = [
        (request.id, text_before_score(request.prompt, written[request.id].text, prompts.score_label))
        for request in requests
        if written[request.id].failure is None
    ]
    journal = workplace.folder / "probabilities.jsonl"
    choices = choose_all(engine, until_score, SCORE_CHOICES, journal, spec.limits)
    probabilities = {row_id: choice.shares for row_id, choice in choices.items() if choice}
    write_rows(
        judgements,
        (
            {"id": row.id, "raw": row.text, "digit_probabilities": probabilities.get(row.id), "failure": row.failure}
            for row in (written[request.id] for request in requests)
        ),
    )


def rows_to_score(candidates: Path) -> Iterator[Row]:
    """Candidates that were not rejected."""
    return (row for row in read_rows(candidates) if row["rejection"] is None)


if __name__ == "__main__":
    run_stage(score_candidates, rows_to_score)
