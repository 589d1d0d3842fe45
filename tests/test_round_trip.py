"""The backward model on held-out pairs: whether its instructions lead back to the responses they were written for."""

import json
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_models import ROOT, make_pairs

from backtranslation.corpus.seed import draw_pairs
from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.method.round_trip import CANDIDATES, RoundTrip, draw_responses, make_round_trips
from backtranslation.models.engine import ReplyLikelihood
from backtranslation.models.pairs import EncodedPair, PairError
from backtranslation.settings.augmentation import InstructionFilters
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.limits import Limits
from backtranslation.settings.prompts import Prompts, Tags
from backtranslation.settings.slices import spec

RESPONSES = {f"r{number}": f"text {number}" for number in range(30)}


class Librarian:
    """An engine that knows how likely every response is by itself, and how much likelier an instruction makes it."""

    def __init__(self, gains: dict[tuple[str, str], float]) -> None:
        self.gains = gains
        self.asked: list[tuple[str, bool]] = []

    def measure(self, pairs: Sequence[EncodedPair]) -> Iterator[ReplyLikelihood]:
        for pair in reversed(pairs):
            self.asked.append((pair.id, bool(pair.ids[0])))
            row_id, other = pair.id.split("/") if pair.ids[0] else ("", pair.id.split("/")[1])
            mean = -1.0 - int(other[1:]) + self.gains.get((row_id, other), 0.0)
            yield ReplyLikelihood(pair.id, [mean - 0.5, mean + 0.5, -9.0])


def encode(row: Row) -> EncodedPair:
    if row["response"] == "text 3":
        raise PairError("target_too_long", f"row {row['id']}: too long")
    return EncodedPair(row["id"], array("i", [len(row["instruction"]), 1, 2, 3]), 1)


def written(rejections: dict[str, str | None]) -> list[Row]:
    return [
        {"id": row_id, "instruction": f"for {row_id}", "rejection": reason} for row_id, reason in rejections.items()
    ]


def travel(engine: Librarian, rows: list[Row], work: Path, share: float = 1.0) -> list[RoundTrip]:
    return make_round_trips(engine, encode, rows, RESPONSES, 1, work, Limits(max_unusable_share=share))  # type: ignore[arg-type]


def test_a_response_is_ranked_by_how_much_likelier_its_instruction_makes_it(tmp_path: Path) -> None:
    """r0 is likelier than r20 by itself, under every instruction; that counts for nothing."""
    rivals = [other for other in draw_responses("r5", RESPONSES, 1)[1:] if other != "r3"]
    gains = {("r20", "r20"): 0.125, ("r5", "r5"): 0.25, ("r5", rivals[0]): 0.5, ("r5", rivals[1]): 0.25}
    found = travel(Librarian(gains), written({"r20": None, "r5": None}), tmp_path)
    assert found[0].rank == 1 and found[0].reciprocal_rank == 1
    assert found[1].rank == 3 and found[1].reciprocal_rank == 1 / 3, "what is as much likelier comes before"
    for row in found:
        assert row.candidates == CANDIDATES - ("r3" in draw_responses(row.id, RESPONSES, 1))


def test_a_response_without_a_usable_instruction_or_too_long_is_not_retrieved(tmp_path: Path) -> None:
    engine = Librarian({})
    found = travel(engine, written({"r1": "unfinished", "r3": None}), tmp_path)
    assert found == [RoundTrip("r1", None, 0, "unfinished"), RoundTrip("r3", None, 0, "target_too_long")]
    assert [row.reciprocal_rank for row in found] == [0, 0]
    assert not any(name.startswith("r1/") for name, _ in engine.asked)
    with pytest.raises(DataError, match="target_too_long"):
        travel(engine, written({"r3": None}), tmp_path, share=0.0)


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    rows = written({"r1": None, "r2": None})
    first, again = Librarian({}), Librarian({})
    assert travel(first, rows, tmp_path) == travel(again, rows, tmp_path)
    assert len(first.asked) == len(set(first.asked)) > 2 * CANDIDATES and not again.asked


def test_candidates_are_drawn_by_the_row_and_the_seed() -> None:
    drawn = draw_responses("r1", RESPONSES, 1)
    assert drawn[0] == "r1" and len(set(drawn)) == CANDIDATES
    assert drawn == draw_responses("r1", dict(reversed(RESPONSES.items())), 1)
    assert set(drawn) != set(draw_responses("r1", RESPONSES, 2)) != set(draw_responses("r2", RESPONSES, 2))
    assert draw_responses("r1", {"r1": "One.", "r2": "Two.", "r3": " one"}, 1) == ["r1", "r2"], "r3 says the same"


def test_scripts_measure_the_backward_model_and_the_round_trip(
    base: BaseModelSettings, model_folder: Callable[[str], Path], prompt_settings: Prompts, tmp_path: Path
) -> None:
    pairs, model = make_pairs(6), str(model_folder("qwen"))
    write_rows(tmp_path / "held_out.jsonl.zst", pairs)
    (tmp_path / "backward.jinja").write_text("Ask for: {{ response }}")
    slices: dict[str, Any] = {
        "loading": base.loading(),
        "generation": Generation(),
        "limits": Limits(),
        "random_seed": 1,
    }
    sampling, filters = Sampling(max_new_tokens=6), InstructionFilters()
    run("evaluate_backward_model", tmp_path, "--spec",
        spec(**slices, sampling=sampling, filters=filters, backward_pairs=4), "--model", model,
        "--held-out", "held_out.jsonl.zst", "--prompt", "backward.jinja", "--loss", "loss.json",
        "--instructions", "instructions.jsonl.zst")  # fmt: skip
    loss = json.loads((tmp_path / "loss.json").read_text())
    assert [pair["id"] for pair in loss["pairs"]] == [pair["id"] for pair in pairs]
    assert loss["tokens"] == sum(pair["tokens"] for pair in loss["pairs"]) > 0 < loss["loss"]
    rows = list(read_rows(tmp_path / "instructions.jsonl.zst"))
    assert [(row["id"], row["response"]) for row in rows] == [
        (pair["id"], pair["response"]) for pair in draw_pairs(pairs, 4, 1)
    ]

    # The model is untrained, and what it wrote not to be relied on.
    usable = [
        row | {"instruction": pair["instruction"], "rejection": None}
        for row, pair in zip(rows, draw_pairs(pairs, 4, 1), strict=True)
    ]
    write_rows(tmp_path / "usable.jsonl.zst", [*usable[:3], usable[3] | {"rejection": "empty"}])
    tags = prompt_settings.only(*Tags.model_fields)
    run("measure_round_trip", tmp_path, "--spec", spec(**slices, tags=tags), "--model", model, "--prompt",
        prompt_settings.forward, "--instructions", "usable.jsonl.zst", "--held-out", "held_out.jsonl.zst",
        "--round-trip", "round_trip.json")  # fmt: skip
    found = json.loads((tmp_path / "round_trip.json").read_text())
    assert [row["id"] for row in found["pairs"]] == [row["id"] for row in rows]
    assert all(1 <= row["rank"] <= row["candidates"] == 6 for row in found["pairs"][:3])
    assert found["pairs"][3] == {"id": rows[3]["id"], "rank": None, "candidates": 0, "failure": "empty"}
    assert found["top_1"] == sum(row["rank"] == 1 for row in found["pairs"]) / 4 <= found["mean_reciprocal_rank"]


def run(script: str, folder: Path, *arguments: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--store", "store", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
