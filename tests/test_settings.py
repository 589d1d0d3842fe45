"""The settings: defaults, checks with readable messages, canonical specs, agreement with the files users read."""

import json
from pathlib import Path

import pytest
import yaml
from helpers.configurations import CONFIGS, ROOT, leaves, smallest

from backtranslation.settings.base_model import BaseModelSettings, HubName, name_on_hub, public_name
from backtranslation.settings.corpus import Deduplication
from backtranslation.settings.generation import Generation
from backtranslation.settings.run import comparisons, json_schema, load_settings, model_names, trained_models
from backtranslation.settings.slices import SettingsError, Slice, spec
from backtranslation.settings.training import Training


def test_defaults_are_the_papers() -> None:
    settings = load_settings(smallest())
    assert (settings.corpus.segments.min_chars, settings.corpus.segments.max_chars) == (600, 3000)
    assert settings.training.forward.learning_rate == 1e-5
    assert settings.training.forward.final_learning_rate == 9e-6
    assert (settings.augmentation.sampling.temperature, settings.augmentation.sampling.top_p) == (0.7, 0.9)
    assert settings.selection.threshold == 4.5
    assert settings.iterations == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iteration": 3}, "config: iteration: no such setting"),
        ({"iterations": -1}, "config: iterations: "),
        ({"iterations": "many"}, "config: iterations: "),
        ({"training": {"forward": {"learning_rte": 1}}}, "config: training.forward.learning_rte: no such setting"),
        (
            {"corpus": {"sources": [{"name": "a", "paths": ["x"]}], "segments": {"min_chars": 9, "max_chars": 5}}},
            r"config: corpus.segments: min_chars \(9\) is larger than max_chars \(5\)",
        ),
        ({"corpus": {"sources": []}}, "config: corpus.sources: "),
        ({"corpus": {"sources": [{"name": "a b", "paths": ["x"]}]}}, r"config: corpus.sources\[0\].name: "),
        (
            {"corpus": {"sources": [{"name": "a", "paths": ["x"]}, {"name": "a", "paths": ["y"]}]}},
            "config: corpus: two sources are called 'a'",
        ),
        ({"held_out": {}}, "config: held_out: give either size or pairs"),
        ({"held_out": {"size": 1, "pairs": {"path": "x"}}}, "config: held_out: give either size or pairs"),
        ({"training": {"forward": {"learning_rate": 1e-6}}}, "final_learning_rate"),
        ({"selection": {"threshold": None}}, "config: selection: give a threshold, a quantile or top_n"),
        ({"scoring": {"method": "direct", "samples": 2}}, "config: scoring: samples: direct gives the same score"),
        (
            {"scoring": {"samples": 2, "sampling": {"temperature": 0}}},
            "config: scoring: samples: at temperature 0 all samples are the same text",
        ),
        (
            {"scoring": {"method": "combined"}, "selection": {"by": "combined", "threshold": 4.5}},
            "config: selection: threshold: combined scores lie between 0 and 1",
        ),
        (
            {"scoring": {"method": "likelihood"}, "selection": {"by": "likelihood", "threshold": 4.0}},
            "config: selection: threshold: likelihood scores are nats per token, seldom more than 3",
        ),
        ({"selection": {"threshold": 6}}, "config: selection: threshold: parsed scores lie between 1 and 5"),
        ({"training": {"forward": {"steps": 9, "epochs": 2}}}, r"training.forward: steps \(9\) and epochs \(2\) both"),
        (
            {"training": {"backward": {"steps": 9, "schedule": [{"examples": 1, "batch_size": 1, "steps": 1}]}}},
            r"training.backward: steps \(9\) and a schedule both",
        ),
    ],
)
def test_faults_name_their_key(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(smallest(**changes))


def test_a_missing_key_is_named() -> None:
    config = smallest()
    del config["base_model"]
    with pytest.raises(SettingsError, match="^config: base_model: must be given$"):
        load_settings(config)


def test_every_fault_has_a_line() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(smallest(one=1, two=2))
    assert str(error.value).splitlines() == ["config: one: no such setting", "config: two: no such setting"]


def test_yaml_exponent_is_a_number() -> None:
    training = {"forward": yaml.safe_load("learning_rate: 1e-4")}
    assert isinstance(training["forward"]["learning_rate"], str)  # what YAML 1.1 makes of it
    assert load_settings(smallest(training=training)).training.forward.learning_rate == 1e-4


def test_spec_is_canonical() -> None:
    assert spec(b=1, a={"y": 2, "x": [1.5, None]}) == '{"a":{"x":[1.5,null],"y":2},"b":1}'
    reordered = Deduplication.model_validate({"threshold": 0.7, "near": True})
    assert spec(d=reordered) == spec(d=Deduplication.model_validate({"near": True, "threshold": 0.7}))
    assert spec(d=reordered) != spec(d=Deduplication())


@pytest.mark.parametrize(
    ("default", "other"),
    [
        (Generation(), Generation(batch_tokens=100)),
        (
            Training(),
            Training(gradient_checkpointing=True, save_minutes=1, processes=2, rows_per_device=3, min_steps=1),
        ),
    ],
)
def test_how_the_work_is_done_is_no_part_of_a_spec(default: Slice, other: Slice) -> None:
    """It travels beside the spec, and a script puts both together again."""
    assert default != other and spec(part=default) == spec(part=other)
    received = type(other).model_validate(json.loads(spec(part=other))["part"])
    assert received == default
    assert received.completed(other.execution()) == other
    assert received.completed({}) == received.completed({"epochs": 9, "engine": "other"}) == default


def test_what_a_model_learns_from_is_part_of_a_spec() -> None:
    for change in ({"learning_rate": 2e-5}, {"epochs": 7}, {"steps": 7}, {"precision": "bfloat16"}, {"batch_size": 3}):
        assert spec(part=Training.model_validate(change)) != spec(part=Training())


def test_the_identity_of_a_run_leaves_out_how_the_work_is_done() -> None:
    training = {"forward": {"gradient_checkpointing": True}, "backward": {"save_minutes": 1}}
    elsewhere = smallest(training=training, generation={"batch_tokens": 9}, resources={"training_threads": 3})
    assert load_settings(elsewhere).identity() == load_settings(smallest()).identity()
    assert load_settings(smallest(iterations=1)).identity() != load_settings(smallest()).identity()


def test_a_model_is_a_name_on_the_hub_or_a_folder_whose_content_counts(tmp_path: Path) -> None:
    named = BaseModelSettings(path="owner/model", revision="abc")
    assert named.on_hub() == HubName(path="owner/model", revision="abc")
    assert BaseModelSettings(path=str(tmp_path)).on_hub() is None
    assert BaseModelSettings(path="./model").on_hub() is None
    assert name_on_hub(None) is None


def test_a_model_is_known_by_its_name_on_the_hub_or_that_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert public_name("owner/name") == "owner/name"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    for folder in ("owner/name", "./models/name", "/home/somebody/name", "~/models/name"):
        assert public_name(folder) == "name"


def test_miniature_supplies_pages_and_pairs() -> None:
    settings = load_settings({"base_model": {"path": "x"}, "results": "out", "miniature": {"warc_files": 3}})
    assert settings.corpus.sources[0].paths == [f"out/miniature/pages-{number}.warc.gz" for number in (1, 2, 3)]
    assert settings.seed.path in settings.generated_files()
    assert settings.held_out.pairs is not None and settings.held_out.pairs.path in settings.generated_files()


def test_own_pages_win_over_the_miniature() -> None:
    config = smallest(miniature={}, held_out={"size": 5})
    settings = load_settings(config)
    assert settings.corpus.sources[0].name == "web"
    assert settings.seed.path == "seed.jsonl"
    assert settings.held_out.pairs is None


def test_a_key_of_the_seed_leaves_the_rest_to_the_miniature() -> None:
    settings = load_settings({"base_model": {"path": "x"}, "miniature": {}, "seed": {"size": 80}})
    assert (settings.seed.path, settings.seed.size) == ("results/miniature/seed.jsonl", 80)


@pytest.mark.parametrize(
    ("miniature", "message"),
    [
        ({"page": 80}, "config: miniature.page: no such setting"),
        ({"warc_files": "x"}, "config: miniature.warc_files: "),
    ],
)
def test_faults_in_the_miniature_name_their_key(miniature: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(smallest(miniature=miniature))


@pytest.mark.parametrize(
    ("iterations", "controls", "names", "compared"),
    [
        (0, ["unselected", "random"], ["M0"], []),
        (0, ["random", "untouched"], ["M0", "untouched"], [("M0", "untouched")]),
        (1, [], ["M0", "M1"], [("M1", "M0")]),
        (
            2,
            ["unselected", "untouched", "random"],
            ["M0", "M1", "M2", "untouched", "random", "unselected"],
            [("M1", "M0"), ("M2", "M1"), ("M2", "M0"), ("M2", "untouched"), ("M2", "random"), ("M2", "unselected")],
        ),
    ],
)
def test_the_last_model_is_compared_with_the_first_and_with_every_control(
    iterations: int, controls: list[str], names: list[str], compared: list[tuple[str, str]]
) -> None:
    settings = load_settings(smallest(iterations=iterations, evaluation={"controls": controls}))
    assert model_names(settings) == names
    assert comparisons(settings) == compared
    trained = [name for name in names if name != "untouched"]
    assert trained_models(iterations, settings.evaluation) == (["backward", *trained] if iterations else trained)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    load_settings(yaml.safe_load(path.read_text()))


def test_default_run_explains_every_key() -> None:
    """config.yaml names every setting that its run has, so that nobody has to read the code to know them."""
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    effective = json.loads(load_settings(written).model_dump_json())
    for supplied in ("seed", "held_out"):
        del effective[supplied]
    del effective["corpus"]["sources"]
    assert sorted(leaves(written)) == sorted(leaves(effective))


def test_schema_in_docs_is_current() -> None:
    assert (ROOT / "docs" / "config.schema.json").read_text() == json_schema(), "run: make schema"


def test_every_setting_is_explained() -> None:
    schema = json.loads(json_schema())
    models = {"Settings": schema, **schema["$defs"]}
    unexplained = [
        f"{title}.{name}"
        for title, model in models.items()
        for name, field in model["properties"].items()
        if "description" not in field and "$ref" not in field  # a group is explained by its own docstring
    ]
    assert unexplained == [title for title, model in models.items() if not model.get("description")] == []
