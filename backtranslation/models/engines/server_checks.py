"""What a server must show before it is used: servers ignore what they do not know, and say that all is well.

Each check is a request or two. A server that fails one is refused with the reason.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backtranslation.models.chat import encode_text, render_prompt
from backtranslation.models.engine import EngineError
from backtranslation.models.engines.server_connection import Call, RowFailedError
from backtranslation.models.engines.server_presets import Description, Prompt, Written
from backtranslation.settings.generation import Sampling

if TYPE_CHECKING:
    from backtranslation.models.engines.server_engine import ServerEngine

GOLDEN = (
    "Name three uses of a kettle.",
    "def f(x):\n\treturn x ** 2  # 1,024\n",
    "Где вода? Ça va — 水はどこですか 🙂",
)
CHOICES = (" 1", " 2", " 3", " 4", " 5")
TOKENS = 8  # written for a check
FLAT = 2.0  # the highest temperature that all take: nearly any model writes something else with another seed
SEEDS = (1, 2, 3, 4)
GREEDY = Sampling(temperature=0)
PROBABILITY_NOISE, LOG_PROBABILITY_NOISE = 0.01, 0.1  # of bfloat16, and of another batch


async def check_server(engine: "ServerEngine") -> Description:
    """Let a server show that it is what the settings say, and does what it is asked. Gives what it says of itself.

    Raises EngineError with the reason if it is refused.
    """
    told = await _describe(engine)
    _check_identity(engine, told)
    for message in GOLDEN:
        await _check_tokenizer(engine, render_prompt(engine.tokenizer, message))
    prompt = golden_prompt(engine)
    written = await _write(engine, prompt, engine.ends)
    _expect(
        engine, written == await _write(engine, prompt, engine.ends), "temperature 0 gives two texts for one prompt"
    )
    if engine.preset.stops_at_ids:
        await _check_ends(engine, prompt, written)
    if engine.preset.can_choose:
        await _check_probabilities(engine, prompt, written)
    return told


async def check_seeds(engine: "ServerEngine") -> None:
    """Let a server show that a seed gives one text, and another seed another. Raises EngineError if not."""
    prompt, sampling = golden_prompt(engine), Sampling(temperature=FLAT, top_p=1.0, max_new_tokens=TOKENS)
    texts = [await _write(engine, prompt, engine.ends, seed, sampling) for seed in SEEDS]
    _expect(engine, len({text.text for text in texts}) > 1, "all seeds give the same text: it does not sample")
    again = await _write(engine, prompt, engine.ends, SEEDS[0], sampling)
    _expect(engine, again.text == texts[0].text, f"seeds do not act: the same one gives two texts{SEED_HELP}")


SEED_HELP = " (SGLang: --enable-deterministic-inference; transformers: without --continuous-batching)"


def golden_prompt(engine: "ServerEngine") -> Prompt:
    """A short prompt for the checks."""
    return _prompt(engine, render_prompt(engine.tokenizer, GOLDEN[0]))


def _prompt(engine: "ServerEngine", text: str) -> Prompt:
    try:
        return engine.prompt(text)
    except RowFailedError as error:
        raise _refused(engine, str(error)) from None


async def _describe(engine: "ServerEngine") -> Description:
    try:
        return await engine.preset.describe(engine.connection.fetch)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _refused(
            engine, f"it does not describe itself as a server of preset {engine.settings.preset} does"
        ) from None


def _check_identity(engine: "ServerEngine", told: Description) -> None:
    """Whether it is the version that results are said to be of, and has the model."""
    version = engine.settings.version
    _expect(
        engine,
        told.version in (None, version),
        f"it reports version {told.version}, and generation.server.version is {version}: write {told.version}, and all"
        " that the server makes is computed anew, or use a server of the other version",
    )
    _expect(
        engine,
        told.models is None or engine.model in told.models,
        f"it has no model {engine.model}; it has {', '.join(told.models or [])}",
    )


async def _check_tokenizer(engine: "ServerEngine", text: str) -> None:
    """Whether the server makes the same ids of a text; where it does not tell them, whether they are as many."""
    call = engine.preset.tokenize(text)
    if call is None:
        await _write(engine, _prompt(engine, text), engine.ends, limit=1)  # the number of its tokens is looked at there
        return
    found = await _ask(engine, call, lambda reply: reply["tokens"])
    expected = encode_text(engine.tokenizer, text)
    _expect(
        engine,
        found == expected,
        f"its tokenizer is another: of {text!r} it makes {found}, and that of {engine.model} makes {expected}",
    )


async def _check_ends(engine: "ServerEngine", prompt: Prompt, written: Written) -> None:
    """Whether a reply ends where it is told to."""
    if written.ids == []:
        return
    ends = written.ids[:1] if written.ids else range(len(engine.tokenizer))
    stopped = await _write(engine, prompt, list(ends))
    _expect(engine, stopped.ended and stopped.generated <= 1, "a reply does not end at the tokens that are to end it")


async def _check_probabilities(engine: "ServerEngine", prompt: Prompt, written: Written) -> None:
    """Whether probabilities are those of the tokens asked for, among all, and agree with what is written."""
    likeliest = (written.ids or [])[:1]
    begun = [encode_text(engine.tokenizer, prompt.text + choice)[len(prompt.ids) :] for choice in CHOICES]
    tokens = list(dict.fromkeys([*likeliest, *(ids[-1] for ids in begun if ids)]))
    found: dict[int, float] = {}
    for call in engine.preset.weigh(prompt.ids, tokens):
        found |= await _ask(engine, call, engine.preset.read_weighed)
        if found.keys() >= set(tokens):
            break
    missing = [token for token in tokens if token not in found]
    _expect(engine, not missing, f"it does not tell how probable the tokens {missing} are, though asked for them")
    asked = [found[token] for token in tokens]
    _expect(
        engine,
        min(asked) >= 0 and sum(asked) <= 1 + PROBABILITY_NOISE,
        f"the probabilities of the tokens {tokens} are {asked}: they cannot be parts of a whole",
    )
    for token in likeliest:
        _expect(
            engine,
            found[token] >= max(asked) - PROBABILITY_NOISE,
            "its probabilities are not those by which it writes: the token that it writes is not the most probable",
        )
        if engine.preset.can_measure and found[token] > 0:
            ids = [*prompt.ids, token]
            call = engine.preset.measure(ids, len(prompt.ids))
            (measured,) = await _ask(engine, call, _measured_by(engine, ids, len(prompt.ids)))
            _expect(
                engine,
                abs(measured - math.log(found[token])) < LOG_PROBABILITY_NOISE,
                f"a token of a reply is measured as {measured:.3f}, and weighed as {math.log(found[token]):.3f}",
            )


def _measured_by(engine: "ServerEngine", ids: list[int], prompt_tokens: int) -> Any:
    return lambda reply: engine.preset.read_measured(reply, ids, prompt_tokens)


async def _write(
    engine: "ServerEngine",
    prompt: Prompt,
    ends: Sequence[int],
    seed: int = 0,
    sampling: Sampling = GREEDY,
    limit: int = TOKENS,
) -> Written:
    call = engine.preset.generate(prompt, ends, limit, seed, sampling)
    written: Written = await _ask(engine, call, engine.preset.read_written)
    _expect(
        engine,
        written.prompt_tokens == len(prompt.ids),
        f"it reads a prompt of {len(prompt.ids)} tokens as {written.prompt_tokens}: its tokenizer is another",
    )
    return written


async def _ask(engine: "ServerEngine", call: Call, read: Any) -> Any:
    try:
        return await engine.connection.ask(call, read, may_restart=False)
    except RowFailedError as error:
        raise _refused(engine, f"{call.path}: {error}") from None


def _expect(engine: "ServerEngine", holds: bool, otherwise: str) -> None:
    if not holds:
        raise _refused(engine, otherwise)


def _refused(engine: "ServerEngine", reason: str) -> EngineError:
    return EngineError(f"the server ({engine.settings.preset}, {engine.connection.url}) is refused: {reason}")
