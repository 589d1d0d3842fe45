"""The engine interface: text is generated, choices are weighed, replies are measured; all engines look alike.

An engine is a module in `engines` with a function `load_engine`, registered in `settings.generation.ENGINES`. Only the
one that the settings choose is imported, needs its package, and is part of what a result depends on. Knows nothing of
what the texts are for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from backtranslation.errors import UserError
from backtranslation.files import Row, row_hash
from backtranslation.jobs.journal import complete_journal
from backtranslation.jobs.progress import Progress, log
from backtranslation.models.chat import render_prompt
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.tally import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stages that draw for the same rows need different numbers; rows of the audit have ids of their own. Version 0.1.0 had
# 0 for all: with 0 here, what it sampled can be sampled again.
STAGE_NUMBERS = {"generate_instructions": 0, "score_candidates": 1, "evaluate_model": 0, "evaluate_backward_model": 2}

PROMPT_TOO_LONG = "prompt_too_long"
# Of rows that were asked: the engine did not take them, or gave no answer, while it answered others.
REFUSED, NOT_ANSWERED = "refused_by_engine", "not_answered_by_engine"


@dataclass(frozen=True)
class Request:
    """A rendered prompt; `seed` makes its random numbers, whatever batch it is in."""

    id: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Completion:
    """The text written for a request, and its tokens, without the one that ended it (`finished`).

    Where nothing could be asked, or nothing was answered, it is empty, and `failure` says why.
    """

    id: str
    text: str
    tokens: int
    finished: bool
    failure: str | None = None


@dataclass(frozen=True)
class Choice:
    """How probable each of several choices is after a text: shares that sum to 1, and that of all together (`mass`).

    Where nothing could be asked, or nothing was answered, there are no shares, and `failure` says why.
    """

    id: str
    shares: list[float]
    mass: float
    failure: str | None = None


@dataclass(frozen=True)
class ReplyLikelihood:
    """The log probability of every token of a reply after its prompt, in nats; the last token ends it."""

    id: str
    log_probabilities: list[float]


Answer = TypeVar("Answer", Completion, Choice)


class EngineError(UserError):
    """A request cannot be run by this engine or its model."""


class Engine(Protocol):
    """What every engine offers. It may yield in any order, and is asked nothing that leaves no room for a token.

    What it yields for a row may be a failure: what is wrong with one row must not keep the others from their answers.
    """

    def room(self, prompt: str) -> int:
        """Tokens that the model can write after a prompt; 0 or fewer if the prompt itself is too long for it."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Complete every request."""

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        """For every (id, text): how probable each choice is as its continuation.

        The choices must differ in the first token that is not common to all, and are told apart by it. Their mass is
        the probability of what they have in common, and then of any of them.
        """

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        """How likely every reply is, token by token, after its prompt; the pairs fit into the model."""


def generate_all(
    engine: Engine,
    requests: Sequence[Request],
    sampling: Sampling,
    journal: Path,
    limits: Limits,
    least_room: int = 1,
) -> dict[str, Completion]:
    """Completions of all requests by id; those that the journal holds are not asked for again.

    A request whose prompt leaves room for fewer than `least_room` tokens is not asked; see `find_too_long`. Raises
    DataError if clearly more of those that were asked failed than may be unusable.
    """
    prompts = [(request.id, request.prompt) for request in requests]
    failed = dict.fromkeys(find_too_long(engine, prompts, least_room, limits), PROMPT_TOO_LONG)

    def generate_missing(there: dict[str, Row]) -> Iterator[Row]:
        told = sum(row["tokens"] for row in there.values())
        progress = Progress(len(requests) - len(failed), already=len(there), already_tokens=told)
        missing = [request for request in requests if request.id not in there and request.id not in failed]
        for completion in _without_failures(engine.generate(missing, sampling), failed, limits):
            progress.add(tokens=completion.tokens)
            yield asdict(completion)
        progress.tell()

    rows = complete_journal(journal, generate_missing)
    completions = {row_id: Completion(**row) for row_id, row in rows.items()}
    return completions | {row_id: Completion(row_id, "", 0, False, reason) for row_id, reason in failed.items()}


def choose_all(
    engine: Engine, prompts: Sequence[tuple[str, str]], choices: Sequence[str], journal: Path, limits: Limits
) -> dict[str, Choice]:
    """Choices by id; those that the journal holds are not asked for again.

    A text that is too long is not asked; see `find_too_long`. Raises DataError as `generate_all` does.
    """
    # What the choices begin with in common, such as a space, must fit too: the engine reads behind it.
    texts = [(row_id, text + choices[0]) for row_id, text in prompts]
    failed = dict.fromkeys(find_too_long(engine, texts, 0, limits), PROMPT_TOO_LONG)

    def choose_missing(there: dict[str, Row]) -> Iterator[Row]:
        progress = Progress(len(prompts) - len(failed), already=len(there))
        missing = [(row_id, text) for row_id, text in prompts if row_id not in there and row_id not in failed]
        for choice in _without_failures(engine.choose(missing, choices), failed, limits):
            progress.add()
            yield asdict(choice)
        progress.tell()

    rows = complete_journal(journal, choose_missing)
    found = {row_id: Choice(**row) for row_id, row in rows.items()}
    return found | {row_id: Choice(row_id, [], 0.0, reason) for row_id, reason in failed.items()}


def _without_failures(answers: Iterable[Answer], failed: dict[str, str], limits: Limits) -> Iterator[Answer]:
    """The answers that are none of a failure; of the others `failed` gets the reason, by id.

    They stay out of a journal, so that a job that goes on asks for them again. Raises DataError if they are clearly
    more than may be unusable.
    """
    tally = Tally()
    for asked, answer in enumerate(answers, start=1):
        if answer.failure is None:
            yield answer
        else:
            failed[answer.id] = answer.failure
            tally.refuse(answer.failure, f"row {answer.id}")
            tally.check(asked, "answers", limits.max_unusable_share)
    if tally.refused:
        log.warning(f"{tally.refused.total():,} rows have no answer")


def measure_all(
    engine: Engine, pairs: Sequence[EncodedPair], journal: Path, condense: Callable[[ReplyLikelihood], Row]
) -> dict[str, Row]:
    """What `condense` makes of every reply's likelihood, by id; replies that the journal holds are not measured again.

    The pairs must fit into the model: `models.pairs.encode_usable` leaves the others out. A row is kept without its
    numbers by token, which would take more room than the texts.
    """

    def measure_missing(there: dict[str, Row]) -> Iterator[Row]:
        missing = [pair for pair in pairs if pair.id not in there]
        lengths = {pair.id: len(pair.ids) for pair in missing}
        progress = Progress(len(pairs), already=len(there))
        for likelihood in engine.measure(missing):
            progress.add(tokens=lengths[likelihood.id])
            yield {"id": likelihood.id} | condense(likelihood)
        progress.tell()

    return complete_journal(journal, measure_missing)


def find_too_long(engine: Engine, prompts: Sequence[tuple[str, str]], least_room: int, limits: Limits) -> set[str]:
    """Ids of the prompts, (id, text), that leave the model room for fewer than `least_room` tokens; the log names some.

    Raises DataError, before anything is asked, if they are clearly more than may be unusable.
    """
    tally, found = Tally(), set()
    for row_id, text in prompts:
        if (room := engine.room(text)) < least_room:
            missing = f"{least_room - room:,} more tokens than the model has positions for"
            tally.refuse(PROMPT_TOO_LONG, f"row {row_id}: its prompt and {least_room:,} to follow are {missing}")
            found.add(row_id)
    tally.check(len(prompts), "prompts", limits.max_unusable_share)
    if found:
        log.warning(f"{len(found):,} of {len(prompts):,} prompts are too long and not asked")
    return found


def make_requests(
    tokenizer: "PreTrainedTokenizerBase", messages: Iterable[tuple[str, str]], random_seed: int, stage: str
) -> list[Request]:
    """Requests for what a model is asked: (row id, message) -> its prompt, with the random seed of the row."""
    return [
        Request(row_id, render_prompt(tokenizer, message), row_seed(random_seed, row_id, stage))
        for row_id, message in messages
    ]


def row_seed(random_seed: int, row_id: str, stage: str) -> int:
    """The random seed of a row in a stage: the same on every machine, in every shard and batch.

    Raises KeyError for a stage that STAGE_NUMBERS does not name.
    """
    return int(row_hash(random_seed, STAGE_NUMBERS[stage], row_id), base=16)


def load_engine(
    generation: Generation, model_path: str, loading: ModelLoading, prompts: PromptSet
) -> tuple[Engine, "PreTrainedTokenizerBase"]:
    """The engine of the settings with a model in it, and the model's tokenizer. Raises ModelError naming the path."""
    from backtranslation.models.loading import load_tokenizer

    tokenizer = load_tokenizer(model_path, loading, prompts)
    module, *_ = generation.modules()
    engine: Engine = import_module(module).load_engine(model_path, loading, generation, tokenizer)
    return engine, tokenizer
