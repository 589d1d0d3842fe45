"""The card of a results folder: with it, `datasets.load_dataset("results", "candidates")` reads what lies there.

Without the types that it gives, `datasets` guesses them from the first rows, and stops where a reason to reject or to
fail comes later. Cheap to import, since every job that parses the workflow does.
"""

from collections.abc import Sequence

import yaml

from backtranslation import layout
from backtranslation.export.card import DataFiles, card_head
from backtranslation.export.columns import Columns
from backtranslation.score_names import COLUMNS

PAIR: Columns = dict.fromkeys(("id", "instruction", "response"), "string")
SEGMENT: Columns = {
    **dict.fromkeys(("id", "text", "url", "source", "shard", "file"), "string"),
    "record_offset": "int64", "heading_path": ["string"], "license": "string",
}  # fmt: skip
INSTRUCTION: Columns = {
    "id": "string", "raw": "string", "tokens": "int64", "finished": "bool", "failure": "string",
}  # fmt: skip
SAMPLE = {"text": "string", "finished": "bool", "label_probabilities": ["float64"], "label_mass": "float64"}
SCORER_TEXT: Columns = {"id": "string", "samples": [SAMPLE], "failure": "string"}
SCORE_NUMBERS: Columns = dict.fromkeys(COLUMNS.values(), "float64")
SCORE: Columns = {
    "id": "string", "texts": ["string"], "finished": "bool", "label_mass": "float64", **SCORE_NUMBERS,
    "failures": dict.fromkeys(COLUMNS.values(), "string"),
}  # fmt: skip
CURATED: Columns = {**PAIR, **SCORE_NUMBERS}
ANSWER: Columns = dict.fromkeys(("id", "instruction", "reference", "answer", "failure"), "string")
JUDGEMENT: Columns = {
    "id": "string", "first_wins_forward": "float64", "first_wins_reversed": "float64", "mass": "float64",
    "cut": "bool", "input_tokens": "int64", "output_tokens": "int64", "failure": "string",
}  # fmt: skip

TEXT = """
# Results of a run of backtranslation

What each stage left, as it is stored. In the folder above this one,

```python
from datasets import load_dataset

data = load_dataset("{folder}", "segments")
```

reads one of these, by name: {names}.

`backtranslation export` writes data sets to train on or to share, in which each pair has its source and its scores.
"""

Config = tuple[str, Columns, DataFiles]


def results_card(
    folder: str,
    iterations: Sequence[int],
    models: Sequence[str],
    compared: Sequence[tuple[str, str]],
    asks_for_scores: bool = True,
) -> str:
    """The card of the results folder of a run with these iterations, models, and comparisons of models."""
    configs = _configs(iterations, models, compared, asks_for_scores)
    head = yaml.safe_dump(card_head(configs), sort_keys=False)
    names = ", ".join(f"`{name}`" for name, _, _ in configs)
    return f"---\n{head}---\n{TEXT.format(folder=folder, names=names)}"


def _configs(
    iterations: Sequence[int], models: Sequence[str], compared: Sequence[tuple[str, str]], asks_for_scores: bool
) -> list[Config]:
    configs: list[Config] = [
        ("seed", PAIR, [("train", _path(layout.SEED)), ("held_out", _path(layout.HELD_OUT))]),
        _config("segments", SEGMENT, layout.SEGMENTS, shard="*"),
    ]
    if iterations:
        configs += [
            _config("instructions", INSTRUCTION, layout.INSTRUCTIONS, shard="*"),
            _config("candidates", {**PAIR, "rejection": "string"}, layout.CANDIDATES, shard="*"),
        ]
    if "random" in models:
        configs.append(_config("random-candidates", PAIR, layout.RANDOM_CANDIDATES))
    for number in iterations:
        if asks_for_scores:
            configs.append(
                _config(f"scorer-texts-{number}", SCORER_TEXT, layout.SCORER_TEXTS, iteration=number, shard="*")
            )
        configs += [
            _config(f"scores-{number}", SCORE, layout.SCORES, iteration=number, shard="*"),
            _config(f"curated-{number}", CURATED, layout.CURATED, iteration=number),
        ]
    if iterations:
        configs.append(_config("backward-instructions", {**PAIR, "rejection": "string"}, layout.BACKWARD_INSTRUCTIONS))
    configs += [_config(f"answers-{model}", ANSWER, layout.ANSWERS, model=model) for model in models]
    return configs + [
        _config(f"judgements-{first}-vs-{second}", JUDGEMENT, layout.JUDGEMENTS, first=first, second=second)
        for first, second in compared
    ]


def _config(name: str, columns: Columns, pattern: str, **wildcards: object) -> Config:
    return name, columns, [("train", _path(pattern, **wildcards))]


def _path(pattern: str, **wildcards: object) -> str:
    """A path or glob below the results folder."""
    return layout.locate("", pattern, **wildcards).as_posix().lstrip("/")
