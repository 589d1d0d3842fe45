"""Data sets out of a run: what training programs, AlpacaEval and the hub read.

Each function checks that what is asked for is there and is what the present files would give, and writes a folder.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backtranslation import layout
from backtranslation.commands.results_folder import results_of, settings_of
from backtranslation.corpus.shards import list_shards
from backtranslation.errors import UserError
from backtranslation.export import about, rows
from backtranslation.export.dataset import write_evaluation, write_pairs
from backtranslation.files import Row
from backtranslation.jobs.content_digests import digest_content
from backtranslation.jobs.manifests import Manifest, digest_cache
from backtranslation.jobs.named_paths import last_made
from backtranslation.jobs.process import start_job
from backtranslation.score_names import COLUMNS
from backtranslation.settings.prompts import Tags
from backtranslation.settings.run import Settings, comparisons, model_names, trained_models
from backtranslation.settings.selection import Selection
from backtranslation.settings.training import Training
from backtranslation.shipped import find_file


@dataclass(frozen=True)
class Source:
    """The run that is exported from."""

    settings: Settings
    run: rows.Run

    @property
    def store(self) -> Path:
        return layout.locate(self.run.results, layout.STORE)

    def manifest(self, pattern: str, **wildcards: object) -> Manifest:
        """How a result was made. Raises UserError if it is not there, or the store does not know it."""
        path = self.run.file(pattern, **wildcards)
        made = last_made(self.store, str(path))
        if made is None:
            raise UserError(f"{path}: the store does not know how it was made: run the workflow, which makes it again")
        return made


def open_source(args: Namespace) -> Source:
    """The run that is meant, with the shards of its present corpus."""
    start_job("export")
    settings = settings_of(args.configfile, args.snakefile)
    shards = list_shards(settings.corpus.sources, settings.generated_files())
    results = results_of(args.configfile, args.snakefile)
    return Source(settings, rows.Run(results, [shard.name for shard in shards]))


def export_curated(args: Namespace) -> Row:
    """Write the pairs that were selected in an iteration, without tag sentences."""
    source = open_source(args)
    number = iteration_of(source.settings, args.iteration)
    selection = Selection(**source.manifest(layout.CURATED, iteration=number).spec["selection"])
    told = about.about_curated(source.settings, number, selection)
    pairs = rows.curated_pairs(source.run, number)
    return write_pairs(args.folder, pairs, told, args.format, args.file_type, args.test_share)


def export_candidates(args: Namespace) -> Row:
    """Write all pairs that were scored in an iteration, with their scores, and whether they were selected."""
    source = open_source(args)
    number = iteration_of(source.settings, args.iteration)
    selection = Selection(**source.manifest(layout.CURATED, iteration=number).spec["selection"])
    told = about.about_candidates(source.settings, number, selection)
    pairs = rows.scored_candidates(source.run, number, COLUMNS[selection.by])
    return write_pairs(args.folder, pairs, told, args.format, args.file_type, args.test_share, rows.SCORED)


def export_training(args: Namespace) -> Row:
    """Write what a model was trained on, seed and augmented pairs, as it was shown to it."""
    from backtranslation.models.prompts import PromptSet
    from backtranslation.settings.prompts import Prompts

    source = open_source(args)
    model = model_of(source.settings, args.model)
    made = source.manifest(layout.TRAINING_PAIRS, model=model)
    template = find_file(getattr(source.settings.prompts, made.spec["task"]))
    read = {
        "seed": [source.run.file(layout.SEED)],
        "augmented": rows.augmented_files(source.run, model),
        "prompt": [Path(template)],
    }
    check_unchanged(source, model, made, read)
    tags = Tags(**made.spec["tags"])
    prompts = PromptSet(Prompts(**{**tags.model_dump(), made.spec["task"]: template}))
    told = about.about_training(source.settings, model, Training(**made.spec["training"]), tags)
    if model == "backward":
        show = {"seed": prompts.backward_turn().show}
    else:
        show = {"seed": prompts.forward_turn("seed").show, "augmented": prompts.forward_turn("augmented").show}
    pairs = rows.training_pairs(source.run, model, show)
    return write_pairs(args.folder, pairs, told, args.format, args.file_type, args.test_share)


def export_answers(args: Namespace) -> Row:
    """Write the answers of every model to the held-out instructions, as AlpacaEval reads them."""
    source = open_source(args)
    models = model_names(source.settings)
    told = about.about_answers(source.settings, models)
    return write_evaluation(args.folder, rows.answers(source.run, models), models, told, rows.ANSWER)


def export_judgements(args: Namespace) -> Row:
    """Write which of two models answered better, as AlpacaEval annotates."""
    source = open_source(args)
    judge = source.settings.evaluation.judge_name()
    compared = comparisons(source.settings)
    names = [f"{measured}-vs-{baseline}" for measured, baseline in compared]
    told = about.about_judgements(judge)
    return write_evaluation(args.folder, rows.judgements(source.run, compared, judge), names, told, rows.JUDGEMENT)


EXPORTS: dict[str, Callable[[Namespace], Row]] = {
    "curated": export_curated,
    "training": export_training,
    "candidates": export_candidates,
    "answers": export_answers,
    "judgements": export_judgements,
}


def iteration_of(settings: Settings, given: int | None) -> int:
    """The iteration that is meant, by default the last. Raises UserError if the run has none such."""
    if not settings.iterations:
        raise UserError("this run has no iteration (iterations: 0), and so no candidates and no selection")
    if given is not None and not 1 <= given <= settings.iterations:
        raise UserError(f"--iteration {given}: this run has the iterations 1 to {settings.iterations}")
    return given or settings.iterations


def model_of(settings: Settings, given: str | None) -> str:
    """The model that is meant, by default that of the last iteration. Raises UserError if the run trains none such."""
    names = trained_models(settings.iterations, settings.evaluation)
    if given is not None and given not in names:
        raise UserError(f"--model {given}: this run has {', '.join(names)}")
    return given or f"M{settings.iterations}"


def check_unchanged(source: Source, model: str, made: Manifest, read: dict[str, list[Path]]) -> None:
    """Raise UserError if a model was not trained on these files, by port, as they are now."""
    cache = digest_cache(source.store)
    for port, paths in read.items():
        if [digest_content(cache, path) for path in paths] != [record.digest for record in made.inputs.get(port, [])]:
            names = ", ".join(map(str, paths))
            raise UserError(f"{model} was trained before {names} changed: run the workflow, and export then")


def describe_export(folder: Path, record: Row) -> list[str]:
    """What was written, for people."""
    parts = ", ".join(f"{rows:,} rows in {name}" for name, rows in record["rows"].items())
    return [
        f"{record['title']}, in the format {record['format']}: {parts}",
        f"{folder}: {', '.join(record['files'])}",
        f'datasets.load_dataset("{folder}") reads it',
    ]
