"""Make the miniature world: WARC files of web pages, seed and held-out pairs and the truth about all (JSONL)."""

import argparse
from pathlib import Path

from backtranslation.files import write_rows
from backtranslation.jobs.stage import Output, run_stage, stage_parser
from backtranslation.miniature.world import generate_world
from backtranslation.settings.miniature import Miniature
from backtranslation.settings.slices import SettingsError, Slice


class Spec(Slice):
    """Settings of this stage."""

    miniature: Miniature


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--pages", type=Output, required=True, nargs="+", help="output: WARC files, .warc.gz")
    parser.add_argument("--seed", type=Output, required=True, help="output: human-written pairs, .jsonl")
    parser.add_argument("--held-out", type=Output, required=True, help="output: pairs for the evaluation, .jsonl")
    parser.add_argument("--truth", type=Output, required=True, help="output: the truth about all, .jsonl")
    return parser


def write_world(args: argparse.Namespace) -> None:
    """Generate the world and write its files."""
    settings = Spec.model_validate_json(args.spec).miniature
    if len(args.pages) != settings.warc_files:
        raise SettingsError(f"miniature.warc_files is {settings.warc_files}, but {len(args.pages)} files are wanted")

    world = generate_world(settings)
    for path, content in zip(args.pages, world.warcs, strict=True):
        Path(path).write_bytes(content)
    write_rows(args.seed, world.seed)
    write_rows(args.held_out, world.held_out)
    write_rows(args.truth, world.truth)


if __name__ == "__main__":
    run_stage(__file__, build_parser(), write_world)
