"""The controls: what the last model is compared with."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_run import ROOT

from backtranslation.files import read_rows, write_rows
from backtranslation.method.controls import draw_candidates
from backtranslation.models.loading import ModelError, locate_model
from backtranslation.settings.base_model import HubName, ModelLoading
from backtranslation.settings.slices import spec

IDS = [f"row-{number}" for number in range(200)]


def test_a_draw_is_by_chance_and_does_not_depend_on_the_order() -> None:
    drawn = draw_candidates(IDS, 60, random_seed=1)
    assert len(drawn) == 60 and drawn == draw_candidates(reversed(IDS), 60, random_seed=1)
    assert drawn != draw_candidates(IDS, 60, random_seed=2)
    assert draw_candidates(IDS, 30, random_seed=1) < drawn, "a larger draw holds a smaller one"
    # Of 60 of 200, about 30 lie in the first half; 15 or fewer, or 45 or more, have a chance below 1e-4.
    assert 15 < len(drawn & set(IDS[:100])) < 45


def test_as_many_candidates_are_drawn_as_were_selected_and_no_rejected_one(tmp_path: Path) -> None:
    rows = [
        {"id": row_id, "instruction": f"ask {row_id}", "response": "tell", "rejection": "empty" if number % 2 else None}
        for number, row_id in enumerate(IDS)
    ]
    for name, part in (("a", rows[:120]), ("b", rows[120:]), ("curated", rows[:7])):
        write_rows(tmp_path / f"{name}.jsonl.zst", part)
    command = [
        sys.executable, str(ROOT / "scripts/draw_random_candidates.py"), "--spec", spec(random_seed=1), "--store",
        "store",
        "--candidates", "a.jsonl.zst", "b.jsonl.zst", "--curated", "curated.jsonl.zst", "--drawn", "drawn.jsonl.zst",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = list(read_rows(tmp_path / "drawn.jsonl.zst"))
    places = [IDS.index(row["id"]) for row in drawn]
    assert len(drawn) == 7 and not any(place % 2 for place in places) and places == sorted(places)
    assert drawn[0] == {"id": IDS[places[0]], "instruction": f"ask {IDS[places[0]]}", "response": "tell"}


def test_the_untouched_model_is_a_folder_or_a_name_on_the_hub(tmp_path: Path) -> None:
    loading, name = ModelLoading(dtype="float32"), HubName(path="owner/model", revision="abc")
    assert locate_model(tmp_path, None, loading).path == str(tmp_path)
    found = locate_model(None, name, loading)
    assert (found.path, found.revision, found.dtype) == ("owner/model", "abc", "float32")
    with pytest.raises(ModelError, match="given no model"):
        locate_model(None, None, loading)
