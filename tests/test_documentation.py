"""Commented configurations: values survive, comments come from the models, and layout is pleasant to read."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.configurations import CONFIGS, ROOT, leaves, smallest

from backtranslation.settings.documentation import STARTING_HEADER, commented_yaml, rewritten, starting_configuration
from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import SettingsError

LORA = yaml.safe_load((ROOT / "configs/lora-1gpu.yaml").read_text())


def line_of(key: str, text: str) -> str:
    """The only line that a key begins."""
    (line,) = (line.strip() for line in text.splitlines() if line.strip().startswith(f"{key}:"))
    return line


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_value_is_written_as_it_was(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    assert yaml.safe_load(commented_yaml(values)) == values


def test_comments_of_the_default_run_come_from_the_models() -> None:
    text = (ROOT / "config.yaml").read_text()
    assert rewritten(text) == text, "run: make config"


def test_only_the_head_of_a_file_is_kept() -> None:
    values = yaml.safe_dump(smallest())
    text = rewritten(f"# Head.\n#\n# More.\n\n# own words\n{values}")
    assert text == f"# Head.\n#\n# More.\n\n{commented_yaml(smallest())}"


def test_a_description_stands_beside_its_key_or_above() -> None:
    text = commented_yaml(smallest(results="r", corpus={"sources": [{"name": "web", "paths": ["p" * 99]}]}))
    assert text.startswith("results: r # folder of all results (default: results)\n\n# The model that every")
    above = "      # files, folders of HTML or text files, or globs (** matches folders at any depth)\n"
    assert f"{above}      paths: [{'p' * 99}]\n" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ({"batch_size": 9}, "batch_size: 9 # examples per optimizer step, all processes together (default: 32)"),
        ({"batch_size": 32}, "batch_size: 32 # examples per optimizer step, all processes together"),
        ({"learning_rate": "1e-5"}, "learning_rate: 1e-5 # at the first step after the warm-up"),
        ({"learning_rate": 0.00025}, "learning_rate: 2.5e-4 # at the first step after the warm-up (default: 1e-5)"),
        ({"save_minutes": 10.0}, "save_minutes: 10.0 # minutes between checkpoints"),
        ({"save_minutes": 10_000}, "save_minutes: 10_000 # minutes between checkpoints"),
        ({"dropout": None}, "dropout: null # dropout of the model; null keeps the model's own (default: 0.1)"),
    ],
)
def test_a_default_is_named_where_the_value_is_another(training: dict[str, Any], line: str) -> None:
    text = commented_yaml(smallest(training={"forward": training}))
    assert line_of(line.partition(":")[0], text).startswith(line)


def test_a_section_has_the_defaults_of_its_place() -> None:
    """Replies of the evaluation may be longer than instructions."""
    places = {place: {"sampling": {"max_new_tokens": 256}} for place in ("augmentation", "evaluation")}
    lines = [line for line in commented_yaml(smallest(**places)).splitlines() if "max_new_tokens" in line]
    assert [line.endswith(" (default: 512)") for line in lines] == [False, True]


def test_long_lists_have_a_line_for_each_item() -> None:
    phrases = [f"phrase {number}, really: #{number}" for number in range(9)]
    values = smallest(augmentation={"filters": {"unseen_text": phrases}})
    text = commented_yaml(values)
    assert '\n      - "phrase 8, really: #8"\n' in text
    assert yaml.safe_load(text) == values


@pytest.mark.parametrize("sentence", ["", "null", "5", "a: b", "a # b", "'", '"', "a\nb", "[a", "é 語", "*x", " a "])
def test_texts_are_read_back(sentence: str) -> None:
    values = smallest(prompts={"seed_tag": sentence}, augmentation={"filters": {"unseen_text": [sentence]}})
    assert yaml.safe_load(commented_yaml(values)) == values


def test_of_two_equal_trainings_the_second_refers_to_the_first() -> None:
    training = {"epochs": 5, "lora": {"rank": 8}}
    text = commented_yaml(smallest(training={"backward": training, "forward": dict(training)}))
    assert "\n  backward: &backward\n" in text and "\n  forward: *backward\n" in text


def test_of_two_similar_trainings_the_second_has_what_differs() -> None:
    trainings = {"backward": {"epochs": 5, "batch_size": 8}, "forward": {"epochs": 5, "batch_size": 4}}
    text = commented_yaml(smallest(training=trainings))
    assert "\n  forward:\n    <<: *backward\n    batch_size: 4 # examples per optimizer step" in text
    assert yaml.safe_load(text)["training"] == trainings


def test_a_training_without_a_key_of_the_other_is_written_by_itself() -> None:
    trainings = {"backward": {"epochs": 5, "batch_size": 8}, "forward": {"epochs": 5}}
    assert yaml.safe_load(commented_yaml(smallest(training=trainings)))["training"] == trainings


def test_sections_without_keys_are_kept() -> None:
    values = smallest(miniature={}, training={"backward": {}, "forward": {}}, generation={})
    assert yaml.safe_load(commented_yaml(values)) == values


def test_a_wrong_configuration_is_refused() -> None:
    with pytest.raises(SettingsError, match="config: iteration: no such setting"):
        commented_yaml(smallest(iteration=1))


def test_a_new_user_gets_every_key_with_the_settings_for_one_gpu() -> None:
    text = starting_configuration(LORA, "my-run.yaml")
    assert text.startswith(STARTING_HEADER.format(name="my-run.yaml") + "\n\n")
    written, expected = yaml.safe_load(text), load_settings(LORA)
    assert load_settings(written) == expected
    complete = json.loads(expected.model_dump_json())
    assert sorted(leaves(written)) == sorted(leaves(complete))
    assert written["corpus"]["sources"][0].keys() == complete["corpus"]["sources"][0].keys()
