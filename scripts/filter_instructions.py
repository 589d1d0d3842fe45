"""Join the segments of a shard with their instructions, and mark those that cannot be used with the reason.

Writes rows {"id", "instruction", "response", "rejection"}; `rejection` is null for a candidate.
"""

import argparse
from collections import Counter
from pathlib import Path

from backtranslation.files import join_rows, write_rows
from backtranslation.jobs.progress import log
from backtranslation.jobs.stage import Input, Output, run_stage, stage_parser
from backtranslation.method.augmentation import build_candidate
from backtranslation.settings.augmentation import InstructionFilters
from backtranslation.settings.slices import Slice


class Spec(Slice):
    """Settings of this stage."""

    filters: InstructionFilters


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--segments", type=Input, required=True, help="segments of the shard, .jsonl.zst")
    parser.add_argument("--instructions", type=Input, required=True, help="instructions of the shard, .jsonl.zst")
    parser.add_argument("--prompt", type=Input, required=True, help="template they were asked with, .jinja")
    parser.add_argument("--candidates", type=Output, required=True, help="output, .jsonl.zst")
    return parser


def filter_instructions(args: argparse.Namespace) -> None:
    """Judge every instruction, and count the verdicts."""
    spec = Spec.model_validate_json(args.spec)

    template = Path(args.prompt).read_text(encoding="utf-8")
    candidates = [
        build_candidate(segment, generated, template, spec.filters)
        for segment, generated in join_rows(args.segments, args.instructions)
    ]
    write_rows(args.candidates, candidates)
    reasons = Counter(candidate["rejection"] or "kept" for candidate in candidates)
    log.info(", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "no segments")


if __name__ == "__main__":
    run_stage(__file__, build_parser(), filter_instructions)
