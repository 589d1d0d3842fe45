"""Held-out loss, answers and judgements of a tiny random model, against the same numbers worked out one by one."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from helpers.tiny_models import ROOT, make_pairs
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from backtranslation.errors import DataError
from backtranslation.files import read_rows, write_rows
from backtranslation.method.evaluation import (
    PairLoss,
    answer_instructions,
    held_out_losses,
    mean_loss,
)
from backtranslation.method.judging import judge_in_both_orders
from backtranslation.models.chat import render_prompt, with_user_turns
from backtranslation.models.engine import Choice, Completion, Engine, ReplyLikelihood, Request, load_engine, row_seed
from backtranslation.models.pairs import EncodedPair, encode_forward
from backtranslation.models.prompts import PromptSet, judge_message
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import spec

PAIRS = make_pairs(6)
SAMPLING = Sampling(temperature=0.7, max_new_tokens=6)


class Loaded(NamedTuple):
    """A tiny model in every form that the tests need."""

    folder: str
    model: PreTrainedModel
    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    prompts: PromptSet


@pytest.fixture
def judge_settings(prompt_settings: Prompts, tmp_path: Path) -> Prompts:
    """The shipped prompts with a short one for the judge, which two answers and a tiny context leave room for."""
    (tmp_path / "judge.jinja").write_text("{% set label = 'Better:' -%}{{ instruction }} 1 {{ first }} 2 {{ second }}")
    return prompt_settings.model_copy(update={"judge": str(tmp_path / "judge.jinja")})


@pytest.fixture
def loaded(base: BaseModelSettings, judge_settings: Prompts) -> Loaded:
    prompts = PromptSet(judge_settings)
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    return Loaded(base.path, AutoModelForCausalLM.from_pretrained(base.path), engine, tokenizer, prompts)


@pytest.fixture
def pairs(loaded: Loaded) -> list[EncodedPair]:
    tokenizer = with_user_turns(loaded.tokenizer, loaded.prompts.forward_turn("seed"))
    return [encode_forward(tokenizer, pair, 512) for pair in PAIRS]


def test_loss_in_batches_is_the_loss_of_each_pair_alone(
    loaded: Loaded, pairs: list[EncodedPair], tmp_path: Path
) -> None:
    losses = held_out_losses(loaded.engine, pairs, tmp_path / "losses.jsonl")
    assert [loss.id for loss in losses] == [pair.id for pair in pairs]
    for pair, loss in zip(pairs, losses, strict=True):
        ids = torch.tensor([pair.ids.tolist()])
        with torch.no_grad():
            alone = loaded.model(input_ids=ids, labels=torch.tensor([pair.labels])).loss.item()
        assert loss.loss == pytest.approx(alone, abs=1e-5)
        assert loss.tokens == len(pair.ids) - pair.prompt_tokens


def test_mean_loss_is_by_token() -> None:
    loss, tokens = mean_loss([PairLoss("a", 2.0, 1), PairLoss("b", 1.0, 3)])
    assert (loss, tokens) == (5 / 4, 4)


def test_answers_keep_the_order_and_the_seed_of_their_rows(loaded: Loaded, tmp_path: Path) -> None:
    _, _, engine, tokenizer, prompts = loaded
    tokenizer = with_user_turns(tokenizer, prompts.forward_turn("answer"))
    journals = [tmp_path / f"{seed}.jsonl" for seed in (1, 2)]
    answers = answer_instructions(engine, tokenizer, PAIRS, SAMPLING, 1, journals[0], Limits())
    assert [(row["id"], row["reference"]) for row in answers] == [(pair["id"], pair["response"]) for pair in PAIRS]
    prompt = render_prompt(tokenizer, PAIRS[2]["instruction"])
    (alone,) = engine.generate(
        [Request(PAIRS[2]["id"], prompt, row_seed(1, PAIRS[2]["id"], "evaluate_model"))], SAMPLING
    )
    assert answers[2]["answer"] == alone.text.strip()
    assert answers != answer_instructions(engine, tokenizer, PAIRS, SAMPLING, 2, journals[1], Limits())


def test_judgement_is_read_at_the_place_of_the_number(loaded: Loaded, tmp_path: Path) -> None:
    one = {"id": "h", "instruction": "why", "answer": "oil", "failure": None}
    two = {"id": "h", "instruction": "why", "answer": "water", "failure": None}
    (row,) = judge_in_both_orders(loaded.engine, loaded.tokenizer, loaded.prompts, [one], [two], tmp_path, Limits())
    assert row["first_wins_forward"] == pytest.approx(_chance_of_first(loaded, "oil", "water"), abs=1e-5)
    assert row["first_wins_reversed"] == pytest.approx(1 - _chance_of_first(loaded, "water", "oil"), abs=1e-5)


def _chance_of_first(loaded: Loaded, first: str, second: str) -> float:
    """P("1") against P("2") after `Better:`, from the logits of one plain pass."""
    text = render_prompt(loaded.tokenizer, judge_message(loaded.prompts, "why", first, second)) + "Better:"
    one, two = (loaded.tokenizer(text + digit, add_special_tokens=False)["input_ids"] for digit in (" 1", " 2"))
    place = next(number for number, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
    with torch.no_grad():
        logits = loaded.model(torch.tensor([one[:place]])).logits[0, -1]
    return 1 / (1 + math.exp(logits[two[place]].item() - logits[one[place]].item()))


class FirstIsBetter:
    """An engine that always prefers what it is shown first; it is killed after `patience` rows in all."""

    def __init__(self, patience: int = 1000) -> None:
        self.patience = patience
        self.asked: list[str] = []

    def room(self, prompt: str) -> int:
        return sys.maxsize

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[Completion]:
        raise NotImplementedError

    def choose(self, prompts: Sequence[tuple[str, str]], choices: Sequence[str]) -> Iterator[Choice]:
        for row_id, text in reversed(prompts):
            if len(self.asked) == self.patience:
                raise KeyboardInterrupt
            self.asked.append(text)
            yield Choice(row_id, [0.9, 0.1], 0.5)

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        raise NotImplementedError


def test_a_judge_that_looks_at_places_only_cancels_out(loaded: Loaded, tmp_path: Path) -> None:
    rows = [{"id": pair["id"], "instruction": "why", "answer": "oil", "failure": None} for pair in PAIRS]
    judged = judge_in_both_orders(FirstIsBetter(), loaded.tokenizer, loaded.prompts, rows, rows, tmp_path, Limits())
    assert [row["id"] for row in judged] == [pair["id"] for pair in PAIRS]
    for row in judged:
        assert row["first_wins_forward"] + row["first_wins_reversed"] == pytest.approx(1)


@pytest.mark.parametrize("patience", [0, 4, len(PAIRS), len(PAIRS) + 2])
def test_a_killed_judge_is_asked_for_the_missing_rows_only(loaded: Loaded, tmp_path: Path, patience: int) -> None:
    """Killed in the first order of showing, between the two, and in the second."""
    first = [{"id": pair["id"], "instruction": "why", "answer": pair["id"], "failure": None} for pair in PAIRS]
    second = [{**row, "answer": "oil", "failure": None} for row in first]
    killed, again = FirstIsBetter(patience), FirstIsBetter()
    with pytest.raises(KeyboardInterrupt):
        judge_in_both_orders(killed, loaded.tokenizer, loaded.prompts, first, second, tmp_path, Limits())
    judged = judge_in_both_orders(again, loaded.tokenizer, loaded.prompts, first, second, tmp_path, Limits())
    assert len(set(killed.asked + again.asked)) == len(killed.asked) + len(again.asked) == 2 * len(PAIRS)
    quiet = FirstIsBetter()
    (tmp_path / "quiet").mkdir()
    assert judged == judge_in_both_orders(
        quiet, loaded.tokenizer, loaded.prompts, first, second, tmp_path / "quiet", Limits()
    )


def test_answers_to_different_instructions_cannot_be_judged(loaded: Loaded, tmp_path: Path) -> None:
    rows = [{"id": name, "instruction": "why", "answer": "oil", "failure": None} for name in "ab"]
    with pytest.raises(DataError, match="same instructions"):
        judge_in_both_orders(FirstIsBetter(), loaded.tokenizer, loaded.prompts, rows, rows[::-1], tmp_path, Limits())


def test_scripts_measure_answer_and_judge(
    base: BaseModelSettings, model_folder: Callable[[str], Path], judge_settings: Prompts, tmp_path: Path
) -> None:
    """The model has a chat template of its own, as trained models do; base models (untouched, judge) are given one."""
    write_rows(tmp_path / "held_out.jsonl.zst", PAIRS)
    slices = {"loading": base.loading(), "generation": Generation(), "limits": Limits()}
    tags = judge_settings.only(*Tags.model_fields)
    evaluation = spec(**slices, hub_name=None, tags=tags, sampling=SAMPLING, max_answers=4, random_seed=1)
    _run("evaluate_model", tmp_path, "--spec", evaluation, "--model", str(model_folder("qwen")),
         "--held-out", "held_out.jsonl.zst", "--prompt", judge_settings.forward, "--loss", "loss.json",
         "--answers", "answers.jsonl.zst")  # fmt: skip
    loss = json.loads((tmp_path / "loss.json").read_text())
    assert [pair["id"] for pair in loss["pairs"]] == [pair["id"] for pair in PAIRS]
    assert loss["tokens"] == sum(pair["tokens"] for pair in loss["pairs"])
    assert 0 < loss["loss"] < math.inf
    answered = [row["id"] for row in read_rows(tmp_path / "answers.jsonl.zst")]
    assert answered == [pair["id"] for pair in PAIRS[:4]]

    _run("evaluate_model", tmp_path, "--spec", evaluation, "--model", base.path, "--chat-template",
         judge_settings.chat_template, "--held-out", "held_out.jsonl.zst", "--prompt", judge_settings.forward,
         "--loss", "untouched.json", "--answers", "untouched.jsonl.zst")  # fmt: skip
    untouched = json.loads((tmp_path / "untouched.json").read_text())
    assert untouched["tokens"] > 0 and untouched["loss"] != loss["loss"]

    _run("judge_answers", tmp_path, "--spec", spec(**slices), "--judge", base.path,
         "--first", "answers.jsonl.zst", "--second", "answers.jsonl.zst", "--prompt", judge_settings.judge,
         "--chat-template", judge_settings.chat_template,
         "--judgements", "same.jsonl.zst")  # fmt: skip
    judged = list(read_rows(tmp_path / "same.jsonl.zst"))
    assert [row["id"] for row in judged] == answered
    for row in judged:
        # A model against itself: whatever the judge likes about a place, both orders together are a draw.
        assert row["first_wins_forward"] + row["first_wins_reversed"] == pytest.approx(1, abs=1e-5)


def _run(script: str, folder: Path, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--store", "store", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
