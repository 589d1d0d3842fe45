"""The jobs of `on_gpu.py`, each for a process of its own: what a GPU can do, and what the project does on it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any, Literal

import torch
from random_model import LlamaShape, build_llama
from transformers import AutoTokenizer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backtranslation.corpus.extraction import keep_passages, segment_row
from backtranslation.corpus.filters import navigation_pattern
from backtranslation.corpus.readers import read_documents
from backtranslation.corpus.shards import list_shards
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.jobs.leases import lease_gpus, visible_gpus
from backtranslation.jobs.process import StoppedError
from backtranslation.models.chat import encode_text, with_user_turns
from backtranslation.models.choices import SCORE_CHOICES, text_before_score
from backtranslation.models.continuations import common_prefix
from backtranslation.models.engine import load_engine, make_requests
from backtranslation.models.loading import device, load_tokenizer, resolve_precision
from backtranslation.models.packing import pack
from backtranslation.models.pairs import EncodedPair, encode_forward
from backtranslation.models.prompts import PromptSet, score_message
from backtranslation.models.training import fine_tune
from backtranslation.settings.base_model import BaseModelSettings
from backtranslation.settings.corpus import SegmentFilters, SegmentSettings, Source
from backtranslation.settings.generation import Generation, Sampling
from backtranslation.settings.prompts import Prompts
from backtranslation.settings.training import Lora, Training
from backtranslation.shipped import find_file
from backtranslation.tally import Tally

TOKENIZER = "backtranslation/miniature/base"
Work = Literal["prepare", "full", "lora", "trl", "generate", "choose", "measure"]
BYTES = 2  # of a number in bfloat16
TRAINING_OPERATIONS = {"full": 6, "lora": 4}  # for each parameter and token
STEPS = 300  # at most; of more than 400, not every one is logged
MEASURED_STEPS = 2


@dataclass(frozen=True)
class Size:
    """How large the jobs are. A reply has `new_tokens`, a packed row `max_length`, a segment at most `max_chars`."""

    shapes: dict[str, LlamaShape]
    rows_per_device: dict[str, int]
    max_length: int
    batch_size: int
    max_chars: int
    requests: int
    new_tokens: int
    matrix: int
    copied_bytes: int


LARGE = Size(
    shapes={
        "1B": LlamaShape(2048, 8192, 16, 32, 8, 128256, tied=True),  # Llama 3.2
        "8B": LlamaShape(4096, 14336, 32, 32, 8, 128256),  # Llama 3.1
    },
    rows_per_device={"1B": 4, "8B": 2},
    max_length=2048, batch_size=32, max_chars=2000, requests=256, new_tokens=64, matrix=8192, copied_bytes=4 << 30,
)  # fmt: skip
TINY = Size(
    shapes={"1B": LlamaShape(32, 64, 1, 4, 2, 2560, tied=True), "8B": LlamaShape(64, 128, 2, 4, 2, 2560)},
    rows_per_device={"1B": 2, "8B": 1},
    max_length=512, batch_size=2, max_chars=400, requests=4, new_tokens=4, matrix=64, copied_bytes=1 << 20,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One line of the table, or what stands before all (`prepare`); `ends` is a time of the monotonic clock."""

    work: Work
    model: str
    tiny: bool
    folder: Path
    pages: list[str]
    threads: int
    ends: float = 0.0

    @property
    def size(self) -> Size:
        """The sizes that were asked for."""
        return TINY if self.tiny else LARGE

    @property
    def shape(self) -> LlamaShape:
        """The size of its model."""
        return self.size.shapes[self.model]

    @property
    def model_folder(self) -> Path:
        """Where its model lies."""
        return self.folder / self.model

    @property
    def segments(self) -> Path:
        """Where the segments lie."""
        return self.folder / "segments.jsonl.zst"


@dataclass(frozen=True)
class Roof:
    """What the device was seen to do: operations/s of a bfloat16 matrix product, bytes/s read and written by a copy."""

    device: str
    operations: float
    bandwidth: float


@dataclass(frozen=True)
class Measurement:
    """What a job did in so many seconds: tokens of the rate, operations of its model.

    `passes` names the parts of the work that a perfect engine would do one after the other: (operations, bytes moved)
    of each; see `least_seconds`.
    """

    tokens: int
    seconds: float
    operations: float
    passes: list[tuple[float, float]]


@dataclass(frozen=True)
class Outcome:
    """What a job came to on which GPUs, and its peak memory in bytes (on the GPU, else of the process)."""

    gpus: list[str]
    found: Any
    peak_bytes: int


def least_seconds(measured: Measurement, roof: Roof) -> float:
    """Seconds that the work takes at the roof: each part is bound by operations or by memory, by the slower of them."""
    return sum(max(operations / roof.operations, moved / roof.bandwidth) for operations, moved in measured.passes)


def do_job(job: Job) -> Outcome:
    """Lease a GPU if the machine has one, and do the work of the job with it. Raises whatever goes wrong."""
    gpus = lease_gpus(min(1, len(visible_gpus())))
    check_lease(gpus)
    works: dict[str, Callable[[Job], Any]] = {
        "prepare": prepare, "full": measure_training, "lora": measure_training, "trl": measure_trl,
        "generate": measure_generation, "choose": measure_choices, "measure": measure_likelihoods,
    }  # fmt: skip
    found = works[job.work](job)
    on_gpu = torch.cuda.is_available()
    peak = torch.cuda.max_memory_reserved() if on_gpu else getrusage(RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(gpus, found, peak)


def check_lease(gpus: Sequence[str]) -> None:
    """Raise RuntimeError if this process can use another GPU than those that it leased."""
    if device().type == "cpu":
        return
    import pynvml

    pynvml.nvmlInit()
    seen = [str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count())]
    leased = [
        pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(int(gpu))) if gpu.isdigit() else gpu for gpu in gpus
    ]
    if len(seen) != len(leased) or not all(map(str.endswith, leased, seen)):
        raise RuntimeError(f"leased are the GPUs {', '.join(leased)}, and torch uses {', '.join(seen)}")


def prepare(job: Job) -> tuple[Roof, dict[str, str]]:
    """Cut the pages, measure the roof, build the models; by name, why a model could not be built."""
    if device().type == "cpu" and not job.tiny:
        raise ValueError("torch has no GPU here; --tiny works on a processor")
    segments = list(cut_pages(job.pages, job.size))
    if len(segments) < 2:
        raise ValueError(f"{len(segments)} segments in {', '.join(job.pages)}: name more pages")
    write_rows(job.segments, segments)
    roof = measure_roof(job.size)
    tokenizer, faults = AutoTokenizer.from_pretrained(find_file(TOKENIZER)), {}
    for model, shape in job.size.shapes.items():
        try:
            build_llama(job.folder / model, shape, tokenizer, torch.bfloat16, device().type)
        except Exception as error:  # no memory, no disk: the other models can still be measured
            faults[model] = f"its model could not be built: {error}"
    return roof, faults


def cut_pages(pages: Sequence[str], size: Size) -> Iterator[Row]:
    """The segments of pages that pass the filters, as extraction makes them; Markdown files are text."""
    settings = SegmentSettings(min_chars=size.max_chars // 4, max_chars=size.max_chars)
    filters = SegmentFilters()
    navigation = navigation_pattern(filters.navigation_headers)
    sources = [
        Source(name=f"pages{number}", paths=[path], format="text" if path.endswith(".md") else "auto")
        for number, path in enumerate(pages)
    ]
    for shard in list_shards(sources):
        fields = sources[0].fields()
        for _, document in read_documents(Path(shard.path), shard, fields, settings.max_page_bytes, Tally()):
            for passage in keep_passages(document, settings, filters, navigation, Tally(), []):
                yield segment_row(passage, document, shard)


def measure_roof(size: Size) -> Roof:
    """Operations/s of the product of two square matrices, and bytes/s of a copy, each within about a second."""
    place = device()
    matrix = torch.randn(size.matrix, size.matrix, dtype=torch.bfloat16, device=place)
    source = torch.empty(size.copied_bytes, dtype=torch.uint8, device=place)
    target = torch.empty_like(source)
    product = torch.empty_like(matrix)
    return Roof(
        device=torch.cuda.get_device_name() if place.type == "cuda" else "processor",
        operations=2 * size.matrix**3 / best_seconds(lambda: torch.mm(matrix, matrix, out=product)),
        bandwidth=2 * size.copied_bytes / best_seconds(lambda: target.copy_(source)),
    )


def best_seconds(work: Callable[[], object]) -> float:
    """Seconds for the work, the best of several rounds of ten."""
    best = float("inf")
    started = time.monotonic()
    while time.monotonic() - started < 1 or best == float("inf"):
        wait_for_gpu()
        before = time.perf_counter()
        for _ in range(10):
            work()
        wait_for_gpu()
        best = min(best, (time.perf_counter() - before) / 10)
    return best


def wait_for_gpu() -> None:
    """Let the GPU finish what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clock(TrainerCallback):
    """Ends a training when its time is over, and keeps (tokens, seconds) after every step."""

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.points: list[tuple[float, float]] = []

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The log is written after a step, and after the loss of that step is known."""
        logs = kwargs["logs"]
        tokens = logs.get("tokens", logs.get("num_tokens"))  # of TRL, whose packed rows have no padding
        if tokens is None:
            return
        self.points.append((tokens, time.monotonic()))
        # The first step is no measure: it warms up. After the last one, the model would be saved.
        enough = time.monotonic() >= self.ends and len(self.points) > MEASURED_STEPS
        control.should_training_stop = enough or state.global_step == state.max_steps - 1


def measure_training(job: Job) -> Measurement:
    """Fine-tune as the project does, in bfloat16, until the time is over; the first step does not count."""
    base, tokenizer, pairs = load_pairs(job)
    method: Literal["full", "lora"] = "full" if job.work == "full" else "lora"
    training = Training(
        method=method, max_length=job.size.max_length, batch_size=job.size.batch_size,
        epochs=STEPS * job.size.batch_size / len(pairs), precision="bfloat16",
        rows_per_device=job.size.rows_per_device[job.model], save_minutes=1e6,
    )  # fmt: skip
    clock, output = Clock(job.ends), job.folder / f"{job.work}-{job.model}"
    with suppress(StoppedError):  # the usual end: the time is over
        fine_tune(pairs, base, training, tokenizer, output / "model", output, output / "losses.tsv", 1, [clock])
    return count_training(job, clock, method)


def measure_trl(job: Job) -> Measurement:
    """Fine-tune the same pairs with TRL's SFTTrainer in the same way, LoRA, by its packing, and as many rows at once.

    With FlashAttention if it is installed, for which its packing is made.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from transformers.utils import is_flash_attn_2_available
    from trl import SFTConfig, SFTTrainer

    base, tokenizer, pairs = load_pairs(job)
    clock, at_once, lora = Clock(job.ends), job.size.rows_per_device[job.model], Lora()
    rows = [{"input_ids": pair.ids.tolist(), "labels": list(pair.labels)} for pair in pairs]
    packed = len(pack([len(pair.ids) for pair in pairs], job.size.max_length))
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            base.path, dtype=resolve_precision("auto"),
            attn_implementation="flash_attention_2" if is_flash_attn_2_available() else "sdpa",
        ),
        args=SFTConfig(
            output_dir=str(job.folder / f"trl-{job.model}"), packing=True, max_length=job.size.max_length,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=max(1, round(job.size.batch_size * packed / len(pairs) / at_once)),
            max_steps=STEPS, bf16=True, gradient_checkpointing=False, use_cpu=device().type == "cpu",
            logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    return count_training(job, clock, "lora")


def count_training(job: Job, clock: Clock, method: str) -> Measurement:
    """What a training came to after its first step."""
    (first_tokens, first), (last_tokens, last) = clock.points[0], clock.points[-1]
    tokens = int(last_tokens - first_tokens)
    operations = float(TRAINING_OPERATIONS[method] * job.shape.parameters * tokens)
    return Measurement(tokens, last - first, operations, [(operations, 0.0)])


def load_pairs(job: Job) -> tuple[BaseModelSettings, Any, list[EncodedPair]]:
    """Where the model of a job is, its tokenizer, and the pairs of all segments."""
    base, prompts = BaseModelSettings(path=str(job.model_folder)), PromptSet(Prompts())
    tokenizer = load_tokenizer(base.path, base, prompts)
    turn = prompts.forward_turn("seed")
    return base, tokenizer, list(encode_segments(job, with_user_turns(tokenizer, turn), read_segments(job)))


def encode_segments(job: Job, tokenizer: Any, rows: Iterable[Row]) -> Iterator[EncodedPair]:
    """Pairs whose instruction is the heading of a segment, and the response its text."""
    for row in rows:
        pair = {"id": row["id"], "instruction": heading(row), "response": row["text"]}
        yield encode_forward(tokenizer, pair, job.size.max_length)


def measure_generation(job: Job) -> Measurement:
    """Let the engine write to prompts of the backward model, greedily, again and again until the time is over.

    The flat probabilities of a random model would make sampling sort the whole vocabulary at every step.
    """
    engine, tokenizer = load_job_engine(job)
    asked = with_user_turns(tokenizer, PromptSet(Prompts()).backward_turn())
    texts = ((row["id"], row["text"]) for row in repeat_segments(job))
    requests = make_requests(asked, texts, 1, "generate_instructions")
    sampling = Sampling(temperature=0, max_new_tokens=job.size.new_tokens)
    list(engine.generate(requests[:2], sampling))
    rounds, seconds, written = run_rounds(
        lambda: sum(completion.tokens for completion in engine.generate(requests, sampling)), job.ends
    )
    prompts = [encode_text(asked, request.prompt) for request in requests]
    context = sum(map(len, prompts)) / len(prompts) + job.size.new_tokens / 2
    once = [prefill(job.shape, prompts), *[decode_step(job.shape, len(requests), context)] * job.size.new_tokens]
    operations = rounds * sum(operations for operations, _ in once)
    return Measurement(written, seconds, operations, once * rounds)


def measure_choices(job: Job) -> Measurement:
    """Let the engine weigh the five scores after prompts with the rubric, again and again until the time is over.

    The tokens are those of the prompts, the rubric included, though the engine computes it once.
    """
    engine, tokenizer = load_job_engine(job)
    prompts = PromptSet(Prompts())
    messages = (
        (row["id"], score_message(prompts, heading(row), row["text"], reasons=False)) for row in repeat_segments(job)
    )
    requests = make_requests(tokenizer, messages, 1, "score_candidates")
    asked = [(row.id, text_before_score(row.prompt, "", prompts.score_label)) for row in requests]
    sequences = [encode_text(tokenizer, text) for _, text in asked]
    tokens = sum(map(len, sequences))
    list(engine.choose(asked[:2], SCORE_CHOICES))
    rounds, seconds, weighed = run_rounds(
        lambda: tokens * len(list(engine.choose(asked, SCORE_CHOICES))) // len(asked), job.ends
    )
    once = prefill(job.shape, sequences)
    return Measurement(weighed, seconds, rounds * once[0], [once] * rounds)


def measure_likelihoods(job: Job) -> Measurement:
    """Let the engine measure the likelihood of segments after their headings, until the time is over.

    The tokens are those of both.
    """
    engine, tokenizer = load_job_engine(job)
    asked = with_user_turns(tokenizer, PromptSet(Prompts()).forward_turn("seed"))
    pairs = list(encode_segments(job, asked, repeat_segments(job)))
    sequences = [pair.ids.tolist() for pair in pairs]
    tokens = sum(map(len, sequences))
    list(engine.measure(pairs[:2]))
    rounds, seconds, measured = run_rounds(lambda: tokens * len(list(engine.measure(pairs))) // len(pairs), job.ends)
    once = prefill(job.shape, sequences)
    return Measurement(measured, seconds, rounds * once[0], [once] * rounds)


def load_job_engine(job: Job) -> Any:
    """The project's engine with the model of the job in bfloat16, and its tokenizer."""
    loading = BaseModelSettings(path=str(job.model_folder), dtype="bfloat16")
    return load_engine(Generation(), loading.path, loading, PromptSet(Prompts()))


def run_rounds(work: Callable[[], int], ends: float) -> tuple[int, float, int]:
    """Rounds of the work until the time is over, at least one; their number, seconds and tokens."""
    rounds = tokens = 0
    started = time.monotonic()
    while not rounds or time.monotonic() < ends:
        tokens += work()
        rounds += 1
    return rounds, time.monotonic() - started, tokens


def prefill(shape: LlamaShape, prompts: Sequence[list[int]]) -> tuple[float, float]:
    """Operations and bytes of computing prompts at once, what all begin with only once: 2 N for every token."""
    shared = len(common_prefix(prompts))
    tokens = shared + sum(len(prompt) - shared for prompt in prompts)
    return 2.0 * shape.parameters * tokens, float(BYTES * shape.parameters)


def decode_step(shape: LlamaShape, rows: int, context: float) -> tuple[float, float]:
    """Operations and bytes of one more token for so many rows: all weights are read, and all keys and values."""
    cache = BYTES * shape.cached_numbers * rows * context
    return 2.0 * shape.parameters * rows, BYTES * shape.parameters + cache


def read_segments(job: Job) -> Iterator[Row]:
    """The segments that `prepare` wrote."""
    return read_rows(job.segments)


def repeat_segments(job: Job) -> Iterator[Row]:
    """As many rows as there are requests, with ids of their own: the segments again and again."""
    rows = islice(cycle(list(read_segments(job))), job.size.requests)
    return (row | {"id": str(number)} for number, row in enumerate(rows))


def heading(row: Row) -> str:
    """The heading of a segment; of one without, its first words."""
    return " ".join(row["heading_path"][-1:] or row["text"].split()[:8])
