"""The settings of a server: what cannot be is named, and what changes no text is no part of a key."""

import json
import re
from typing import Any

import pytest
from helpers.configurations import smallest

from backtranslation.settings.generation import Generation
from backtranslation.settings.run import check_values, load_settings
from backtranslation.settings.server import Server
from backtranslation.settings.slices import SettingsError, spec


def configured(**server: Any) -> dict[str, Any]:
    return smallest(generation={"engine": "server", "server": server})


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ({"preset": "vllm"}, "config: generation.server.version: must be given"),
        ({"preset": "vlm", "version": "1"}, "config: generation.server.preset: must be one of .*did you mean vllm"),
        (
            {"preset": "vllm", "version": "1", "url": "http://a", "command": "a {model} {port}"},
            "config: generation.server: give either url or command",
        ),
        ({"preset": "vllm", "version": "1", "url": "a:8000"}, "config: generation.server.url: must begin with http"),
        (
            {"preset": "vllm", "version": "1", "command": "serve {model}"},
            r"config: generation.server.command: must say where \{port\} goes",
        ),
        (
            {"preset": "vllm", "version": "1", "command": "serve {modl} {port}"},
            r"config: generation.server.command: there is no \{modl\} to fill in; did you mean model",
        ),
        (
            {"preset": "vllm", "version": "1", "command": "serve '{model} {port}"},
            "config: generation.server.command: cannot be split into words",
        ),
        (
            {"preset": "vllm", "version": "1", "command": "serve {model} {port} --api-key=abc"},
            "config: generation.server.command: holds a key",
        ),
        ({"preset": "vllm", "version": "1", "url": "http://me:pass@a"}, "an address with a password or token"),
    ],
)
def test_settings_that_cannot_be_are_named(server: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_values(configured(**server))
        load_settings(configured(**server))


def test_the_engine_and_the_section_of_its_server_go_together() -> None:
    with pytest.raises(SettingsError, match="config: generation: server must be given where engine is server"):
        load_settings({**configured(), "generation": {"engine": "server"}})
    other = {**configured(), "generation": {"server": {"preset": "vllm", "version": "1", "url": "http://a"}}}
    assert load_settings(other).generation == Generation()


def test_what_changes_no_text_is_no_part_of_a_key() -> None:
    def key(**given: Any) -> str:
        server = Server(**{"preset": "vllm", "version": "1", **given})
        return spec(generation=Generation(engine="server", server=server))

    there = key(url="http://a:8000")
    assert there == key(
        url="http://b", key_variable="KEY", concurrency=1, request_seconds=9, start_seconds=9, restarts=0
    )
    assert len({there, key(version="2"), key(preset="sglang"), key(command="vllm serve {model} --port {port}")}) == 4


def test_a_spec_holds_nothing_that_snakemake_takes_for_a_wildcard() -> None:
    server = Server(preset="vllm", version="1", command="serve {model} --port {port} '{ x: 1}'")
    text = spec(generation=Generation(engine="server", server=server), tags=["a{}b", "{"])
    assert not re.search(r"\{\s*\w", text)
    assert json.loads(text)["generation"]["server"]["command"] == server.command
    assert json.loads(text)["tags"] == ["a{}b", "{"]


def test_a_spec_and_what_it_leaves_out_make_the_settings_again() -> None:
    server = Server(preset="vllm", version="1", url="http://a:8000", concurrency=3)
    whole = Generation(engine="server", server=server, gpus=0)
    received = Generation.model_validate(json.loads(spec(generation=whole))["generation"])
    assert received != whole and received.completed(json.loads(json.dumps(whole.execution()))) == whole


def test_the_code_of_the_transformers_engine_counts_where_it_does_what_the_server_cannot() -> None:
    def modules(preset: Any) -> list[str]:
        chosen = Generation(engine="server", server=Server(preset=preset, version="1"))
        return [name.rpartition(".")[2] for name in chosen.modules()]

    assert modules("vllm") == modules("sglang") == ["server_engine"]
    assert modules("llama.cpp") == modules("transformers") == ["server_engine", "transformers_engine"]
