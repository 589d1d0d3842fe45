"""Pre-train the base model of the miniature world from nothing; writes a model folder with a manifest.

    python scripts/pretrain_miniature_base.py --work build/miniature-base --output backtranslation/miniature/base

Two phases (see backtranslation/miniature/pretraining.py) of steps of 32 rows of 256 tokens; shows loss (nats per
token) and tokens per second. A first phase that is finished in the work folder is not run again.
"""

import argparse
import hashlib
import json
import platform
from itertools import islice
from pathlib import Path

from backtranslation.jobs.process import run_script, start_job

ROWS, ROW_TOKENS = 32, 256
VOCABULARY, TOKENIZER_DOCUMENTS = 2048, 20_000
CARD = """\
---
license: apache-2.0
language:
- en
library_name: transformers
pipeline_tag: text-generation
---

# The base model of the miniature world

A small language model, trained from nothing on generated documents of a world that does not exist
(backtranslation/miniature/pretraining.py). It shows how instruction backtranslation works, in minutes and on a laptop,
and is of no other use.
"""
LEARNING_RATES = {1: 3e-3, 2: 1.5e-3}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="model folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for the model of the first phase")
    parser.add_argument("--steps", type=int, nargs=2, default=[2600, 700], help="per phase (default: %(default)s)")
    parser.add_argument("--random-seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=128, help="of the hidden layers (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--eager", action="store_true", help="do not compile; slower in a long run")
    args = parser.parse_args()
    start_job("pretrain_miniature_base", threads=args.threads)
    first = args.work / "phase-1"
    if not (first / "manifest.json").exists():
        run_phase(1, None, first, args)
    run_phase(2, first, args.output, args)


def run_phase(phase: int, start: Path | None, output: Path, args: argparse.Namespace) -> None:
    """Run one phase on the model in the folder `start`, or on a new one, and write it with its manifest."""
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from backtranslation.miniature.base_model import new_model, packed_batches, pretrain, save_base, train_tokenizer
    from backtranslation.miniature.pretraining import documents

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.random_seed)
    if start is None:
        tokenizer = train_tokenizer(list(islice(documents(args.random_seed, phase), TOKENIZER_DOCUMENTS)), VOCABULARY)
        model = new_model(tokenizer, args.width, args.layers)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
        model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
    steps = args.steps[phase - 1]
    print(f"phase {phase}: {model.num_parameters():,} parameters, {len(tokenizer):,} tokens", flush=True)
    loss = pretrain(
        model,
        packed_batches(documents(args.random_seed, phase), tokenizer, ROWS, ROW_TOKENS),
        tokenizer.eos_token_id,
        steps,
        LEARNING_RATES[phase],
        report=lambda step, loss, speed: print(
            f"step {step}/{steps}  loss {loss:.4f}  {speed:,.0f} tokens/s", flush=True
        ),
        checkpoint=lambda model, step: save_base(model, tokenizer, output),
        compiled=not args.eager,
    )
    save_base(model, tokenizer, output)
    write_manifest(output, args, phase, loss)


def write_manifest(folder: Path, args: argparse.Namespace, phase: int, loss: float) -> None:
    """Write the card of the model in the folder, how it was made, and the digests of its files."""
    import torch
    import transformers

    (folder / "README.md").write_text(CARD)
    options = {name: value for name, value in vars(args).items() if name not in ("output", "work")}
    manifest = {
        "made_by": "scripts/pretrain_miniature_base.py",
        "options": options,
        "tokens_seen": sum(args.steps[:phase]) * ROWS * ROW_TOKENS,
        "final_loss": round(loss, 4),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
            if path.name != "manifest.json"
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    run_script(main)
