"""Make the miniature world: WARC files of web pages, seed and held-out pairs and the truth about all (JSONL)."""

from backtranslation.files import write_rows
from backtranslation.jobs.contract import Output
from backtranslation.jobs.stage import run_stage
from backtranslation.miniature.world import generate_world
from backtranslation.settings.miniature import Miniature
from backtranslation.settings.slices import SettingsError, Slice


class Spec(Slice):
    """Settings of this stage."""

    miniature: Miniature


def generate_miniature_world(pages: list[Output], seed: Output, held_out: Output, truth: Output, spec: Spec) -> None:
    """Generate the world and write its files.

    pages: web pages, .warc.gz
    seed: human-written pairs, .jsonl
    held_out: pairs for the evaluation, .jsonl
    truth: the truth about all of them, .jsonl
    """
    settings = spec.miniature
    if len(pages) != settings.warc_files:
        raise SettingsError(f"miniature.warc_files is {settings.warc_files}, but {len(pages)} files are wanted")

    world = generate_world(settings)
    for path, content in zip(pages, world.warcs, strict=True):
        path.write_bytes(content)
    write_rows(seed, world.seed)
    write_rows(held_out, world.held_out)
    write_rows(truth, world.truth)


if __name__ == "__main__":
    run_stage(generate_miniature_world)
