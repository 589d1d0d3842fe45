"""The miniature world: the same each time, readable as the web is, true to its own truth; and its base model."""

import hashlib
import io
import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from fastwarc import ArchiveIterator, WarcRecordType

from backtranslation.corpus.filters import navigation_pattern
from backtranslation.corpus.segments import cut_page
from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.miniature.kinds import COMMON_KINDS, KINDS, SEED_CATEGORIES, Kind
from backtranslation.miniature.passages import DEFECTS, clean_passage, defective_passage, draw_topic, request
from backtranslation.miniature.pretraining import documents
from backtranslation.miniature.recognition import answers, normalise, recognise_request, recognise_sentences
from backtranslation.miniature.subjects import subjects
from backtranslation.miniature.truth import (
    as_rows,
    judge_candidates,
    mark_answers,
    measure_answers,
    measure_candidates,
    measure_selection,
    share,
)
from backtranslation.miniature.world import World, generate_world
from backtranslation.settings.corpus import SegmentSettings
from backtranslation.settings.miniature import Miniature

ROOT = Path(__file__).parents[1]
BASE = ROOT / "backtranslation" / "miniature" / "base"
SETTINGS = Miniature(random_seed=5, pages=60, warc_files=2, seed_pairs=40, held_out_pairs=50)


@pytest.fixture(scope="module")
def world() -> World:
    return generate_world(SETTINGS)


def test_world_depends_on_its_settings_only(world: World) -> None:
    code = (
        "import hashlib; from backtranslation.miniature.world import *; "
        f"world = generate_world(Miniature.model_validate_json('{SETTINGS.model_dump_json()}')); "
        "print(hashlib.sha256(repr(world).encode()).hexdigest())"
    )
    for hash_seed in ("1", "2"):
        made = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        )  # fmt: skip
        assert made.stdout.strip() == hashlib.sha256(repr(world).encode()).hexdigest()
    assert generate_world(SETTINGS.model_copy(update={"random_seed": 6})).seed != world.seed


def _html_pages(world: World) -> list[str]:
    pages = []
    for warc in world.warcs:
        for record in ArchiveIterator(io.BytesIO(warc), record_types=WarcRecordType.response, parse_http=True):
            if record.http_content_type == "text/html":
                pages.append(record.reader.read().decode(str(record.http_charset)))
    return pages


def test_warc_files_hold_requests_responses_and_more_than_pages(world: World) -> None:
    records = [
        (record.record_type, record.http_content_type, record.headers)
        for warc in world.warcs
        for record in ArchiveIterator(io.BytesIO(warc), parse_http=True)
    ]
    kinds = [kind for kind, _, _ in records]
    assert kinds.count(WarcRecordType.response) == kinds.count(WarcRecordType.request) == SETTINGS.pages
    assert kinds.count(WarcRecordType.warcinfo) == SETTINGS.warc_files
    assert {"text/html", "image/gif"} <= {content_type for _, content_type, _ in records}
    assert len({headers["WARC-Record-ID"] for _, _, headers in records}) == len(records)


def test_every_passage_on_a_page_can_be_found_in_the_truth(world: World) -> None:
    settings = SegmentSettings(min_chars=80, max_chars=450)
    truth = {row["key"] for row in world.truth if row["type"] == "passage"}
    texts = [
        segment.text
        for page in _html_pages(world)
        if 'lang="en"' in page
        for segment in cut_page(page, settings, navigation_pattern(["forum"]), Counter(), [])
    ]
    alone = [text for text in texts if "## " not in text]
    assert len(alone) > 100
    assert [text for text in alone if normalise(text) not in truth] == []


def test_seed_pairs_are_narrower_than_held_out_pairs(world: World) -> None:
    category = {subject.name: subject.category for subject in subjects()}
    seed = [recognise_request(row["instruction"]) for row in world.seed]
    held_out = [recognise_request(row["instruction"]) for row in world.held_out]
    common = [sum(asked.kind in COMMON_KINDS for asked in pairs) / len(pairs) for pairs in (seed, held_out)]
    assert common[0] > 0.8 and common[1] < 0.7
    assert {category[asked.subjects[0]] for asked in seed} == set(SEED_CATEGORIES)
    assert {category[asked.subjects[0]] for asked in held_out} > set(SEED_CATEGORIES)
    wordings = [{" ".join(row["instruction"].split()[:2]) for row in pairs} for pairs in (world.seed, world.held_out)]
    assert len(wordings[0]) < len(wordings[1])
    assert not {(asked.kind, asked.subjects) for asked in seed} & {(asked.kind, asked.subjects) for asked in held_out}


def test_references_are_right_answers_and_answers_to_other_instructions_are_not(world: World) -> None:
    rows = [
        {"id": str(i), "instruction": pair["instruction"], "answer": pair["response"]}
        for i, pair in enumerate(world.held_out)
    ]
    assert all(mark_answers(world.truth, rows))
    moved = [row | {"answer": rows[i - 1]["answer"]} for i, row in enumerate(rows)]
    assert not any(mark_answers(world.truth, moved))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_passages_and_requests_are_recognised(kind: Kind) -> None:
    random = Random(kind.name)
    for _ in range(20):
        topic = draw_topic(random, kinds=(kind,))
        asked = recognise_request(request(random, topic))
        assert asked.kind == kind.name
        assert asked.subjects == tuple(s.name for s in (topic.subject, topic.other) if s)
        text = clean_passage(random, topic).markdown
        sentences, foreign = recognise_sentences(text)
        assert {sentence.slot for sentence in sentences} == set(range(len(kind.body) + 1))
        assert foreign == 0
        assert answers(kind.name, topic.slots, text)
        for defect in DEFECTS:
            assert not answers(kind.name, topic.slots, defective_passage(random, defect, topic).markdown)


def test_answers_with_a_wrong_fact_or_cut_off_are_wrong() -> None:
    random = Random(1)
    topic = draw_topic(random, (subjects()[0],), tuple(kind for kind in KINDS if kind.name == "facts"))
    text = clean_passage(random, topic).markdown
    assert topic.subject.name == "copper kettle" and "orange" in text
    assert answers("facts", topic.slots, text)
    assert not answers("facts", topic.slots, text.replace("orange", "black"))
    assert not answers("facts", topic.slots, "\n".join(text.splitlines()[:3]))
    assert not answers("facts", topic.slots, text + "\n\nHurry, the copper kettle is on sale now!")


PASSAGE: Row = {"type": "passage", "key": "a red text", "kind": "story", "subject": "copper kettle", "other": None}
TRUTH = [
    PASSAGE | {"defect": None, "requests": []},
    PASSAGE | {"key": "a blue text", "defect": "stub", "requests": []},
]


def _candidate(key: str, instruction: str, response: str, rejection: str | None = None) -> dict[str, str | None]:
    return {"id": key, "instruction": instruction, "response": response, "rejection": rejection}


def test_measures_of_candidates_and_selections() -> None:
    judged = judge_candidates(TRUTH, [
        _candidate("good", "Tell me a story about the copper kettle.", "A red\ntext"),
        _candidate("kind", "Describe the copper kettle.", "a red text"),
        _candidate("subject", "Tell me a story about the iron pan.", "a red text"),
        _candidate("stub", "Tell me a story about the copper kettle.", "a blue text"),
        _candidate("unknown", "Tell me a story about the copper kettle.", "a green text"),
        _candidate("rejected", "Tell me a story about the copper kettle.", "a red text", "too long"),
    ])  # fmt: skip
    measures = {m.measure: m for m in measure_candidates(judged) + measure_selection(judged, ["good", "stub"], 1, 1)}
    assert measures["instruction names the right subject"].value == 3 / 4
    assert measures["instruction is of the right kind"].value == 3 / 4
    assert measures["good pairs in the pool"].value == 1 / 5
    assert measures["precision of the selection"].value == 1 / 2
    assert measures["recall of the selection"].value == 1
    assert measures["precision over the pool's share"].value == 2.5
    with pytest.raises(DataError, match="iteration 2: row strange"):
        measure_selection(judged, ["strange"], 2, 1)


def test_measures_of_answers_compare_the_last_model() -> None:
    control = [True] * 90 + [False] * 10
    rights = {"M0": [False] * 50 + [True] * 50, "M1": [True] * 100, "untouched": [False] * 100, "unselected": control}
    measures = measure_answers(rights, 1)
    by_name = {(m.measure, m.model_or_iteration): m for m in measures}
    assert by_name["right answers", "M0"].value == 0.5
    ahead = by_name["difference in right answers", "M1 - M0"]
    assert ahead.value == 0.5 and 0.39 < ahead.low < ahead.value < ahead.high < 0.61
    assert by_name["difference in right answers", "M1 - unselected"].value == pytest.approx(0.1)
    assert by_name["difference in right answers", "M1 - untouched"].value == 1
    assert [m.measure for m in measure_answers({"M0": [True]}, 1)] == ["right answers"]


def test_wilson_interval_and_measures_of_nothing() -> None:
    # Newcombe (1998), table I: 81 of 263.
    measure = share("a", "b", [True] * 81 + [False] * 182)
    assert (round(measure.low, 4), round(measure.high, 4)) == (0.2553, 0.3662)
    assert as_rows([share("a", "b", [])]) == []


def test_answers_to_unknown_instructions_are_an_error() -> None:
    with pytest.raises(DataError, match="row 7: the truth knows no instruction 'What'"):
        mark_answers(TRUTH, [{"id": "7", "instruction": "What", "answer": ""}])


def _asked_and_answered(document: str) -> str | None:
    """The kind of the first request of a document, if something of that kind stands below it."""
    lines = [line for line in document.splitlines() if line]
    for i, line in enumerate(lines):
        asked = recognise_request(line.split(": ", 1)[-1])
        if asked.kind in {sentence.kind for sentence in recognise_sentences("\n".join(lines[i + 1 :]))[0]}:
            return asked.kind
    return None


def test_pretraining_asks_before_it_answers_on_question_pages_only() -> None:
    assert not any(map(_asked_and_answered, islice(documents(9, 1), 500)))
    kinds = [kind for kind in map(_asked_and_answered, islice(documents(9, 2), 500)) if kind]
    assert 0.05 < len(kinds) / 500 < 0.3
    assert sum(kind in COMMON_KINDS for kind in kinds) > 0.8 * len(kinds)


def test_shipped_base_is_what_its_manifest_says() -> None:
    manifest = json.loads((BASE / "manifest.json").read_text())
    files = {path.name for path in BASE.iterdir()} - {"manifest.json"}
    assert files == manifest["sha256"].keys()
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((BASE / name).read_bytes()).hexdigest() == digest
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 8_000_000


def test_pretraining_script_makes_a_base_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    command = [sys.executable, str(ROOT / "scripts/pretrain_miniature_base.py"), "--work", str(tmp_path)]
    options = [
        "--output",
        str(tmp_path / "base"),
        "--steps",
        "2",
        "1",
        "--width",
        "32",
        "--layers",
        "1",
        "--threads",
        "1",
        "--eager",
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    made = tmp_path / "base"
    assert json.loads((made / "manifest.json").read_text())["tokens_seen"] == 3 * 32 * 256
    # The same documents make the tokenizer that ships.
    assert (made / "tokenizer.json").read_bytes() == (BASE / "tokenizer.json").read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(made)
    text = "The copper kettle costs 24 coins,\n\n1. über allem."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("24")["input_ids"]) == 2
    assert tokenizer.eos_token_id is not None and tokenizer.chat_template is None
    assert AutoModelForCausalLM.from_pretrained(made).config.vocab_size == len(tokenizer)


def test_pretraining_is_deterministic_and_learns() -> None:
    import torch
    from transformers import PreTrainedTokenizerFast

    from backtranslation.miniature.base_model import new_model, packed_batches, pretrain

    tokenizer = PreTrainedTokenizerFast.from_pretrained(BASE)
    losses: list[list[float]] = []
    for _ in range(2):
        torch.manual_seed(1)
        batches = packed_batches(documents(1, 1), tokenizer, 4, 128)
        told: list[float] = []
        pretrain(
            new_model(tokenizer, 32, 1), batches, tokenizer.eos_token_id, 60, 1e-2,
            report=lambda step, loss, speed, told=told: told.append(loss),  # type: ignore[misc]
            checkpoint=lambda model, step: None, compiled=False,
        )  # fmt: skip
        losses.append(told)
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
