"""A data set as a whole: rows, shaped and split, with a card that says what they are."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from backtranslation.export.card import About, Survey, render_card
from backtranslation.export.columns import Columns
from backtranslation.export.folder import CARD, FileType, replace_folder, split_name, write_files, write_record
from backtranslation.export.pairs import FORMATS, ORIGIN, FormatName, Pair
from backtranslation.files import Row
from backtranslation.jobs.progress import track


def write_pairs(
    folder: Path,
    pairs: Iterable[Pair],
    about: About,
    format_name: FormatName,
    file_type: Literal["parquet", "jsonl"],
    test_share: float = 0.0,
    more_columns: Columns | None = None,
) -> Row:
    """Write pairs to a folder, with a split `test` if it is to have a share; gives the record of what was written.

    Raises UserError if the folder holds something else, and if a split would be empty.
    """
    shape = FORMATS[format_name]
    columns = {**shape.columns, **ORIGIN, **(more_columns or {})}
    splits = ["train", "test"] if test_share else ["train"]
    survey = Survey()

    def rows() -> Iterator[tuple[str, Row]]:
        for pair in track(pairs, total=None, unit="pairs"):
            survey.add(pair.origin["kind"], pair.origin["license"])
            yield split_name(pair.origin["id"], test_share), shape.row(pair)

    with replace_folder(folder) as place:
        counts = write_files(place, rows(), splits, columns, file_type)
        data_files = [(split, f"{split}.{file_type}") for split in splits]
        (place / CARD).write_text(render_card(about, columns, data_files, counts, survey), encoding="utf-8")
        return write_record(place, {"title": about.title, "format": format_name, "rows": dict(counts)})


def write_evaluation(
    folder: Path, rows: Iterable[tuple[str, Row]], names: Sequence[str], about: About, columns: Columns
) -> Row:
    """Write rows to a JSON list for each name, all of them the split `test`; gives the record of what was written.

    Raises UserError if the folder holds something else, and if a list would be empty.
    """
    file_type: FileType = "json"
    with replace_folder(folder) as place:
        counts = write_files(place, rows, names, columns, file_type)
        paths = [f"{name}.{file_type}" for name in names]
        (place / CARD).write_text(render_card(about, columns, [("test", paths)], counts), encoding="utf-8")
        return write_record(place, {"title": about.title, "format": "AlpacaEval", "rows": dict(counts)})
