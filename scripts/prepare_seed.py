"""Read the human-written pairs and set the held-out part aside, before anything else uses them.

Writes two files of rows {"id", "instruction", "response"}.
"""

import argparse

from backtranslation.corpus.seed import draw_pairs, drop_repeated, read_pairs, set_aside
from backtranslation.files import write_rows
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.settings.seed import PairFormat
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    seed: PairFormat
    size: int | None
    held_out: PairFormat | None
    held_out_size: int | None
    random_seed: int


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--seed-pairs", type=Input, required=True, help="file of human-written pairs")
    parser.add_argument("--held-out-pairs", type=Input, nargs="?", help="a file of its own for the held-out pairs")
    parser.add_argument("--train", type=Output, required=True, help="output: pairs to train on, .jsonl.zst")
    parser.add_argument("--held-out", type=Output, required=True, help="output: pairs to measure on, .jsonl.zst")
    return parser


def prepare_seed(args: argparse.Namespace) -> None:
    """Read, clean and divide the pairs."""
    spec = Spec.model_validate_json(args.spec)

    pairs = drop_repeated(read_pairs(args.seed_pairs, spec.seed))
    if spec.held_out is not None:
        held_out = drop_repeated(read_pairs(args.held_out_pairs, spec.held_out))
    else:
        assert spec.held_out_size is not None  # the settings give one or the other
        pairs, held_out = set_aside(pairs, spec.held_out_size, spec.random_seed)
    pairs = drop_repeated(pairs, held_out)
    if spec.size is not None:
        pairs = draw_pairs(pairs, spec.size, spec.random_seed)
    write_rows(args.train, pairs)
    write_rows(args.held_out, held_out)


if __name__ == "__main__":
    run_stage(__file__, build_parser(), prepare_seed)
