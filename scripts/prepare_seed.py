"""Read the human-written pairs and set the held-out part aside, before anything else uses them.

Writes two files of rows {"id", "instruction", "response"}.
"""

from backtranslation.corpus.seed import draw_pairs, drop_repeated, read_pairs, set_aside
from backtranslation.files import write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.limits import Limits
from backtranslation.settings.seed import PairFormat
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage; pairs lie in a file, an input, or are a data set on the hub."""

    seed: PairFormat
    size: int | None
    held_out: PairFormat | None
    held_out_size: int | None
    random_seed: int
    limits: Limits = Limits()


def prepare_seed(
    seed_pairs: Input | None, held_out_pairs: Input | None, train: Output, held_out: Output, spec: Spec
) -> None:
    """Read, clean and divide the pairs.

    seed_pairs: file of human-written pairs, if they are not on the hub
    held_out_pairs: a file of its own for the held-out pairs
    train: pairs to train on, .jsonl.zst
    held_out: pairs to measure on, .jsonl.zst
    """
    pairs = drop_repeated(read_pairs(seed_pairs, spec.seed, spec.limits))
    if spec.held_out is not None:
        aside = drop_repeated(read_pairs(held_out_pairs, spec.held_out, spec.limits))
    else:
        assert spec.held_out_size is not None  # the settings give one or the other
        pairs, aside = set_aside(pairs, spec.held_out_size, spec.random_seed)
    pairs = drop_repeated(pairs, aside)
    if spec.size is not None:
        pairs = draw_pairs(pairs, spec.size, spec.random_seed)
    write_rows(train, pairs)
    write_rows(held_out, aside)


if __name__ == "__main__":
    run_stage(prepare_seed)
