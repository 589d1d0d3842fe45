"""The engine on a server: vLLM, SGLang, llama.cpp or `transformers serve`, each asked in its own way.

Prompts are ours: token ids, or rendered text. The server is started, and shows that it does as it is told, when it is
first needed. What its kind cannot do, the transformers engine does in this process, on the same model.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from backtranslation.jobs.progress import log, work_folder
from backtranslation.models.chat import encode_text, end_token_ids
from backtranslation.models.continuations import find_parting
from backtranslation.models.engine import (
    NOT_ANSWERED,
    REFUSED,
    Choice,
    Completion,
    Engine,
    EngineError,
    ReplyLikelihood,
    Request,
)
from backtranslation.models.engines.server_checks import check_seeds, check_server, golden_prompt
from backtranslation.models.engines.server_connection import Call, Connection, RowFailedError
from backtranslation.models.engines.server_presets import PRESETS, Prompt, ServerPreset, Written
from backtranslation.models.loading import load_config, max_positions
from backtranslation.models.pairs import EncodedPair
from backtranslation.settings.base_model import BaseModelSettings, ModelLoading
from backtranslation.settings.generation import Generation, Sampling


def load_engine(
    model_path: str, loading: ModelLoading, generation: Generation, tokenizer: PreTrainedTokenizerBase
) -> "ServerEngine":
    """The engine for a model; see `engine.load_engine`. Nothing is started yet. Raises ModelError naming the path."""
    return ServerEngine(model_path, loading, generation, tokenizer)


class ServerEngine:
    """A server with a model in it, and the model's tokenizer; see `engine.Engine` for the contract.

    Raises EngineError where the server does not come up, is refused, or does not answer.
    """

    def __init__(
        self, model_path: str, loading: ModelLoading, generation: Generation, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        if generation.server is None:
            raise EngineError("config: generation: server must be given where engine is server")
        self.path, self.loading, self.generation, self.tokenizer = model_path, loading, generation, tokenizer
        self.settings = generation.server
        self.model = locate_model(model_path, loading, is_served=self.settings.url is not None)
        self.preset: ServerPreset = PRESETS[self.settings.preset](self.model)
        self.ends = sorted(end_token_ids(tokenizer))
        self.positions = max_positions(load_config(model_path, loading)) or sys.maxsize
        self.is_proved = self.seeds_act = False
        self.connection = Connection(
            self.settings, self.model, generation.gpus, work_folder(), self._probe, self._prove_server
        )

    def room(self, prompt: str) -> int:
        """Tokens that model and server leave over."""
        if self.preset.tells_positions and not self.is_proved:
            self._start()
        return self.positions - len(encode_text(self.tokenizer, prompt))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        """Complete every request, as many at once as the settings say.

        A reply ends unfinished where there are no more positions.
        """
        if not requests:
            return
        self._start()
        is_sampled = sampling.temperature > 0
        if is_sampled and not self.seeds_act:
            list(self.connection.answer_all([self], check_seeds))
            self.seeds_act = True

        async def complete(request: Request) -> Completion:
            try:
                prompt = self.prompt(request.prompt)
                limit = min(sampling.max_new_tokens, self.positions - len(prompt.ids))
                call = self.preset.generate(prompt, self.ends, limit, request.seed, sampling)
                written = await self.connection.ask(call, self.preset.read_written)
                return self._completion(request.id, prompt, written, limit)
            except RowFailedError as error:
                log.warning(f"row {request.id}: {error}")
                return Completion(request.id, "", 0, False, error.reason)

        most = 1 if is_sampled and self.preset.seeds_need_order else None
        yield from self.connection.answer_all(requests, complete, most)

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        """Shares of the choices after every text, and their mass, from the first token in which they differ.

        Raises EngineError when two choices begin with the same token.
        """
        if not self.preset.can_choose:
            yield from self._local.choose(prompts, choices)
            return
        if not prompts:
            return
        self._start()

        async def weigh(prompt: tuple[str, str]) -> Choice:
            row_id, text = prompt
            parting = find_parting(self.tokenizer, row_id, text, choices)
            try:
                chosen = await self._weigh(parting.common, parting.firsts)
                mass = sum(chosen)
                for back in range(1, parting.begun + 1):
                    (begun,) = await self._weigh(parting.common[:-back], [parting.common[-back]])
                    mass *= begun
            except RowFailedError as error:
                log.warning(f"row {row_id}: {error}")
                return Choice(row_id, [], 0.0, error.reason)
            total = sum(chosen)
            return Choice(row_id, [one / total if total else 1 / len(chosen) for one in chosen], mass)

        yield from self.connection.answer_all(prompts, weigh)

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        """Log probabilities of the tokens of every reply.

        Raises EngineError when a pair is too long for model or server, or cannot be measured.
        """
        if not self.preset.can_measure:
            yield from self._local.measure(pairs)
            return
        if not pairs:
            return
        self._start()
        for pair in pairs:
            if len(pair.ids) > self.positions:
                raise EngineError(
                    f"row {pair.id}: its {len(pair.ids)} tokens are too many for the {self.positions} positions of"
                    " model and server"
                )

        async def measure(pair: EncodedPair) -> ReplyLikelihood:
            ids = pair.ids.tolist()
            call = self.preset.measure(ids, pair.prompt_tokens)
            try:
                values = await self.connection.ask(
                    call, lambda reply: self.preset.read_measured(reply, ids, pair.prompt_tokens)
                )
            except RowFailedError as error:
                raise EngineError(f"row {pair.id}: the server does not measure it: {error}") from None
            return ReplyLikelihood(pair.id, values)

        yield from self.connection.answer_all(pairs, measure)

    def prompt(self, text: str) -> Prompt:
        """A rendered prompt as it is sent. Raises RowFailedError if the server could not make the same ids of it."""
        ids = encode_text(self.tokenizer, text)
        if not self.preset.sends_text:
            return Prompt(ids, text)
        # Such a server puts in front what its tokenizer does, which the chat template may have written already.
        for sent in (text, text.removeprefix(self.tokenizer.bos_token or "")):
            if self.tokenizer(sent)["input_ids"] == ids:
                return Prompt(ids, sent)
        raise RowFailedError(REFUSED, "a server that takes text alone would make other tokens of the prompt")

    def _start(self) -> None:
        """Start the server, or find it, unless that is done."""
        if not self.connection.starts:
            self.connection.start()

    def _probe(self) -> Call:
        return self.preset.generate(golden_prompt(self), self.ends, 1, 0, Sampling(temperature=0))

    async def _prove_server(self) -> None:
        told = await check_server(self)
        self.positions = min(self.positions, told.positions or sys.maxsize)
        self.is_proved = True
        log.info(f"the server ({self.settings.preset} {told.version or self.settings.version}) does as it is told")

    async def _weigh(self, ids: list[int], tokens: list[int]) -> list[float]:
        """How probable tokens are next."""
        found: dict[int, float] = {}
        for call in self.preset.weigh(ids, tokens):
            found |= await self.connection.ask(call, self.preset.read_weighed)
            if all(token in found for token in tokens):
                return [found[token] for token in tokens]
        raise EngineError(f"the server ({self.settings.preset}) does not tell how probable the tokens {tokens} are")

    def _completion(self, row_id: str, prompt: Prompt, written: Written, limit: int) -> Completion:
        """What was written as every engine gives it. Raises RowFailedError if the server left something out."""
        if written.prompt_tokens != len(prompt.ids):
            raise RowFailedError(
                REFUSED, f"the server read {written.prompt_tokens} of the {len(prompt.ids)} tokens of the prompt"
            )
        if written.ids is None:
            text, count, ended = written.text, written.generated - written.ended, written.ended
        else:
            kept = next((place for place, token in enumerate(written.ids) if token in self.ends), len(written.ids))
            text = str(self.tokenizer.decode(written.ids[:kept], skip_special_tokens=True))
            count, ended = kept, written.ended or kept < len(written.ids)
        if not ended and count < limit:
            raise RowFailedError(NOT_ANSWERED, f"the server wrote {count} of {limit} tokens, and no end")
        return Completion(row_id, text, count, ended)

    @cached_property
    def _local(self) -> Engine:
        """The engine that does what the server cannot, in its place."""
        self.connection.stop()
        _, module = self.generation.modules()
        log.info(f"{self.settings.preset} tells no such probabilities: transformers does it in this process")
        engine: Engine = import_module(module).load_engine(self.path, self.loading, self.generation, self.tokenizer)
        return engine


def locate_model(model_path: str, loading: ModelLoading, is_served: bool) -> str:
    """The name of a model for its server: the whole path of its folder.

    A model on the hub is fetched, in the revision of the settings, unless it is served already under its name there.
    """
    if Path(model_path).is_dir():
        return str(Path(model_path).absolute())
    if is_served:
        return model_path

    from huggingface_hub import snapshot_download

    revision = loading.revision if isinstance(loading, BaseModelSettings) else None
    return snapshot_download(model_path, revision=revision)
