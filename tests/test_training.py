"""Fine-tuning: the plan, the learning rates, the loss, adapters, faults."""

import subprocess
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers.tiny_models import make_pairs
from helpers.trainings import FAST, FIVE_ROWS, assert_same_training, changed, weights
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from backtranslation.files import write_rows
from backtranslation.jobs.checkpoints import latest_checkpoint
from backtranslation.models.chat import with_user_turns
from backtranslation.models.loading import load_model, load_tokenizer
from backtranslation.models.pairs import EncodedPair, encode_backward, encode_forward
from backtranslation.models.prompts import PromptSet
from backtranslation.models.training import fine_tune, keeps_examples_apart, pack_pairs
from backtranslation.models.training_steps import (
    Layout,
    TrainingError,
    TrainingSteps,
    count_steps,
    fill_steps,
    learning_rates,
    order_rows,
    spread_rows,
)
from backtranslation.models.training_table import TABLE_COLUMNS
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.training import Lora, ScheduleRow, Training

PAPER = [
    ScheduleRow(examples=examples, batch_size=batch_size, steps=steps)
    for examples, batch_size, steps in [(100, 8, 30), (800, 8, 300), (3200, 32, 500), (51200, 32, 1600)]
]


@pytest.fixture
def encoded(base: BaseModelSettings, prompts: PromptSet) -> list[EncodedPair]:
    tokenizer = with_user_turns(load_tokenizer(base.path, base, prompts), prompts.forward_turn("seed"))
    return [encode_forward(tokenizer, row, FAST.max_length) for row in make_pairs(32)]


@pytest.fixture
def train(
    base: BaseModelSettings, prompts: PromptSet, encoded: list[EncodedPair], tmp_path: Path
) -> Callable[..., Path]:
    """Train in this process; the folder of the model."""

    def run(training: Training = FAST, name: str = "model") -> Path:
        tokenizer = load_tokenizer(base.path, base, prompts)
        table = tmp_path / f"{name}.tsv"
        fine_tune(encoded, base, training, tokenizer, tmp_path / name, tmp_path / f"{name}-work", table, 1)
        return tmp_path / name

    return run


@pytest.mark.parametrize("row", PAPER)
def test_the_schedule_gives_the_papers_passes_and_batch_at_its_sizes(row: ScheduleRow) -> None:
    """Every example in a row of its own, so that rows and examples are the same."""
    plan = count_steps(Training(schedule=PAPER), row.examples, row.examples)
    assert (plan.steps, plan.rows_per_step) == (row.steps, row.batch_size)


def test_the_schedule_interpolates_passes_on_the_logarithm_of_the_size() -> None:
    training = Training(schedule=PAPER, min_steps=1)
    passes = [
        plan.steps * plan.rows_per_step / size
        for size in (10, 100, 800, 1600, 3200, 12_800, 51_200, 500_000)
        for plan in [count_steps(training, size, size)]
    ]
    # 1,600 lies halfway between 800 (3 passes) and 3,200 (5), 12,800 halfway between 3,200 (5) and 51,200 (1).
    assert passes == pytest.approx([2.4, 2.4, 3, 4, 5, 3, 1, 1], rel=0.01)


@pytest.mark.parametrize(
    ("rows_per_device", "processes", "expected"),
    [(16, 1, (16, 1)), (4, 1, (4, 4)), (5, 1, (4, 4)), (1, 1, (1, 16)), (4, 2, (4, 2)), (7, 3, (6, 1))],
)
def test_the_rows_of_a_step_are_spread(rows_per_device: int, processes: int, expected: tuple[int, int]) -> None:
    """32 examples a step where a row holds two of them: 16 rows, on whatever machine."""
    plan = count_steps(Training(batch_size=32, epochs=2), examples=2000, rows=1000)
    assert plan == TrainingSteps(steps=125, rows_per_step=16)
    layout = spread_rows(plan.rows_per_step, rows_per_device, processes)
    assert layout == Layout(processes, *expected)
    rows = [[pair] for pair in map(empty_pair, range(plan.steps * plan.rows_per_step))]
    filled = fill_steps(rows, plan, layout)
    assert len(filled) == plan.steps * layout.places
    for step in range(plan.steps):
        places = filled[step * layout.places : (step + 1) * layout.places]
        assert places[:16] == rows[step * 16 : (step + 1) * 16] and not any(places[16:])


def empty_pair(number: int) -> EncodedPair:
    return EncodedPair(str(number), array("i"), 0)


def test_a_tiny_training_set_still_takes_a_step() -> None:
    plan = count_steps(Training(batch_size=32, epochs=0.1, min_steps=1), examples=3, rows=1)
    assert plan.steps >= 1 and plan.rows_per_step >= 1


@pytest.mark.parametrize(
    ("examples", "steps"),
    [(64, 20), (136, 42), (1600, 500), (3200, 500), (12_800, 500), (64_000, 2000)],
)
def test_epochs_are_those_of_the_papers_500_steps_between_one_and_ten(examples: int, steps: int) -> None:
    assert count_steps(Training(), examples, examples).steps == steps


def test_steps_take_the_place_of_epochs() -> None:
    assert count_steps(Training(steps=70, batch_size=8), examples=1000, rows=500) == TrainingSteps(70, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"epochs": 1},
            r"^136 pairs make 4 optimizer steps, fewer than min_steps \(20\): .* raise epochs, lower batch_size",
        ),
        ({"steps": 1}, r"make 1 optimizer step, fewer .* raise steps, or lower min_steps$"),
        (
            {"schedule": PAPER[:1], "min_steps": 50},
            r"make 41 .* than min_steps \(50\): .* raise the steps of its schedule",
        ),
        ({"warmup_steps": 42}, r"make 42 optimizer steps, no more than warmup_steps \(42\): .* or lower warmup_steps$"),
    ],
)
def test_a_training_too_short_to_teach_anything_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        count_steps(Training(**values), 136, 136)


def test_a_short_training_is_refused_before_its_model_is_loaded(
    command: Callable[..., list[str]], base: BaseModelSettings, encoded: list[EncodedPair], tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    nowhere = base.model_copy(update={"path": str(tmp_path / "missing")})
    with pytest.raises(TrainingError, match="32 pairs make 16 optimizer steps"):
        too_short = changed(FAST, min_steps=17)
        fine_tune(
            encoded, nowhere, too_short, tokenizer, tmp_path / "model", tmp_path / "work", tmp_path / "log.tsv", 1
        )
    done = subprocess.run(command("model", changed(FAST, min_steps=17)), capture_output=True, text=True)
    assert done.returncode != 0
    assert "config: training.forward: 32 pairs make 16 optimizer steps, fewer than min_steps (17)" in done.stderr


def test_the_learning_rate_falls_linearly_to_the_final_one() -> None:
    rates = learning_rates(Training(learning_rate=1e-5, final_learning_rate=9e-6), 101)
    assert rates[0] == 1e-5 and rates[50] == pytest.approx(9.5e-6) and rates[-1] == 9e-6
    rates = learning_rates(Training(learning_rate=1e-5, final_learning_rate=9e-6, warmup_steps=4), 10)
    assert rates[:5] == pytest.approx([2e-6, 4e-6, 6e-6, 8e-6, 1e-5]) and rates[-1] == 9e-6 and len(rates) == 10


def test_every_pass_holds_every_row_once(encoded: list[EncodedPair]) -> None:
    packed = [[pair] for pair in encoded]
    plan = count_steps(changed(FAST, epochs=3), len(packed), len(packed))
    rows = order_rows(packed, plan, 1)
    passes = [[row[0].id for row in rows[start : start + 32]] for start in (0, 32, 64)]
    assert len(rows) == 96
    assert all(sorted(ids) == sorted(pair.id for pair in encoded) for ids in passes)
    assert passes[0] != passes[1] != passes[2]
    assert order_rows(packed, plan, 1) == rows != order_rows(packed, plan, 2)


def test_a_model_learns_and_is_saved_as_an_ordinary_model(
    train: Callable[..., Path], encoded: list[EncodedPair]
) -> None:
    folder = train()
    table = pd.read_csv(folder.with_suffix(".tsv"), sep="\t")
    assert list(table) == list(TABLE_COLUMNS)
    assert table.loss.iloc[-1] < table.loss.iloc[0] - 1
    assert table.learning_rate.iloc[0] == FAST.learning_rate
    assert table.learning_rate.iloc[-1] == FAST.final_learning_rate
    assert table.tokens.iloc[-1] == pytest.approx(FAST.epochs * sum(len(pair.ids) for pair in encoded), rel=0.15)
    assert table.padding.between(0, 0.5).all()
    assert table.mfu.isna().all(), "a processor has no peak"
    for column in ("step", "tokens", "seconds"):
        assert all(earlier < later for earlier, later in pairwise(table[column]))

    assert {path.suffix for path in folder.iterdir()} <= {".json", ".jinja", ".safetensors"}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.attention_dropout == 0.0 and model.config.use_cache
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert "assistant" in tokenizer.chat_template


@pytest.mark.parametrize("accepts_loss_kwargs", [True, False])
def test_the_logged_loss_is_the_mean_over_the_reply_tokens_of_a_step(
    accepts_loss_kwargs: bool,
    train: Callable[..., Path],
    base: BaseModelSettings,
    encoded: list[EncodedPair],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first loss, over accumulated rows of different lengths, is that of the untrained model on the replies.

    It is so where an architecture would average each batch by itself, as Gemma 4 says it does.
    """
    monkeypatch.setattr(LlamaForCausalLM, "accepts_loss_kwargs", accepts_loss_kwargs, raising=False)
    one_step = changed(FAST, epochs=1, batch_size=32, rows_per_device=2, dropout=0.0)
    folder = train(one_step)
    logged = pd.read_csv(folder.with_suffix(".tsv"), sep="\t").loss.iloc[0]
    model = load_model(base.path, base, torch.float32)
    total, tokens = 0.0, 0
    for pair in encoded:
        with torch.no_grad():
            loss = model(torch.tensor([pair.ids.tolist()]), labels=torch.tensor([pair.labels])).loss.item()
        count = len(pair.ids) - pair.prompt_tokens
        total, tokens = total + loss * count, tokens + count
    assert logged == pytest.approx(total / tokens, rel=1e-4)


@pytest.mark.parametrize(("architecture", "apart"), [("llama", True), ("opt", False)])
def test_pairs_are_packed_only_where_the_model_sees_their_borders(
    architecture: str, apart: bool, model_folder: Callable[[str], Path], prompts: PromptSet
) -> None:
    base = BaseModelSettings(path=str(model_folder(architecture)))
    tokenizer = with_user_turns(load_tokenizer(base.path, base, prompts), prompts.forward_turn("seed"))
    pairs = [encode_forward(tokenizer, row, 256) for row in make_pairs(8)]
    model = load_model(base.path, base, torch.float32)
    assert keeps_examples_apart(model, pairs) == apart
    rows = pack_pairs(pairs, 256, apart)
    assert (len(rows) < len(pairs)) == apart
    assert sorted(pair.id for row in rows for pair in row) == sorted(pair.id for pair in pairs)


def test_dropout_reaches_the_model(base: BaseModelSettings, model_folder: Callable[[str], Path]) -> None:
    assert load_model(base.path, base, torch.float32, 0.3).model.layers[0].self_attn.attention_dropout == 0.3
    gpt2 = str(model_folder("gpt2"))
    for dropout, expected in ((0.3, 0.3), (None, 0.1)):
        assert load_model(gpt2, base, torch.float32, dropout).get_submodule("transformer.drop").p == expected


def test_adapters_are_merged(train: Callable[..., Path], base: BaseModelSettings) -> None:
    training = changed(FAST, method="lora", lora=Lora(rank=4, alpha=8).model_dump(), gradient_checkpointing=True)
    folder = train(training)
    before, after = weights(Path(base.path)), weights(folder)
    assert before.keys() == after.keys()
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])
    assert not list(folder.glob("adapter_*")), "in a folder of their own, where nothing takes the model for an adapter"
    table = pd.read_csv(folder.with_suffix(".tsv"), sep="\t")
    assert table.loss.iloc[-1] < table.loss.iloc[0]


def test_activations_computed_twice_change_nothing_and_warn_of_nothing(
    train: Callable[..., Path], recwarn: pytest.WarningsRecorder
) -> None:
    """Dropout draws the same the second time."""
    training = changed(FAST, dropout=0.3, epochs=2)
    kept = train(changed(training, gradient_checkpointing=False), "kept")
    assert_same_training(kept, train(changed(training, gradient_checkpointing=True), "twice"))
    assert not [warning for warning in recwarn if warning.category is FutureWarning]


def test_bfloat16_training_writes_bfloat16_weights(train: Callable[..., Path]) -> None:
    folder = train(changed(FAST, precision="bfloat16", epochs=1))
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.bfloat16}


def test_the_same_training_twice_gives_the_same_weights(train: Callable[..., Path]) -> None:
    one, other = weights(train(name="one")), weights(train(name="other"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_only_whole_checkpoints_are_used_and_the_last_of_them(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for name in ("whole-9", "whole-10", "checkpoint-50"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoints/whole-10"


def test_a_step_has_five_rows(encoded: list[EncodedPair]) -> None:
    rows = pack_pairs(encoded, FIVE_ROWS.max_length, apart=True)
    assert count_steps(FIVE_ROWS, len(encoded), len(rows)).rows_per_step == 5


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_layout_changes_a_training_by_rounding_alone(method: str, train: Callable[..., Path]) -> None:
    training = changed(FIVE_ROWS, method=method, lora=Lora(dropout=0).model_dump())
    at_once = train(changed(training, rows_per_device=16), "at-once")
    for rows in (3, 1):
        assert_same_training(at_once, train(changed(training, rows_per_device=rows), f"by-{rows}"))


def test_the_script_passes_over_rejected_candidates(command: Callable[..., list[str]], tmp_path: Path) -> None:
    rows = make_pairs(6, seed=9)
    write_rows(
        tmp_path / "a.jsonl.zst", ({**row, "rejection": "empty" if row["id"] == "pair-0" else None} for row in rows)
    )
    too_long = {"id": "long", "instruction": "why", "response": "old red lamp " * 500, "score": 5.0}
    write_rows(tmp_path / "b.jsonl.zst", [*({**row, "score": 5.0} for row in rows), too_long])
    files = (str(tmp_path / name) for name in ("a.jsonl.zst", "b.jsonl.zst"))
    done = subprocess.run(
        command("model", changed(FAST, epochs=1), "--augmented", *files), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "43 pairs" in done.stderr
    assert "row long" in done.stderr and "1 of 12 pairs are left out" in done.stderr


def test_backward_and_forward_learn_opposite_sides(base: BaseModelSettings, prompts: PromptSet) -> None:
    tokenizer = load_tokenizer(base.path, base, prompts)
    row = make_pairs(1)[0]
    for pair, target in (
        (encode_forward(with_user_turns(tokenizer, prompts.forward_turn("seed")), row, 400), row["response"]),
        (encode_backward(with_user_turns(tokenizer, prompts.backward_turn()), row, 400), row["instruction"]),
    ):
        assert tokenizer.decode(pair.ids[pair.prompt_tokens :].tolist(), skip_special_tokens=True) == target


def test_faults_that_the_user_can_mend(
    train: Callable[..., Path], base: BaseModelSettings, prompts: PromptSet, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"max_length \(1024 tokens\) is more than the 512"):
        train(changed(FAST, max_length=1024))
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step"):
        train(changed(FAST, learning_rate=1e30, final_learning_rate=1e29, max_gradient_norm=1e30))
    tokenizer = load_tokenizer(base.path, base, prompts)
    with pytest.raises(TrainingError, match="there are no pairs"):
        fine_tune([], base, FAST, tokenizer, tmp_path / "model", tmp_path / "work", tmp_path / "log.tsv", 1)
    assert not (tmp_path / "model").exists()
