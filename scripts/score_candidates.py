"""Let a forward model judge every candidate of a shard by the rubric.

Writes rows {"id", "samples", "failure"}, each sample {"text", "finished", "label_probabilities", "label_mass"}: what
the model wrote, whether it came to an end, the probabilities of the scores 1..5 at the place of its score (they sum to
1), and how probable they are together there. Where it is asked for nothing but the score, text and finished are null.
A candidate that leaves the model no room for its reply has no samples, and the failure prompt_too_long; one that got no
answer says so there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.stage import run_stage
from backtranslation.jobs.work_files import COMPLETIONS, LABEL
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.slices import Slice

if TYPE_CHECKING:
    from backtranslation.models.engine import Completion, Request


class Spec(Slice):
    """Settings of this stage; without sampling, the model writes nothing."""

    loading: ModelLoading
    sampling: Sampling | None
    samples: int
    generation: Generation
    limits: Limits
    random_seed: int


def score_candidates(
    candidates: Input, model: Input, prompt: Input, judgements: Output, spec: Spec, workplace: Workplace
) -> None:
    """Let the model write, unless it shall only name the score, then read its probabilities at the place of the score.

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
    rows = list(rows_to_score(candidates))
    messages = (
        (sample_id, score_message(prompts, row["instruction"], row["response"], reasons=spec.sampling is not None))
        for row in rows
        for sample_id in sample_ids(row["id"], spec.samples)
    )
    requests = make_requests(tokenizer, messages, spec.random_seed, "score_candidates")
    written: dict[str, Completion] = {}
    if spec.sampling is not None:
        written = generate_all(
            engine, requests, spec.sampling, workplace.folder / COMPLETIONS, spec.limits,
            least_room=spec.sampling.max_new_tokens,
        )  # fmt: skip
    until_score = [
        (request.id, text_before_score(request.prompt, text, prompts.score_label))
        for request in requests
        if (text := text_of(request, written)) is not None
    ]
    choices = choose_all(engine, until_score, SCORE_CHOICES, workplace.folder / "probabilities.jsonl", spec.limits)

    def judgement(row: Row) -> Row:
        samples, failures = [], []
        for sample_id in sample_ids(row["id"], spec.samples):
            choice, completion = choices.get(sample_id), written.get(sample_id)
            failure = (completion and completion.failure) or (choice and choice.failure)
            if failure or choice is None:
                failures.append(failure)
                continue
            samples.append(
                {
                    "text": completion and completion.text,
                    "finished": completion and completion.finished,
                    "label_probabilities": choice.shares,
                    "label_mass": choice.mass,
                }
            )
        return {"id": row["id"], "samples": samples, "failure": None if samples else failures[0]}

    write_rows(judgements, map(judgement, rows))


def rows_to_score(candidates: Path) -> Iterator[Row]:
    """Candidates that were not rejected."""
    return (row for row in read_rows(candidates) if row["rejection"] is None)


def sample_ids(row_id: str, samples: int) -> list[str]:
    """The ids under which a candidate is asked about, the first its own; the random numbers follow from them."""
    return [row_id, *(f"{row_id} (sample {number})" for number in range(2, samples + 1))]


def text_of(request: "Request", written: "dict[str, Completion]") -> str | None:
    """What was written for a request, nothing where nothing was to be; None if it could not be asked."""
    if not written:
        return ""
    return None if written[request.id].failure else written[request.id].text


if __name__ == "__main__":
    run_stage(score_candidates, rows_to_score)
