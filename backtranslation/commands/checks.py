"""What can be known to be wrong before the first job: all of it at once, a line for each mistake.

Each check gets the sections of the configuration that it looks at and gives lines. It needs no GPU, reads no more than
the first rows of a file, and the hub is asked only for what is not in its cache.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backtranslation.commands.first_rows import first_rows_fault
from backtranslation.commands.hub import dataset_fault
from backtranslation.commands.model_files import inspect_model
from backtranslation.corpus.filters import check_languages
from backtranslation.corpus.seed import iterate_pairs
from backtranslation.corpus.shards import list_shards
from backtranslation.errors import UserError
from backtranslation.jobs.progress import log
from backtranslation.layout import TRAINED_MODEL, locate
from backtranslation.method.combination import MIN_PAIRS
from backtranslation.models.prompts import PromptSet
from backtranslation.score_names import SCORES_OF
from backtranslation.settings.audit import Audit
from backtranslation.settings.base_model import BaseModelSettings, looks_like_folder
from backtranslation.settings.corpus import Corpus, SegmentFilters, Source
from backtranslation.settings.evaluation import Evaluation
from backtranslation.settings.generation import ENGINES, Generation
from backtranslation.settings.limits import Limits
from backtranslation.settings.miniature import Miniature
from backtranslation.settings.prompts import PROMPT_FILES, Prompts
from backtranslation.settings.run import generated_files, read_sections, trained_models
from backtranslation.settings.scoring import Scoring
from backtranslation.settings.seed import HeldOut, Pairs, SeedPairs
from backtranslation.settings.selection import Selection
from backtranslation.settings.slices import SettingsError
from backtranslation.settings.training import Training, Trainings
from backtranslation.shipped import find_file, searched_places
from backtranslation.tally import Tally

NAMED_FILES = 3  # of many with the same fault
GB = 1e9


def check_run(config: Mapping[str, Any], gpus: int) -> None:
    """Check a whole configuration against this machine, which has `gpus` to give (0: not known, or none).

    Raises SettingsError with a line for every mistake.
    """
    sections, faults = read_sections(config)
    sections["gpus"] = gpus
    with _quiet_log():
        for check, names in CHECKS.items():
            if names <= sections.keys():
                faults += check(**{name: sections[name] for name in names})
    if faults:
        raise SettingsError("\n".join(faults))


def results_faults(results: str) -> Iterator[str]:
    """Whether the results folder, which need not exist yet, can be written to."""
    folder = _nearest(Path(results))
    if not folder.is_dir():
        yield f"config: results: {folder} is a file, and results need a folder: move it away, or name another folder"
        return
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield (
            f"config: results: cannot write to {folder} ({error.strerror}): mend its permissions, or name another"
            " folder"
        )


def prompt_faults(prompts: Prompts) -> Iterator[str]:
    """Whether every template, which may be one that ships, is there and can be used."""
    for name in PROMPT_FILES:
        yield from _template_faults(prompts, name, f"prompts.{name}")


def _template_faults(prompts: Prompts, name: str, key: str) -> Iterator[str]:
    """Whether the template of a name can be used; `key` is the setting that gave its path."""
    path = getattr(prompts, name)
    if not Path(find_file(path)).is_file():
        yield f"config: {key}: no such file: {path} (looked for {searched_places(path)})"
        return
    try:
        PromptSet(prompts.model_copy(update={name: find_file(path)})).read_all_of(name)
    except UserError as error:
        yield f"config: {key}: {error}"


def selection_faults(
    scoring: Scoring, selection: Selection, audit: Audit, held_out: HeldOut, iterations: int
) -> Iterator[str]:
    """Whether the score that selects is one that candidates are given, and can be fitted."""
    audited = min(audit.max_pairs, held_out.size or audit.max_pairs)
    if scoring.method == "combined" and iterations and audited < MIN_PAIRS:
        key = "audit.max_pairs" if audit.max_pairs == audited else "held_out.size"
        yield (
            f"config: {key}: scoring.method combined is fitted on at least {MIN_PAIRS} pairs of the audit"
            f" (found: {audited})"
        )
    scores = SCORES_OF[scoring.method]
    if selection.by not in scores:
        yield (
            f"config: selection.by: must be {' or '.join(scores)} where scoring.method is {scoring.method} (found:"
            f" {selection.by})"
        )


def audit_faults(audit: Audit, prompts: Prompts) -> Iterator[str]:
    """Whether the rubrics of further scorers can be used."""
    for name, scorer in audit.scorers.items():
        if scorer.rubric is not None:
            with_rubric = prompts.model_copy(update={"score": scorer.rubric})
            yield from _template_faults(with_rubric, "score", f"audit.scorers.{name}.rubric")


def engine_faults(generation: Generation) -> Iterator[str]:
    """Whether the package of the chosen engine is installed, and its server can be found."""
    package = ENGINES[generation.engine].package
    if not _is_installed(package):
        yield (
            f"config: generation.engine: {generation.engine} needs the package {package}, which is not installed: pip"
            f" install {package}"
        )
    # Not a matter of the model: what a result depends on is read without the URL.
    if generation.server and not (generation.server.url or generation.server.command):
        yield "config: generation.server: give either url or command"


def judge_faults(evaluation: Evaluation) -> Iterator[str]:
    """Whether the package that a judge at a server needs is installed."""
    package = ENGINES["server"].package
    if evaluation.judge_server and not _is_installed(package):
        yield f"config: evaluation.judge_server: {package} is not installed: pip install {package}"


def tracker_faults(training: Trainings) -> Iterator[str]:
    """Whether the chosen trackers, whose packages are called as they are, are installed."""
    for task in ("backward", "forward"):
        for tracker in getattr(training, task).trackers:
            if not _is_installed(tracker):
                yield f"config: training.{task}.trackers: {tracker} is not installed: pip install {tracker}"


def quantization_faults(training: Trainings) -> Iterator[str]:
    """Whether what computes with numbers of few bits is installed; it is then tried by the job, on its own machine."""
    for task in ("backward", "forward"):
        for key in getattr(training, task).quantized_keys:
            if not _is_installed("bitsandbytes"):
                yield (
                    f"config: training.{task}.{key}: needs bitsandbytes, which is not installed: pip install"
                    " bitsandbytes"
                )


def _is_installed(package: str) -> bool:
    """Whether a package can be imported; a folder of this name, as wandb makes one, is none."""
    found = find_spec(package)
    return found is not None and found.origin is not None


def gpu_faults(generation: Generation, training: Trainings, gpus: int) -> Iterator[str]:
    """Settings that ask for more GPUs than the machine has; without any it needs none."""
    asked = {
        "generation.gpus": generation.gpus,
        "training.backward.processes": training.backward.processes,
        "training.forward.processes": training.forward.processes,
    }
    for key, count in asked.items():
        if count > gpus > 0:
            yield f"config: {key}: {count} GPUs for one job, but this machine has {gpus} to give"


def corpus_faults(corpus: Corpus, results: str, miniature: Miniature | None) -> list[str]:
    """Sources whose files are missing, or whose first rows cannot be what the source says."""
    promised = generated_files(results, miniature)
    parts = [source.model_copy(update={"paths": [path]}) for source in corpus.sources for path in source.paths]
    faults = [fault for part in parts for fault in _source_faults(part, promised)]
    return faults or _lines_of(lambda: list_shards(corpus.sources, promised))


def language_faults(corpus: Corpus) -> list[str]:
    """Whether the languages that are kept are known; those of the default are."""
    languages = corpus.filters.languages
    if languages == SegmentFilters().languages:
        return []
    return [f"config: {line}" for line in _lines_of(lambda: check_languages(languages))]


def _source_faults(source: Source, promised: Collection[str]) -> list[str]:
    """Faults of the files of a source; a fault of many files is told once."""
    try:
        shards = list_shards([source], promised)
    except UserError as error:
        return str(error).splitlines()
    files: dict[str, list[str]] = {}
    for shard in shards:
        is_known = shard.split > 1 or shard.path in promised
        if not is_known and (fault := first_rows_fault(shard, source.fields())):
            files.setdefault(fault, []).append(shard.path)
    return [f"config: corpus.sources: {source.name}: {_name_files(paths)}: {fault}" for fault, paths in files.items()]


def _name_files(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED_FILES:,} more" if len(paths) > NAMED_FILES else ""
    return ", ".join(paths[:NAMED_FILES]) + more


def pair_faults(
    seed: SeedPairs, held_out: HeldOut, limits: Limits, results: str, miniature: Miniature | None
) -> Iterator[str]:
    """Whether the first pairs can be read, and whether the seed has as many as are held out and learnt from."""
    promised = generated_files(results, miniature)
    wanted = (held_out.size or 0) + (seed.size or 1)
    for key, pairs, count in (("seed", seed, wanted), ("held_out.pairs", held_out.pairs, 1)):
        if pairs is None or pairs.path in promised:
            continue
        if pairs.dataset is not None:
            if fault := dataset_fault(pairs.dataset):
                yield f"config: {key}.dataset: {fault}"
            continue
        assert pairs.path is not None  # the settings give one or the other
        if not Path(pairs.path).exists():
            yield f"config: {key}.path: no such file: {pairs.path} (looked in {Path.cwd()})"
            continue
        try:
            found = _count_pairs(pairs, count, limits)
        except UserError as error:
            yield f"config: {key}.path: {'; '.join(line.strip() for line in str(error).splitlines())}"
            continue
        if found < count:
            yield _too_few(found, seed, held_out) if pairs is seed else f"config: {key}.path: {pairs.path} has no pairs"


def _count_pairs(pairs: Pairs, enough: int, limits: Limits) -> int:
    """Count different pairs, reading no further than to `enough`. Raises DataError as `read_pairs` does."""
    tally = Tally()
    seen: set[str] = set()
    for pair in iterate_pairs(pairs.path, pairs, tally):
        seen.add(pair["id"])
        if len(seen) == enough:
            break
    tally.check(tally.counts["rows/read"], f"rows of {pairs.path}", limits.max_unusable_share)
    return len(seen)


def _too_few(found: int, seed: SeedPairs, held_out: HeldOut) -> str:
    """Which setting asks for more pairs than there are."""
    has = f"but {seed.path} has only {found:,} different pairs"
    if found == 0:
        return f"config: seed.path: {seed.path} has no pairs"
    if held_out.size is not None and held_out.size >= found:
        return f"config: held_out.size: {held_out.size:,} pairs to set aside, {has}, and some must be left to train on"
    aside = f" and {held_out.size:,} to set aside (held_out.size)" if held_out.size else ""
    return f"config: seed.size: {seed.size:,} pairs to train on{aside}, {has}"


def model_faults(
    base_model: BaseModelSettings, evaluation: Evaluation, training: Trainings, results: str, iterations: int
) -> Iterator[str]:
    """Whether the models can be loaded, and whether the disk has room for those that are not trained yet."""
    names = trained_models(iterations, evaluation)
    missing = [name for name in names if not locate(results, TRAINED_MODEL, model=name).exists()]
    if missing or looks_like_folder(base_model.path):
        base = inspect_model(base_model.path, base_model.revision)
        yield from (f"config: base_model.path: {fault}" for fault in base.faults)
        yield from _length_faults(base.positions, training)
        if base.parameters is not None:
            yield from _disk_faults(results, base.parameters, len(missing), training.forward)
    if evaluation.judge is not None:
        yield from (f"config: evaluation.judge: {fault}" for fault in inspect_model(evaluation.judge).faults)


def _length_faults(positions: int | None, training: Trainings) -> Iterator[str]:
    """Trainings on longer rows than the model can hold."""
    for task in ("backward", "forward"):
        length = getattr(training, task).max_length
        if positions is not None and length > positions:
            yield f"config: training.{task}.max_length: {length:,} tokens, but the model holds {positions:,}: lower it"


def _disk_faults(results: str, parameters: int, models: int, training: Training) -> Iterator[str]:
    """Whether the disk has room for so many models and the checkpoint of one training: a lower bound, no more.

    A weight of a model takes 4 bytes in float32, else 2; in a checkpoint of a full training 12, with its two moments.
    """
    model = parameters * (4 if training.precision == "float32" else 2)
    checkpoint = parameters * 12 if training.method == "full" else 0
    needed, folder = models * model + min(models, 1) * checkpoint, _nearest(Path(results))
    free = shutil.disk_usage(folder).free
    if needed > free:
        kept = f" and a checkpoint of {checkpoint / GB:,.1f} GB" if checkpoint else ""
        yield (
            f"config: results: {free / GB:,.1f} GB are free at {folder.resolve()}, but this run needs"
            f" {needed / GB:,.1f} GB or more, for {models} models of {model / GB:,.1f} GB{kept}: free some space"
            " (`backtranslation gc` helps), or name a folder on another disk"
        )


def _nearest(path: Path) -> Path:
    """A path, or the nearest one above it that exists."""
    return path if path.exists() or path == path.parent else _nearest(path.parent)


def _lines_of(check: Callable[[], object]) -> list[str]:
    """The lines of the error that a function raises."""
    try:
        check()
    except UserError as error:
        return str(error).splitlines()
    return []


@contextmanager
def _quiet_log() -> Iterator[None]:
    """What readers say of single rows is for the logs of jobs."""
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


CHECKS: dict[Callable[..., Iterable[str]], set[str]] = {
    results_faults: {"results"},
    prompt_faults: {"prompts"},
    audit_faults: {"audit", "prompts"},
    selection_faults: {"scoring", "selection", "audit", "held_out", "iterations"},
    engine_faults: {"generation"},
    judge_faults: {"evaluation"},
    tracker_faults: {"training"},
    quantization_faults: {"training"},
    gpu_faults: {"generation", "training", "gpus"},
    corpus_faults: {"corpus", "results", "miniature"},
    language_faults: {"corpus"},
    pair_faults: {"seed", "held_out", "limits", "results", "miniature"},
    model_faults: {"base_model", "evaluation", "training", "results", "iterations"},
}
