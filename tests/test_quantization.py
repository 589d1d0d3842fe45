"""A base of 4 bits and an AdamW of 8: what bitsandbytes computes, on a processor too; refused where it cannot."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers.tiny_models import build_tokenizer, make_pairs
from helpers.trainings import FAST, changed, weights
from peft import PeftModel
from pydantic import ValidationError
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from backtranslation.models.chat import with_user_turns
from backtranslation.models.loading import load_tokenizer
from backtranslation.models.packaging import ADAPTER
from backtranslation.models.pairs import encode_forward
from backtranslation.models.prompts import PromptSet
from backtranslation.models.sharding import choose_sharding
from backtranslation.models.training import fine_tune
from backtranslation.models.training_steps import TrainingError
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.training import Lora, Training

QLORA = changed(FAST, method="lora", lora=Lora(rank=4, alpha=8, quantization="4bit").model_dump(), dropout=0.0)
IN_8_BITS = changed(FAST, optimizer="adamw_8bit")


@pytest.fixture
def wide_base(tmp_path: Path) -> BaseModelSettings:
    """A model whose layers are large enough to be quantized: bitsandbytes leaves small tensors as they are."""
    tokenizer = build_tokenizer("plain")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, eos_token_id=tokenizer.eos_token_id, initializer_range=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return BaseModelSettings(path=str(tmp_path / "base"))


@pytest.fixture
def train(wide_base: BaseModelSettings, prompts: PromptSet, tmp_path: Path) -> Callable[..., Path]:
    """Train in this process; the folder of the model."""
    tokenizer = load_tokenizer(wide_base.path, wide_base, prompts)
    shown = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    pairs = [encode_forward(shown, row, FAST.max_length) for row in make_pairs(32)]

    def run(name: str, training: Training, *callbacks: TrainerCallback) -> Path:
        work, table = tmp_path / f"{name}-work", tmp_path / f"{name}.tsv"
        fine_tune(pairs, wide_base, training, tokenizer, tmp_path / name, work, table, 1, callbacks)
        return tmp_path / name

    return run


def losses(folder: Path) -> list[float]:
    return pd.read_csv(folder.with_suffix(".tsv"), sep="\t").loss.tolist()


def test_adapters_of_a_4_bit_base_are_merged_into_the_base_as_it_was(
    train: Callable[..., Path], wide_base: BaseModelSettings
) -> None:
    pytest.importorskip("bitsandbytes")
    whole = train("whole", changed(QLORA, lora={**QLORA.lora.model_dump(), "quantization": "none"}))
    folder = train("quantized", QLORA)
    assert losses(folder)[-1] < losses(folder)[0] - 0.3
    assert losses(folder) == pytest.approx(losses(whole), rel=0.05) and losses(folder) != losses(whole)
    before, after = weights(Path(wide_base.path)), weights(folder)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32} and after.keys() == before.keys()
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(wide_base.path), str(folder / ADAPTER))
    merged = adapted.merge_and_unload().state_dict()
    for name, tensor in after.items():
        torch.testing.assert_close(tensor, merged[name])
        assert torch.equal(tensor, before[name]) == ("_proj" not in name)


def test_moments_of_8_bits_train_nearly_as_whole_ones(train: Callable[..., Path]) -> None:
    pytest.importorskip("bitsandbytes")
    whole, folder = train("whole", FAST), train("quantized", IN_8_BITS)
    assert losses(folder)[-1] == pytest.approx(losses(whole)[-1], rel=0.05) and losses(folder) != losses(whole)


class Interruption(TrainerCallback):
    """Ends a training after ten steps."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step == 10:
            raise KeyboardInterrupt


@pytest.mark.parametrize("training", [QLORA, IN_8_BITS], ids=["4bit", "8bit"])
def test_a_training_goes_on_where_it_was_interrupted(training: Training, train: Callable[..., Path]) -> None:
    pytest.importorskip("bitsandbytes")
    training = changed(training, dropout=0.0, lora={**training.lora.model_dump(), "dropout": 0.0}, save_minutes=1e-6)
    with pytest.raises(KeyboardInterrupt):
        train("interrupted", training, Interruption())
    assert losses(train("interrupted", training)) == pytest.approx(losses(train("quiet", training)), rel=1e-5)


@pytest.mark.parametrize(
    ("training", "key"), [(QLORA, "lora.quantization"), (IN_8_BITS, "optimizer")], ids=["4bit", "8bit"]
)
def test_what_cannot_be_computed_here_is_refused_in_one_line(
    training: Training, key: str, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bitsandbytes", "bitsandbytes.functional", "bitsandbytes.optim"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=rf"^{key}: bitsandbytes cannot be used on this cpu: .*bitsandbytes.*$"):
        train("refused", training)


def test_settings_that_contradict_each_other() -> None:
    four = Lora(quantization="4bit")
    with pytest.raises(ValidationError, match=r"lora.quantization \(4bit\) needs method lora \(found: full\)"):
        Training(lora=four)
    with pytest.raises(ValidationError, match="optimizer cannot be sharded: set sharding to auto or never"):
        Training(optimizer="adamw_8bit", sharding="always")


@pytest.mark.parametrize("training", [QLORA, IN_8_BITS, FAST], ids=["4bit", "8bit", "neither"])
def test_what_is_quantized_is_never_sharded(training: Training) -> None:
    assert choose_sharding(changed(training, processes=2), 100, 10, None) == (training is FAST)
