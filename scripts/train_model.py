"""Fine-tune the base model on pairs: reversed (task backward) or forward, where each kind carries its tag sentence.

Writes a model folder (Hugging Face format, safetensors, tokenizer with its chat template) and a table of the training
(tab-separated: step, loss in nats per reply token, learning_rate, tokens, seconds, tokens_per_second).
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from backtranslation.errors import DataError
from backtranslation.files import read_rows
from backtranslation.jobs.contract import Input, Output, Workplace
from backtranslation.jobs.process import StoppedError
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.base_model import BaseModelSettings, HubName, ModelLoading
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import SettingsError, Slice
from backtranslation.settings.training import Training

if TYPE_CHECKING:
    from backtranslation.models.pairs import EncodedPair


class Spec(Slice):
    """Settings of this stage; the base model is a folder, an input, or has a name on the hub."""

    loading: ModelLoading
    hub_name: HubName | None
    training: Training
    tags: Tags
    task: Literal["backward", "forward"]
    random_seed: int


def train_model(
    base: Input | None,
    seed: Input,
    augmented: list[Input],
    prompt: Input,
    chat_template: Input,
    model: Output,
    losses: Output,
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
    """
    training = spec.training
    if 0 < workplace.gpus < training.processes:
        raise SettingsError(
            f"config: training.{spec.task}.processes: {training.processes} processes, and --gpus {workplace.gpus} for"
            " them"
        )

    from backtranslation.jobs.checkpoints import latest_checkpoint
    from backtranslation.models.loading import load_tokenizer
    from backtranslation.models.pairs import encode_backward, encode_forward
    from backtranslation.models.prompts import PromptSet
    from backtranslation.models.sharding import needs_torchrun
    from backtranslation.models.training import fine_tune
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
    start = base_model(base, spec)
    tokenizer = load_tokenizer(start.path, start, prompts)
    if spec.task == "backward":
        pairs = [encode_backward(tokenizer, prompts, row, training.max_length) for row in read_rows(seed)]
    else:
        encode = partial(encode_forward, tokenizer, prompts, max_length=training.max_length)
        pairs = [encode(row, "seed") for row in read_rows(seed)]
        pairs += encode_augmented(augmented, encode)
    fine_tune(pairs, start, training, tokenizer, model, workplace.folder, losses, spec.random_seed)


def base_model(folder: Path | None, spec: Spec) -> BaseModelSettings:
    """Where the base model is, and how it is loaded."""
    if folder is not None:
        return BaseModelSettings(path=str(folder), **spec.loading.model_dump())
    if spec.hub_name is None:
        raise SettingsError("--base is missing, and the spec names no model on the hub")
    return BaseModelSettings(**spec.hub_name.model_dump(), **spec.loading.model_dump())


def encode_augmented(paths: list[Path], encode: Callable[..., "EncodedPair"]) -> "Iterator[EncodedPair]":
    """Augmented pairs; rejected candidates, and pages too long for a row whatever is cut, are passed over."""
    too_long = 0
    for row in chain.from_iterable(read_rows(path) for path in paths):
        if row.get("rejection") is not None:
            continue
        try:
            yield encode(row, "augmented")
        except DataError as error:
            too_long += 1
            if too_long == 1:
                log.warning(f"passed over: {error} (further ones are only counted)")
    if too_long:
        log.warning(f"{too_long} augmented pairs passed over")


if __name__ == "__main__":
    run_stage(train_model)
