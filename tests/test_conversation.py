"""`backtranslation chat`: what a model is shown and how it answers, in a pipe and on a real terminal."""

import fcntl
import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backtranslation.commands import conversation
from backtranslation.commands.command_line import main
from backtranslation.commands.conversation import Conversation, answer_message, open_conversation
from backtranslation.commands.results_folder import find_model
from backtranslation.errors import UserError
from backtranslation.jobs.process import printable
from backtranslation.settings.base_model import ModelLoading

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 20, "max_new_tokens": 12}
SECONDS = 90


@pytest.fixture
def folder(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model with a chat template of its own, which holds 512 tokens and samples short answers."""
    copy = shutil.copytree(model_folder("qwen"), tmp_path / "model")
    return change(copy / "generation_config.json", **SAMPLING).parent


@pytest.fixture
def talk(folder: Path) -> Conversation:
    return open_conversation(str(folder), ModelLoading())


def change(path: Path, **values: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path


def plain_answer(folder: Path, turns: list[dict[str, str]]) -> str:
    """What transformers alone, with the folder and messages, answers after the seed 0, as a terminal shows it."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    tokens = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :]
    return printable(str(tokenizer.decode(tokens, skip_special_tokens=True)))


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


# What is answered


def test_an_answer_is_what_transformers_alone_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    main(["chat", str(folder), "the old lamp"])
    answer = plain_answer(folder, [user("the old lamp")])
    assert answer.strip()
    assert capsys.readouterr() == (f"{answer}\n", "")


def test_a_prompt_may_come_through_a_pipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the old\nlamp \xff\n"), encoding="utf-8"))
    torch.manual_seed(0)
    main(["chat", str(folder)])
    assert capsys.readouterr() == (plain_answer(folder, [user("the old\nlamp \ufffd")]) + "\n", "")
    with pytest.raises(SystemExit, match="error: no prompt: give one after the model, or through a pipe"):
        main(["chat", str(folder)])  # the pipe is empty now


def test_later_answers_know_earlier_turns(folder: Path, talk: Conversation, capsys: pytest.CaptureFixture[str]) -> None:
    answer_message(talk, "the old lamp")
    first = talk.turns[1]["content"]
    capsys.readouterr()
    torch.manual_seed(0)
    answer_message(talk, "the kettle")
    turns = [user("the old lamp"), {"role": "assistant", "content": first}, user("the kettle")]
    assert capsys.readouterr().out == plain_answer(folder, turns) + "\n" != plain_answer(folder, turns[2:]) + "\n"


def test_of_a_long_chat_the_oldest_turns_go_and_it_is_said(
    talk: Conversation, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "the red garden bicycle " * 15
    texts: list[str] = []
    while "left out" not in (err := capsys.readouterr().err):
        texts.append(f"{len(texts)} {message}".strip())
        answer_message(talk, texts[-1])
    assert err == "(the oldest message and its answer are left out from here on: the model holds 512 tokens)\n"
    assert [turn["content"] for turn in talk.turns[::2]] == texts[1:] and len(texts) > 2
    assert [turn["role"] for turn in talk.turns] == ["user", "assistant"] * (len(texts) - 1)


def test_a_message_that_is_too_long_is_refused_and_the_chat_goes_on(
    folder: Path, talk: Conversation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "lamp " * 600
    answer_message(talk, "the old lamp")
    before = list(talk.turns)
    lines = iter([long, "the kettle", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    capsys.readouterr()
    conversation.converse(talk, "model")
    output = capsys.readouterr()
    assert "tokens, and the model holds 512: shorten it" in output.err and output.out.strip()
    assert talk.turns[:2] == before and talk.turns[2] == user("the kettle") and len(talk.turns) == 4
    with pytest.raises(SystemExit, match="the model holds 512: shorten it"):
        main(["chat", str(folder), long])


@pytest.mark.usefixtures("capsys")
def test_an_answer_ends_where_the_model_can_hold_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(folder / "generation_config.json", max_new_tokens=5000, eos_token_id=None)
    talk: Any = open_conversation(str(folder), ModelLoading())
    generate, lengths = talk.model.generate, []
    monkeypatch.setattr(talk.model, "generate", lambda **arguments: lengths.append(generate(**arguments).shape[1]))
    answer_message(talk, "the old lamp")
    assert lengths == [512]


@pytest.mark.usefixtures("capsys")
def test_what_was_written_before_ctrl_c_is_part_of_the_chat(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: object, prompt: object, room: int, write: Callable[[str], None]) -> None:
        write("half an ")
        raise KeyboardInterrupt

    monkeypatch.setattr(conversation, "_generate", stop)
    with pytest.raises(KeyboardInterrupt):
        answer_message(talk, "the old lamp")
    assert talk.turns == [user("the old lamp"), {"role": "assistant", "content": "half an"}]


def test_text_of_a_model_cannot_steer_the_terminal(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(conversation, "_generate", lambda *arguments: arguments[3]("red \x1b[31m\ntext"))
    answer_message(talk, "the old lamp")
    assert capsys.readouterr().out == "red \ufffd[31m\ntext\n"


def test_a_template_that_fails_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('only for geese') }}")
    with pytest.raises(SystemExit, match="the chat template of .*model cannot be used: only for geese"):
        main(["chat", str(folder), "the old lamp"])


# Which model


@pytest.fixture
def run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with models whose last iteration is not the last by name."""
    monkeypatch.chdir(tmp_path)
    Path("elsewhere/store").mkdir(parents=True)
    Path("run.yaml").write_text("results: elsewhere\n")
    for name in ("M0", "M2", "M10", "backward"):
        shutil.copytree(folder, Path("elsewhere/models") / name)


@pytest.mark.usefixtures("run")
def test_a_model_of_the_run_by_its_name_or_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert find_model(None, [Path("run.yaml")], None) == "elsewhere/models/M10"
    assert find_model("backward", [Path("run.yaml")], None) == "elsewhere/models/backward"
    assert find_model("owner/name", [Path("run.yaml")], None) == "owner/name"
    main(["chat", "M2", "the old lamp", "--configfile", "run.yaml"])
    assert capsys.readouterr().out.strip()


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("named", ["M3", "elsewhere/models/M3", "./elsewhere/models/M3"])
def test_where_there_is_no_model_those_there_are_named(named: str) -> None:
    with pytest.raises(SystemExit, match=r"no model.*there are M0, M10, M2, backward") as end:
        main(["chat", named, "the old lamp", "--configfile", "run.yaml"])
    assert len(str(end.value).splitlines()) == 1


@pytest.mark.usefixtures("run")
def test_a_run_without_finished_models() -> None:
    shutil.rmtree("elsewhere/models")
    with pytest.raises(UserError, match=r"elsewhere has no model M1 \(none is finished\)"):
        find_model(None, [Path("run.yaml")], None)


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no model \(config.json\) in the folder"):
        main(["chat", str(tmp_path), "the old lamp"])


def test_a_folder_needs_neither_a_run_nor_snakemake(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "snakemake"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "snakemake", None)
    main(["chat", str(folder), "the old lamp"])
    assert capsys.readouterr().out.strip()


# On a terminal


@pytest.mark.parametrize("end", ["", EOFError, KeyboardInterrupt])
def test_a_chat_ends_with_an_empty_line_ctrl_d_or_ctrl_c(
    end: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["the old lamp", end])

    def read(_: str) -> str:
        if isinstance(line := next(typed), str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    main(["chat", str(folder)])
    output = capsys.readouterr()
    assert output.out.strip() and output.err.startswith(f"{folder} on cpu. An empty line or Ctrl-D ends the chat")


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.end, other_end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backtranslation.commands.command_line", "chat", str(folder)],
            stdin=other_end, stdout=other_end, stderr=other_end, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"}, preexec_fn=lambda: claim_terminal(other_end),
        )  # fmt: skip
        os.close(other_end)

    def press(self, keys: str) -> None:
        os.write(self.end, keys.encode())

    def interrupt(self) -> int:
        """Press Ctrl-C at the prompt; once more if it came while readline was not waiting, and so waits for a key."""
        for _ in range(SECONDS // 15):
            self.press("\x03")
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(15)
        raise AssertionError("Ctrl-C does not end the chat")

    def wait_for(self, text: str) -> None:
        """Read on until a text is shown."""
        shown, end = "", time.monotonic() + SECONDS
        while text not in shown:
            assert time.monotonic() < end, f"{text!r} is not in {shown!r}"
            if select.select([self.end], [], [], 1)[0]:
                shown += os.read(self.end, 1 << 16).decode(errors="replace")


def claim_terminal(terminal: int) -> None:
    """Make it the one whose Ctrl-C this process gets."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(folder: Path) -> Iterator[Terminal]:
    """A chat with a model whose answers never end by themselves."""
    change(folder / "config.json", max_position_embeddings=100_000)
    change(folder / "generation_config.json", max_new_tokens=50_000, eos_token_id=None)
    terminal = Terminal(folder)
    yield terminal
    terminal.process.kill()
    terminal.process.wait()
    os.close(terminal.end)


def test_ctrl_c_stops_an_answer_and_at_the_prompt_the_chat(terminal: Terminal) -> None:
    terminal.wait_for("Ctrl-C stops an answer.\r\n> ")
    terminal.press("the old lamp\n")
    terminal.wait_for("the old lamp\r\n")
    terminal.wait_for(" ")
    terminal.press("\x03")
    terminal.wait_for("(stopped)\r\n> ")
    terminal.press("\x1b[A\n")  # the line before once more
    terminal.wait_for("the old lamp")
    terminal.wait_for(" ")
    terminal.press("\x03")
    terminal.wait_for("(stopped)\r\n> ")
    terminal.press("begun\x01")
    terminal.wait_for("\r")  # readline has gone to the begin of the line: no key is left, which Ctrl-C would take back
    assert terminal.interrupt() == 0
