"""The engine on servers: what each kind is asked, what faults cost, which servers are refused, and how they end."""

import json
import math
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.faulty_server import Behaviour, FaultyServer, MadeUpModel, command, serve

from backtranslation.errors import DataError
from backtranslation.models.chat import encode_text, render_prompt
from backtranslation.models.engine import (
    NOT_ANSWERED,
    REFUSED,
    Engine,
    EngineError,
    Request,
    choose_all,
    generate_all,
    load_engine,
)
from backtranslation.models.engines import server_connection
from backtranslation.models.engines.server_engine import ServerEngine
from backtranslation.models.engines.server_presets import _short
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.server import Server
from backtranslation.settings.slices import spec

GREEDY = Sampling(temperature=0, max_new_tokens=8)
SAMPLED = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=8)
LENIENT = Limits(max_unusable_share=1)
KINDS = ("vllm", "sglang", "llama.cpp", "transformers")
CHOICES = [" 1", " 2", " 3"]
Load = Callable[..., ServerEngine]


@pytest.fixture
def folder(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("llama")


@pytest.fixture
def load(
    base: BaseModelSettings, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Load]:
    """Loads the engine with settings of a server; pauses are short, so that no test waits."""
    monkeypatch.setattr(server_connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(server_connection, "POLL_SECONDS", 0.05)
    monkeypatch.setattr("backtranslation.models.engines.server_engine.work_folder", lambda: tmp_path)
    loaded: list[ServerEngine] = []

    def load_server(**given: Any) -> ServerEngine:
        settings = Server(**{"preset": "vllm", "version": "1.0", "concurrency": 8, **given})
        engine, _ = load_engine(Generation(engine="server", server=settings), base.path, base, prompts)
        assert isinstance(engine, ServerEngine)
        loaded.append(engine)
        return engine

    yield load_server
    for engine in loaded:
        engine.connection.stop()


def requests(engine: ServerEngine, count: int = 12) -> list[Request]:
    """Prompts with the number of their row in them."""
    return [
        Request(f"{number}", render_prompt(engine.tokenizer, f"row-{number}- water the garden"), 2**63 + number)
        for number in range(count)
    ]


def texts(engine: Engine, asked: list[Request], sampling: Sampling) -> dict[str, str | None]:
    """Texts by row; of a row that failed, why."""
    return {done.id: done.failure or done.text for done in engine.generate(asked, sampling)}


# What is asked, and what comes back


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_texts_are_what_the_model_writes_by_seed_and_sampling(
    kind: str, sampling: Sampling, folder: Path, load: Load
) -> None:
    model = MadeUpModel(folder)
    with serve(folder, Behaviour(kind)) as server:
        engine = load(preset=kind, url=server.url)
        asked = requests(engine)
        found = {done.id: done for done in engine.generate(asked, sampling)}
    assert found.keys() == {request.id for request in asked}
    for request in asked:
        ids = encode_text(engine.tokenizer, request.prompt)
        written = model.write(ids, set(engine.ends), 8, sampling.temperature, sampling.top_p, _short(request.seed))
        ended = written[-1] in engine.ends
        done = found[request.id]
        assert done.text == engine.tokenizer.decode(written[: len(written) - ended], skip_special_tokens=True)
        assert (done.tokens, done.finished, done.failure) == (len(written) - ended, ended, None)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp"])
def test_choices_are_weighed_among_all_tokens(kind: str, folder: Path, load: Load) -> None:
    """The choices begin with words of their own, so that tokens in common count in the mass."""
    model = MadeUpModel(folder)
    with serve(folder, Behaviour(kind)) as server:
        engine = load(preset=kind, url=server.url)
        prompts = [(request.id, request.prompt) for request in requests(engine)]
        for choices in (CHOICES, [" good 1", " good 2"]):
            found = {choice.id: choice for choice in engine.choose(prompts, choices)}
            for row_id, text in prompts:
                ids, alone = encode_text(engine.tokenizer, text + choices[0]), encode_text(engine.tokenizer, text)
                firsts = [encode_text(engine.tokenizer, text + choice)[-1] for choice in choices]
                likely = [math.exp(model.log_probabilities(ids[:-1])[first]) for first in firsts]
                forced = range(len(alone), len(ids) - 1)
                begun = sum(model.log_probabilities(ids[:at])[ids[at]] for at in forced)
                assert found[row_id].shares == pytest.approx([one / sum(likely) for one in likely])
                assert found[row_id].mass == pytest.approx(math.exp(begun) * sum(likely))


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_replies_are_measured_token_by_token(kind: str, folder: Path, load: Load) -> None:
    model = MadeUpModel(folder)
    pairs = [EncodedPair(str(length), array("i", range(3, 3 + length)), 4) for length in (5, 9, 30)]
    with serve(folder, Behaviour(kind)) as server:
        found = {one.id: one.log_probabilities for one in load(preset=kind, url=server.url).measure(pairs)}
    for pair in pairs:
        ids = pair.ids.tolist()
        expected = [model.log_probabilities(ids[:at])[ids[at]] for at in range(pair.prompt_tokens, len(ids))]
        assert found[pair.id] == pytest.approx(expected)


def test_a_server_that_takes_text_puts_no_second_start_in_front(
    model_folder: Callable[[str], Path], prompts: PromptSet, load: Load
) -> None:
    """The chat template writes the token at the start of a text, and the tokenizer would put it there again."""
    folder = model_folder("mistral")
    with serve(folder, Behaviour("transformers")) as server:
        settings = Server(preset="transformers", version="1.0", url=server.url)
        base = BaseModelSettings(path=str(folder))
        engine, tokenizer = load_engine(Generation(engine="server", server=settings), base.path, base, prompts)
        prompt = render_prompt(tokenizer, "water the garden")
        (done,) = engine.generate([Request("a", prompt, 1)], GREEDY)
        assert prompt.startswith("<s>") and done.failure is None
        assert all(not body["prompt"].startswith("<s>") for body in server.requests)


def test_what_a_server_cannot_the_transformers_engine_does(
    folder: Path, load: Load, base: BaseModelSettings, prompts: PromptSet
) -> None:
    local, _ = load_engine(Generation(), base.path, base, prompts)
    pairs = [EncodedPair("a", array("i", range(5, 20)), 4)]
    asked = [("a", "The lamp"), ("b", "The old kettle")]
    for kind in ("llama.cpp", "transformers"):
        engine = load(preset=kind, url="http://127.0.0.1:9")  # nothing is there, and nothing is asked
        (measured,), (expected,) = engine.measure(pairs), local.measure(pairs)
        assert measured.log_probabilities == pytest.approx(expected.log_probabilities)
    found = {choice.id: choice.shares for choice in engine.choose(asked, CHOICES)}
    assert found == {choice.id: pytest.approx(choice.shares) for choice in local.choose(asked, CHOICES)}


def test_the_room_is_that_of_model_and_server(folder: Path, load: Load) -> None:
    for kind, positions in (("vllm", 200), ("vllm", 4096), ("llama.cpp", 300), ("transformers", 200)):
        with serve(folder, Behaviour(kind, positions=positions)) as server:
            engine = load(preset=kind, url=server.url)
            tokens = len(encode_text(engine.tokenizer, "The lamp"))
            assert engine.room("The lamp") == min(512 if kind == "transformers" else positions, 512) - tokens


def test_as_many_requests_are_in_flight_as_the_settings_say(folder: Path, load: Load) -> None:
    with serve(folder, Behaviour(seconds=0.02)) as server:
        engine = load(url=server.url, concurrency=5)
        list(engine.generate(requests(engine, 30), GREEDY))
        assert server.most_in_flight == 5


def test_where_seeds_need_it_one_request_is_in_flight(folder: Path, load: Load) -> None:
    with serve(folder, Behaviour("transformers", seconds=0.01)) as server:
        engine = load(preset="transformers", url=server.url, concurrency=5)
        list(engine.generate(requests(engine), SAMPLED))
        assert server.most_in_flight == 1
        list(engine.generate(requests(engine), GREEDY))
        assert server.most_in_flight == 5


def test_nothing_is_started_before_it_is_needed(load: Load) -> None:
    engine = load(command="no-such-program {model} {port}")
    assert list(engine.generate([], GREEDY)) == list(engine.choose([], CHOICES)) == list(engine.measure([])) == []


# Faults of single requests


@pytest.mark.parametrize("fault", ["429", "500", "503", "break", "empty", "no JSON"])
@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_a_fault_that_passes_costs_nothing(fault: str, kind: str, folder: Path, load: Load) -> None:
    with serve(folder, Behaviour(kind)) as server:
        expected = texts(engine := load(preset=kind, url=server.url), requests(engine), GREEDY)
    faults = {f"row-{number}-": [fault, fault, "fine"] for number in (2, 3, 7)}
    with serve(folder, Behaviour(kind, faults=faults)) as server:
        engine = load(preset=kind, url=server.url)
        assert texts(engine, requests(engine), GREEDY) == expected


def test_a_server_that_says_how_long_to_wait_is_obeyed(folder: Path, load: Load) -> None:
    with serve(folder, Behaviour(faults={"row-2-": ["429", "fine"]}, retry_after=1)) as server:
        engine = load(url=server.url)
        engine.room("")
        began = time.monotonic()
        assert all(not done.failure for done in engine.generate(requests(engine), GREEDY))
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("fault", "reason"), [("400", REFUSED), ("422", REFUSED), ("500", NOT_ANSWERED), ("short", NOT_ANSWERED)]
)
def test_a_row_that_always_fails_is_counted_and_asked_again_another_time(
    fault: str, reason: str, folder: Path, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, chosen = tmp_path / "rows.jsonl", tmp_path / "chosen.jsonl"
    with serve(folder, Behaviour(faults={"row-4-": [fault]})) as server:
        engine = load(url=server.url)
        asked = requests(engine)
        found = generate_all(engine, asked, GREEDY, journal, Limits())
        assert {row_id: done.failure for row_id, done in found.items() if done.failure} == {"4": reason}
        if fault != "short":
            prompts = [(request.id, request.prompt) for request in asked]
            choices = choose_all(engine, prompts, CHOICES, chosen, Limits())
            assert {row_id for row_id, choice in choices.items() if choice.failure == reason} == {"4"}
            assert choices["4"].shares == []
    assert "row 4: " in caplog.text
    with serve(folder, Behaviour()) as server:
        engine = load(url=server.url)
        found = generate_all(engine, asked, GREEDY, journal, Limits())
        assert len(found) == len(asked) and not any(done.failure for done in found.values())
        assert {json.dumps(body["prompt"]) for body in server.requests} >= {
            json.dumps(encode_text(engine.tokenizer, asked[4].prompt))
        }


def test_too_many_rows_that_fail_stop_the_job(folder: Path, load: Load, tmp_path: Path) -> None:
    with serve(folder, Behaviour(faults={"row-": ["400"]})) as server:
        engine = load(url=server.url)
        with pytest.raises(DataError, match=r"answers cannot be used \(\d+ refused_by_engine\)"):
            generate_all(engine, requests(engine, 40), GREEDY, tmp_path / "rows.jsonl", Limits())


def test_a_server_that_answers_nobody_stops_the_job(folder: Path, load: Load) -> None:
    with serve(folder, Behaviour(faults={"row-": ["500"]})) as server:
        engine = load(url=server.url)
        engine.room("")
        server.behaviour.faults = {"": ["500"]}
        with pytest.raises(EngineError, match="does not answer: HTTP 500: .*fault 500"):
            list(engine.generate(requests(engine), GREEDY))


# Servers that are refused


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"version": "0.9"}, "it reports version 0.9, and generation.server.version is 1.0"),
        ({"kind": "llama.cpp"}, "it does not describe itself as a server of preset vllm does"),
        ({"added": [1]}, r"it reads a prompt of (\d+) tokens as \d+"),
        ({"tokenizer": "other"}, "its tokenizer is another"),
        ({"models": ["other-model"]}, "it has no model .*; it has other-model"),
        ({"ignored": ["logprob_token_ids"]}, "does not tell how probable the tokens .* are"),
        ({"ignored": ["logprobs"]}, "an answer of another form .*logprobs"),
        ({"ignored": ["stop_token_ids"]}, "a reply does not end at the tokens that are to end it"),
        ({"ignored": ["seed"]}, "all seeds give the same text"),
        ({"ignored": ["temperature"]}, "all seeds give the same text"),
        ({"ignored": ["return_token_ids"]}, "an answer of another form .*token_ids"),
        ({"probability": 0.9}, "they cannot be parts of a whole"),
    ],
)
def test_a_server_that_does_not_do_as_it_is_told_is_refused(
    behaviour: dict[str, Any], reason: str, folder: Path, load: Load
) -> None:
    with serve(folder, Behaviour(**behaviour)) as server:
        engine = load(url=server.url)
        with pytest.raises(EngineError, match=reason):
            list(engine.generate(requests(engine), SAMPLED))


@pytest.mark.parametrize("kind", ["sglang", "llama.cpp", "transformers"])
def test_seeds_that_do_not_act_are_noticed_of_every_kind(kind: str, folder: Path, load: Load) -> None:
    with serve(folder, Behaviour(kind, ignored=["seed", "sampling_seed"])) as server:
        engine = load(preset=kind, url=server.url)
        assert len(list(engine.generate(requests(engine), GREEDY))) == 12  # which need none
        with pytest.raises(EngineError, match="all seeds give the same text"):
            list(engine.generate(requests(engine), SAMPLED))


def test_a_key_is_sent_and_never_told(
    folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(folder, Behaviour(key="of-the-house")) as server:
        with pytest.raises(EngineError, match="wants a key .*generation.server.key_variable") as error:
            load(url=server.url).room("")
        with pytest.raises(EngineError, match="HOUSE_KEY is not set in the environment"):
            load(url=server.url, key_variable="HOUSE_KEY").room("")
        monkeypatch.setenv("HOUSE_KEY", "stolen-one")
        with pytest.raises(EngineError, match=r"the key Bearer \*\*\* is wrong") as error:
            load(url=server.url, key_variable="HOUSE_KEY").room("")
        assert "stolen-one" not in str(error.value)
        monkeypatch.setenv("HOUSE_KEY", "of-the-house")
        engine = load(url=server.url, key_variable="HOUSE_KEY")
        assert len(list(engine.generate(requests(engine), GREEDY))) == 12
    assert "of-the-house" not in caplog.text + spec(generation=engine.generation)


def test_an_address_at_which_there_is_nothing_is_an_error(load: Load) -> None:
    with pytest.raises(EngineError, match=r"no server answers at http://127.0.0.1:9 \(generation.server.url\)"):
        load(url="http://127.0.0.1:9").room("")


# Servers of the job's own


def test_a_server_that_dies_or_hangs_is_started_again_and_no_row_is_lost(
    folder: Path, load: Load, tmp_path: Path
) -> None:
    with serve(folder, Behaviour()) as server:
        expected = texts(engine := load(url=server.url), requests(engine), GREEDY)
    for fault in ("die", "hang"):
        state = tmp_path / fault
        state.mkdir()
        started = command(Behaviour(faults={"row-5-": [fault, "fine"]}, state=str(state)))
        engine = load(command=started, request_seconds=2)
        assert texts(engine, requests(engine), GREEDY) == expected
        assert engine.connection.starts == 1 + (fault == "die")  # one that hangs at one row answers others


def test_a_server_that_hangs_altogether_is_started_again(folder: Path, load: Load, tmp_path: Path) -> None:
    engine = load(command=command(Behaviour()), request_seconds=1)
    engine.room("")
    assert engine.connection.process
    first = engine.connection.process
    (server,) = [one for one in psutil.Process(first._supervisor.pid).children() if "faulty" in str(one.cmdline())]
    server.suspend()
    assert len(list(engine.generate(requests(engine), GREEDY))) == 12
    assert engine.connection.starts == 2 and not first.is_running() and not server.is_running()


def test_a_server_that_keeps_dying_is_an_error_with_its_last_lines(load: Load) -> None:
    engine = load(command=command(Behaviour(faults={"row-5-": ["die"]})), restarts=2)
    message = r"ended with exit code 3, and was started 3 times already \(generation.server.restarts\); the end of .*"
    with pytest.raises(EngineError, match=message + r"server.log:\n(.*\n)*  the server dies of a fault"):
        list(engine.generate(requests(engine), GREEDY))


def test_a_server_that_does_not_come_up_is_an_error_with_its_last_lines(load: Load) -> None:
    engine = load(command=command(Behaviour(fails_to_start=True)))
    with pytest.raises(EngineError, match=r"ended with exit code 1 before it answered; .*\n  CUDA out of memory"):
        engine.room("")
    engine = load(command=command(Behaviour(start_seconds=60)), start_seconds=1)
    with pytest.raises(EngineError, match=r"does not answer after 1 seconds \(generation.server.start_seconds\)"):
        engine.room("")
    assert engine.connection.process is None
    engine = load(command="no-such-program {model} {port}")
    with pytest.raises(EngineError, match="before it answered; .*server.log:\n(.*\n)*.*no-such-program"):
        engine.room("")


# The helper


def test_a_server_of_a_thread_is_one_like_any_other(folder: Path) -> None:
    """The helper itself: it counts what happens to prompts with a word."""
    with serve(folder, Behaviour(faults={"lamp": ["500", "fine"]})) as server:
        assert isinstance(server, FaultyServer)
        assert [server.next_fault(text) for text in ("a lamp", "none", "the lamp", "lamp")] == ["500", *["fine"] * 3]
