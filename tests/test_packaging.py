"""The folder of a model that people take: asked plainly, by any way there is, it is asked as it was evaluated."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.hub import cache_model
from helpers.tiny_models import CONFIGS, make_pairs
from huggingface_hub import metadata_load
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, pipeline

from backtranslation.files import count_rows, read_rows
from backtranslation.layout import CURATED, HELD_OUT, HELD_OUT_LOSS, MODEL, TRAINED_MODEL, TRAINING_PAIRS, locate
from backtranslation.method.evaluation import answer_instructions
from backtranslation.models.chat import encode_text, render_prompt, with_user_turns
from backtranslation.models.engine import Request, load_engine
from backtranslation.models.loading import load_tokenizer
from backtranslation.models.packaging import complete_adapter, find_license, sampling_arguments, set_up_folder
from backtranslation.models.pairs import encode_forward
from backtranslation.models.prompts import PromptSet
from backtranslation.models.training import fine_tune
from backtranslation.settings.base_model import BaseModelSettings, HubName
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import PROMPT_FILES, Prompts
from backtranslation.settings.training import Lora, Training

GREEDY = Sampling(temperature=0, max_new_tokens=8)
QUESTIONS = [row["instruction"] for row in make_pairs(3, seed=5)]


@pytest.fixture(scope="session")
def trained(
    model_folder: Callable[[str], Path], prompts: PromptSet, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A model folder as training leaves it, made once for each architecture: its tokenizer has a chat template."""
    folder = tmp_path_factory.mktemp("trained")

    def build(architecture: str) -> Path:
        if not (folder / architecture).exists():
            base = model_folder(architecture)
            shutil.copytree(base, folder / architecture)
            tokenizer = load_tokenizer(str(base), BaseModelSettings(path=str(base)), prompts)
            # `transformers serve` takes for granted that a turn of Qwen opens as in Qwen's own chat template.
            tokenizer.chat_template = tokenizer.get_chat_template().replace("<|turn|>", "<|im_start|>")
            tokenizer.save_pretrained(folder / architecture)
        return folder / architecture

    return build


def chat(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def evaluated(folder: Path, prompts: PromptSet) -> dict[str, tuple[list[int], str]]:
    """What the evaluation asks a trained model, as token ids, and its answers, by question."""
    base = BaseModelSettings(path=str(folder))
    engine, tokenizer = load_engine(Generation(), str(folder), base, prompts)
    tokenizer = with_user_turns(tokenizer, prompts.forward_turn("answer"))
    asked = {question: render_prompt(tokenizer, question) for question in QUESTIONS}
    answers = engine.generate([Request(question, prompt, 0) for question, prompt in asked.items()], GREEDY)
    return {answer.id: (encode_text(tokenizer, asked[answer.id]), answer.text) for answer in answers}


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name != "opt"])
def test_plain_chat_is_the_evaluation(
    architecture: str, trained: Callable[[str], Path], prompts: PromptSet, tmp_path: Path
) -> None:
    set_up_folder(trained(architecture), tmp_path / "model", prompts.forward_turn("answer"), GREEDY)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ask = pipeline("text-generation", str(tmp_path / "model"))
    for question, (ids, answer) in evaluated(trained(architecture), prompts).items():
        plain: Any = tokenizer.apply_chat_template(chat(question), add_generation_prompt=True, tokenize=True)
        assert list(plain["input_ids"]) == ids
        assert ask(chat(question))[0]["generated_text"][-1]["content"] == answer


def test_the_backward_model_is_asked_by_a_text_alone(
    trained: Callable[[str], Path], prompts: PromptSet, tmp_path: Path
) -> None:
    set_up_folder(trained("qwen"), tmp_path / "model", prompts.backward_turn(), GREEDY)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = make_pairs(1)[0]["response"]
    asked = tokenizer.apply_chat_template(chat(text), add_generation_prompt=True, tokenize=False)
    learning = with_user_turns(AutoTokenizer.from_pretrained(trained("qwen")), prompts.backward_turn())
    assert asked == render_prompt(learning, text)
    assert "Write the one instruction" in asked and text in asked


def test_plain_chat_with_the_models_of_a_run_is_their_evaluation(finished_run: Path, tmp_path: Path) -> None:
    """Greedy both times; what the run evaluated is what training left, by the prompts of its configuration."""
    results = finished_run / "results"
    held_out = list(read_rows(locate(results, HELD_OUT)))
    shown = yaml.safe_load((finished_run / "config.yaml").read_text())["prompts"]
    prompts = PromptSet(Prompts(**shown | {name: str(finished_run / shown[name]) for name in PROMPT_FILES}))
    for model in ("M0", "M2"):
        trained = locate(results, TRAINED_MODEL, model=model)
        engine, tokenizer = load_engine(Generation(), str(trained), BaseModelSettings(path=str(trained)), prompts)
        tokenizer = with_user_turns(tokenizer, prompts.forward_turn("answer"))
        journal = tmp_path / f"{model}.jsonl"
        answers = answer_instructions(engine, tokenizer, held_out, GREEDY, 1, journal, Limits())
        ask = pipeline("text-generation", str(locate(results, MODEL, model=model)))
        for row in answers:
            (reply,) = ask(chat(row["instruction"]), do_sample=False, max_new_tokens=GREEDY.max_new_tokens)
            assert reply["generated_text"][-1]["content"].strip() == row["answer"]


def test_the_card_of_a_model_tells_what_the_results_say(finished_run: Path) -> None:
    results = finished_run / "results"
    folder = locate(results, MODEL, model="M1")
    card = (folder / "README.md").read_text(encoding="utf-8")
    metadata = metadata_load(folder / "README.md")
    assert metadata == {
        "license": "apache-2.0", "language": ["en"], "library_name": "transformers",
        "pipeline_tag": "text-generation", "tags": ["instruction-backtranslation", "arxiv:2308.06259"],
    }  # fmt: skip
    counts = json.loads(locate(results, TRAINING_PAIRS, model="M1").read_text())
    assert f"| human-written | {counts['seed']['used']} | 0 |" in card
    assert f"| `miniature` | not stated | {count_rows(locate(results, CURATED, iteration=1))} |" in card
    loss = json.loads(locate(results, HELD_OUT_LOSS, model="M1").read_text())["loss"]
    assert f"| loss, nats per token of the response, 8 pairs | {loss:.3f} (" in card
    assert "M1's answers judged better than M0's, 8 instructions" in card and "The judge is M0" in card
    assert str(finished_run) not in card
    backward = (locate(results, MODEL, model="backward") / "README.md").read_text(encoding="utf-8")
    assert "writes the instruction that a text answers" in backward and "Not measured by itself" in backward


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[str]:
    """The address of `transformers serve`, a server with the chat interface of OpenAI."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = str(Path(sys.executable).with_name("transformers"))
    command = [script, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def ask_server(address: str, model: Path, question: str) -> str:
    """The answer of a server to one message, as soon as it is up."""
    # Of itself it lets every reply be 1,024 tokens long at least.
    body = {"model": str(model), "messages": chat(question), "stream": False, "max_tokens": GREEDY.max_new_tokens}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for _ in range(240):
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return str(json.load(reply)["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except urllib.error.URLError:
            time.sleep(0.5)
    raise AssertionError("the server does not come up")


def test_a_server_answers_as_the_evaluation(
    serve: str, trained: Callable[[str], Path], prompts: PromptSet, tmp_path: Path
) -> None:
    for architecture in [name for name in CONFIGS if name != "opt"]:
        model = tmp_path / architecture
        set_up_folder(trained(architecture), model, prompts.forward_turn("answer"), GREEDY)
        answers = {question: ask_server(serve, model, question) for question in QUESTIONS}
        assert answers == {question: text for question, (_, text) in evaluated(trained(architecture), prompts).items()}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (GREEDY, {"do_sample": False, "max_new_tokens": 8}),
        (
            Sampling(temperature=0.7, top_p=0.9, max_new_tokens=20),
            {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0, "max_new_tokens": 20},
        ),
    ],
)
def test_the_folder_samples_as_the_evaluation(
    sampling: Sampling, expected: dict[str, Any], trained: Callable[[str], Path], prompts: PromptSet, tmp_path: Path
) -> None:
    before = GenerationConfig.from_pretrained(trained("llama")).to_dict()
    set_up_folder(trained("llama"), tmp_path / "model", prompts.forward_turn("answer"), sampling)
    assert sampling_arguments(sampling) == expected
    written = GenerationConfig.from_pretrained(tmp_path / "model").to_dict()
    assert {name: written[name] for name in expected} == expected
    assert written["eos_token_id"] == before["eos_token_id"]


def test_weights_are_linked_and_what_was_trained_stays_as_it_is(
    trained: Callable[[str], Path], prompts: PromptSet, tmp_path: Path
) -> None:
    source = trained("llama")
    (source / ".snakemake_timestamp").touch()
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    set_up_folder(source, tmp_path / "model", prompts.forward_turn("answer"), GREEDY)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert (tmp_path / "model/model.safetensors").samefile(source / "model.safetensors")
    assert {path.name for path in (tmp_path / "model").iterdir()} == before.keys() - {".snakemake_timestamp"}


def test_an_adapter_alone_is_the_merged_model(base: BaseModelSettings, prompts: PromptSet, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(base.path, base, prompts)
    learning = with_user_turns(tokenizer, prompts.forward_turn("seed"))
    training = Training(
        method="lora", lora=Lora(rank=4, alpha=8), learning_rate=2e-2, final_learning_rate=1e-2, max_length=256,
        batch_size=4, epochs=2, min_steps=1, rows_per_device=4,
    )  # fmt: skip
    pairs = [encode_forward(learning, row, 256) for row in make_pairs(12)]
    fine_tune(pairs, base, training, tokenizer, tmp_path / "trained", tmp_path / "work", tmp_path / "log.tsv", 1)
    files = {path.name for path in (tmp_path / "trained/adapter").iterdir()}
    assert files == {"adapter_config.json", "adapter_model.safetensors"}
    assert base.path not in (tmp_path / "trained/adapter/adapter_config.json").read_text()

    set_up_folder(tmp_path / "trained", tmp_path / "model", prompts.forward_turn("answer"), GREEDY)
    complete_adapter(tmp_path / "model", base.path, None)
    adapter = tmp_path / "model/adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == base.path
    asked = AutoTokenizer.from_pretrained(adapter).apply_chat_template(
        chat(QUESTIONS[0]), add_generation_prompt=True, tokenize=False
    )
    ids = torch.tensor([encode_text(tokenizer, str(asked))])
    start = AutoModelForCausalLM.from_pretrained(base.path)
    with torch.no_grad():
        untrained = start(ids).logits
        alone = PeftModel.from_pretrained(start, adapter)(ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(ids).logits
    torch.testing.assert_close(alone, merged, rtol=1e-3, atol=1e-3)
    assert (merged - untrained).abs().max() > 0.1
    assert GenerationConfig.from_pretrained(adapter).max_new_tokens == GREEDY.max_new_tokens


def test_the_license_of_a_base_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_license(tmp_path, None).metadata == {} and find_license(tmp_path, None).files == []
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: ours\ntags: [a]\n---\n# A model\n")
    for name in ("LICENSE.txt", "NOTICE", "model.safetensors"):
        (tmp_path / name).touch()
    found = find_license(tmp_path, None)
    assert found.metadata == {"license": "other", "license_name": "ours"}
    assert [path.name for path in found.files] == ["LICENSE.txt", "NOTICE"]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cached = cache_model(tmp_path / "cache", "owner/model")
    (cached / "LICENSE").touch()
    found = find_license(None, HubName(path="owner/model", revision=None))
    assert found.metadata == {"license": "apache-2.0"} and [path.name for path in found.files] == ["LICENSE"]


def test_a_license_that_cannot_be_asked_for_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("backtranslation.models.packaging.log.propagate", True)
    found = find_license(None, HubName(path="owner/model", revision=None))
    assert found.metadata == {} and found.files == []
    assert "owner/model: its license cannot be read" in caplog.text
