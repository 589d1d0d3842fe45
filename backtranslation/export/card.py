"""The card of a data set: its head, which the hub and `datasets` read, and what a reader must know before using it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import yaml

from backtranslation.export.columns import Columns, card_features

TEMPLATE = Path(__file__).with_name("card.md.jinja")
TAGS = ["instruction-backtranslation", "synthetic"]
SHOWN_LICENSES = 20
COUNTED_LICENSES = 1000  # different ones; a corpus may have one of its own for every page
NO_LICENSE, OTHER_LICENSE = "none named", "others"
SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]

DataFiles = Sequence[tuple[str, str | list[str]]]  # split, and the path or paths of its rows

MEANINGS = {
    "messages": "the turns: `user` asks, `assistant` replies",
    "conversations": "the turns: `human` asks, `gpt` replies",
    "prompt": "the turn that asks",
    "completion": "the turn that replies",
    "instruction": "what is asked",
    "input": "always empty: the instruction says all",
    "output": "the reply",
    "id": "name of the pair, which does not change when it is exported again",
    "kind": "`seed`: written by people; `augmented`: a passage of a web page, with an instruction written by a model",
    "url": "address of the page; null for seed pairs",
    "source": "name of the part of the corpus; null for seed pairs",
    "file": "corpus file of the page; null for seed pairs",
    "record_offset": "place in that file: byte of WARC and JSON lines, row of Parquet; null for seed pairs",
    "license": "what the page said of its license; null where it said nothing",
    "score": "score of the pair, 1 to 5, as the model wrote it; null where none was read or asked for",
    "expected_score": "mean of the scores 1 to 5 by the model's probabilities; null as above",
    "likelihood": "nats per token that the instruction adds to the likelihood of the reply; null where not measured",
    "backward_likelihood": "nats per token that the reply adds to the likelihood of the instruction; null as above",
    "combined": "all of these but the first, weighed by a fit, from 0 to 1; null as above",
    "iteration": "the iteration whose model gave the score; null where none did",
    "failure": "why the pair has not the score by which pairs were selected; null where it has",
    "selected": "whether the pair is in the curated set of the iteration",
    "dataset": "always `held_out`",
    "generator": "the model that answered",
    "output_1": "answer of the model that is compared with",
    "output_2": "answer of the model that is measured",
    "generator_1": "the model that is compared with",
    "generator_2": "the model that is measured",
    "annotator": "the model that judged",
    "preference": "1 (the first is better) to 2 (the second is); null where the judge could not be asked",
}


@dataclass(frozen=True)
class About:
    """What a card says in words."""

    title: str
    summary: str
    made: Sequence[str]
    limits: Sequence[str]
    languages: Sequence[str] = ()


@dataclass
class Survey:
    """Rows by kind of pair and by license, counted while they are written."""

    kinds: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, license: str | None) -> None:
        """Take one more pair in."""
        self.kinds[kind] += 1
        name = license or NO_LICENSE
        is_known = name in self.licenses or len(self.licenses) < COUNTED_LICENSES
        self.licenses[name if is_known else OTHER_LICENSE] += 1

    def named(self) -> list[tuple[str, int]]:
        """The most frequent licenses, the rest together; empty where no row names one."""
        if set(self.licenses) <= {NO_LICENSE}:
            return []
        frequent = self.licenses.most_common(SHOWN_LICENSES)
        rest = self.licenses.total() - sum(count for _, count in frequent)
        return frequent + ([(OTHER_LICENSE, rest)] if rest else [])


def render_card(
    about: About,
    columns: Columns,
    data_files: DataFiles,
    counts: Mapping[str, int],
    survey: Survey | None = None,
) -> str:
    """The card of a folder whose splits are `data_files` (split, path or paths), with the rows of each file.

    Rows that are no pairs have no survey.
    """
    head = {
        "pretty_name": about.title,
        **({"language": list(about.languages)} if about.languages else {}),
        **(_license_head(survey) if survey else {}),
        "size_categories": [_size_category(sum(counts.values()))],
        "task_categories": ["text-generation"],
        "tags": TAGS,
        **card_head([("default", columns, data_files)]),
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["type_name"] = type_name
    text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        about=about,
        counts=counts,
        kinds=survey.kinds if survey else {},
        columns=columns,
        meanings=MEANINGS,
        licenses=[(inline_code(name), count) for name, count in survey.named()] if survey else None,
        version=version("backtranslation"),
    )
    return f"{text}\n"


def card_head(configs: Sequence[tuple[str, Columns, DataFiles]]) -> dict[str, Any]:
    """What `datasets` reads: for each configuration, the files of its splits and the types of its columns."""
    return {
        "configs": [
            {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files]}
            for name, _, files in configs
        ],
        "dataset_info": [
            {"config_name": name, "features": card_features(columns)} for name, columns, _ in configs
        ],
    }  # fmt: skip


def _license_head(survey: Survey) -> dict[str, str]:
    """The license, where every row names the same one."""
    [name, *others] = survey.licenses or [NO_LICENSE]
    return {} if others or name == NO_LICENSE else {"license": "other", "license_name": name}


def _size_category(rows: int) -> str:
    return next((name for size, name in SIZES if rows < size), "n>10M")


def type_name(kind: Any) -> str:
    """A type of a column for people."""
    if isinstance(kind, list):
        return f"list of {type_name(kind[0])}"
    return f"{{{', '.join(kind)}}}" if isinstance(kind, Mapping) else str(kind)


def inline_code(text: str) -> str:
    """Words of a stranger for a table of Markdown: on one line, short, and without marks of its own."""
    plain = " ".join(text.split()).translate(str.maketrans("`|<>", "'/()"))
    return f"`{plain[:100]}`"
