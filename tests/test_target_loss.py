"""The loss over target tokens alone is that of all logits, its gradients too, and few logits are in memory at once."""

import random
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from helpers.tiny_models import CONFIGS, SIZES
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from backtranslation.models.packing import collate
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.target_loss import (
    ComputeLoss,
    chunked_loss,
    has_separate_head,
    return_target_loss,
    whole_loss,
)

VOCABULARY = 320
OWN_HEADS: dict[str, Callable[[int], PreTrainedConfig]] = {
    "tied": lambda vocabulary: LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=True, **SIZES),
    "capped": lambda vocabulary: Gemma2Config(
        vocab_size=vocabulary, final_logit_softcapping=2.0, num_key_value_heads=2, head_dim=8, **SIZES
    ),
    "scaled": lambda vocabulary: CohereConfig(vocab_size=vocabulary, logit_scale=0.25, **SIZES),
    "divided": lambda vocabulary: GraniteConfig(vocab_size=vocabulary, logits_scaling=3.0, **SIZES),
}  # fmt: skip
ARCHITECTURES = {name: build for name, build in CONFIGS.items() if name != "opt"} | OWN_HEADS


SEVEN_TOKENS = 7 * VOCABULARY


def build_model(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    config.initializer_range = 0.2
    return AutoModelForCausalLM.from_config(config).eval()


def make_batch(lengths: tuple[int, ...] = (20, 5, 37, 12, 30)) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two packed rows of pairs and an empty one, and their labels."""
    generator = random.Random(0)
    pairs = [
        EncodedPair(str(number), array("i", [generator.randrange(3, VOCABULARY) for _ in range(length)]), 3)
        for number, length in enumerate(lengths)
    ]
    batch = collate([pairs[:3], pairs[3:], []])
    return batch, batch.pop("labels")


def loss_and_gradients(architecture: str, adapters: bool, compute: ComputeLoss) -> tuple[float, dict[str, Any]]:
    """Of a batch, by a model that is the same whenever it is built; adapters lie on its head, too."""
    base = build_model(ARCHITECTURES[architecture](VOCABULARY))
    return_target_loss(base, compute)
    lora = LoraConfig(r=2, target_modules=r".*(_proj|c_attn|lm_head)", init_lora_weights=False)
    model = get_peft_model(base, lora) if adapters else base
    inputs, labels = make_batch()
    loss = model(**inputs, targets=labels).loss
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.filterwarnings("ignore:::peft", "ignore::FutureWarning")  # of adapters on tied weights; an older name
@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_all_logits(architecture: str, adapters: bool) -> None:
    assert has_separate_head(build_model(ARCHITECTURES[architecture](VOCABULARY)), make_batch()[0]["input_ids"][:1])
    expected, wanted = loss_and_gradients(architecture, adapters, whole_loss)
    in_chunks = partial(chunked_loss, held_logits=SEVEN_TOKENS)
    found, gradients = loss_and_gradients(architecture, adapters, in_chunks)
    assert found == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == wanted.keys()
    assert not adapters or any("lm_head" in name for name in wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())


@pytest.mark.parametrize("architecture", ["llama", "capped"])
def test_the_loss_is_that_of_the_architecture_itself(architecture: str) -> None:
    """transformers' own loss, a mean, of one pair."""
    model = build_model(ARCHITECTURES[architecture](VOCABULARY))
    inputs, labels = make_batch((23,))
    inputs, labels = {name: values[:1] for name, values in inputs.items()}, labels[:1]
    expected = model(**inputs, labels=labels).loss.item() * 20
    for compute in (whole_loss, chunked_loss, partial(chunked_loss, held_logits=SEVEN_TOKENS)):
        changed = build_model(ARCHITECTURES[architecture](VOCABULARY))
        return_target_loss(changed, compute)
        assert changed(**inputs, targets=labels).loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_targets_has_no_loss_and_a_gradient_for_every_weight() -> None:
    """Where processes add up their gradients, each must have them all."""
    model = build_model(ARCHITECTURES["llama"](VOCABULARY))
    return_target_loss(model, chunked_loss)
    inputs, labels = make_batch()
    loss = model(**inputs, targets=torch.full_like(labels, -100)).loss
    loss.backward()
    assert loss.item() == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())


def test_a_head_that_cannot_be_called_by_itself_is_found_out() -> None:
    """OPT does not call the part that transformers names its base."""
    ids = make_batch()[0]["input_ids"][:1]
    assert not has_separate_head(build_model(CONFIGS["opt"](VOCABULARY)), ids)


class Largest(TorchDispatchMode):
    """The most numbers of any tensor whose last dimension is the vocabulary: logits, or the smaller transposed head."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.found = vocabulary, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.ndim >= 2 and tensor.shape[-1] == self.vocabulary:
                self.found = max(self.found, tensor.numel())
        return made


@pytest.mark.parametrize("vocabulary", [3_000, 30_000])
def test_the_logits_in_memory_do_not_grow_with_the_vocabulary(vocabulary: int) -> None:
    """Forward and backward, of 1,200 tokens whose logits would be 3.6 and 36 million numbers."""
    held = 1_000_000
    model = build_model(LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=True, **SIZES))
    return_target_loss(model, partial(chunked_loss, held_logits=held))
    inputs, labels = make_batch((500, 100, 400, 200))
    with Largest(vocabulary) as largest:
        model(**inputs, targets=labels).loss.backward()
    assert held / 2 < largest.found <= held < 1200 * vocabulary
