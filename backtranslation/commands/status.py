"""What goes on in a results folder: what runs, what was interrupted, what is finished.

Reads what jobs leave in their work folders while they run. Knows nothing of Snakemake and of what the settings say.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.formatting import align, format_seconds
from backtranslation.errors import DataError
from backtranslation.files import Row
from backtranslation.jobs.locks import is_locked, read_object
from backtranslation.jobs.manifests import MANIFEST, result_folder, work_folders
from backtranslation.jobs.named_paths import claims
from backtranslation.jobs.work_files import CHECKPOINTS, COMPLETIONS, LABEL, PROGRESS, WHOLE
from backtranslation.method.score_parsing import parse_score

OLD_REPORT_SECONDS = 60  # a job tells every few seconds; one that has been silent so long may hang
FIGURES = ("job", "host", "done", "total", "unit", "rate", "tokens_rate", "seconds_left")


@dataclass(frozen=True)
class Work:
    """A result in the making, as far as its job told.

    `makes` is the path it is made for, None if no job wants it any more. `rate` is in units per second, `age_seconds`
    the time since the job last told. `held` counts what an interrupted job goes on from: rows by journal, and the step
    of its checkpoint. `unparsable_share` is that of the scores written so far.
    """

    stage: str
    key: str
    makes: str | None
    running: bool
    job: str | None = None
    host: str | None = None
    done: int = 0
    total: int | None = None
    unit: str = "rows"
    rate: float = 0.0
    tokens_rate: float = 0.0
    seconds_left: float | None = None
    age_seconds: float | None = None
    held: dict[str, int] = field(default_factory=dict)
    unparsable_share: float | None = None


@dataclass(frozen=True)
class Iteration:
    """A finished iteration of the curation: how many candidates were scored, how many kept."""

    number: int
    scored: int
    unparsable_share: float
    selected: int


def list_work(results: Path) -> list[Work]:
    """All results in the making, running ones first."""
    store = layout.locate(results, layout.STORE)
    folders = work_folders(store)
    wanted = _wanted_paths(store) if folders else {}
    found = (_read_work(folder, wanted.get(f"{folder.parent.name}/{folder.name}")) for folder in folders)
    return sorted(filter(None, found), key=lambda work: not work.running)


def _wanted_paths(store: Path) -> dict[str, str]:
    """The path that a job wants a result for, by `stage/key`; those that are made already are left out."""
    return {
        wanted: path
        for path, wanted in claims(store).items()
        if not (result_folder(store, *wanted.split("/")) / MANIFEST).exists()
    }


def _read_work(folder: Path, makes: str | None) -> Work | None:
    """What a work folder tells; None if the job has ended by now and the folder is gone."""
    told = read_object(folder / PROGRESS) or {}
    running = is_locked(folder)
    try:
        held = {} if running else dict(_held_rows(folder))
        unparsable_share = _unparsable_share(folder) if folder.parent.name == "score_candidates" else None
    except FileNotFoundError:
        return None
    return Work(
        stage=folder.parent.name,
        key=folder.name,
        makes=makes,
        running=running,
        age_seconds=max(0.0, time.time() - told["time"]) if told else None,
        held=held,
        unparsable_share=unparsable_share,
        **{name: told[name] for name in FIGURES if name in told},
    )


def _held_rows(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.iterdir()):
        if path.suffix == ".jsonl":
            yield path.stem, sum(1 for _ in _whole_lines(path))
    steps = [int(path.name.rpartition("-")[2]) for path in folder.glob(f"{CHECKPOINTS}/{WHOLE}*")]
    if steps:
        yield "step", max(steps)


def _unparsable_share(folder: Path) -> float | None:
    """Share of the scores in a journal that cannot be read; None if it holds none, or if their label is not known."""
    journal = folder / COMPLETIONS
    label = (folder / LABEL).read_text(encoding="utf-8") if (folder / LABEL).exists() else ""
    if not label or not journal.exists():
        return None
    failed = [parse_score(json.loads(line)["text"], label)[1] is not None for line in _whole_lines(journal)]
    return sum(failed) / len(failed) if failed else None


def _whole_lines(journal: Path) -> Iterator[bytes]:
    """The lines of a journal; the last one may be half written."""
    with journal.open("rb") as stream:
        yield from (line for line in stream if line.endswith(b"\n"))


def list_iterations(results: Path) -> list[Iteration]:
    """The finished iterations in order. Raises DataError naming a table that cannot be read."""
    tables = {int(found["iteration"]): path for found, path in layout.find(results, layout.SCORE_TABLE)}
    return [_read_iteration(number, tables[number]) for number in sorted(tables)]


def _read_iteration(number: int, path: Path) -> Iteration:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["failure", "selected"])
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a table of scores ({error})") from None
    failed = table.num_rows - table["failure"].null_count
    return Iteration(number, table.num_rows, failed / max(table.num_rows, 1), table["selected"].to_numpy().sum().item())


def status_value(work: Sequence[Work], iterations: Sequence[Iteration]) -> Row:
    """The state of a results folder as a JSON value."""
    return {
        "running": [vars(item) for item in work if item.running],
        "interrupted": [vars(item) for item in work if not item.running],
        "iterations": [vars(item) for item in iterations],
    }


def describe_status(work: Sequence[Work], iterations: Sequence[Iteration]) -> list[str]:
    """The state of a results folder in lines for people."""
    running = align(_running_cells(item) for item in work if item.running)
    interrupted = align(_interrupted_cells(item) for item in work if not item.running)
    lines = ["Running", *running] if running else ["Nothing is running."]
    if interrupted:
        lines += ["", "Interrupted; they go on from what they hold when the workflow runs again", *interrupted]
    if iterations:
        lines += ["", "Finished iterations", *align(_iteration_cells(item) for item in iterations)]
    return lines


def _running_cells(work: Work) -> list[str]:
    return [
        work.stage,
        work.makes or work.job or work.key,
        _done(work),
        f"{work.rate:,.1f} {work.unit}/s" if work.rate else "",
        f"{work.tokens_rate:,.0f} tokens/s" if work.tokens_rate else "",
        _time_left(work),
        _unparsable(work.unparsable_share),
        f"on {work.host}" if work.host else "",
    ]


def _done(work: Work) -> str:
    if not work.done:
        return "starting"
    return f"{work.done:,}{'' if work.total is None else f' of {work.total:,}'} {work.unit}"


def _time_left(work: Work) -> str:
    left = "" if work.seconds_left is None else f"{format_seconds(work.seconds_left)} left"
    if work.age_seconds is None or work.age_seconds <= OLD_REPORT_SECONDS:
        return left
    return f"{left} (told {format_seconds(work.age_seconds)} ago)".strip()


def _interrupted_cells(work: Work) -> list[str]:
    held = [f"step {count:,}" if name == "step" else f"{count:,} {name}" for name, count in work.held.items()]
    makes = work.makes or f"{work.job or work.key} (no job wants it any more: `backtranslation gc` removes it)"
    return [work.stage, makes, ", ".join(held) or "nothing yet", _unparsable(work.unparsable_share)]


def _iteration_cells(iteration: Iteration) -> list[str]:
    share = _unparsable(iteration.unparsable_share)
    return [str(iteration.number), f"{iteration.scored:,} scored", share, f"{iteration.selected:,} selected"]


def _unparsable(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} % unparsable"
