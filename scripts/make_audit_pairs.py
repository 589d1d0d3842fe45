"""Make right and wrong pairs of the held-out ones, by which scorers are audited.

Writes rows {"id", "instruction", "response", "rejection", "kind", "pair"}, which can be scored as candidates are: none
is rejected. The kind is right, or what is wrong: other_instruction, similar_instruction, cut_in_half or boilerplate.
"""

from itertools import chain

from backtranslation.files import read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.stage import run_stage
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    max_pairs: int
    random_seed: int


def make_audit_pairs(held_out: Input, dropped: list[Input], pairs: Output, spec: Spec) -> None:
    """Make them.

    held_out: held-out pairs, .jsonl.zst
    dropped: texts that extraction dropped, of every shard, .jsonl.zst
    pairs: right and wrong pairs, .jsonl.zst
    """
    from backtranslation.method.audit import make_audit_rows

    all_dropped = chain.from_iterable(map(read_rows, dropped))
    write_rows(pairs, make_audit_rows(list(read_rows(held_out)), all_dropped, spec.max_pairs, spec.random_seed))


if __name__ == "__main__":
    run_stage(make_audit_pairs)
