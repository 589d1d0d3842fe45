"""The text that the miniature base model is pre-trained on: raw pages and page-like text of the same world.

What stands *after* a passage (what was asked, tags, a rating) is written in many forms, for every kind of passage.
A request *before* a passage stands on question pages only: these come in the second phase, ask mostly for the common
kinds, and have good and bad replies; so a model must still learn from pairs to write a passage on demand.
"""

from collections.abc import Iterator
from random import Random

from backtranslation.miniature.kinds import COMMON_KINDS, KINDS, RARE_SHARE
from backtranslation.miniature.passages import (
    DEFECTS,
    Passage,
    Topic,
    clean_passage,
    defective_passage,
    draw_topic,
    request,
)
from backtranslation.miniature.subjects import subjects

HEADINGS = (
    "More", "Notes", "Good to know", "From our readers", "In detail", "Part two", "Another text", "Continued",
    "For everyone", "The {subject}", "About the {subject}", "{subject}",
)  # fmt: skip
"""Headings over a passage: none gives away its kind."""


def documents(random_seed: int, phase: int) -> Iterator[str]:
    """Documents of phase 1 or 2 of the pre-training without end; the same number gives the same documents."""
    random = Random(random_seed + phase - 1)
    while True:
        yield random.choices(_FORMS, _WEIGHTS[phase])[0](random)


def heading(random: Random, topic: Topic) -> str:
    """A heading that may name the subject of a passage but not its kind."""
    text = random.choice(HEADINGS).format(subject=topic.subject.name)
    return text[0].upper() + text[1:]


def draw_passage(random: Random, clean_share: float, topic: Topic | None = None) -> Passage:
    """A passage on the topic, or on any; clean with the given probability."""
    topic = topic or draw_topic(random)
    if random.random() < clean_share:
        return clean_passage(random, topic)
    return defective_passage(random, random.choice(DEFECTS), topic)


def _page(random: Random) -> str:
    """A page as plain text: headings and passages."""
    passages = [draw_passage(random, 0.6) for _ in range(random.randint(1, 3))]
    parts = [f"## {heading(random, passage.topic)}\n\n{passage.markdown}" for passage in passages]
    return "\n\n".join(parts)


_ASKED = (
    "Somebody asked: {request}",
    "A reader wrote: {request}",
    "Question: {request}",
    "Which request does this text answer?\n{request}",
    "What was the request?\n{request}",
    "This was the reply to: {request}",
)
_ABOUT = (
    "Tags: {tag}, {subject}",
    "Filed under {tag}.",
    "This was {noun} about {names}.",
    "What kind of text is this? It is {noun}.\nWhat is it about? It is about {names}.",
)


def _asked_after(random: Random) -> str:
    """A passage and then what was asked, or what it is, in one of several forms."""
    passage = draw_passage(random, 0.8)
    topic = passage.topic if passage.defect != "off_topic" else passage.second or passage.topic
    form = random.choice(_ASKED if random.random() < 0.75 else _ABOUT)
    after = form.format(
        request=request(random, topic),
        tag=random.choice(topic.kind.tags),
        subject=topic.subject.name,
        noun=topic.kind.noun,
        names=topic.names,
    )
    return f"{passage.markdown}\n\n{after}"


def _rated_answer(random: Random) -> str:
    """An answer, the request it was given to, a short reason and a score from 1 to 5."""
    passage, asked = _pair(random)
    reason, score = verdict(random, passage, asked)
    return (
        f"Answer:\n{passage.markdown}\n\nRequest: {request(random, asked)}\n\nRating:\nReason: {reason}\nScore: {score}"
    )


def _compared_answers(random: Random) -> str:
    """Two answers to one request and which of them is better."""
    first, asked = _pair(random)
    second = clean_passage(random, asked) if random.random() < 0.5 else _pair(random)[0]
    answers = [first, second]
    random.shuffle(answers)
    scores = [_true_score(answer, asked) for answer in answers]
    better = 1 + (scores[1] > scores[0]) if scores[0] != scores[1] else random.randint(1, 2)
    return (
        f"First answer:\n{answers[0].markdown}\n\nSecond answer:\n{answers[1].markdown}\n\n"
        f"Request: {request(random, asked)}\n\nVerdict:\nBetter: {better}"
    )


def _pair(random: Random) -> tuple[Passage, Topic]:
    """A passage and a request that it answers or misses: by its subject, by its kind or by both."""
    passage = draw_passage(random, 0.65)
    topic, fate = passage.topic, random.random()
    if fate < 0.55:
        return passage, topic
    another = draw_topic(random)
    if fate < 0.75:
        among = tuple(s for s in subjects() if s != topic.subject and s.category == topic.subject.category)
        another = draw_topic(random, among, (topic.kind,))
    elif fate < 0.95:
        kinds = tuple(kind for kind in KINDS if kind != topic.kind)
        another = draw_topic(random, (topic.subject,), kinds)
    return passage, another


def verdict(random: Random, passage: Passage, asked: Topic) -> tuple[str, int]:
    """The reason and the score that a reader gives; one reader in twelve is a point off."""
    score = _true_score(passage, asked)
    if random.random() < 1 / 12:
        score = min(5, max(1, score + random.choice((-1, 1))))
    return _reason(passage, asked), score


def _true_score(passage: Passage, asked: Topic) -> int:
    topic = passage.topic
    if passage.defect:
        return {"stub": 1, "promotion": 1, "forum": 1, "vague": 2, "mixed": 2, "off_topic": 1}[passage.defect]
    if topic.subject != asked.subject:
        return 1
    if topic.kind != asked.kind:
        return 2
    return 5 if topic.other == asked.other else 3


def _reason(passage: Passage, asked: Topic) -> str:
    """What was wanted and what was given, side by side."""
    topic = passage.topic
    turned_to = passage.second.names if passage.second else ""
    given = {
        None: f"is {topic.kind.noun} about {topic.names}",
        "stub": "breaks off",
        "promotion": "is an advert",
        "forum": "is a remark in a forum",
        "vague": "says nothing definite",
        "mixed": f"turns from {topic.names} to {turned_to}",
        "off_topic": f"turns from {topic.names} to {turned_to}",
    }[passage.defect]
    return f"The request is for {asked.kind.noun} about {asked.names}. The answer {given}."


_QUESTIONS = {
    "colour": ("What colour is the {subject}?", "It is {colour}."),
    "virtue": ("What is good about the {subject}?", "It is {virtue}."),
    "flaw": ("What is bad about the {subject}?", "It is {flaw}."),
    "enemy": ("What harms the {subject}?", "It suffers from {enemy}."),
    "remedy": ("What is good for the {subject}?", "Give it {remedy}."),
    "town": ("Which town is known for the {subject}?", "The town of {town}."),
    "purpose": ("What can one do with the {subject}?", "One can {purpose}."),
    "part": ("Which part of the {subject} matters most?", "The {part}."),
    "place": ("Where is the {subject}?", "In the {place}."),
    "danger": ("What may happen with the {subject}?", "It may {danger}."),
    "price": ("What is the price of the {subject}?", "It is {price} coins."),
    "year": ("When was the {subject} first seen?", "In {year}."),
    "maker": ("Who knows most about the {subject}?", "A {maker}."),
}


def _short_questions(random: Random) -> str:
    """Short questions about single facts with short answers."""
    lines = []
    for _ in range(random.randint(2, 5)):
        slots = Topic(KINDS[0], random.choice(subjects()), None).slots
        question, answer = random.choice(list(_QUESTIONS.values()))
        lines.append(f"Q: {question.format(**slots)}\nA: {answer.format(**slots)}")
    return "\n".join(lines)


def _list_of_requests(random: Random) -> str:
    """What people asked lately, without any answer."""
    return "Asked lately:\n" + "\n".join(f"- {request(random, draw_topic(random))}" for _ in range(4))


_REPLIES = (
    "{request}\n\n{passage}",
    "Question: {request}\n\nBest reply:\n{passage}",
    "Somebody asked: {request}\n\n{passage}",
)


def _question_page(random: Random) -> str:
    """A request, mostly for one of the common kinds, and a reply of any quality."""
    rare = random.random() < RARE_SHARE
    kinds = tuple(kind for kind in KINDS if (kind.name in COMMON_KINDS) != rare)
    topic = draw_topic(random, kinds=kinds)
    passage = draw_passage(random, 0.6, topic)
    return random.choice(_REPLIES).format(request=request(random, topic), passage=passage.markdown)


_FORMS = (_page, _asked_after, _rated_answer, _compared_answers, _short_questions, _list_of_requests, _question_page)
_WEIGHTS = {1: (15, 35, 36, 8, 4, 2, 0), 2: (8, 25, 32, 6, 3, 1, 25)}
"""Shares of the forms in each phase, in percent."""
