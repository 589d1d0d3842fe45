"""The typed settings of a run: the one source of defaults, checks and the JSON schema.

Only this module reads the configuration. A stage never sees a whole `Settings`; its rule passes the slices it uses
as canonical JSON (`spec`), and its script validates that JSON with the models below.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backtranslation.files import UserError

Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class SettingsError(UserError):
    """The configuration cannot be used; the message is one readable line per fault, each naming its key."""


class Slice(BaseModel):
    """Base of all settings: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # Settings that say how the work is done on the machine at hand: a change of them makes no result stale.
    execution_keys: ClassVar[tuple[str, ...]] = ()

    def only(self, *names: str) -> dict[str, Any]:
        """Some of the settings: what a stage depends on."""
        return self.model_dump(mode="json", include=set(names))

    def identity(self) -> dict[str, Any]:
        """What a result depends on, but for rounding."""
        return self.without(*self.execution_keys)

    def execution(self) -> str:
        """The other part, as JSON."""
        return json.dumps(self.only(*self.execution_keys), sort_keys=True)

    def completed(self, execution: str) -> Self:
        """The settings with the part that a result does not depend on, as JSON; other keys in it are left alone."""
        return self.model_validate(
            self.model_dump()
            | {key: value for key, value in json.loads(execution).items() if key in self.execution_keys}
        )

    def without(self, *names: str) -> dict[str, Any]:
        """The settings but for some: paths, above all, whose content counts and not their name."""
        return self.model_dump(mode="json", exclude=set(names))


class Miniature(Slice):
    """The generated world of the default run; see docs/miniature.md."""

    random_seed: int = Field(1, description="the same number makes the same world, byte for byte")
    pages: PositiveInt = Field(1000, description="web pages, all kinds together")
    warc_files: PositiveInt = Field(2, description="the pages are spread over so many WARC files (= shards)")
    seed_pairs: PositiveInt = Field(160, description="human-written pairs")
    held_out_pairs: PositiveInt = Field(200, description="pairs for the evaluation, wider than the seed pairs")


class ModelLoading(Slice):
    """How any model is loaded."""

    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the weights in memory; auto: bfloat16 on a GPU that has it, else float32"
    )


class BaseModelSettings(ModelLoading):
    """The model that every training starts from."""

    path: str = Field(description="a folder, or a name on the Hugging Face hub")
    revision: str | None = Field(None, description="branch, tag or commit on the hub")

    def loading(self) -> ModelLoading:
        """What also holds for the models that are trained from it."""
        return ModelLoading(trust_remote_code=self.trust_remote_code, dtype=self.dtype)

    def hub_name(self) -> "HubName | None":
        """Its name on the hub; None for a folder, of which the content counts and not the path."""
        return HubName(path=self.path, revision=self.revision) if hub_name(self.path) else None


class HubName(Slice):
    """A model on the Hugging Face hub. Only a fixed revision names the same weights for ever."""

    path: str
    revision: str | None


class Fields(Slice):
    """Names of fields (JSONL) or columns (Parquet)."""

    url_field: str = Field("url", description="JSONL and Parquet: the page address, may be missing")
    text_field: str = Field(
        "text", description="JSONL and Parquet: plain text or Markdown, used where there is no HTML"
    )
    html_field: str = Field("html", description="JSONL and Parquet: the page as HTML")


class Source(Fields):
    """Files of one origin. Each file is one shard."""

    name: Name = Field(description="prefix of the names of its shards")
    paths: list[str] = Field(
        min_length=1, description="files, folders of HTML files, or globs (** goes through folders)"
    )
    format: Literal["auto", "warc", "wet", "html", "jsonl", "parquet"] = Field(
        "auto", description="auto: by the suffix of each file"
    )
    splits: PositiveInt = Field(1, description="cut each file into so many shards; the number is part of their names")

    def fields(self) -> Fields:
        """The part that says how rows are read."""
        return Fields(url_field=self.url_field, text_field=self.text_field, html_field=self.html_field)


class SegmentSettings(Slice):
    """What counts as a segment (paper, section 2.1 and appendix E)."""

    min_chars: PositiveInt = Field(600, description="characters of Markdown, at least")
    max_chars: PositiveInt = Field(3000, description="characters of Markdown, at most")
    max_page_bytes: PositiveInt = Field(10_000_000, description="larger pages are skipped and counted")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_chars > self.max_chars:
            raise ValueError(f"min_chars ({self.min_chars}) is larger than max_chars ({self.max_chars})")
        return self


class SegmentFilters(Slice):
    """Which segments are dropped; each reason is counted in the funnel."""

    languages: list[str] = Field(["en"], description="ISO 639-1 codes that are kept; [] keeps all")
    min_language_probability: Share = Field(
        0.5, description="of the language that is most probable at the beginning, middle and end"
    )
    require_header: bool = Field(False, description="drop segments without a header, such as pieces of plain text")
    max_header_capitals: Share = Field(0.6, description="share of capitals among the letters of the header")
    navigation_headers: list[str] = Field(
        ["advertisement", "forum", "quick link", "newsletter", "related posts", "share this", "comments", "navigation",
         "table of contents", "see also", "search", "log in", "sign up", "cookie", "privacy policy", "contact us"],
        description="a header that holds such a phrase, or a single word and at most one other, goes with all under it",
    )  # fmt: skip
    repeated_sentence_ngram: PositiveInt = Field(3, description="words per n-gram when two sentences are compared")
    max_sentence_similarity: Share = Field(
        0.8, description="Jaccard similarity of the n-grams of two sentences above which their segment is dropped"
    )
    max_symbol_share: Share = Field(0.3, description="characters of prose that are neither letters nor white space")
    min_sentence_share: Share = Field(0.0, description="share of the prose in lines that end like a sentence")


class Deduplication(Slice):
    """Exact copies always go; near copies by MinHash over word n-grams. Earlier sources win."""

    near: bool = Field(True, description="also drop near duplicates")
    ngram: PositiveInt = Field(5, description="words per n-gram")
    permutations: PositiveInt = Field(128, description="length of a MinHash signature")
    threshold: Share = Field(0.8, description="estimated Jaccard similarity from which a segment is a near duplicate")


class Decontamination(Slice):
    """Segments that overlap with the held-out pairs are dropped."""

    ngram: PositiveInt = Field(8, description="words per n-gram; shorter texts are matched whole from 4 words on")
    max_overlap: Share = Field(0.5, description="share of a held-out text's n-grams found in one segment")


class Corpus(Slice):
    """Web pages and how they become segments."""

    sources: list[Source] = Field(min_length=1, description="earlier sources win when duplicates are removed")
    segments: SegmentSettings = SegmentSettings()
    filters: SegmentFilters = SegmentFilters()
    deduplication: Deduplication = Deduplication()
    decontamination: Decontamination = Decontamination()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}")
        return self


class PairFormat(Slice):
    """How a file of human-written pairs is read; see backtranslation/corpus/seed.py."""

    format: Literal["auto", "pairs", "messages", "sharegpt", "oasst"] = Field(
        "auto", description="pairs: two fields; messages: chat; sharegpt: conversations; oasst: OASST1 trees"
    )
    instruction_field: str = Field("instruction", description="pairs: field of the instruction")
    response_field: str = Field("response", description="pairs: field of the response")
    language: str | None = Field(None, description="oasst: keep prompts and replies of this language, such as en")


class Pairs(PairFormat):
    """A file of human-written instruction-response pairs."""

    path: str = Field(description="JSONL (.jsonl, .jsonl.gz, .jsonl.zst) or Parquet")


class SeedPairs(Pairs):
    """The seed data."""

    size: PositiveInt | None = Field(
        None,
        description="keep so many pairs, drawn with the random seed; null keeps all; fewer than that is an error",
    )


class HeldOut(Slice):
    """Pairs that no model is trained on; set aside before anything else."""

    size: PositiveInt | None = Field(None, description="set so many seed pairs aside; null only with a file of its own")
    pairs: Pairs | None = Field(None, description="a file of its own, used instead of a part of the seed")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.size is None) == (self.pairs is None):
            raise ValueError("give either size or pairs")
        return self


PROMPT_FILES = ("backward", "forward", "score", "judge", "chat_template")


class Tags(Slice):
    """The tag sentences."""

    seed_tag: str = Field("Answer in the style of an AI Assistant.", description="marks human-written pairs")
    augmented_tag: str = Field("Answer with knowledge from web search.", description="marks augmented pairs")
    answer_tag: Literal["seed", "augmented", "both"] = Field(
        "both", description="the tag sentence at evaluation; the paper reports both, one after the other"
    )


class Prompts(Tags):
    """Every text a model is shown: Jinja template files, and the tag sentences."""

    backward: str = Field("prompts/backward.jinja", description="variables: response")
    forward: str = Field("prompts/forward.jinja", description="variables: instruction, tag")
    score: str = Field("prompts/score-additive.jinja", description="variables: instruction, response")
    judge: str = Field("prompts/judge.jinja", description="variables: instruction, first, second")
    chat_template: str = Field(
        "prompts/chat.jinja", description="chat template of a tokenizer that has none of its own"
    )


class Lora(Slice):
    """Low-rank adaptation (peft)."""

    rank: PositiveInt = Field(16, description="of the two added matrices")
    alpha: PositiveInt = Field(32, description="their product is scaled by alpha / rank")
    dropout: Share = Field(0.05, description="before the added matrices")
    target_modules: str | list[str] = Field("all-linear", description="all-linear, or names of modules")


class ScheduleRow(Slice):
    """Batch size and steps for one size of the training set (paper, table 18)."""

    examples: PositiveInt = Field(description="size of the training set")
    batch_size: PositiveInt = Field(description="examples per step")
    steps: PositiveInt = Field(description="steps of the optimizer")


class Training(Slice):
    """One fine-tuning of the base model."""

    execution_keys = ("gradient_checkpointing", "rows_per_device", "save_minutes", "processes", "sharding")

    method: Literal["full", "lora"] = Field(
        "full", description="train all weights, or adapters that are merged at the end"
    )
    lora: Lora = Lora()
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="at the first step after the warm-up")
    final_learning_rate: Annotated[float, Field(ge=0)] = Field(9e-6, description="reached linearly at the last step")
    warmup_steps: Count = Field(0, description="steps in which the learning rate rises from 0")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.1, description="of AdamW")
    dropout: Share | None = Field(0.1, description="null keeps the model's own")
    max_gradient_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="larger gradients are scaled down")
    max_length: PositiveInt = Field(
        2048, description="tokens of a packed row; longer pairs are shortened at the source"
    )
    batch_size: PositiveInt = Field(32, description="examples per step, all processes together")
    epochs: Annotated[float, Field(gt=0)] = Field(3, description="passes over the data")
    schedule: list[ScheduleRow] = Field(
        [],
        description="used instead of batch_size and epochs: the batch size of the largest listed size not above "
        "the data's; passes over the data interpolated between neighbouring rows",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU that has it")
    gradient_checkpointing: bool | Literal["auto"] = Field(
        "auto",
        description="less memory, about a third slower; auto: where weights, gradients and moments take more than a "
        "third of a GPU",
    )
    rows_per_device: PositiveInt = Field(1, description="packed rows in memory at once; the rest is accumulated")
    save_minutes: Annotated[float, Field(gt=0)] = Field(10, description="minutes between checkpoints for resuming")
    processes: PositiveInt = Field(1, description="worker processes of one training, one GPU each where there are GPUs")
    sharding: Literal["auto", "always", "never"] = Field(
        "auto",
        description="spread weights, gradients and moments over the processes (FSDP2); auto: where they would take "
        "more than 70 % of a GPU, but a training that was stopped goes on as it began",
    )

    @model_validator(mode="after")
    def _decays(self) -> Self:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate ({self.final_learning_rate}) is larger than learning_rate ({self.learning_rate})"
            )
        return self


class Trainings(Slice):
    """The two kinds of fine-tuning."""

    backward: Training = Training()
    forward: Training = Training()


class Sampling(Slice):
    """Nucleus sampling. Random seeds belong to rows: (random_seed, row id)."""

    temperature: Annotated[float, Field(ge=0)] = Field(0.7, description="0 takes the most probable token")
    top_p: Annotated[float, Field(gt=0, le=1)] = Field(0.9, description="probability mass that is sampled from")
    max_new_tokens: PositiveInt = Field(512, description="longer texts are cut and count as unfinished")


class InstructionFilters(Slice):
    """Which generated instructions are dropped; each reason is counted."""

    min_chars: PositiveInt = Field(10, description="characters, at least")
    max_chars: PositiveInt = Field(1000, description="characters, at most")
    max_copied_share: Share = Field(
        0.7, description="share of the instruction's word 4-grams that stand in the segment"
    )
    max_prompt_share: Share = Field(0.5, description="share of the instruction's word 4-grams that stand in the prompt")
    unseen_text: list[str] = Field(
        ["this article", "this text", "this passage", "this page", "this post", "this section", "this document",
         "the article", "the passage", "the text above", "the given text", "according to the", "the author",
         "mentioned above", "the following text", "summarize the text"],
        description="phrases that speak of a text the reader cannot see",
    )  # fmt: skip


class Augmentation(Slice):
    """The backward model writes one instruction for every segment (paper, section 2.2)."""

    sampling: Sampling = Sampling(max_new_tokens=256)
    filters: InstructionFilters = InstructionFilters()


class Scoring(Slice):
    """Model M(t-1) scores every candidate (paper, section 2.3)."""

    sampling: Sampling = Sampling(max_new_tokens=256)
    max_unparsable_share: Share = Field(
        0.2, description="of a shard; beyond it, and beyond chance, the run stops with examples"
    )


class Selection(Slice):
    """Which candidates become training data."""

    by: Literal["parsed", "expected"] = Field(
        "parsed", description="the score in the text, or its expectation over the digits 1..5"
    )
    threshold: Annotated[float, Field(ge=1, le=5)] = Field(4.5, description="keep scores from here on")
    top_n: PositiveInt | None = Field(None, description="keep at most so many, the highest scores first")


class Generation(Slice):
    """How text is generated, for all stages alike."""

    execution_keys = ("batch_tokens", "gpus")

    engine: Literal["transformers"] = Field("transformers", description="what runs the model")
    gpus: Count = Field(
        1, description="GPUs of a job, on a machine that has any; several hold a model too large for one"
    )
    batch_tokens: PositiveInt | None = Field(
        None, description="tokens (prompts and room for answers) in a batch; null: by the memory at hand"
    )


class Evaluation(Slice):
    """Held-out loss, answers, and pairwise judgements of every model."""

    sampling: Sampling = Sampling(max_new_tokens=512)
    judge: str | None = Field(None, description="a model folder or hub name; null: M0")
    unselected_control: bool = Field(
        False, description="also train a model on seed + all candidates, to show what the selection is worth"
    )
    max_answers: PositiveInt | None = Field(None, description="answer and judge only so many held-out instructions")


class Resources(Slice):
    """What a job may use. Never part of a result's identity."""

    training_threads: PositiveInt = Field(8, description="processor threads of a training, at most --cores")
    generation_threads: PositiveInt = Field(
        1, description="of a job that generates; two jobs beat one with two threads"
    )


class Settings(Slice):
    """A complete run."""

    results: str = Field("results", description="folder of all results")
    random_seed: int = Field(1, description="every random choice follows from it")
    miniature: Miniature | None = Field(
        None,
        description="generate the miniature world first; corpus.sources, seed and held_out are then taken from it "
        "where they are not given",
    )
    base_model: BaseModelSettings
    corpus: Corpus
    seed: SeedPairs
    held_out: HeldOut
    prompts: Prompts = Prompts()
    training: Trainings = Trainings()
    augmentation: Augmentation = Augmentation()
    scoring: Scoring = Scoring()
    selection: Selection = Selection()
    iterations: Count = Field(2, description="0: the seed model alone")
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _take_from_miniature(cls, given: Any) -> Any:
        """Let the miniature world supply the pages and the pairs; what cannot be read is left for the checks."""
        if not isinstance(given, dict) or not isinstance(given.get("miniature"), dict):
            return given
        warc_files = given["miniature"].get("warc_files", Miniature.model_fields["warc_files"].default)
        if not isinstance(warc_files, int):
            return given
        world = miniature_files(given.get("results", "results"), warc_files)
        supplied: dict[str, dict[str, Any]] = {
            "corpus": {"sources": [{"name": "miniature", "paths": world.pages}]},
            "seed": {"path": world.seed},
            "held_out": {"pairs": {"path": world.held_out}},
        }
        if "size" in (given.get("held_out") or {}):
            del supplied["held_out"]
        return given | {key: _overlay(value, given.get(key)) for key, value in supplied.items()}

    def identity(self) -> dict[str, Any]:
        """What results depend on: everything but how the work is done on the machine at hand."""
        return self.model_dump(
            mode="json",
            exclude={
                "resources": True,
                "generation": set(Generation.execution_keys),
                "training": {"forward": set(Training.execution_keys), "backward": set(Training.execution_keys)},
            },
        )

    def generated_files(self) -> frozenset[str]:
        """Input files that the run makes itself."""
        if self.miniature is None:
            return frozenset()
        world = miniature_files(self.results, self.miniature.warc_files)
        return frozenset([*world.pages, world.seed, world.held_out])


def _overlay(supplied: dict[str, Any], given: Any) -> Any:
    """What was given over what is supplied, key by key."""
    if given is None:
        return supplied
    return supplied | given if isinstance(given, dict) else given


class MiniatureFiles(NamedTuple):
    """Where the miniature world is written."""

    pages: list[str]
    seed: str
    held_out: str
    truth: str


def miniature_files(results: str, warc_files: int) -> MiniatureFiles:
    """Paths of the miniature world below the results folder."""
    folder = f"{results}/miniature"
    pages = [f"{folder}/pages-{number}.warc.gz" for number in range(1, warc_files + 1)]
    return MiniatureFiles(pages, f"{folder}/seed.jsonl", f"{folder}/held_out.jsonl", f"{folder}/truth.jsonl")


def load_settings(config: Mapping[str, Any]) -> Settings:
    """Check a configuration as Snakemake merged it.

    Raises SettingsError, with one line per fault that names the key.
    """
    try:
        return Settings.model_validate(dict(config))
    except ValidationError as error:
        raise SettingsError("\n".join(_fault_line(fault) for fault in error.errors())) from None


def check_files(settings: Settings) -> None:
    """Raise SettingsError, one line per file, if a file that the settings name is missing."""
    named = {f"prompts.{key}": getattr(settings.prompts, key) for key in PROMPT_FILES}
    named["seed.path"] = settings.seed.path
    if settings.held_out.pairs is not None:
        named["held_out.pairs.path"] = settings.held_out.pairs.path
    missing = [
        f"config: {key}: no such file: {path}"
        for key, path in named.items()
        if path not in settings.generated_files() and not Path(path).is_file()
    ]
    for key, path in {
        "base_model.path": settings.base_model.path,
        "evaluation.judge": settings.evaluation.judge,
    }.items():
        if path is not None and looks_like_folder(path) and not (Path(path) / "config.json").is_file():
            missing.append(f"config: {key}: no model (config.json) in the folder {path}")
    if missing:
        raise SettingsError("\n".join(missing))


def check_gpus(settings: Settings, gpus: int) -> None:
    """Raise SettingsError naming the settings that ask for more GPUs than a machine has; without any it needs none."""
    asked = {
        "generation.gpus": settings.generation.gpus,
        "training.backward.processes": settings.training.backward.processes,
        "training.forward.processes": settings.training.forward.processes,
    }
    faults = [
        f"config: {key}: {count} GPUs for one job, but this machine has {gpus} to give"
        for key, count in asked.items()
        if count > gpus > 0
    ]
    if faults:
        raise SettingsError("\n".join(faults))


def _fault_line(fault: Any) -> str:
    """One readable line for one fault found by pydantic."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    if fault["type"] == "extra_forbidden":
        return f"config: {key}: no such setting"
    if fault["type"] == "missing":
        return f"config: {key}: must be given"
    message = fault["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(fault["input"], dict) else f" (found: {fault['input']!r})"
    return f"config: {key or 'settings'}: {message}{shown}"


def spec(**slices: Slice | Mapping[str, Any] | list[Any] | str | int | float | bool | None) -> str:
    """Canonical JSON (sorted keys, no white space) of exactly the settings that a stage depends on."""
    plain = {name: value.identity() if isinstance(value, Slice) else value for name, value in slices.items()}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_schema() -> str:
    """The JSON schema of config.yaml, for editors."""
    return json.dumps(Settings.model_json_schema(), indent=2) + "\n"


def model_names(settings: Settings) -> list[str]:
    """Forward models in the order of the method, the control last."""
    names = [f"M{iteration}" for iteration in range(settings.iterations + 1)]
    return names + ["unselected"] * (settings.evaluation.unselected_control and settings.iterations > 0)


def hub_name(path: str | None) -> str | None:
    """A model's name on the hub; None for a folder, of which the content counts and not the path."""
    return None if path is None or looks_like_folder(path) else path


def looks_like_folder(path: str) -> bool:
    """Whether a model is named by a folder rather than by a hub name (owner/name)."""
    return Path(path).exists() or path.startswith((".", "/", "~")) or path.count("/") > 1
