"""Right answers of the models of a default run: those stored by the evaluation, and those to plain chat messages.

    python benchmarks/plain_chat.py [--results results] [--models M0 M1]

The second are asked as anybody asks a model: transformers' pipeline, one user's message, nothing else. Both are sampled
as the folder of the model says, with other random numbers, so they differ by chance.
"""

import argparse
from pathlib import Path

import torch
from transformers import pipeline, set_seed

from backtranslation import layout
from backtranslation.files import Row, read_rows
from backtranslation.miniature.truth import Measure, mark_answers, share


def main() -> None:
    """Print the shares of right answers, with 95 % intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--models", nargs="+", default=["M0", "M1", "M2", "unselected"])
    args = parser.parse_args()
    truth = list(read_rows(layout.locate(args.results, layout.MINIATURE_TRUTH)))
    for model in args.models:
        stored = list(read_rows(layout.locate(args.results, layout.ANSWERS, model=model)))
        plain = ask_plainly(layout.locate(args.results, layout.MODEL, model=model), stored)
        measures = (share(model, model, mark_answers(truth, rows)) for rows in (stored, plain))
        print(f"{model:12}stored {describe(next(measures))}   plain chat {describe(next(measures))}", flush=True)


def ask_plainly(folder: Path, rows: list[Row]) -> list[Row]:
    """The rows with the answers to their instructions, each the one message of a chat."""
    torch.set_num_threads(1)  # so small a model only loses by more
    set_seed(1)
    ask = pipeline("text-generation", str(folder))
    chats = [[{"role": "user", "content": row["instruction"]}] for row in rows]
    replies = ask(chats, batch_size=1)
    return [
        row | {"answer": reply[0]["generated_text"][-1]["content"]} for row, reply in zip(rows, replies, strict=True)
    ]


def describe(measure: Measure) -> str:
    """A share with its interval."""
    return f"{measure.value:.3f} ({measure.low:.3f} to {measure.high:.3f})"


if __name__ == "__main__":
    main()
