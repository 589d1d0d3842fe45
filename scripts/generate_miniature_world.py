"""Make the miniature world: WARC files of web pages, seed and held-out pairs and the truth about all (JSONL)."""

import argparse
from pathlib import Path

from backtranslation.files import write_rows
from backtranslation.miniature.world import generate_world
from backtranslation.progress import run_script, start_job
from backtranslation.settings import Miniature, SettingsError, Slice


class Spec(Slice):
    """Settings of this stage."""

    miniature: Miniature


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="settings of this stage, JSON")
    parser.add_argument("--pages", required=True, nargs="+", type=Path, help="output: WARC files, .warc.gz")
    parser.add_argument("--seed", required=True, help="output: human-written pairs, .jsonl")
    parser.add_argument("--held-out", required=True, help="output: pairs for the evaluation, .jsonl")
    parser.add_argument("--truth", required=True, help="output: the truth about passages and held-out pairs, .jsonl")
    args = parser.parse_args()
    start_job("generate_miniature_world")
    settings = Spec.model_validate_json(args.spec).miniature
    if len(args.pages) != settings.warc_files:
        raise SettingsError(f"miniature.warc_files is {settings.warc_files}, but {len(args.pages)} files are wanted")

    world = generate_world(settings)
    for path, content in zip(args.pages, world.warcs, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_rows(args.seed, world.seed)
    write_rows(args.held_out, world.held_out)
    write_rows(args.truth, world.truth)


if __name__ == "__main__":
    run_script(main)
