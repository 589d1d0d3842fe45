"""Stand-ins for the computing functions of the stages that need a model: plausible rows at once, without torch.

Every row follows from its id and from the model's bytes, so that what is computed twice comes out the same.
"""

import argparse
import hashlib
import random
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from backtranslation.files import read_rows, write_json, write_rows

TASKS = ("generate an overview", "write a short guide", "explain the background", "list the main points")


def train_model(args: argparse.Namespace) -> None:
    """A model is the digest of the pairs that it learnt from."""
    digest = hashlib.sha256()
    for row in chain.from_iterable(read_rows(path) for path in [args.seed, *args.augmented]):
        digest.update(f"{row['id']} {row['instruction']}\n".encode())
    Path(args.model).mkdir(parents=True)
    write_json(Path(args.model) / "config.json", {"trained_on": digest.hexdigest(), "prompt": Path(args.prompt).name})
    table = "step\tloss\tlearning_rate\ttokens\tseconds\ttokens_per_second\n1\t2.5\t1e-05\t1000\t1.0\t1000.0\n"
    Path(args.log).write_text(table)


def generate_instructions(args: argparse.Namespace) -> None:
    """One of a few tasks, on what the segment begins with."""
    write_rows(
        args.instructions,
        (
            {"id": row["id"], "raw": f"Please {draw(args.model, row['id']).choice(TASKS)}: {row['text'][:40]}",
             "tokens": 20, "finished": True}
            for row in read_rows(args.segments)
        ),
    )  # fmt: skip


def score_candidates(args: argparse.Namespace) -> None:
    """A score from 1 to 5 for every candidate that was not rejected."""
    write_rows(
        args.judgements, (judge(args.model, row["id"]) for row in read_rows(args.candidates) if not row["rejection"])
    )


def judge(model: str, row_id: str) -> dict[str, object]:
    """A whole score, and probabilities of the five digits."""
    generator = draw(model, row_id)
    weights = [generator.random() for _ in range(5)]
    score = max(range(5), key=weights.__getitem__) + 1
    return {
        "id": row_id,
        "raw": f"It answers what was asked.\nScore: {score}",
        "digit_probabilities": [weight / sum(weights) for weight in weights],
    }


def evaluate_model(args: argparse.Namespace) -> None:
    """A loss and an answer for every held-out pair."""
    pairs = [{"id": row["id"], "loss": 2 + draw(args.model, row["id"]).random(), "tokens": 50}
             for row in read_rows(args.held_out)]  # fmt: skip
    write_json(args.loss, {"loss": mean(pair["loss"] for pair in pairs), "tokens": 50 * len(pairs), "pairs": pairs})
    write_rows(
        args.answers,
        (
            {"id": row["id"], "instruction": row["instruction"], "reference": row["response"],
             "answer": row["response"][: draw(args.model, row["id"]).randrange(20, 200)]}
            for row in read_rows(args.held_out)
        ),
    )  # fmt: skip


def judge_answers(args: argparse.Namespace) -> None:
    """How probable it is that the first answer is better, in both orders."""
    rows = zip(read_rows(args.first), read_rows(args.second), strict=True)
    write_rows(args.judgements, (compare(first["answer"], second["answer"], first["id"]) for first, second in rows))


def compare(first: str, second: str, row_id: str) -> dict[str, object]:
    """The longer answer is better, as judges often think."""
    share = (len(first) + 1) / (len(first) + len(second) + 2)
    return {"id": row_id, "first_wins_forward": share, "first_wins_reversed": share}


def draw(model: str, row_id: str) -> random.Random:
    """Random numbers that follow from a model and a row."""
    return random.Random(f"{(Path(model) / 'config.json').read_text()} {row_id}")


def mean(values: Iterable[float]) -> float:
    """Their arithmetic mean."""
    numbers = list(values)
    return sum(numbers) / len(numbers)
