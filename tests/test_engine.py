"""The transformers engine: sampling, shared prefixes, choices, memory."""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_models import make_pairs
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from backtranslation.models.chat import render_prompt
from backtranslation.models.continuations import common_prefix
from backtranslation.models.engine import EngineError, Request, choose_all, load_engine, row_seed
from backtranslation.models.engines import padded_batches, slot_attention, slots
from backtranslation.models.engines.padded_batches import PaddedBatches
from backtranslation.models.engines.sampling import next_tokens
from backtranslation.models.engines.slots import Slots
from backtranslation.models.engines.transformers_engine import TransformersEngine
from backtranslation.models.loading import ModelError
from backtranslation.models.pairs import EncodedPair
from backtranslation.models.prompts import PromptSet, score_message
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits

SAMPLING = Sampling(temperature=0.9, top_p=0.95, max_new_tokens=16)


@pytest.fixture(scope="module")
def base(model_folder: Callable[[str], Path]) -> BaseModelSettings:
    return BaseModelSettings(path=str(model_folder("qwen")))


@pytest.fixture(scope="module")
def loaded(base: BaseModelSettings, prompts: PromptSet) -> tuple[TransformersEngine, PreTrainedTokenizerBase]:
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    assert isinstance(engine, TransformersEngine)
    return engine, tokenizer


@pytest.fixture
def engine(loaded: tuple[TransformersEngine, PreTrainedTokenizerBase]) -> TransformersEngine:
    return loaded[0]


@pytest.fixture
def requests(
    loaded: tuple[TransformersEngine, PreTrainedTokenizerBase], prompts: PromptSet, engine: TransformersEngine
) -> list[Request]:
    """Scoring prompts whose rubric is cut short: half of each is common to all."""
    return [
        Request(
            row["id"],
            render_prompt(loaded[1], score_message(prompts, row["instruction"], row["response"])[-280:]),
            row_seed(1, row["id"], "score_candidates"),
        )
        for row in make_pairs(20)
    ]


@pytest.fixture
def with_rubric(requests: list[Request]) -> list[Request]:
    """The same prompts behind a long beginning."""
    rubric = "the old red lamp needs light and oil " * 8
    return [Request(request.id, rubric + request.prompt, request.seed) for request in requests]


@contextmanager
def noted(engine: TransformersEngine, number: Callable[[dict[str, torch.Tensor]], int]) -> Iterator[list[int]]:
    """A number for every forward pass of the model, by what it is given."""
    numbers: list[int] = []
    handle = engine.model.register_forward_pre_hook(
        lambda module, args, given: numbers.append(number(given)), with_kwargs=True
    )
    try:
        yield numbers
    finally:
        handle.remove()


def width(given: dict[str, torch.Tensor]) -> int:
    return given["input_ids"].shape[1]


def test_row_seeds_differ_by_run_row_and_stage_and_stay_the_same() -> None:
    stages = ("generate_instructions", "score_candidates")
    seeds = {row_seed(run, row, stage) for run in (1, 2) for row in ("a", "b") for stage in stages}
    assert len(seeds) == 8
    assert row_seed(1, "a", "generate_instructions") == 16049665814935191492
    assert row_seed(1, "a", "evaluate_model") == 16049665814935191492


def test_a_stage_without_a_number_is_an_error() -> None:
    with pytest.raises(KeyError, match="judge_answers"):
        row_seed(1, "a", "judge_answers")


def test_small_batches_give_the_same_text(engine: TransformersEngine, requests: list[Request]) -> None:
    """Five rows in slots at a time, and in padded batches."""
    expected = {done.id: done for done in engine.generate(requests, SAMPLING)}
    small = TransformersEngine(engine.model, engine.tokenizer, batch_tokens=1500)
    assert expected == {done.id: done for done in small.generate(requests, SAMPLING)}
    small.slots = None
    assert expected == {done.id: done for done in small.generate(requests, SAMPLING)}


def test_a_model_is_laid_over_the_gpus_of_its_job_or_refused(
    base: BaseModelSettings, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as that can be seen without GPUs: accelerate finds room on the processor alone."""
    maps: list[str] = []
    load = AutoModelForCausalLM.from_pretrained

    def load_and_note(path: str, **given: Any) -> PreTrainedModel:
        maps.append(given["device_map"])
        return load(path, **given)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", load_and_note)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ModelError, match=r"too large for 2 GPUs; raise generation\.gpus"):
        load_engine(Generation(), base.path, base, prompts)
    assert maps == ["auto"]


def test_a_gpu_that_cannot_be_used_is_an_error(
    base: BaseModelSettings, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ModelError, match=r"cannot use the GPU 0; `nvidia-smi` may say why"):
        load_engine(Generation(), base.path, base, prompts)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_nothing_that_transformers_will_remove_is_used(engine: TransformersEngine, requests: list[Request]) -> None:
    list(engine.generate(requests, Sampling(temperature=0, max_new_tokens=3)))
    list(engine.choose([(request.id, request.prompt) for request in requests], [" 1", " 2"]))
    list(engine.measure([EncodedPair("a", array("i", [5, 6, 7, 8]), 2)]))


def test_a_model_may_call_its_cache_by_the_old_name(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in transformers before 5.22, and in the code that some models bring along."""
    sampling = Sampling(temperature=0, max_new_tokens=8)
    replies = list(engine.generate(requests, sampling))
    forward = type(engine.model).forward

    def old_forward(self: torch.nn.Module, past_key_values: object = None, **given: object) -> object:
        return forward(self, cache=past_key_values, **given)

    monkeypatch.setattr(type(engine.model), "forward", old_forward)
    old = TransformersEngine(engine.model, engine.tokenizer)
    assert list(old.generate(requests, sampling)) == replies


def test_the_shared_prefix_is_computed_once_and_changes_nothing(
    engine: TransformersEngine, with_rubric: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    with noted(engine, width) as widths:
        replies = {done.id: done for done in engine.generate(with_rubric, SAMPLING)}
    sequences = [engine.tokenizer(request.prompt).input_ids for request in with_rubric]
    shared, written = len(common_prefix(sequences)), sum(one.tokens + one.finished for one in replies.values())
    assert shared > 30
    # The last token that a row draws is never run.
    assert sum(widths) == shared + sum(len(ids) - shared for ids in sequences) + written - len(with_rubric)
    monkeypatch.setattr(slots, "shared_beginning", lambda prompts: [])
    assert replies == {done.id: done for done in engine.generate(with_rubric, SAMPLING)}


def test_padded_batches_compute_the_shared_prefix_once(engine: TransformersEngine, with_rubric: list[Request]) -> None:
    batches = PaddedBatches(engine.model, engine.positions, engine.end_ids, None)
    sequences = [engine.tokenizer(request.prompt).input_ids for request in with_rubric]
    with noted(engine, width) as widths:
        assert len(list(batches.complete(sequences, [16] * 20, range(20), SAMPLING))) == 20
    assert sum(width for width in widths if width > 1) == max(map(len, sequences))


def test_a_slot_that_is_free_takes_the_next_row_at_once(engine: TransformersEngine) -> None:
    """Rows of 3 and 30 tokens in four slots: every forward pass has four rows, until there are no more to begin."""
    runner = Slots(engine.model, [], None)
    runner.max_slots = 4
    limits = [30 if number % 4 == 0 else 3 for number in range(16)]
    prompts = [[5 + number, 6, 7] for number in range(16)]
    with noted(engine, lambda given: len(given["logits_to_keep"])) as rows:
        replies = {row: tokens for row, tokens, _ in runner.complete(prompts, limits, range(16), SAMPLING)}
    assert [len(replies[row]) for row in range(16)] == limits
    assert sum(rows) == sum(limits)
    full = rows.count(4)
    assert rows == [4] * full + sorted(rows[full:], reverse=True)
    assert len(rows) < 2 * 30


def test_what_lies_in_new_memory_is_never_read(engine: TransformersEngine, requests: list[Request]) -> None:
    """With deterministic algorithms, torch fills new memory with what is no number."""
    expected = {done.id: done for done in engine.generate(requests, SAMPLING)}
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        assert expected == {done.id: done for done in engine.generate(requests, SAMPLING)}
    finally:
        torch.use_deterministic_algorithms(False)


def test_slots_are_refused_where_logits_differ(
    base: BaseModelSettings, prompts: PromptSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An attention with a bias that slots do not know: padded batches do the work, and the log says so."""
    from transformers.models.qwen3 import modeling_qwen3

    forward = modeling_qwen3.Qwen3Attention.forward

    def with_bias(self: torch.nn.Module, *args: Any, **given: Any) -> Any:
        return forward(self, *args, **given, position_bias=torch.zeros(1))

    monkeypatch.setattr(modeling_qwen3.Qwen3Attention, "forward", with_bias)
    with caplog.at_level("INFO"):
        refused, _ = load_engine(Generation(), base.path, base, prompts)
    assert isinstance(refused, TransformersEngine) and refused.slots is None
    assert "padded batches do the work, more slowly: qwen3 cannot be run in slots," in caplog.text
    assert "position_bias" in caplog.text


def test_logits_that_come_out_differently_are_noticed(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged = slot_attention.attend_weighted

    def without_scale(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, **given: Any) -> Any:
        return merged(query, key, value, 1.1 * scale, **given)

    monkeypatch.setattr(slot_attention, "attend_weighted", without_scale)
    with pytest.raises(slot_attention.UnsupportedAttentionError, match="its logits come out differently"):
        Slots(engine.model, engine.end_ids, None)


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("sizes", [(8, 8), (8, 6)], ids=["kernel", "plain"])
def test_attention_to_two_sets_of_keys_can_be_merged(heads: int, sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    query = torch.randn(3, 4, 5, sizes[0])
    keys, values = torch.randn(3, heads, 11, sizes[0]), torch.randn(3, heads, 11, sizes[1])
    visible = torch.rand(3, 1, 1, 11) < 0.7
    visible[..., [0, 6]] = True
    parts = [
        slot_attention.attend_weighted(query, keys[:, :, part], values[:, :, part], 0.3, visible[..., part])
        for part in (slice(0, 6), slice(6, 11))
    ]
    (first, first_weights), (second, second_weights) = parts
    merged = torch.lerp(first, second, torch.sigmoid(second_weights - first_weights)[..., None])
    whole = torch.nn.functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=visible, scale=0.3, enable_gqa=True
    )
    torch.testing.assert_close(merged, whole)


def test_replies_end_at_the_end_of_turn(engine: TransformersEngine, requests: list[Request]) -> None:
    done = list(engine.generate(requests, Sampling(temperature=3.0, top_p=1.0, max_new_tokens=200)))
    assert {one.finished for one in done} == {True, False}
    for one in done:
        assert one.tokens < 200 if one.finished else one.tokens == 200
        assert "<|close|>" not in one.text


def test_choose_is_the_softmax_over_the_next_token(engine: TransformersEngine, requests: list[Request]) -> None:
    choices = [" 1", " 2", " 3", " 4", " 5"]
    asked = [(request.id, request.prompt + "Score:") for request in requests]
    found = {choice.id: choice for choice in engine.choose(asked, choices)}
    assert found.keys() == {request.id for request in requests}
    tokens = [engine.tokenizer(choice, add_special_tokens=False).input_ids for choice in choices]
    assert all(len(ids) == 1 for ids in tokens)
    for request in requests:
        ids = engine.tokenizer(request.prompt + "Score:", add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = engine.model(ids).logits[0, -1]
        expected = np.exp([logits[one].item() for (one,) in tokens])
        np.testing.assert_allclose(found[request.id].shares, expected / expected.sum(), rtol=1e-3)
        np.testing.assert_allclose(found[request.id].mass, expected.sum() / logits.exp().sum().item(), rtol=1e-3)


def test_choices_with_several_tokens_are_told_apart_where_they_differ(
    engine: TransformersEngine, requests: list[Request]
) -> None:
    prompt = [(requests[0].id, requests[0].prompt)]
    (whole,) = engine.choose(prompt, ["Better: 1", "Better: 2"])
    (rest,) = engine.choose([(requests[0].id, requests[0].prompt + "Better:")], [" 1", " 2"])
    np.testing.assert_allclose(whole.shares, rest.shares, rtol=1e-4)
    ids = engine.tokenizer(requests[0].prompt, add_special_tokens=False, return_tensors="pt").input_ids
    begun = engine.tokenizer("Better:", add_special_tokens=False, return_tensors="pt").input_ids
    with torch.no_grad():
        likely = engine.model(torch.cat([ids, begun], 1)).logits[0].softmax(-1)
    forced = np.prod([likely[ids.shape[1] - 1 + place, token].item() for place, token in enumerate(begun[0])])
    np.testing.assert_allclose(whole.mass, forced * rest.mass, rtol=1e-3)


def test_a_text_that_leaves_room_for_a_choice_alone(
    model_folder: Callable[[str], Path], prompts: PromptSet, tmp_path: Path
) -> None:
    """The engine reads at the last of 512 positions at most, wherever the choices begin to differ."""
    base = BaseModelSettings(path=str(model_folder("gpt2")))
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    tokens = len(tokenizer(" water").input_ids)
    for number, choices in enumerate(([" 1", " 2"], [" water 1", " water 2"])):
        texts = [(str(count), " water" * count) for count in range(512 // tokens - 6, 512 // tokens + 3)]
        found = choose_all(engine, texts, choices, tmp_path / str(number), Limits(max_unusable_share=1))
        longest = max(int(row_id) for row_id, choice in found.items() if not choice.failure)
        with_choice = len(tokenizer(" water" * longest + choices[0]).input_ids)
        assert 512 - tokens < with_choice <= 512 and any(choice.failure for choice in found.values())


@pytest.mark.parametrize("choices", [["yes", "yes"], [" 1", " 1 2"]])
def test_choices_that_cannot_be_told_apart_are_an_error(
    choices: list[str], engine: TransformersEngine, requests: list[Request]
) -> None:
    with pytest.raises(EngineError, match=r"row pair-0: the choices .* do not differ"):
        list(engine.choose([(requests[0].id, requests[0].prompt)], choices))


def test_a_prompt_too_long_for_the_model_is_an_error_naming_its_row(engine: TransformersEngine) -> None:
    request = Request("far-too-long", "water " * 600, 0)
    with pytest.raises(EngineError, match=r"row far-too-long: .* too long for the 512 positions"):
        list(engine.generate([request], SAMPLING))


def test_a_reply_ends_with_the_positions_of_the_model(model_folder: Callable[[str], Path], prompts: PromptSet) -> None:
    """Prompts of different lengths in one batch, all with room for less than may be written; GPT-2 learns positions."""
    base = BaseModelSettings(path=str(model_folder("gpt2")))
    engine, tokenizer = load_engine(Generation(), base.path, base, prompts)
    requests = [Request(str(count), " water" * count, 1) for count in range(485, 509, 3)]
    lengths = {request.id: len(tokenizer(request.prompt).input_ids) for request in requests}
    replies = list(engine.generate(requests, Sampling(temperature=0, max_new_tokens=400)))
    assert any(not done.finished for done in replies)
    assert all(done.finished or done.tokens == 512 - lengths[done.id] for done in replies)


def test_a_pair_too_long_for_the_model_is_an_error_naming_its_row(engine: TransformersEngine) -> None:
    fits, does_not = (EncodedPair(str(length), array("i", [5] * length), 500) for length in (512, 513))
    (measured,) = engine.measure([fits])
    assert len(measured.log_probabilities) == 12
    with pytest.raises(EngineError, match=r"row 513: its 513 tokens are too many for the 512 positions"):
        list(engine.measure([fits, does_not]))


@pytest.mark.parametrize("module", [slots, padded_batches], ids=["slots", "padded batches"])
def test_logits_that_are_held_at_once_are_few(
    module: ModuleType, engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reply token has as many logits as the vocabulary."""
    pairs = [EncodedPair(str(length), array("i", range(5, 5 + length)), 4) for length in range(10, 60)]
    whole = {one.id: one.log_probabilities for one in engine.measure(pairs)}
    monkeypatch.setitem(module.HELD_LOGITS, "cpu", 300 * engine.model.config.vocab_size)
    runner = TransformersEngine(engine.model, engine.tokenizer)
    if module is padded_batches:
        runner.slots = None
    held: list[int] = []
    handle = engine.model.register_forward_hook(lambda module, args, done: held.append(done.logits[..., 0].numel()))
    small = {one.id: one.log_probabilities for one in runner.measure(pairs)}
    handle.remove()
    assert max(held) <= 300 and len(held) > 5
    assert whole.keys() == small.keys()
    for row_id, values in whole.items():
        np.testing.assert_allclose(values, small[row_id], atol=1e-4)


def test_no_requests_give_nothing(engine: TransformersEngine) -> None:
    assert list(engine.generate([], SAMPLING)) == []
    assert list(engine.choose([], ["1", "2"])) == []
    assert list(engine.measure([])) == []


def test_what_does_not_fit_into_the_memory_is_halved(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {done.id: done for done in engine.generate(requests, SAMPLING)}
    asked = [(request.id, request.prompt) for request in requests]
    choices = {choice.id: choice.shares for choice in engine.choose(asked, [" 1", " 2"])}
    sizes: list[int] = []

    def memory_of_six_rows(module: torch.nn.Module, args: object, kwargs: dict[str, torch.Tensor]) -> None:
        rows = len(kwargs["logits_to_keep"])
        sizes.append(rows)
        if rows > 6:
            raise torch.cuda.OutOfMemoryError("no memory for more than six rows")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    small = TransformersEngine(engine.model, engine.tokenizer)
    assert small.slots is not None
    small.slots.max_slots, small.slots.prompt_tokens = 20, 1 << 14
    handle = engine.model.register_forward_pre_hook(memory_of_six_rows, with_kwargs=True)
    try:
        assert expected == {done.id: done for done in small.generate(requests, SAMPLING)}
        assert [size for size in sizes if size > 6] == [20, 10]
        small.slots.max_slots = 128
        found = {choice.id: choice.shares for choice in small.choose(asked, [" 1", " 2"])}
    finally:
        handle.remove()
    for row_id, shares in choices.items():
        np.testing.assert_allclose(shares, found[row_id], rtol=1e-4)


def test_without_memory_for_one_row_there_is_an_end(
    engine: TransformersEngine, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(module: torch.nn.Module, args: object) -> None:
        raise torch.cuda.OutOfMemoryError("none")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    small = TransformersEngine(engine.model, engine.tokenizer)
    handle = engine.model.register_forward_pre_hook(no_memory)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            list(small.generate(requests[:2], SAMPLING))
    finally:
        handle.remove()


def test_sampling_follows_the_nucleus() -> None:
    """20,000 draws from four tokens: 0.5, 0.3, 0.15, 0.05; the nucleus of 0.9 is the first three."""
    probabilities = np.array([0.05, 0.5, 0.15, 0.3])
    logits = torch.tensor(np.log(probabilities), dtype=torch.float32).expand(20_000, -1)
    uniforms = torch.tensor(np.random.default_rng(0).random(20_000))
    nucleus = Sampling(temperature=1.0, top_p=0.9)
    shares = np.bincount(next_tokens(logits, uniforms, nucleus), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95], atol=0.015)
    everything = Sampling(temperature=2.0, top_p=1.0)
    shares = np.bincount(next_tokens(logits, uniforms, everything), minlength=4) / 20_000
    flat = probabilities**0.5
    np.testing.assert_allclose(shares, flat / flat.sum(), atol=0.015)
    assert next_tokens(logits[:3], uniforms[:3], Sampling(temperature=0)).tolist() == [1, 1, 1]


def test_a_nucleus_of_thousands_of_tokens_is_the_whole_of_it() -> None:
    """2,000 tokens of equal probability: half of them hold half of the mass, drawn evenly."""
    uniforms = torch.linspace(0, 0.9999, 500, dtype=torch.float64)
    logits = torch.arange(2000).flip(0).mul(1e-6).expand(500, -1)
    tokens = next_tokens(logits, uniforms, Sampling(temperature=1.0, top_p=0.5))
    assert tokens.max() in range(990, 1010) and tokens.min() == 0
    assert tokens.unique().numel() == 500


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == [1, 2]
    assert common_prefix([[1, 2], [2, 2]]) == []
    assert common_prefix([[5, 6]]) == [5, 6]


@pytest.mark.parametrize("path", ["no/such/folder", "./nowhere"])
def test_a_model_that_is_not_there_is_one_clear_error(path: str, base: BaseModelSettings, prompts: PromptSet) -> None:
    with pytest.raises(ModelError, match=f"{path}: cannot load"):
        load_engine(Generation(), path, base, prompts)


def test_pickled_weights_are_refused(
    base: BaseModelSettings, prompts: PromptSet, tmp_path: Path, engine: TransformersEngine
) -> None:
    engine.model.config.save_pretrained(tmp_path)
    engine.tokenizer.save_pretrained(tmp_path)
    torch.save(engine.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load the model"):
        load_engine(Generation(), str(tmp_path), base, prompts)
