"""Fine-tune the base model on pairs: reversed (task backward) or forward, where each kind carries its tag sentence.

Writes a model folder (Hugging Face format, safetensors, tokenizer with its chat template) and a table of the training
(tab-separated: step, loss in nats per reply token, learning_rate, tokens, seconds, tokens_per_second, padding, mfu).
How many pairs it learnt from, and which were left out, is a JSON object {kind of pair: {"used", "left_out": {id:
reason}}}.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backtranslation.files import Row, read_rows, write_json
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.process import StoppedError
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import HubName, ModelLoading
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import SettingsError, Slice
from backtranslation.settings.training import TrackedRun, Training

if TYPE_CHECKING:
    from backtranslation.models.pairs import EncodedPair
    from backtranslation.models.prompts import Kind

MANY_INPUTS = 0.2  # share of the seed


class Spec(Slice):
    """Settings of this stage; the base model is a folder, an input, or has a name on the hub."""

    loading: ModelLoading
    hub_name: HubName | None
    training: Training
    limits: Limits
    tags: Tags
    task: Literal["backward", "forward"]
    random_seed: int
    tracked_run: TrackedRun = TrackedRun()


def train_model(
    base: Input | None,
    seed: Input,
    augmented: list[Input],
    prompt: Input,
    chat_template: Input,
    model: Output,
    losses: Output,
    pairs: Output,
    spec: Spec,
    workplace: Workplace,
) -> None:
    """Train in this process, or in several that it starts.

    base: folder of the base model, if it is not on the hub
    seed: seed pairs, .jsonl.zst
    augmented: curated or candidate pairs, .jsonl.zst
    prompt: template of the task, .jinja
    chat_template: for a model that has none, .jinja
    model: folder of the model
    losses: table of the training, .tsv
    pairs: how many pairs it learnt from, and which were left out and why, .json
    """
    training = spec.training
    if 0 < workplace.gpus < training.processes:
        raise SettingsError(
            f"config: training.{spec.task}.processes: {training.processes} processes, and --gpus {workplace.gpus} for"
            " them"
        )

    from backtranslation.jobs.checkpoints import latest_checkpoint
    from backtranslation.jobs.trackers import open_trackers
    from backtranslation.models.chat import with_user_turns
    from backtranslation.models.loading import load_tokenizer, locate_model
    from backtranslation.models.pairs import encode_backward, encode_forward, encode_usable
    from backtranslation.models.prompts import PromptSet
    from backtranslation.models.sharding import needs_torchrun
    from backtranslation.models.training import fine_tune
    from backtranslation.models.training_steps import TrainingError
    from backtranslation.models.workers import forget_platform, is_worker, run_workers

    if not is_worker():
        forget_platform()
        if needs_torchrun(training, latest_checkpoint(workplace.folder)):
            run_workers(workplace.command, training.processes, workplace.threads)
            if not model.exists():
                raise StoppedError
            return

    templates = {spec.task: str(prompt), "chat_template": str(chat_template)}
    prompts = PromptSet(Prompts.model_validate(templates | spec.tags.model_dump()))
    start = locate_model(base, spec.hub_name, spec.loading)
    tokenizer = load_tokenizer(start.path, start, prompts)
    if spec.task == "backward":
        warn_of_inputs(seed)
    learnt: list[EncodedPair] = []
    counts: dict[str, Row] = {}
    rows_by_kind: dict[Kind, Iterator[Row]] = {"seed": read_rows(seed), "augmented": accepted_rows(augmented)}
    for kind, rows in rows_by_kind.items():
        turn = prompts.backward_turn() if spec.task == "backward" else prompts.forward_turn(kind)
        encode = encode_backward if spec.task == "backward" else encode_forward
        encode_row = partial(encode, with_user_turns(tokenizer, turn), max_length=training.max_length)
        usable, left_out = encode_usable(rows, encode_row, spec.limits)
        counts[kind] = {"used": len(usable), "left_out": left_out}
        learnt += usable
    trackers = open_trackers(training.trackers, spec.tracked_run, workplace.folder)
    try:
        fine_tune(learnt, start, training, tokenizer, model, workplace.folder, losses, spec.random_seed, trackers)
    except TrainingError as error:
        raise TrainingError(f"config: training.{spec.task}: {error}") from None
    write_json(pairs, counts)  # in every process, and the same


def warn_of_inputs(seed: Path) -> None:
    """Warn where many instructions have several lines: a model that learns to invent an input may never end one."""
    lines = [row["instruction"].strip().count("\n") + 1 for row in read_rows(seed)]
    several = sum(count > 1 for count in lines)
    if several > MANY_INPUTS * len(lines):
        log.warning(
            f"{several:,} of {len(lines):,} seed instructions have several lines, perhaps an input below what is asked:"
            " the backward model would have to invent it from the response, and may go on without end (docs/seed.md)"
        )


def accepted_rows(paths: list[Path]) -> Iterator[Row]:
    """Augmented pairs, without rejected candidates."""
    rows = chain.from_iterable(read_rows(path) for path in paths)
    return (row for row in rows if row.get("rejection") is None)


if __name__ == "__main__":
    run_stage(train_model)
