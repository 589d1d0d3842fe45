"""Rows that a model has no room for: counted by reason, kept in the files, and too many of them stop the stage."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.scores import judged as judged_row
from helpers.scores import not_judged, reasons
from helpers.tiny_models import ROOT, make_pairs
from helpers.trainings import FAST
from transformers import PreTrainedTokenizerBase

from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.contract import Workplace, load_contract
from backtranslation.method.judging import judge_in_both_orders
from backtranslation.models.chat import cut_text, encode_text, prepare_tokenizer, render_prompt, with_user_turns
from backtranslation.models.choices import Question, cut_question, text_before_judgement
from backtranslation.models.engine import (
    PROMPT_TOO_LONG,
    Choice,
    Completion,
    ReplyLikelihood,
    Request,
    choose_all,
    generate_all,
    load_engine,
)
from backtranslation.models.pairs import EncodedPair, encode_forward, encode_usable
from backtranslation.models.prompts import PromptSet, score_message
from backtranslation.settings.augmentation import InstructionFilters
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.corpus import Decontamination
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import spec

LENIENT = Limits(max_unusable_share=1)
SAMPLING = Sampling(max_new_tokens=12)
ENDLESS = " ".join(f"word{number}" for number in range(400))  # more tokens than any tiny model has positions
SCORE = "{% set label = 'Score:' -%}Rate: {{ instruction }} {{ response }}"
REASONED = {"reasoned": True, "min_label_mass": 0.0, "checked": "score", "max_unparsable_share": 0.2}
JUDGE = "{% set label = 'Better:' -%}{{ instruction }} 1 {{ first }} 2 {{ second }}"


@pytest.fixture
def short_prompts(prompt_settings: Prompts, tmp_path: Path) -> Prompts:
    """The shipped prompts with short ones for scorer and judge, which a tiny model has room for."""
    texts = {"score": SCORE, "judge": JUDGE}
    for name, text in texts.items():
        (tmp_path / f"{name}.jinja").write_text(text)
    return prompt_settings.model_copy(update={name: str(tmp_path / f"{name}.jinja") for name in texts})


@pytest.fixture
def tokenizer(prompts: PromptSet, tokenizers: dict[str, PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    return prepare_tokenizer(tokenizers["plain"], prompts)


def compute(stage: str, folder: Path, settings: dict[str, Any], **files: Path | list[Path]) -> None:
    """Let a stage compute in this process, as its script would."""
    contract = load_contract(ROOT / f"scripts/{stage}.py")
    paths = {
        name: [str(path) for path in (given if isinstance(given, list) else [given])] for name, given in files.items()
    }
    execution = json.dumps({"limits": settings["limits"].execution()} if "limits" in settings else {})
    work = folder / f"work-{stage}"
    work.mkdir(exist_ok=True)
    contract.call(paths, contract.read_spec(spec(**settings), execution), Workplace(work, 1, 0, []))


def rows_of(path: Path) -> dict[str, Row]:
    return {row["id"]: row for row in read_rows(path)}


# Engines


class Narrow:
    """An engine with room for ten characters."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def room(self, prompt: str) -> int:
        return 10 - len(prompt)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in requests:
            self.asked.append(request.id)
            yield Completion(request.id, "text", 1, True)

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        for row_id, _ in prompts:
            self.asked.append(row_id)
            yield Choice(row_id, [0.5, 0.5], 0.9)

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        raise NotImplementedError


LENGTHS = {"a": 3, "long": 10, "b": 8, "longer": 40, "c": 9}


@pytest.mark.parametrize(
    ("least_room", "too_long"), [(1, {"long", "longer"}), (2, {"long", "longer", "c"}), (7, LENGTHS.keys() - {"a"})]
)
def test_an_engine_is_not_asked_what_it_has_no_room_for(
    least_room: int, too_long: set[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Narrow()
    requests = [Request(name, "x" * length, 0) for name, length in LENGTHS.items()]
    found = generate_all(engine, requests, Sampling(), tmp_path / "rows.jsonl", LENIENT, least_room)
    assert set(engine.asked) == LENGTHS.keys() - too_long
    assert f"{len(too_long)} of 5 prompts are too long and not asked" in caplog.text
    assert {name for name, completion in found.items() if completion.failure == PROMPT_TOO_LONG} == too_long
    assert all((found[name].text, found[name].finished) == ("", False) for name in too_long)
    assert f"row longer: its prompt and {least_room} to follow are {30 + least_room} more tokens than" in caplog.text


def test_a_choice_without_room_has_no_shares(tmp_path: Path) -> None:
    prompts = [(name, "x" * length) for name, length in LENGTHS.items()]
    found = choose_all(Narrow(), prompts, ["1", "2"], tmp_path / "rows.jsonl", LENIENT)
    half = {name: Choice(name, [0.5, 0.5], 0.9) for name in ("a", "b", "c")}
    assert found == half | {name: Choice(name, [], 0.0, PROMPT_TOO_LONG) for name in ("long", "longer")}


def test_too_many_long_prompts_stop_before_anything_is_asked(tmp_path: Path) -> None:
    engine = Narrow()
    requests = [Request(str(number), "x" * number, 0) for number in range(40)]
    with pytest.raises(DataError, match=r"30 of 40 prompts cannot be used \(30 prompt_too_long\)") as error:
        generate_all(engine, requests, Sampling(), tmp_path / "rows.jsonl", Limits())
    assert str(error.value).count("\n  prompt_too_long: row ") == 3
    assert engine.asked == [] and not (tmp_path / "rows.jsonl").exists()


# Training


def test_pairs_that_cannot_be_learnt_are_counted(prompts: PromptSet, tokenizer: PreTrainedTokenizerBase) -> None:
    rows: list[Row] = [*make_pairs(3), {"id": "long", "instruction": "why", "response": ENDLESS},
                       {"id": "empty", "instruction": "why", "response": " "}]  # fmt: skip

    tokenizer = with_user_turns(tokenizer, prompts.forward_turn("seed"))

    def encode(row: Row) -> Any:
        return encode_forward(tokenizer, row, 256)

    pairs, left_out = encode_usable(rows, encode, LENIENT)
    assert [pair.id for pair in pairs] == ["pair-0", "pair-1", "pair-2"]
    assert left_out == {"long": "target_too_long", "empty": "empty_target"}
    with pytest.raises(DataError, match=r"20 of 23 pairs cannot be used \(20 target_too_long\)"):
        encode_usable([*rows[:3], *[rows[3]] * 20], encode, Limits())


def test_an_over_long_seed_pair_is_left_out_of_a_training_and_counted(
    command: Callable[..., list[str]], tmp_path: Path
) -> None:
    pair = {"instruction": "why", "response": "because of the light", "rejection": None}
    augmented = [{"id": "rejected", **pair, "rejection": "empty"}, {"id": "good", **pair},
                 {"id": "long", **pair, "response": ENDLESS}]  # fmt: skip
    write_rows(tmp_path / "augmented.jsonl.zst", augmented)
    arguments = command("run", FAST.model_copy(update={"epochs": 0.1}), f"--augmented={tmp_path}/augmented.jsonl.zst")
    seed = list(read_rows(tmp_path / "seed.jsonl.zst"))
    write_rows(tmp_path / "seed.jsonl.zst", [*seed, {"id": "endless", **pair, "response": ENDLESS}])
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "skipped, target_too_long: row endless: its target of" in done.stderr
    assert json.loads((tmp_path / "run/model.pairs.json").read_text()) == {
        "seed": {"used": 32, "left_out": {"endless": "target_too_long"}},
        "augmented": {"used": 1, "left_out": {"long": "target_too_long"}},
    }
    write_rows(tmp_path / "seed.jsonl.zst", [{**row, "response": ENDLESS} for row in seed])
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "train_model: error: 32 of 32 pairs cannot be used (32 target_too_long), more than limits." in done.stderr


# Augmentation and curation


@pytest.fixture
def model(model_folder: Callable[[str], Path]) -> Path:
    """A model with a chat template of its own, as trained models have."""
    return model_folder("qwen")


@pytest.fixture
def generating(base: BaseModelSettings) -> dict[str, Any]:
    """Settings of stages that generate."""
    slices = {"loading": base.loading(), "sampling": SAMPLING, "generation": Generation(), "limits": LENIENT}
    return {**slices, "random_seed": 1}


def test_a_segment_too_long_for_the_backward_model_is_a_rejected_candidate(
    model: Path, generating: dict[str, Any], tmp_path: Path
) -> None:
    (prompt := tmp_path / "backward.jinja").write_text("Ask for: {{ response }}")
    segments, instructions, candidates = (tmp_path / f"{name}.jsonl.zst" for name in ("segments", "asked", "pairs"))
    write_rows(segments, [{"id": "short", "text": "the old lamp"}, {"id": "endless", "text": ENDLESS}])
    files = {"segments": segments, "instructions": instructions, "prompt": prompt}
    compute("generate_instructions", tmp_path, generating, model=model, **files)
    written = rows_of(instructions)
    assert list(written) == ["short", "endless"] and written["short"]["failure"] is None
    nothing = {"raw": "", "tokens": 0, "finished": False, "failure": "prompt_too_long"}
    assert written["endless"] == {"id": "endless", **nothing}
    write_rows(tmp_path / "held_out.jsonl.zst", [])
    files["held_out"] = tmp_path / "held_out.jsonl.zst"
    filters = {"filters": InstructionFilters(), "decontamination": Decontamination()}
    compute("filter_instructions", tmp_path, filters, candidates=candidates, **files)
    rejected = {"instruction": "", "response": ENDLESS, "rejection": "prompt_too_long"}
    assert rows_of(candidates)["endless"] == {"id": "endless", **rejected}


def test_a_candidate_too_long_for_the_scorer_goes_on_without_a_score(
    model: Path, generating: dict[str, Any], short_prompts: Prompts, tmp_path: Path
) -> None:
    """The prompt of `tight` fits into the model by itself, but leaves no room for the reply."""
    prompts = PromptSet(short_prompts)
    engine, tokenizer = load_engine(Generation(), str(model), generating["loading"], prompts)

    def room_after(response: str) -> int:
        return engine.room(render_prompt(tokenizer, score_message(prompts, "why", response)))

    longest = cut_text(tokenizer, lamps(600), room_after("") - 5)
    assert 1 <= room_after(longest) < SAMPLING.max_new_tokens
    candidates, judged, scores, curated, table = (
        tmp_path / name for name in ("c.jsonl.zst", "j.jsonl.zst", "s.jsonl.zst", "k.jsonl.zst", "t.parquet")
    )
    texts = {"short": "the old lamp", "tight": longest, "endless": ENDLESS}
    write_rows(
        candidates,
        [{"id": name, "instruction": "why", "response": text, "rejection": None} for name, text in texts.items()],
    )
    prompt = Path(short_prompts.score)
    scoring = generating | {"samples": 1}
    compute("score_candidates", tmp_path, scoring, candidates=candidates, model=model, prompt=prompt,
            judgements=judged)  # fmt: skip
    rows = rows_of(judged)
    (sample,) = rows["short"]["samples"]
    assert sum(sample["label_probabilities"]) == pytest.approx(1) and 0 < sample["label_mass"] <= 1
    for name in ("tight", "endless"):
        assert rows[name] == not_judged(name)
    # What was never asked is no unparsable score: only `short`, which may be one.
    lenient = REASONED | {"max_unparsable_share": 1.0}
    compute("compute_scores", tmp_path, lenient, candidates=candidates, judgements=judged, prompt=prompt, scores=scores)
    parsed = rows_of(scores)
    too_long = dict.fromkeys(("expected_score", "score"), "prompt_too_long")
    assert [reasons(parsed[name]) for name in ("tight", "endless")] == [too_long] * 2
    assert [parsed[name]["expected_score"] for name in ("tight", "endless")] == [None, None]
    compute("select_candidates", tmp_path, {"selection": Selection(by="expected", threshold=1)},
            candidates=[candidates], scores=[scores], curated=curated, table=table)  # fmt: skip
    assert list(rows_of(curated)) == ["short"]


def test_scores_that_were_never_asked_for_are_not_unparsable(prompt_settings: Prompts, tmp_path: Path) -> None:
    rows = [*(not_judged(str(n)) for n in range(50)), judged_row("read", "Score: 4")]
    write_rows(tmp_path / "j.jsonl.zst", rows)
    write_rows(tmp_path / "c.jsonl.zst", [{"id": row["id"], "rejection": None} for row in rows])
    files = {
        "candidates": tmp_path / "c.jsonl.zst", "judgements": tmp_path / "j.jsonl.zst",
        "scores": tmp_path / "s.jsonl.zst",
    }  # fmt: skip
    compute("compute_scores", tmp_path, REASONED, prompt=Path(prompt_settings.score), **files)
    assert rows_of(tmp_path / "s.jsonl.zst")["read"]["score"] == 4


def test_what_a_model_writes_is_kept_whatever_characters_it_makes(
    model: Path, generating: dict[str, Any], tmp_path: Path
) -> None:
    """Bytes that are no text become replacement characters, which every file can hold."""
    (prompt := tmp_path / "backward.jinja").write_text("Ask for: {{ response }}")
    segments, instructions = (tmp_path / f"{name}.jsonl.zst" for name in ("segments", "asked"))
    write_rows(segments, [{"id": pair["id"], "text": pair["response"]} for pair in make_pairs(12)])
    wild = generating | {"sampling": Sampling(temperature=5, top_p=1, max_new_tokens=40)}
    compute("generate_instructions", tmp_path, wild, segments=segments, model=model, prompt=prompt,
            instructions=instructions)  # fmt: skip
    assert sum("\ufffd" in row["raw"] for row in rows_of(instructions).values()) > 3


# Evaluation


def test_held_out_pairs_too_long_for_the_model_go_on_without_loss_and_answer(
    model: Path, generating: dict[str, Any], prompt_settings: Prompts, tmp_path: Path
) -> None:
    held_out, loss, answers = (tmp_path / name for name in ("h.jsonl.zst", "loss.json", "a.jsonl.zst"))
    long_answer = {"id": "long-answer", "instruction": "why", "response": ENDLESS}
    long_question = {"id": "long-question", "instruction": ENDLESS, "response": "because"}
    write_rows(held_out, [*make_pairs(2), long_answer, long_question])
    settings = generating | {"tags": prompt_settings.only(*Tags.model_fields), "max_answers": None}
    compute("evaluate_model", tmp_path, settings, model=model, held_out=held_out, loss=loss, answers=answers,
            prompt=Path(prompt_settings.forward))  # fmt: skip
    told = json.loads(loss.read_text())
    pairs = {pair["id"]: pair for pair in told["pairs"]}
    assert list(pairs) == ["pair-0", "pair-1", "long-answer", "long-question"]
    assert pairs["long-answer"] == {"id": "long-answer", "loss": None, "tokens": 0, "failure": "target_too_long"}
    assert pairs["long-question"]["loss"] > 0  # the instruction is shortened, as in training
    assert told["tokens"] == sum(pair["tokens"] for pair in pairs.values())
    answered = rows_of(answers)
    assert {name: row["failure"] for name, row in answered.items()} == {
        "pair-0": None, "pair-1": None, "long-answer": None, "long-question": "prompt_too_long"
    }  # fmt: skip
    assert answered["long-question"]["answer"] == ""


@pytest.mark.parametrize("rows", [[], [{"id": "long", "instruction": "why", "response": ENDLESS}]])
def test_no_pair_with_a_loss_gives_no_mean(
    model: Path, generating: dict[str, Any], prompt_settings: Prompts, tmp_path: Path, rows: list[Row]
) -> None:
    held_out, loss, answers = (tmp_path / name for name in ("h.jsonl.zst", "loss.json", "a.jsonl.zst"))
    write_rows(held_out, rows)
    settings = generating | {"tags": prompt_settings.only(*Tags.model_fields), "max_answers": None}
    compute("evaluate_model", tmp_path, settings, model=model, held_out=held_out, loss=loss, answers=answers,
            prompt=Path(prompt_settings.forward))  # fmt: skip
    told = json.loads(loss.read_text())
    assert (told["loss"], told["tokens"], len(told["pairs"])) == (None, 0, len(rows))


def lamps(count: int) -> str:
    return " ".join(["lamp"] * count)


@pytest.mark.parametrize(
    ("instruction", "first", "second", "whole"),
    [
        ("why", lamps(900), lamps(700), {"instruction"}),
        ("why", lamps(900), lamps(20), {"instruction", "second"}),
        ("why", "水油" * 900, lamps(900), {"instruction"}),
        (lamps(900), "oil", "water", {"first", "second"}),
        (lamps(900), lamps(900), lamps(900), set()),
    ],
)
@pytest.mark.parametrize("positions", [300, 301, 302])
def test_texts_too_long_for_the_judge_are_cut_to_one_number_of_tokens(
    short_prompts: Prompts, tokenizer: PreTrainedTokenizerBase, instruction: str, first: str, second: str,
    whole: set[str], positions: int,
) -> None:  # fmt: skip
    prompts, question = PromptSet(short_prompts), Question(instruction, first, second)

    def room(text: str) -> int:
        return positions - len(encode_text(tokenizer, text))

    cut = cut_question(tokenizer, prompts, question, room)
    rooms = [room(text_before_judgement(tokenizer, prompts, order)) for order in (cut, cut.reversed())]
    assert 1 <= min(rooms) <= 6  # both orders fit, and hardly anything is given away
    kept = {name: part for name, part in cut._asdict().items() if part == getattr(question, name)}
    assert kept.keys() == whole
    lengths = [len(encode_text(tokenizer, part)) for name, part in cut._asdict().items() if name not in whole]
    assert max(lengths) - min(lengths) <= 2 and min(lengths) > 50  # a character of three tokens is not cut
    assert all(getattr(question, name).startswith(part) for name, part in cut._asdict().items())
    assert cut_question(tokenizer, prompts, question.reversed(), room) == cut.reversed()


def test_a_question_that_fits_stays_as_it_is(short_prompts: Prompts, tokenizer: PreTrainedTokenizerBase) -> None:
    question = Question("why", "oil", "water")
    needed = len(encode_text(tokenizer, text_before_judgement(tokenizer, PromptSet(short_prompts), question)))

    def cut_for(positions: int) -> Question:
        def room(text: str) -> int:
            return positions - len(encode_text(tokenizer, text))

        return cut_question(tokenizer, PromptSet(short_prompts), question, room)

    assert cut_for(needed + 1) == question
    assert cut_for(needed) != question


def test_comparisons_of_cut_texts_and_those_without_an_answer_are_marked(
    base: BaseModelSettings, short_prompts: Prompts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = PromptSet(short_prompts)
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    answers = {"short": ("oil", None), "cut": (lamps(900), None), "none": ("", "prompt_too_long")}
    one, two = (
        [{"id": name, "instruction": "why", "answer": text + end, "failure": failure}
         for name, (text, failure) in answers.items()]
        for end in ("", " water")
    )  # fmt: skip
    rows = judge_in_both_orders(engine, tokenizer, prompts, one, two, tmp_path, LENIENT)
    judged = {row["id"]: row for row in rows}
    assert {name: (row["cut"], row["failure"]) for name, row in judged.items()} == {
        "short": (False, None), "cut": (True, None), "none": (False, "no_answer")
    }  # fmt: skip
    assert 0 < judged["cut"]["first_wins_forward"] < 1 and judged["none"]["first_wins_forward"] is None
    # Cut to one number of tokens the two answers are the same, so that both orders together are a draw.
    assert judged["cut"]["first_wins_forward"] + judged["cut"]["first_wins_reversed"] == pytest.approx(1, abs=1e-5)
    assert "1 of 2 comparisons are of texts that were cut" in caplog.text


def test_a_template_that_fills_the_judge_by_itself_stops_unless_that_is_allowed(
    base: BaseModelSettings, short_prompts: Prompts, tmp_path: Path
) -> None:
    Path(short_prompts.judge).write_text(JUDGE + lamps(900))
    prompts = PromptSet(short_prompts)
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    rows = [{"id": str(n), "instruction": "why", "answer": "oil", "failure": None} for n in range(9)]
    with pytest.raises(DataError, match=r"9 of 9 prompts cannot be used"):
        judge_in_both_orders(engine, tokenizer, prompts, rows, rows, tmp_path, Limits())
    judged = judge_in_both_orders(engine, tokenizer, prompts, rows, rows, tmp_path, LENIENT)
    assert {row["failure"] for row in judged} == {"prompt_too_long"}
