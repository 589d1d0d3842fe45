"""Hostile prompt templates, and chat templates as they come with a model: both are code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from backtranslation.models.prompts import PromptSet, score_message
from backtranslation.settings.base_model import ModelLoading
from backtranslation.settings.prompts import Prompts
from backtranslation.shipped import find_file
from helpers.hostile.cases import Case, Met

SCORE = '{% set label = "Score:" -%}\n{{ instruction }} {{ response }} {{ label }}\n'
# Each would leave this file behind if it ran.
TRACE = "owned"
ATTACKS = {
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals of a function": f"{{{{ cycler.__init__.__globals__.os.system('touch {TRACE}') }}}}",
    "globals of a method": f"{{{{ lipsum.__globals__['os'].popen('touch {TRACE}').read() }}}}",
    "globals by a filter": f"{{{{ (lipsum|attr('__globals__')).os.system('touch {TRACE}') }}}}",
    "an import": f"{{{{ self.__init__.__globals__.__builtins__.__import__('os').system('touch {TRACE}') }}}}",
    "a format string": "{{ '{0.__class__.__mro__}'.format(1) }}",
    "a format string by a filter": "{{ '{0.__class__.__init__.__globals__}'|format(1) }}",
    "a map of a format string": "{{ ''.format_map.__self__.__class__ }}",
    "a loop of a billion": "{% for i in range(10**9) %}a{% endfor %}",
    "a macro that calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a text of a terabyte": "{{ 'a' * 10**12 }}",
    "a division by zero": "{{ 1 / 0 }}",
    "a sum of text and number": "{{ 'a' + 1 }}",
    "an unknown filter": "{{ 'a'|system }}",
    "an unknown test": "{{ 'a' is owned }}",
    "an unknown attribute": "{{ 'a'.owned.more }}",
    "an include": "{% include '/etc/passwd' %}",
    "an inheritance": "{% extends '/etc/passwd' %}",
    "an import of a template": "{% import '/etc/passwd' as owned %}",
    "a block without an end": "{% for i in [1] %}",
    "an unknown tag": "{% owned %}",
    "a nest of a thousand lists": "{{ " + "[" * 1000 + "]" * 1000 + " }}",
}
CHANGES = {
    "a change of what it is given": "{% set _ = messages.append(1) %}",
    "an exception": "{{ raise_exception('owned') }}",
    "an exception that is no text": "{{ raise_exception(messages) }}",
}


def prompt_template(name: str, attack: str) -> Case:
    """A case of a template of the score prompt."""

    def build(folder: Path) -> Path:
        path = folder / "score.jinja"
        path.write_text(SCORE + attack)
        return path

    def meet(path: Path) -> Met:
        prompts = PromptSet(Prompts(score=str(path)))
        assert_unharmed(lambda: (prompts.score_label, score_message(prompts, "How?", "So.")))
        return Met()

    return Case(name, "template", build, meet, "score.jinja", stops=True)


def prompt_file(name: str, content: bytes, expected: str = "score.jinja") -> Case:
    """A case of a template file that can be no template."""

    def build(folder: Path) -> Path:
        path = folder / "score.jinja"
        path.write_bytes(content)
        return path

    def meet(path: Path) -> Met:
        prompts = PromptSet(Prompts(score=str(path)))
        assert prompts.score and prompts.score_label
        return Met()

    return Case(name, "template", build, meet, expected, stops=True)


def chat_template(name: str, attack: str) -> Case:
    """A case of a chat template that comes with a model."""

    def build(folder: Path) -> Path:
        model = folder / "model"
        shutil.copytree(find_file("backtranslation/miniature/base"), model)
        settings = json.loads((model / "tokenizer_config.json").read_text())
        settings.pop("chat_template", None)
        (model / "tokenizer_config.json").write_text(json.dumps(settings))
        (model / "chat_template.jinja").write_text(
            "{% for message in messages %}{{ message.content }}{% endfor %}" + attack
        )
        return model

    def meet(model: Path) -> Met:
        from backtranslation.models.chat import render_pair
        from backtranslation.models.loading import load_tokenizer

        tokenizer = load_tokenizer(
            str(model), ModelLoading(), PromptSet(Prompts(chat_template=find_file("prompts/chat.jinja")))
        )
        assert_unharmed(lambda: render_pair(tokenizer, "How?", "So."))
        return Met()

    return Case(f"{name}, with a model", "template", build, meet, "chat template", stops=True, needs_torch=True)


def assert_unharmed(render: Callable[[], object]) -> None:
    """Render, and assert that no command was run, whatever comes of it."""
    try:
        render()
    finally:
        assert not Path(TRACE).exists()


TEMPLATE_CASES = [
    *(prompt_template(name, attack) for name, attack in ATTACKS.items()),
    *(chat_template(name, attack) for name, attack in (ATTACKS | CHANGES).items()),
    prompt_file("no UTF-8", b"\xff\xfe"),
    prompt_file("an empty file", b""),
    prompt_file("NULs", bytes(1000)),
    prompt_file("no label", b"{{ instruction }} {{ response }}"),
    prompt_file("a variable that nobody gives", SCORE.encode() + b"{{ owned }}"),
    prompt_file("a variable too few", b'{% set label = "Score:" %}{{ instruction }}'),
    prompt_file("a label that is a sum", b'{% set label = "a" + "b" %}{{ instruction }}{{ response }}'),
    prompt_file("a million brackets", b"{{ " * 1_000_000),
]
