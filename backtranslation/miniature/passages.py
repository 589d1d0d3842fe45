"""Passages of the miniature world: clean ones of every kind, and the ways in which web text goes wrong.

A passage is a list of blocks that can be written as Markdown or as HTML. This module knows nothing of pages,
files or models.
"""

import html
from dataclasses import dataclass
from random import Random
from typing import Literal

from backtranslation.miniature.kinds import KINDS, SEED_REQUESTS, Kind
from backtranslation.miniature.subjects import Subject, subjects

Defect = Literal["stub", "promotion", "forum", "vague", "mixed", "off_topic"]
DEFECTS: tuple[Defect, ...] = ("stub", "promotion", "forum", "vague", "mixed", "off_topic")


@dataclass(frozen=True)
class Topic:
    """What a passage is about: a kind, a subject and, for a comparison, the subject it is compared with."""

    kind: Kind
    subject: Subject
    other: Subject | None

    @property
    def slots(self) -> dict[str, str]:
        """The values for the gaps in the sentences and requests of the kind."""
        slots = {"subject": self.subject.name} | self.subject.facts
        if self.other:
            slots |= {"other": self.other.name}
            slots |= {f"other_{name}": value for name, value in self.other.facts.items()}
        return slots

    @property
    def names(self) -> str:
        """The subject, or both subjects of a comparison, in words."""
        both = f" and the {self.other.name}" if self.other else ""
        return f"the {self.subject.name}{both}"


@dataclass(frozen=True)
class Block:
    """A paragraph of sentences or a list of items."""

    layout: Literal["paragraph", "steps", "bullets"]
    sentences: tuple[str, ...]

    @property
    def markdown(self) -> str:
        if self.layout == "paragraph":
            return " ".join(self.sentences)
        marks = [f"{i}." if self.layout == "steps" else "-" for i in range(1, len(self.sentences) + 1)]
        return "\n".join(f"{mark} {sentence}" for mark, sentence in zip(marks, self.sentences, strict=True))

    @property
    def html(self) -> str:
        texts = [html.escape(sentence) for sentence in self.sentences]
        if self.layout == "paragraph":
            return f"<p>{' '.join(texts)}</p>"
        tag = "ol" if self.layout == "steps" else "ul"
        return f"<{tag}>" + "".join(f"<li>{text}</li>" for text in texts) + f"</{tag}>"


@dataclass(frozen=True)
class Passage:
    """A text, the topic it would be an answer to, and what is wrong with it, if anything.

    `second` is the topic that a mixed or off-topic passage turns to.
    """

    topic: Topic
    blocks: tuple[Block, ...]
    defect: Defect | None = None
    second: Topic | None = None

    @property
    def markdown(self) -> str:
        return "\n\n".join(block.markdown for block in self.blocks)

    @property
    def html(self) -> str:
        return "\n".join(block.html for block in self.blocks)


def draw_topic(random: Random, among: tuple[Subject, ...] | None = None, kinds: tuple[Kind, ...] = KINDS) -> Topic:
    """A random topic; a comparison gets a second subject: another variety of the same thing."""
    subject, kind = random.choice(among or subjects()), random.choice(kinds)
    if kind.name != "comparison":
        return Topic(kind, subject, None)
    alike = [other for other in subjects() if other.thing == subject.thing and other != subject]
    return Topic(kind, subject, random.choice(alike))


def request(random: Random, topic: Topic, seed_only: bool = False) -> str:
    """An instruction that asks for the topic; with `seed_only` in one of the wordings of the seed pairs."""
    wordings = topic.kind.requests[: SEED_REQUESTS if seed_only else None]
    return random.choice(wordings).format(**topic.slots)


def clean_passage(random: Random, topic: Topic) -> Passage:
    """A self-contained passage that answers every request for its topic."""
    lead = random.choice(topic.kind.lead).format(**topic.slots)
    body = [random.choice(slot).format(**topic.slots) for slot in topic.kind.body]
    body = [sentence[0].upper() + sentence[1:] for sentence in body] if topic.kind.layout != "paragraph" else body
    if topic.kind.layout == "paragraph":
        return Passage(topic, (Block("paragraph", (lead, *body)),))
    return Passage(topic, (Block("paragraph", (lead,)), Block(topic.kind.layout, tuple(body))))


def defective_passage(random: Random, defect: Defect, topic: Topic) -> Passage:
    """A passage that begins like an answer for the topic, or only mentions it, and goes wrong."""
    sentences = [sentence for block in clean_passage(random, topic).blocks for sentence in block.sentences]
    if defect == "mixed":
        second = _another(random, topic)
        tail = [sentence for block in clean_passage(random, second).blocks for sentence in block.sentences]
        blocks = _halves(topic.kind, sentences[:3], second.kind, tail[-3:])
        return Passage(topic, blocks, defect, second)
    if defect == "off_topic":
        second = _another(random, topic)
        lead = Block("paragraph", (sentences[0],))
        return Passage(topic, (lead, *clean_passage(random, second).blocks), defect, second)
    phrases = [random.choice(slot).format(**topic.slots) for slot in _DEFECT_SENTENCES[defect]]
    kept = {"stub": sentences[:1], "promotion": sentences[1:2], "forum": [], "vague": []}[defect]
    text = (*kept, *phrases) if defect == "stub" else (phrases[0], *kept, *phrases[1:])
    return Passage(topic, (Block("paragraph", tuple(text)),), defect)


def _another(random: Random, topic: Topic) -> Topic:
    """A topic of another kind about another subject."""
    while True:
        other = draw_topic(random)
        if other.kind != topic.kind and other.subject != topic.subject:
            return other


def _halves(first: Kind, head: list[str], second: Kind, tail: list[str]) -> tuple[Block, ...]:
    head_blocks: tuple[Block, ...] = (Block("paragraph", tuple(head)),)
    if first.layout != "paragraph":
        head_blocks = (Block("paragraph", (head[0],)), Block(first.layout, tuple(head[1:])))
    return (*head_blocks, Block(second.layout, tuple(tail)))


_DEFECT_SENTENCES: dict[str, tuple[tuple[str, ...], ...]] = {
    "stub": (
        ("This page is not finished yet.", "The rest of this text is missing.", "More will follow soon."),
        ("We are still working on it.", "Come back next month.", "Someone has to write the other parts."),
        ("Thank you for your patience.", "You can help us to complete it.", "Last change: unknown."),
    ),
    "promotion": (
        ("Order the {subject} today in our shop!", "Hurry, the {subject} is on sale now!",
         "Our customers love the {subject}!"),
        ("Click here to save half the money!", "Only a few left, so do not wait!",
         "Get a second one for free!"),
        ("We ship to every town without charge.", "Subscribe to our letter for more offers.",
         "Use the code on your next order."),
    ),
    "forum": (
        ("Hi all, I am new here and I have got the {subject}.", "Hello everyone, my uncle gave me the {subject}.",
         "Hey folks, does anybody else have the {subject}?"),
        ("I think mine is {virtue}, but my wife says no.", "Not sure, but mine seems {flaw} to me.",
         "Last week I tried to {purpose} and I failed, haha."),
        ("Sorry for my bad spelling.", "I asked this before, but nobody replied.",
         "Moderator, please move this to the right place."),
        ("Thanks in advance!", "Cheers, and see you later.", "Any thoughts?"),
    ),
    "vague": (
        ("There is a lot to say about the {subject}.", "Everybody has heard of the {subject}.",
         "The {subject} is an interesting subject."),
        ("Some people say this and others say that.", "It depends on many things.",
         "Much has been written about it elsewhere."),
        ("In our opinion everyone has to decide alone.", "Times change and so do we.",
         "That is all we know for now."),
        ("Tell us what you think in the comments.", "Share this with your friends.",
         "Read our other posts as well."),
    ),
}  # fmt: skip
