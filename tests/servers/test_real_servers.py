"""The engine on real servers: the same texts and probabilities as transformers, the stages of a run, and kill -9."""

import json
import os
import shutil
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from helpers import server_job
from helpers.real_servers import SERVERS, RealServer, find_server
from helpers.small_run import PROJECT, SMALL, change_settings, overlay, snakemake
from helpers.tiny_models import ROOT, make_pairs

from backtranslation.files import Row, read_rows
from backtranslation.jobs.process import job_environment
from backtranslation.layout import INSTRUCTIONS, SCORER_TEXTS, find
from backtranslation.models.chat import encode_text, render_prompt
from backtranslation.models.engine import Engine, Request, load_engine
from backtranslation.models.engines.server_engine import ServerEngine
from backtranslation.models.engines.transformers_engine import TransformersEngine
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.prompts import PromptSet
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.generation import Generation, Sampling

pytestmark = [pytest.mark.server, pytest.mark.timeout(1800)]

GREEDY = Sampling(temperature=0, max_new_tokens=40)
CHOICES = [" 1", " 2", " 3", " 4", " 5"]
NEAR = 1e-3  # nats between two tokens of which rounding may take either


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> RealServer:
    found = find_server(request.param)
    if found.why_not:
        pytest.skip(found.why_not)
    return found


# The engine


@pytest.fixture(scope="module")
def reference(prompts: PromptSet) -> TransformersEngine:
    engine = load(Generation(), prompts)
    assert isinstance(engine, TransformersEngine)
    return engine


@pytest.fixture(scope="module")
def engine(server: RealServer, prompts: PromptSet) -> Iterator[Engine]:
    engine = load(Generation(**server.generation()), prompts)
    assert isinstance(engine, ServerEngine)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in job_environment(threads=1).items():
            environment.setenv(name, value)
        yield engine
    engine.connection.stop()


@pytest.fixture(scope="module")
def requests(reference: TransformersEngine) -> list[Request]:
    texts = (pair["response"] for pair in make_pairs(48))
    return [
        Request(str(number), render_prompt(reference.tokenizer, text), 2**63 + number)
        for number, text in enumerate(texts)
    ]


def load(generation: Generation, prompts: PromptSet) -> Engine:
    base = BaseModelSettings(path=str(server_job.BASE))
    return load_engine(generation, base.path, base, prompts)[0]


def test_greedy_texts_are_those_of_transformers_but_for_near_ties(
    engine: Engine, reference: TransformersEngine, requests: list[Request]
) -> None:
    expected = {done.id: done for done in reference.generate(requests, GREEDY)}
    found = {done.id: done for done in engine.generate(requests, GREEDY)}
    assert found.keys() == expected.keys()
    other = [request for request in requests if found[request.id] != expected[request.id]]
    for request in other:
        gap = gap_where_they_part(reference, request.prompt, expected[request.id].text, found[request.id].text)
        assert gap < NEAR, (request, expected[request.id], found[request.id])
    assert len(other) <= len(requests) / 10


def gap_where_they_part(engine: TransformersEngine, prompt: str, one: str, other: str) -> float:
    """How much likelier the first token of one text is than that of another, where they part, in nats."""
    start = encode_text(engine.tokenizer, prompt)
    ids = [[*encode_text(engine.tokenizer, prompt + text)[len(start) :], end_id(engine)] for text in (one, other)]
    place = next(place for place, (left, right) in enumerate(zip(*ids, strict=False)) if left != right)
    with torch.inference_mode():
        logits = engine.model(torch.tensor([start + ids[0][:place]])).logits[0, -1]
    return abs(float(logits[ids[0][place]] - logits[ids[1][place]]))


def end_id(engine: TransformersEngine) -> int:
    return int(engine.end_ids[0])


def test_a_seed_makes_the_text_whatever_else_is_in_flight(engine: Engine, requests: list[Request]) -> None:
    sampling = Sampling(temperature=0.7, max_new_tokens=24)
    together = {done.id: done.text for done in engine.generate(requests, sampling)}
    alone = [next(iter(engine.generate([request], sampling))) for request in requests[:8]]
    assert {done.id: done.text for done in alone}.items() <= together.items()
    assert len(set(together.values())) > len(together) / 2


def test_choices_and_likelihoods_are_those_of_transformers(
    engine: Engine, reference: TransformersEngine, requests: list[Request]
) -> None:
    texts = [(request.id, request.prompt + "Score:") for request in requests]
    expected = {choice.id: choice for choice in reference.choose(texts, CHOICES)}
    for choice in engine.choose(texts, CHOICES):
        assert choice.shares == pytest.approx(expected[choice.id].shares, abs=1e-4)
        assert choice.mass == pytest.approx(expected[choice.id].mass, rel=1e-3)

    replies = {done.id: done.text for done in reference.generate(requests, GREEDY)}
    pairs = [encode_pair(reference, request, replies[request.id]) for request in requests]
    measured = {reply.id: reply for reply in reference.measure(pairs)}
    for reply in engine.measure(pairs):
        assert reply.log_probabilities == pytest.approx(measured[reply.id].log_probabilities, abs=1e-3)


def encode_pair(engine: TransformersEngine, request: Request, reply: str) -> EncodedPair:
    start = encode_text(engine.tokenizer, request.prompt)
    rest = encode_text(engine.tokenizer, request.prompt + reply)[len(start) :]
    return EncodedPair(request.id, array("i", [*start, *rest, end_id(engine)]), len(start))


# The stages


@pytest.fixture(scope="module")
def scored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run as far as its first scores, by the transformers engine, without chance."""
    run = tmp_path_factory.mktemp("servers") / "run"
    run.mkdir()
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, run / name)
    change_settings(run, overlay(SMALL, {"iterations": 1, "augmentation": {"sampling": {"temperature": 0}}}))
    snakemake(run, "--until", "score_candidates")
    return run


def test_the_stages_of_a_run(server: RealServer, scored_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(scored_run, tmp_path / "run", symlinks=True)
    change_settings(run, {"generation": server.generation()})
    said = snakemake(run, "--until", "score_candidates")
    assert "generate_instructions" in said

    expected, found = read_all(scored_run, INSTRUCTIONS), read_all(run, INSTRUCTIONS)
    assert found.keys() == expected.keys()
    same = {row_id for row_id, row in expected.items() if found[row_id] == row}
    assert len(same) >= 0.9 * len(expected)
    assert "0 jobs to look at" in snakemake(run, "--until", "score_candidates")

    judged, judged_here = read_all(scored_run, SCORER_TEXTS), read_all(run, SCORER_TEXTS)
    pairs = [(judged[row_id], judged_here[row_id]) for row_id in same & judged.keys()]
    assert pairs
    same_texts = [(one["samples"], other["samples"]) for one, other in pairs if texts(one) == texts(other)]
    assert len(same_texts) >= 0.9 * len(pairs)
    for (one,), (other,) in same_texts:
        assert other["label_probabilities"] == pytest.approx(one["label_probabilities"], abs=1e-3)
        assert other["label_mass"] == pytest.approx(one["label_mass"], abs=1e-3)


def read_all(run: Path, pattern: str) -> dict[str, Row]:
    return {row["id"]: row for _, path in find(run / "results", pattern) for row in read_rows(path)}


def texts(row: Row) -> list[str]:
    return [sample["text"] for sample in row["samples"]]


# kill -9


def start_job(server: RealServer, journal: Path) -> subprocess.Popen[str]:
    generation = json.dumps(server.generation(concurrency=4))
    command = [sys.executable, str(ROOT / "tests/helpers/server_job.py"), generation, str(journal)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(journal.parent)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finish(job: subprocess.Popen[str], journal: Path) -> tuple[dict[str, Row], str]:
    """The rows of a job, and what it said."""
    said = job.communicate()[1]
    assert job.returncode == 0, said
    return {row["id"]: row for row in map(json.loads, journal.read_text().splitlines())}, said


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def count_rows(journal: Path) -> int:
    return len(journal.read_bytes().splitlines()) if journal.exists() else 0


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def whole(server: RealServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The rows of a job that nothing disturbs."""
    journal = tmp_path_factory.mktemp("whole") / "journal.jsonl"
    return finish(start_job(server, journal), journal)[0]


def test_a_killed_job_takes_its_server_along_and_goes_on(
    server: RealServer, whole: dict[str, Row], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    job = start_job(server, journal)
    wait_for(lambda: count_rows(journal) >= 5, 300)
    below = psutil.Process(job.pid).children(recursive=True)
    job.kill()
    job.wait()
    wait_for(lambda: not any(map(is_alive, below)), 15)
    there = count_rows(journal)
    assert len(below) >= 2 and there < len(whole)

    begun = journal.read_text().splitlines()[: there - 1]
    rows, _ = finish(start_job(server, journal), journal)
    assert journal.read_text().splitlines()[: there - 1] == begun
    assert rows == whole


def test_a_killed_server_costs_the_requests_in_flight(
    server: RealServer, whole: dict[str, Row], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    job = start_job(server, journal)
    wait_for(lambda: count_rows(journal) >= 5, 300)
    (supervisor,) = psutil.Process(job.pid).children()
    before = supervisor.children(recursive=True)
    supervisor.children()[0].kill()
    rows, said = finish(job, journal)
    assert said.count("it is started again") == 1
    assert not any(map(is_alive, before))
    assert rows == whole
