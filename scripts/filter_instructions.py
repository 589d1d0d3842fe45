"""Join the segments of a shard with their instructions, and mark those that cannot be used with the reason.

Writes rows {"id", "instruction", "response", "rejection"}; `rejection` is null for a candidate.
"""

import argparse
from collections import Counter
from pathlib import Path

from backtranslation.augmentation import build_candidate
from backtranslation.files import join_rows, write_rows
from backtranslation.progress import log, run_script, start_job
from backtranslation.settings import InstructionFilters, Slice


class Spec(Slice):
    """Settings of this stage."""

    filters: InstructionFilters


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--segments", required=True, help="segments of the shard, .jsonl.zst")
    parser.add_argument("--instructions", required=True, help="instructions of the shard, .jsonl.zst")
    parser.add_argument("--backward-prompt", required=True, help="template that the instructions were asked with")
    parser.add_argument("--candidates", required=True, help="output, .jsonl.zst")
    args = parser.parse_args()
    start_job("filter_instructions", args.segments)
    spec = Spec.model_validate_json(args.spec)

    template = Path(args.backward_prompt).read_text(encoding="utf-8")
    candidates = [
        build_candidate(segment, generated, template, spec.filters)
        for segment, generated in join_rows(args.segments, args.instructions)
    ]
    write_rows(args.candidates, candidates)
    reasons = Counter(candidate["rejection"] or "kept" for candidate in candidates)
    log.info(", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "no segments")


if __name__ == "__main__":
    run_script(main)
