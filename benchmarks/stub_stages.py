"""Stand-ins for the computing functions of the stages that need a model: plausible rows at once, without torch.

Every row follows from its id and from the model's bytes, so that what is computed twice comes out the same.
"""

import hashlib
import random
import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from backtranslation.files import read_rows, write_json, write_rows

TASKS = ("generate an overview", "write a short guide", "explain the background", "list the main points")


def train_model(
    seed: Path,
    augmented: list[Path],
    prompt: Path,
    chat_template: Path,
    model: Path,
    losses: Path,
    pairs: Path,
    **_: Any,
) -> None:
    """A model is the digest of the pairs that it learnt from."""
    digest = hashlib.sha256()
    for row in chain.from_iterable(read_rows(path) for path in [seed, *augmented]):
        digest.update(f"{row['id']} {row['instruction']}\n".encode())
    model.mkdir(parents=True)
    write_json(model / "config.json", {"trained_on": digest.hexdigest(), "prompt": prompt.name})
    write_json(model / "generation_config.json", {})
    shutil.copyfile(chat_template, model / "chat_template.jinja")
    columns = "step\tloss\tlearning_rate\ttokens\tseconds\ttokens_per_second\tpadding\tmfu"
    losses.write_text(f"{columns}\n1\t2.5\t1e-05\t1000\t1.0\t1000.0\t0.1\t\n")
    write_json(pairs, {kind: {"used": 1, "left_out": {}} for kind in ("seed", "augmented")})


def generate_instructions(segments: Path, model: Path, instructions: Path, **_: Any) -> None:
    """One of a few tasks, on what the segment begins with."""
    write_rows(
        instructions,
        (
            {"id": row["id"], "raw": f"Please {draw(model, row['id']).choice(TASKS)}: {row['text'][:40]}",
             "tokens": 20, "finished": True, "failure": None}
            for row in read_rows(segments)
        ),
    )  # fmt: skip


def score_candidates(candidates: Path, model: Path, judgements: Path, **_: Any) -> None:
    """A score from 1 to 5 for every candidate that was not rejected."""
    write_rows(judgements, (judge(model, row["id"]) for row in read_rows(candidates) if not row["rejection"]))


def judge(model: Path, row_id: str) -> dict[str, object]:
    """A whole score, and probabilities of the five digits."""
    generator = draw(model, row_id)
    weights = [generator.random() for _ in range(5)]
    score = max(range(5), key=weights.__getitem__) + 1
    return {
        "id": row_id,
        "samples": [
            {"text": f"It answers what was asked.\nScore: {score}", "finished": True,
             "label_probabilities": [weight / sum(weights) for weight in weights], "label_mass": 0.9}
        ],
        "failure": None,
    }  # fmt: skip


def measure_likelihood(candidates: Path, model: Path, likelihoods: Path, **_: Any) -> None:
    """A likelihood after the instruction and one alone, for every candidate that was not rejected."""

    def measure(row_id: str) -> dict[str, object]:
        given, alone = ({"tokens": 50} | dict.fromkeys(("mean", "begin", "tail", "end"), -value)
                        for value in sorted(draw(model, row_id).uniform(0, 5) for _ in range(2)))  # fmt: skip
        return {"id": row_id, "given": given, "alone": alone, "failure": None}

    write_rows(likelihoods, (measure(row["id"]) for row in read_rows(candidates) if not row["rejection"]))


def evaluate_model(model: Path, held_out: Path, loss: Path, answers: Path, **_: Any) -> None:
    """A loss and an answer for every held-out pair."""
    write_losses(loss, model, held_out)
    write_rows(
        answers,
        (
            {"id": row["id"], "instruction": row["instruction"], "reference": row["response"],
             "answer": row["response"][: draw(model, row["id"]).randrange(20, 200)], "failure": None}
            for row in read_rows(held_out)
        ),
    )  # fmt: skip


def evaluate_backward_model(model: Path, held_out: Path, loss: Path, instructions: Path, **_: Any) -> None:
    """A loss and an instruction for every held-out pair."""
    write_losses(loss, model, held_out)
    write_rows(instructions, (row | {"rejection": None} for row in read_rows(held_out)))


def write_losses(path: Path, model: Path, held_out: Path) -> None:
    """A loss for every held-out pair."""
    pairs = [{"id": row["id"], "loss": 2 + draw(model, row["id"]).random(), "tokens": 50, "failure": None}
             for row in read_rows(held_out)]  # fmt: skip
    write_json(path, {"loss": mean(pair["loss"] for pair in pairs), "tokens": 50 * len(pairs), "pairs": pairs})


def measure_round_trip(model: Path, instructions: Path, round_trip: Path, **_: Any) -> None:
    """A rank for every instruction."""
    pairs = [{"id": row["id"], "rank": draw(model, row["id"]).randrange(1, 21), "candidates": 20, "failure": None}
             for row in read_rows(instructions)]  # fmt: skip
    reciprocal = mean(1 / pair["rank"] for pair in pairs)
    write_json(round_trip, {"top_1": 0.0, "mean_reciprocal_rank": reciprocal, "pairs": pairs})


def judge_answers(first: Path, second: Path, judgements: Path, **_: Any) -> None:
    """How probable it is that the first answer is better, in both orders."""
    rows = zip(read_rows(first), read_rows(second), strict=True)
    write_rows(judgements, (compare(one["answer"], other["answer"], one["id"]) for one, other in rows))


def compare(first: str, second: str, row_id: str) -> dict[str, object]:
    """The longer answer is better, as judges often think."""
    share = (len(first) + 1) / (len(first) + len(second) + 2)
    chances = {"first_wins_forward": share, "first_wins_reversed": share}
    nothing = dict.fromkeys(("input_tokens", "output_tokens", "failure"))
    return {"id": row_id, **chances, "mass": 1.0, "cut": False, **nothing}


def draw(model: Path, row_id: str) -> random.Random:
    """Random numbers that follow from a model and a row."""
    return random.Random(f"{(model / 'config.json').read_text()} {row_id}")


def mean(values: Iterable[float]) -> float:
    """Their arithmetic mean."""
    numbers = list(values)
    return sum(numbers) / len(numbers)
