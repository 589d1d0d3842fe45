"""Every architecture trains, generates and scores: packed rows and shared prefixes change nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.tiny_models import CONFIGS, make_pairs
from transformers import AutoModelForCausalLM

from backtranslation.models.chat import render_prompt, with_user_turns
from backtranslation.models.engine import Request, load_engine, row_seed
from backtranslation.models.engines.transformers_engine import TransformersEngine
from backtranslation.models.loading import load_tokenizer
from backtranslation.models.packing import collate, pack
from backtranslation.models.pairs import NO_LABEL, encode_forward
from backtranslation.models.prompts import PromptSet, score_message
from backtranslation.models.training import fine_tune
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.training import Training

ModelFolder = Callable[[str], Path]
GREEDY = Sampling(temperature=0, max_new_tokens=12)
# OPT cannot be packed; tests/test_training.py shows that it is noticed.
architectures = pytest.mark.parametrize("architecture", [name for name in CONFIGS if name != "opt"])


def target_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Negative log likelihood of every labelled token, in order."""
    labels = batch["labels"]
    with torch.no_grad():
        logits = model(batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return losses[labels[:, 1:] != NO_LABEL]


@architectures
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_batch_has_the_losses_of_its_rows_alone(
    architecture: str, attention: str, model_folder: ModelFolder, prompts: PromptSet
) -> None:
    folder = model_folder(architecture)
    tokenizer = load_tokenizer(str(folder), BaseModelSettings(path=str(folder)), prompts)
    tokenizer = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention).eval()
    pairs = [encode_forward(tokenizer, row, 256) for row in make_pairs(12)]
    rows = [[pairs[index] for index in row] for row in pack([len(pair.ids) for pair in pairs], 256)]
    assert len(rows) < len(pairs)
    packed = target_losses(model, collate(rows))
    alone = torch.cat([target_losses(model, collate([[pair]])) for row in rows for pair in row])
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)


@architectures
def test_train_generate_and_score(
    architecture: str, model_folder: ModelFolder, prompts: PromptSet, tmp_path: Path
) -> None:
    base = BaseModelSettings(path=str(model_folder(architecture)))
    tokenizer = load_tokenizer(base.path, base, prompts)
    training = Training(
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        max_length=256,
        batch_size=4,
        epochs=2,
        min_steps=1,
        rows_per_device=4,
    )
    pairs = [
        encode_forward(with_user_turns(tokenizer, prompts.forward_turn("seed")), row, training.max_length)
        for row in make_pairs(12)
    ]
    model = tmp_path / "model"
    fine_tune(pairs, base, training, tokenizer, model, tmp_path / "work", tmp_path / "log.tsv", 1)
    assert [path.name for path in model.iterdir() if path.suffix in (".safetensors", ".bin", ".pt")] == [
        "model.safetensors"
    ]

    engine, tokenizer = load_engine(Generation(), str(model), base, prompts)
    answering = with_user_turns(tokenizer, prompts.forward_turn("answer"))
    requests = [Request(row["id"], render_prompt(answering, row["instruction"]), 7) for row in make_pairs(5)]
    assert {done.id for done in engine.generate(requests, GREEDY)} == {request.id for request in requests}
    asked = [(request.id, request.prompt + "Score:") for request in requests]
    found = list(engine.choose(asked, [" 1", " 2", " 3"]))
    assert {choice.id for choice in found} == {request.id for request in requests}
    assert all(sum(choice.shares) == pytest.approx(1) and 0 < choice.mass <= 1 for choice in found)


@architectures
def test_measured_replies_equal_the_model_row_by_row(
    architecture: str, model_folder: ModelFolder, prompts: PromptSet
) -> None:
    """With prompts that share a long beginning, prompts that are the same, and prompts that have nothing in common."""
    base = BaseModelSettings(path=str(model_folder(architecture)))
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    assert isinstance(engine, TransformersEngine)
    rows = make_pairs(9, seed=3)
    shown = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    for begin in (make_pairs(1)[0]["response"], ""):
        variants = [{**row, "instruction": begin + row["instruction"]} for row in rows]
        for told in (variants, [{**row, "instruction": begin} for row in rows]):
            pairs = [encode_forward(shown, row, 512) for row in told]
            measured = {one.id: one.log_probabilities for one in engine.measure(pairs)}
            assert measured.keys() == {pair.id for pair in pairs}
            for pair in pairs:
                ids = torch.tensor([pair.ids.tolist()])
                with torch.no_grad():
                    likely = engine.model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
                expected = likely[pair.prompt_tokens - 1 :].tolist()
                assert measured[pair.id] == pytest.approx(expected, abs=2e-4)


@architectures
def test_greedy_batches_equal_generate_row_by_row(
    architecture: str, model_folder: ModelFolder, prompts: PromptSet
) -> None:
    """Against transformers' own generate, with prompts that share a long beginning and with prompts that do not.

    The sliding windows of Mistral and Gemma (48 tokens) are shorter than the prompts.
    """
    base = BaseModelSettings(path=str(model_folder(architecture)))
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    assert isinstance(engine, TransformersEngine)
    rows = make_pairs(9, seed=3)
    shown = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    shared = [render_prompt(shown, make_pairs(1)[0]["response"] + row["response"]) for row in rows]
    for texts in (shared, [row["response"] for row in rows]):
        requests = [Request(str(number), text, 0) for number, text in enumerate(texts)]
        written = {done.id: done for done in engine.generate(requests, GREEDY)}
        for request in requests:
            ids = tokenizer(request.prompt, add_special_tokens=False, return_tensors="pt").input_ids
            whole = engine.model.generate(
                ids, max_new_tokens=12, do_sample=False, eos_token_id=engine.end_ids,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
            expected = tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
            assert written[request.id].text == expected


@architectures
def test_a_row_does_not_depend_on_its_batch(architecture: str, model_folder: ModelFolder, prompts: PromptSet) -> None:
    base = BaseModelSettings(path=str(model_folder(architecture)))
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    sampling = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=12)
    requests = [
        Request(
            row["id"],
            render_prompt(tokenizer, score_message(prompts, row["instruction"], row["response"]))[-400:],
            row_seed(1, row["id"], "score_candidates"),
        )
        for row in make_pairs(8)
    ]
    together = {done.id: done for done in engine.generate(requests, sampling)}
    alone = {done.id: done for request in requests for done in engine.generate([request], sampling)}
    assert together == alone
    assert len({done.text for done in together.values()}) == len(requests)
