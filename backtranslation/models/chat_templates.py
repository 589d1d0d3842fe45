"""Chat templates in which a user's turn is shown as a model was trained to see it.

Training, evaluation and the folder that people get use the same: whoever hands plain chat messages to the model asks it
as it was trained. Text alone; knows no tokenizer.
"""

import json
from collections.abc import Iterator

from backtranslation.models.prompts import ENVIRONMENT, UserTurn

# Names that no chat template uses. A user's words may come in parts ([{"type": "text", "text": ...}]), as servers pass
# them on. A reasoning model is trained without thoughts, and asked without unless somebody wants them.
SHAPED = """\
{{#- What a user says is shown as this model was trained to see it. -#}}
{{%- macro show_user_turn({variable}) -%}}
{others}{turn}
{{%- endmacro -%}}
{{%- set shown = namespace(turns=[]) -%}}
{{%- for message in messages -%}}
{{%- if message.role == "user" -%}}
{{%- set words = message.content if message.content is string else message.content | map(attribute="text") | join -%}}
{{%- set shown.turns = shown.turns + [{{"role": "user", "content": show_user_turn(words)}}] -%}}
{{%- else -%}}
{{%- set shown.turns = shown.turns + [message] -%}}
{{%- endif -%}}
{{%- endfor -%}}
{{%- set messages = shown.turns -%}}
{{%- set enable_thinking = enable_thinking | default(false) -%}}
{{{{- "" }}}}"""


def shape_user_turns(chat_template: str, turn: UserTurn) -> str:
    """A chat template that shows every user's turn as `turn` says, and all else as before."""
    others = "".join(f"{{%- set {name} = {_quote(value)} -%}}\n" for name, value in turn.others.items())
    shaped = SHAPED.format(variable=turn.variable, others=others, turn="".join(_without_white_space(turn.source)))
    return shaped + chat_template


def _without_white_space(source: str) -> Iterator[str]:
    """A template with its plain text as quoted text: chat templates are rendered with other rules for white space."""
    for _, kind, token in ENVIRONMENT.lex(source):
        if kind == "data":
            yield f"{{{{ {_quote(token)} }}}}"
        elif kind in DELIMITERS:
            yield DELIMITERS[kind]
        elif not kind.startswith(("comment", "raw")):
            yield token


# Without the signs that some have, whose work is done.
DELIMITERS = {"block_begin": "{%", "block_end": "%}", "variable_begin": "{{", "variable_end": "}}"}


def _quote(text: str) -> str:
    """A text as Jinja writes it."""
    return json.dumps(text, ensure_ascii=False)
