"""The miniature world as files: WARC files of web pages, seed and held-out pairs, and the truth about all of them.

Everything follows from the settings. This module knows nothing of the workflow that reads the files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from backtranslation.miniature.kinds import COMMON_KINDS, KINDS, RARE_SHARE, SEED_CATEGORIES
from backtranslation.miniature.passages import Block, Passage, Topic, clean_passage, draw_topic, request
from backtranslation.miniature.pretraining import draw_passage
from backtranslation.miniature.recognition import normalise
from backtranslation.miniature.subjects import subjects
from backtranslation.miniature.web_pages import (
    Page,
    article,
    foreign_page,
    link_page,
    missing_page,
    picture,
    write_warc,
)
from backtranslation.settings.miniature import Miniature

Row = dict[str, Any]

CLEAN_SHARE = 0.35
"""Share of the passages on pages that are clean."""


@dataclass(frozen=True)
class World:
    """`warcs`: content of the WARC files. `truth` has a row per passage and a row per held-out pair."""

    warcs: tuple[bytes, ...]
    seed: tuple[Row, ...]
    held_out: tuple[Row, ...]
    truth: tuple[Row, ...]


def generate_world(settings: Miniature) -> World:
    """Make the world that belongs to the settings, byte for byte the same each time."""
    random = Random(settings.random_seed)
    seed_topics = _seed_topics(random, settings.seed_pairs)
    held_out_topics = _held_out_topics(random, settings.held_out_pairs, seed_topics)
    seed = tuple(_pair(random, topic, seed_only=True) for topic in seed_topics)
    held_out = tuple(_pair(random, topic) for topic in held_out_topics)
    pages, passages = _draw_pages(random, settings.pages)
    warcs = tuple(write_warc(pages[i :: settings.warc_files], random) for i in range(settings.warc_files))
    truth = [_passage_truth(passage) for passage in passages]
    truth += [_held_out_truth(pair, topic) for pair, topic in zip(held_out, held_out_topics, strict=True)]
    return World(warcs, seed, held_out, tuple(truth))


def _seed_topics(random: Random, count: int) -> list[Topic]:
    """Topics of the seed pairs: mostly of the common kinds, and of some categories only."""
    known = tuple(subject for subject in subjects() if subject.category in SEED_CATEGORIES)
    common = tuple(kind for kind in KINDS if kind.name in COMMON_KINDS)
    rare = tuple(kind for kind in KINDS if kind.name not in COMMON_KINDS)
    return [draw_topic(random, known, rare if random.random() < RARE_SHARE else common) for _ in range(count)]


def _held_out_topics(random: Random, count: int, seed_topics: Sequence[Topic]) -> list[Topic]:
    """Topics of any kind and category, each once, none of the seed's."""
    seen = {_identity(topic) for topic in seed_topics}
    topics: list[Topic] = []
    while len(topics) < count:
        topic = draw_topic(random)
        if _identity(topic) not in seen:
            seen.add(_identity(topic))
            topics.append(topic)
    return topics


def _identity(topic: Topic) -> tuple[str, str]:
    return topic.kind.name, topic.names


def _pair(random: Random, topic: Topic, seed_only: bool = False) -> Row:
    return {
        "instruction": request(random, topic, seed_only),
        "response": clean_passage(random, topic).markdown,
    }


def _draw_pages(random: Random, count: int) -> tuple[list[Page], list[Passage]]:
    """The pages in the order of the crawl, and every passage that stands on one of them."""
    pages: list[Page] = []
    passages: list[Passage] = []
    articles: list[list[Passage]] = []
    for number in range(count):
        form = random.choices(("article", "copy", "near copy", "foreign", "links", "picture", "missing"),
                              (76, 6, 6, 5, 3, 2, 2))[0]  # fmt: skip
        if form in ("article", "copy", "near copy"):
            if form == "article" or not articles:
                content = [draw_passage(random, CLEAN_SHARE) for _ in range(random.randint(3, 5))]
                articles.append(content)
            else:
                content = random.choice(articles)
            if form == "near copy":
                content = [_signed(passage) for passage in content]
            passages += content
            pages.append(article(random, number, content))
        elif form == "foreign":
            pages.append(foreign_page(random, number))
        elif form == "links":
            pages.append(link_page(random, number))
        else:
            pages.append(picture(number) if form == "picture" else missing_page(number))
    return pages, passages


def _signed(passage: Passage) -> Passage:
    """The passage with a line that somebody who copied it has added."""
    return replace(passage, blocks=(*passage.blocks, Block("paragraph", ("Copied with thanks.",))))


def _passage_truth(passage: Passage) -> Row:
    """What a passage is. `key` is its normalised text; `requests` are all that it answers, none if defective."""
    topic = passage.topic
    asked = [wording.format(**topic.slots) for wording in topic.kind.requests]
    return {
        "type": "passage",
        "key": normalise(passage.markdown),
        "kind": topic.kind.name,
        "subject": topic.subject.name,
        "other": topic.other.name if topic.other else None,
        "defect": passage.defect,
        "requests": [] if passage.defect else asked,
    }


def _held_out_truth(pair: Row, topic: Topic) -> Row:
    """What a right answer must be: of this kind, about this subject, and true to these facts."""
    return {
        "type": "held_out",
        "instruction": pair["instruction"],
        "kind": topic.kind.name,
        "facts": topic.slots,
    }
