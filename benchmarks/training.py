"""Useful tokens per second of a fine-tuning: `fine_tune`, TRL's SFTTrainer in several settings, and the Trainer.

    python benchmarks/training.py [--threads 1] [--pairs 300] [--passes 2]

All train the same random Llama (4 layers, width 256) in float32 with the same learning rate, in as many passes over the
same pairs and with about as many tokens a step, one after the other in one process. Lengths are log-normal with median
110 tokens, at most 512, as those of instruction data are; of a pair's words, four in five follow from the word before,
so that there is something to learn. Seconds are of the processor, from the first step to the last: other work on the
machine does not count. The held-out loss is that of 50 further pairs, in nats per reply token.

TRL is in the extra `test`. It has its best settings: no gradient checkpointing, packing in rows of 512 tokens, one or
all of a step at once, and batches of pairs of similar length.
"""

import argparse
import random
import tempfile
import time
from array import array
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtranslation.jobs.process import start_job

if TYPE_CHECKING:
    from backtranslation.models.pairs import EncodedPair

MAX_LENGTH = 512
BATCH_SIZE = 16
LEARNING_RATE = 1e-3
HELD_OUT = 50
WORDS = 256  # that occur


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--pairs", type=int, default=300, help="pairs of the training set")
    parser.add_argument("--passes", type=int, default=2, help="passes over them")
    args = parser.parse_args()
    start_job("benchmark", "training", args.threads)

    from random_model import build_model

    pairs = make_pairs(args.pairs + HELD_OUT)
    learnt, held_out = pairs[HELD_OUT:], pairs[:HELD_OUT]
    ways: dict[str, Callable[..., float]] = {"fine_tune": train_ours, "Trainer, padded": train_padded}
    if find_spec("trl") is None:
        print("TRL is not installed, and is left out: pip install trl")
    else:
        ways |= trl_ways(count_rows(learnt))
    print(f"{args.pairs:,} pairs, {count_tokens(learnt):,} tokens, {args.passes} passes, {args.threads} threads")
    print(f"{'':32}{'tokens/s':>10}{'ours / it':>12}{'held-out loss':>16}", flush=True)
    ours = 0.0
    with tempfile.TemporaryDirectory() as folder:
        build_model(Path(folder) / "base", hidden_size=256, layers=4)
        for name, train in ways.items():
            speed = train(Path(folder), learnt, args.passes)
            ours, loss = ours or speed, held_out_loss(Path(folder) / "trained", held_out)
            print(f"{name:32}{speed:10,.0f}{ours / speed:12.2f}{loss:16.3f}", flush=True)


def make_pairs(count: int) -> "list[EncodedPair]":
    """Pairs of words of which most follow from the word before."""
    from backtranslation.models.pairs import EncodedPair

    generator = random.Random(0)
    following = [generator.randrange(2, 2 + WORDS) for _ in range(2 + WORDS)]
    pairs = []
    for number in range(count):
        length = min(MAX_LENGTH, max(8, round(generator.lognormvariate(4.7, 0.8))))
        ids = [generator.randrange(2, 2 + WORDS)]
        while len(ids) < length:
            ids.append(following[ids[-1]] if generator.random() < 0.8 else generator.randrange(2, 2 + WORDS))
        pairs.append(EncodedPair(str(number), array("i", ids), length // 4))
    return pairs


def count_rows(pairs: "list[EncodedPair]") -> int:
    """Packed rows of a step of `fine_tune`."""
    from backtranslation.models.packing import pack

    rows = pack([len(pair.ids) for pair in pairs], MAX_LENGTH)
    return max(1, round(BATCH_SIZE * len(rows) / len(pairs)))


def train_ours(folder: Path, pairs: "list[EncodedPair]", passes: int) -> float:
    """Tokens/s of `fine_tune`."""
    from pandas import read_csv

    from backtranslation.models.loading import load_tokenizer
    from backtranslation.models.prompts import PromptSet
    from backtranslation.models.training import fine_tune
    from backtranslation.settings.base_model import BaseModelSettings
    from backtranslation.settings.prompts import Prompts
    from backtranslation.settings.training import Training

    base, clock = BaseModelSettings(path=str(folder / "base")), make_clock()
    tokenizer = load_tokenizer(base.path, base, PromptSet(Prompts()))
    training = Training(
        max_length=MAX_LENGTH, batch_size=BATCH_SIZE, epochs=passes, min_steps=1, dropout=0.0,
        learning_rate=LEARNING_RATE, final_learning_rate=LEARNING_RATE, rows_per_device=BATCH_SIZE,
    )  # fmt: skip
    fine_tune(pairs, base, training, tokenizer, folder / "trained", folder / "work", folder / "ours.tsv", 1, [clock])
    tokens = int(read_csv(folder / "ours.tsv", sep="\t").tokens.iloc[-1])
    return tokens / clock.seconds


def train_padded(folder: Path, pairs: "list[EncodedPair]", passes: int) -> float:
    """Tokens/s of padded batches in random order, as the Trainer makes them by itself."""
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder / "base", pad_token="<end>")
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "base"),
        args=TrainingArguments(per_device_train_batch_size=BATCH_SIZE, **common_arguments(folder, passes)),
        train_dataset=as_rows(pairs),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    return run_trainer(trainer, folder, passes * count_tokens(pairs))


def trl_ways(rows: int) -> dict[str, Callable[..., float]]:
    """TRL's settings by name; `rows` are the packed rows of a step."""
    packed = {"packing": True, "max_length": MAX_LENGTH}
    settings: dict[str, dict[str, Any]] = {
        "padded": {"per_device_train_batch_size": BATCH_SIZE},
        "padded, by length": {
            "per_device_train_batch_size": BATCH_SIZE, "train_sampling_strategy": "group_by_length",
        },
        f"packing, {rows} rows at once": {"per_device_train_batch_size": rows, **packed},
        "packing, a row at once": {
            "per_device_train_batch_size": 1, "gradient_accumulation_steps": rows, **packed,
        },
    }  # fmt: skip

    def way(chosen: dict[str, Any]) -> Callable[..., float]:
        return lambda folder, pairs, passes: train_trl(folder, pairs, passes, chosen)

    return {f"TRL, {name}": way(chosen) for name, chosen in settings.items()}


def train_trl(folder: Path, pairs: "list[EncodedPair]", passes: int, settings: dict[str, Any]) -> float:
    """Tokens/s of TRL's SFTTrainer."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder / "base"),
        args=SFTConfig(
            bf16=False, gradient_checkpointing=False, **{"max_length": MAX_LENGTH, **settings},
            **common_arguments(folder, passes),
        ),
        train_dataset=Dataset.from_list(as_rows(pairs)),
        processing_class=AutoTokenizer.from_pretrained(folder / "base", pad_token="<end>"),
    )  # fmt: skip
    return run_trainer(trainer, folder, passes * count_tokens(pairs))


def common_arguments(folder: Path, passes: int) -> dict[str, Any]:
    """What all trainings have in common, as the Trainer calls it."""
    return {
        "output_dir": str(folder / "theirs"), "num_train_epochs": passes, "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant", "weight_decay": 0.1, "use_cpu": True, "save_strategy": "no",
        "logging_strategy": "no", "report_to": "none", "disable_tqdm": True, "seed": 1,
    }  # fmt: skip


def make_clock() -> Any:
    """A callback of the Trainer: its `seconds` are those of the processor, between begin and end of a training."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.seconds = -time.process_time()

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.seconds += time.process_time()

    return Clock()


def count_tokens(pairs: "list[EncodedPair]") -> int:
    """Tokens of a pass."""
    return sum(len(pair.ids) for pair in pairs)


def as_rows(pairs: "list[EncodedPair]") -> list[dict[str, list[int]]]:
    """The pairs as the Trainer takes them."""
    return [{"input_ids": pair.ids.tolist(), "labels": list(pair.labels)} for pair in pairs]


def run_trainer(trainer: Any, folder: Path, tokens: int) -> float:
    """Train, save the model to the folder `trained`; tokens/s, where each pair is seen in every pass."""
    from transformers import PrinterCallback

    clock = make_clock()
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.model.save_pretrained(folder / "trained")
    return tokens / clock.seconds


def held_out_loss(model_folder: Path, pairs: "list[EncodedPair]") -> float:
    """Nats per reply token, pair by pair."""
    import torch
    from transformers import AutoModelForCausalLM

    model, total, count = AutoModelForCausalLM.from_pretrained(model_folder).eval(), 0.0, 0
    for pair in pairs:
        with torch.no_grad():
            loss = model(torch.tensor([pair.ids.tolist()]), labels=torch.tensor([pair.labels])).loss
        targets = len(pair.ids) - pair.prompt_tokens
        total, count = total + loss.item() * targets, count + targets
    return total / count


if __name__ == "__main__":
    main()
