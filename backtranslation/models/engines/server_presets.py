"""What each kind of server is asked, and where its answers hold what: nothing but requests and replies.

Prompts are token ids, or rendered text for a server that takes none; never the messages of a chat, whose template
would be the server's. What a reply lacks shows as a KeyError, an IndexError or a TypeError.
"""

import json
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NamedTuple

from backtranslation.models.engines.server_connection import Call
from backtranslation.settings.generation import Sampling

SEED_BITS = 31  # what all of them take
PROBABLE_TOKENS = 100  # told of by llama.cpp, which cannot be asked for given tokens
FORCING_BIAS = 1000


class Description(NamedTuple):
    """What a server says of itself: its version, the names of its models, and tokens of prompt and reply together.

    None is what it does not say.
    """

    version: str | None = None
    models: list[str] | None = None
    positions: int | None = None


class Written(NamedTuple):
    """What was written after a prompt: token ids, or text where these are not told.

    `generated` counts all tokens, that which `ended` it too.
    """

    ids: list[int] | None
    text: str
    generated: int
    ended: bool
    prompt_tokens: int


class Prompt(NamedTuple):
    """A prompt as ids, and as the text of which a server that takes no ids makes these."""

    ids: list[int]
    text: str


Fetch = Callable[[str], Awaitable[Any]]


class ServerPreset:
    """The requests to one kind of server. `model` is the name under which it is asked for its model.

    What a kind cannot do (`can_choose`, `can_measure`) it does not define, and is never asked.
    """

    sends_text = False  # it takes no token ids
    seeds_need_order = False  # the same seed gives the same text only while one request is in flight
    stops_at_ids = True  # it ends a reply at given tokens by itself; else more is written, and cut off
    tells_positions = True  # that is, how long prompt and reply may be together
    can_choose = True
    can_measure = True

    def __init__(self, model: str) -> None:
        self.model = model

    async def describe(self, fetch: Fetch) -> Description:
        """What the server says of itself; `fetch` gets a path, None where there is nothing."""
        raise NotImplementedError

    def tokenize(self, text: str) -> Call | None:
        """Ask for the ids of a text ({"tokens": ids}); None where that cannot be asked."""
        raise NotImplementedError

    def generate(self, prompt: Prompt, ends: Sequence[int], limit: int, seed: int, sampling: Sampling) -> Call:
        """Ask for a reply of at most `limit` tokens, which any of `ends` ends."""
        raise NotImplementedError

    def read_written(self, reply: Any) -> Written:
        """What was written."""
        raise NotImplementedError

    def weigh(self, ids: list[int], tokens: list[int]) -> Iterator[Call]:
        """Ask how probable tokens are next; the calls after the first are for tokens that it may not tell of."""
        raise NotImplementedError

    def read_weighed(self, reply: Any) -> dict[int, float]:
        """Probabilities by token, among the whole vocabulary."""
        raise NotImplementedError

    def measure(self, ids: list[int], prompt_tokens: int) -> Call:
        """Ask for the log probabilities of the tokens after the prompt's."""
        raise NotImplementedError

    def read_measured(self, reply: Any, ids: list[int], prompt_tokens: int) -> list[float]:
        """These log probabilities, in nats."""
        raise NotImplementedError


class Vllm(ServerPreset):
    """vLLM, by its own fields of /v1/completions."""

    async def describe(self, fetch: Fetch) -> Description:
        return Description((await fetch("/version"))["version"], *_listed(await fetch("/v1/models")))

    def tokenize(self, text: str) -> Call:
        return Call("/tokenize", {"model": self.model, "prompt": text, "add_special_tokens": False})

    def generate(self, prompt: Prompt, ends: Sequence[int], limit: int, seed: int, sampling: Sampling) -> Call:
        return self._complete(
            prompt.ids, limit, seed=_short(seed), temperature=sampling.temperature, top_p=_top_p(sampling),
            # The model's own generation_config.json would fill in what is not named.
            top_k=0, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0,
            stop_token_ids=list(ends), ignore_eos=True, return_token_ids=True,
        )  # fmt: skip

    def read_written(self, reply: Any) -> Written:
        (choice,), usage = reply["choices"], reply["usage"]
        ended = _is_end(choice["finish_reason"])
        return Written(choice["token_ids"], choice["text"], usage["completion_tokens"], ended, usage["prompt_tokens"])

    def weigh(self, ids: list[int], tokens: list[int]) -> Iterator[Call]:
        yield self._complete(ids, 1, **self._given(tokens))

    def read_weighed(self, reply: Any) -> dict[int, float]:
        (choice,) = reply["choices"]
        likely = choice["logprobs"]["top_logprobs"][0]
        return {int(name.removeprefix("token_id:")): math.exp(value) for name, value in likely.items()}

    def measure(self, ids: list[int], prompt_tokens: int) -> Call:
        # The last token is not sent, but asked for: so a pair may fill all positions.
        return self._complete(ids[:-1], 1, prompt_logprobs=0, **self._given(ids[-1:]))

    def read_measured(self, reply: Any, ids: list[int], prompt_tokens: int) -> list[float]:
        (choice,) = reply["choices"]
        before = zip(ids[prompt_tokens:-1], choice["prompt_logprobs"][prompt_tokens:], strict=True)
        last = choice["logprobs"]["top_logprobs"][0][f"token_id:{ids[-1]}"]
        return [*(found[str(token)]["logprob"] for token, found in before), last]

    def _complete(self, ids: list[int], limit: int, **given: Any) -> Call:
        return Call("/v1/completions", {"model": self.model, "prompt": ids, "max_tokens": limit, **given})

    def _given(self, tokens: list[int]) -> dict[str, Any]:
        """The fields that ask for the log probabilities of given tokens."""
        return {
            "temperature": 0.0, "logprobs": len(tokens), "logprob_token_ids": tokens,
            "return_tokens_as_token_ids": True,
        }  # fmt: skip


class Sglang(ServerPreset):
    """SGLang, by its own /generate."""

    async def describe(self, fetch: Fetch) -> Description:
        told = await fetch("/server_info") or await fetch("/get_server_info")  # the older name
        return Description(told["version"], *_listed(await fetch("/v1/models")))

    def tokenize(self, text: str) -> Call:
        return Call("/tokenize", {"model": self.model, "prompt": text, "add_special_tokens": False})

    def generate(self, prompt: Prompt, ends: Sequence[int], limit: int, seed: int, sampling: Sampling) -> Call:
        return self._generate(
            prompt.ids, limit, sampling_seed=_short(seed), temperature=sampling.temperature, top_p=_top_p(sampling),
            top_k=-1, min_p=0.0, repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0,
            stop_token_ids=list(ends),
        )  # fmt: skip

    def read_written(self, reply: Any) -> Written:
        told = reply["meta_info"]
        ended = _is_end(told["finish_reason"]["type"])
        return Written(reply["output_ids"], reply["text"], told["completion_tokens"], ended, told["prompt_tokens"])

    def weigh(self, ids: list[int], tokens: list[int]) -> Iterator[Call]:
        call = self._generate(ids, 1, temperature=0.0)
        yield call._replace(body={**(call.body or {}), "return_logprob": True, "token_ids_logprob": tokens})

    def read_weighed(self, reply: Any) -> dict[int, float]:
        return {token: math.exp(value) for value, token, *_ in reply["meta_info"]["output_token_ids_logprobs"][0]}

    def measure(self, ids: list[int], prompt_tokens: int) -> Call:
        call = self._generate(ids, 0, temperature=0.0)
        start = {"return_logprob": True, "logprob_start_len": max(0, prompt_tokens - 1)}
        return call._replace(body={**(call.body or {}), **start})

    def read_measured(self, reply: Any, ids: list[int], prompt_tokens: int) -> list[float]:
        rest = ids[prompt_tokens:]
        found = reply["meta_info"]["input_token_logprobs"][-len(rest) :]
        if [token for _, token, *_ in found] != rest:
            raise KeyError("input_token_logprobs of the tokens that were sent")
        return [value for value, *_ in found]

    def _generate(self, ids: list[int], limit: int, **given: Any) -> Call:
        return Call("/generate", {"input_ids": ids, "sampling_params": {"max_new_tokens": limit, **given}})


class LlamaCpp(ServerPreset):
    """llama.cpp's server, by its own /completion. A reply ends where its GGUF file says: more tokens are cut off."""

    stops_at_ids = False
    can_measure = False

    async def describe(self, fetch: Fetch) -> Description:
        told = await fetch("/props")
        return Description(told["build_info"], None, told["default_generation_settings"]["n_ctx"])

    def tokenize(self, text: str) -> Call:
        return Call("/tokenize", {"content": text, "add_special": False, "parse_special": True})

    def generate(self, prompt: Prompt, ends: Sequence[int], limit: int, seed: int, sampling: Sampling) -> Call:
        return self._complete(
            prompt.ids, limit, seed=_short(seed), temperature=sampling.temperature, top_p=_top_p(sampling),
            samplers=["temperature", "top_p"], repeat_penalty=1.0, return_tokens=True,
        )  # fmt: skip

    def read_written(self, reply: Any) -> Written:
        ended = _is_end(reply["stop_type"])
        count, prompt_tokens = reply["tokens_predicted"], reply["tokens_evaluated"]
        return Written(reply["tokens"], reply["content"], count, ended, prompt_tokens)

    def weigh(self, ids: list[int], tokens: list[int]) -> Iterator[Call]:
        yield self._complete(ids, 1, temperature=0.0, n_probs=PROBABLE_TOKENS, ignore_eos=True)
        for token in tokens:
            # It is made to be written; the probability that is told is that of before.
            yield self._complete(ids, 1, temperature=0.0, n_probs=1, logit_bias=[[token, FORCING_BIAS]])

    def read_weighed(self, reply: Any) -> dict[int, float]:
        written = reply["completion_probabilities"][0]
        return {found["id"]: math.exp(found["logprob"]) for found in (written, *written["top_logprobs"])}

    def _complete(self, ids: list[int], limit: int, **given: Any) -> Call:
        return Call("/completion", {"prompt": ids, "n_predict": limit, **given})


class TransformersServe(ServerPreset):
    """`transformers serve`: rendered text only, no probabilities, and one request at a time."""

    sends_text = True
    seeds_need_order = True
    tells_positions = False
    can_choose = False
    can_measure = False

    async def describe(self, fetch: Fetch) -> Description:
        return Description()

    def tokenize(self, text: str) -> None:
        return None

    def generate(self, prompt: Prompt, ends: Sequence[int], limit: int, seed: int, sampling: Sampling) -> Call:
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        # In place of the model's own generation_config.json.
        config = {
            "max_new_tokens": limit, "eos_token_id": list(ends), "pad_token_id": ends[0],
            **(drawn if sampling.temperature else {"do_sample": False}),
        }  # fmt: skip
        body = {"model": self.model, "prompt": prompt.text, "seed": _short(seed)}
        return Call("/v1/completions", body | {"generation_config": json.dumps(config)})

    def read_written(self, reply: Any) -> Written:
        (choice,), usage = reply["choices"], reply["usage"]
        ended = _is_end(choice["finish_reason"])
        return Written(None, choice["text"], usage["completion_tokens"], ended, usage["prompt_tokens"])


PRESETS: dict[str, type[ServerPreset]] = {
    "vllm": Vllm, "sglang": Sglang, "llama.cpp": LlamaCpp, "transformers": TransformersServe,
}  # fmt: skip


def _listed(models: Any) -> tuple[list[str], int | None]:
    """Names of the models in a list of /v1/models, and the positions of the first."""
    return [model["id"] for model in models["data"]], models["data"][0].get("max_model_len")


def _is_end(reason: str) -> bool:
    """Whether a reply came to its end, and was not cut at its limit. Raises ValueError if it was broken off."""
    if reason not in ("stop", "eos", "word", "length", "limit"):
        raise ValueError(f"a reply that ends by {reason}")
    return reason not in ("length", "limit")


def _short(seed: int) -> int:
    return seed % (1 << SEED_BITS)


def _top_p(sampling: Sampling) -> float:
    return sampling.top_p if sampling.temperature else 1.0
