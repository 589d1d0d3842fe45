"""Join the segments of a shard with their instructions, and mark those that cannot be used with the reason.

Writes rows {"id", "instruction", "response", "rejection"}; `rejection` is null for a candidate.
"""

from collections import Counter

from backtranslation.corpus.decontamination import ContaminationFinder
from backtranslation.files import join_rows, read_rows, write_rows
from backtranslation.jobs.contract import Input, Output
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import run_stage
from backtranslation.method.augmentation import build_candidate
from backtranslation.settings.augmentation import InstructionFilters
from backtranslation.settings.corpus import Decontamination
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    filters: InstructionFilters
    decontamination: Decontamination


def filter_instructions(
    segments: Input, instructions: Input, held_out: Input, prompt: Input, candidates: Output, spec: Spec
) -> None:
    """Judge every instruction, and count the verdicts.

    segments: segments of the shard, .jsonl.zst
    instructions: instructions of the shard, .jsonl.zst
    held_out: pairs of the evaluation, .jsonl.zst
    prompt: template that they were asked with, .jinja
    candidates: pairs with a verdict, .jsonl.zst
    """
    template = prompt.read_text(encoding="utf-8")
    held_out_texts = (row[field] for row in read_rows(held_out) for field in ("instruction", "response"))
    contamination = ContaminationFinder(held_out_texts, spec.decontamination)
    rows = [
        build_candidate(segment, generated, template, spec.filters, contamination)
        for segment, generated in join_rows(segments, instructions)
    ]
    write_rows(candidates, rows)
    reasons = Counter(row["rejection"] or "kept" for row in rows)
    log.info(", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "no segments")


if __name__ == "__main__":
    run_stage(filter_instructions)
