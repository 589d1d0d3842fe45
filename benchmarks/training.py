"""Useful tokens per second of a fine-tuning: packed rows, as `fine_tune` has them, and the Trainer's padded batches.

    python benchmarks/training.py [--threads 1] [--pairs 1000]

Both train the same random Llama (4 layers, width 256) on the same pairs for one pass, in one process after the other;
lengths are log-normal with median 110 tokens, at most 512, as those of instruction data are.
"""

import argparse
import random
import tempfile
import time
from array import array
from pathlib import Path

from backtranslation.jobs.process import start_job

MAX_LENGTH = 512
BATCH_SIZE = 16


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of the training set")
    args = parser.parse_args()
    start_job("benchmark", "training", args.threads)

    from random_model import build_model, random_ids

    from backtranslation.models.pairs import EncodedPair

    generator = random.Random(0)
    lengths = [min(MAX_LENGTH, max(8, round(generator.lognormvariate(4.7, 0.8)))) for _ in range(args.pairs)]
    pairs = [
        EncodedPair(str(number), array("i", random_ids(generator, length)), length // 4)
        for number, length in enumerate(lengths)
    ]
    with tempfile.TemporaryDirectory() as folder:
        build_model(Path(folder) / "base", hidden_size=256, layers=4)
        padded = sum(lengths) / measure_padded(Path(folder), pairs)
        packed = sum(lengths) / measure_packed(Path(folder), pairs)
    print(f"{args.pairs:,} pairs, {sum(lengths):,} tokens, {args.threads} threads")
    print(f"{'':24}{'tokens/s':>12}{'ratio':>8}")
    print(f"{'padded, Trainer':24}{padded:12,.0f}{1:8.2f}")
    print(f"{'packed, fine_tune':24}{packed:12,.0f}{packed / padded:8.2f}")


def measure_packed(folder: Path, pairs: list) -> float:
    """Seconds of one pass over packed rows, measured by the table that the training writes."""
    import pandas as pd

    from backtranslation.models.loading import load_tokenizer
    from backtranslation.models.prompts import PromptSet
    from backtranslation.models.training import fine_tune
    from backtranslation.settings.base_model import BaseModelSettings
    from backtranslation.settings.prompts import Prompts
    from backtranslation.settings.training import Training

    base = BaseModelSettings(path=str(folder / "base"))
    tokenizer = load_tokenizer(base.path, base, PromptSet(Prompts()))
    training = Training(
        max_length=MAX_LENGTH, batch_size=BATCH_SIZE, epochs=1, min_steps=1, dropout=0.0, rows_per_device=BATCH_SIZE
    )
    table = folder / "packed.tsv"
    fine_tune(pairs, base, training, tokenizer, folder / "packed", folder / "work", table, 1)
    return float(pd.read_csv(table, sep="\t").seconds.iloc[-1])


def measure_padded(folder: Path, pairs: list) -> float:
    """Seconds of one pass over padded batches in random order, as the Trainer makes them by itself."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder / "base", pad_token="<end>")
    rows = [{"input_ids": pair.ids.tolist(), "labels": pair.labels} for pair in pairs]
    arguments = TrainingArguments(
        output_dir=str(folder / "padded"), per_device_train_batch_size=BATCH_SIZE, num_train_epochs=1,
        save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "base"), args=arguments, train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    start = time.monotonic()
    trainer.train()
    return time.monotonic() - start


if __name__ == "__main__":
    main()
