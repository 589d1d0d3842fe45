"""Reading texts of the miniature world back: which kind of request, which sentences, which facts they state.

The inverse of `passages`: every sentence and request of `kinds` is a pattern. Used for the truth only.
"""

import re
from dataclasses import dataclass
from functools import cache

from backtranslation.miniature.kinds import KIND_BY_NAME, KINDS
from backtranslation.miniature.subjects import subjects


@dataclass(frozen=True)
class RecognisedRequest:
    """What an instruction asks for; `kind` is None where its wording is not one of the world."""

    kind: str | None
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """A sentence of the world found in a text: its kind, its slot (0 is the lead) and what it says."""

    kind: str
    slot: int
    values: dict[str, str]


def normalise(text: str) -> str:
    """Lower-case words and marks with single spaces, without heading lines and list marks."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    without_marks = [re.sub(r"^\s*(?:\d+[.)]|[-*+])\s+", "", line) for line in lines]
    return " ".join(" ".join(without_marks).replace("\\", "").split()).lower()


def recognise_request(instruction: str) -> RecognisedRequest:
    """Kind and subjects of an instruction, by its wording."""
    text = normalise(instruction)
    for kind, pattern in _request_patterns():
        if match := pattern.fullmatch(text):
            return RecognisedRequest(kind, tuple(match.groupdict().values()))
    return RecognisedRequest(None, subjects_in(text))


def subjects_in(text: str) -> tuple[str, ...]:
    """The subjects that a text names, each once, in order of their first mention."""
    return tuple(dict.fromkeys(_any_subject().findall(normalise(text))))


def recognise_sentences(text: str) -> tuple[list[Sentence], float]:
    """The sentences of the world in a text, and the share of its characters that belong to none."""
    rest = normalise(text)
    length = max(1, len(rest))
    found = []
    for kind, slot, pattern in _sentence_patterns():
        while match := pattern.search(rest):
            found.append(Sentence(kind, slot, match.groupdict()))
            rest = rest[: match.start()] + "\n" + rest[match.end() :]
    return found, len(rest.replace("\n", "").replace(" ", "")) / length


def answers(kind: str, facts: dict[str, str], text: str) -> bool:
    """Whether a text is a right answer to a request of this kind about the subject of these facts.

    It must hold the sentences of the kind, at most one missing; every fact that it states must be among `facts`; it
    names the subject (of a comparison, both) and no other; little else stands in it (`MOST_FOREIGN`).
    """
    sentences, foreign_share = recognise_sentences(text)
    truth = {name: value.lower() for name, value in facts.items()}
    return (
        all(sentence.kind == kind for sentence in sentences)
        and len({sentence.slot for sentence in sentences}) >= len(KIND_BY_NAME[kind].body)
        and all(truth.get(name) == value for sentence in sentences for name, value in sentence.values.items())
        and set(subjects_in(text)) == {truth[name] for name in ("subject", "other") if name in truth}
        and foreign_share <= MOST_FOREIGN
    )


MOST_FOREIGN = 0.1
"""Share of characters outside the sentences of the world up to which an answer counts as free of other matter."""


@cache
def _values() -> dict[str, str]:
    """For every gap in a sentence, a pattern of all that can fill it."""
    values: dict[str, set[str]] = {}
    for subject in subjects():
        for name, value in (subject.facts | {"subject": subject.name}).items():
            values.setdefault(name, set()).add(value.lower())
    patterns = {
        name: "|".join(map(re.escape, sorted(group, key=lambda v: (-len(v), v)))) for name, group in values.items()
    }
    patterns["other"] = patterns["subject"]
    return patterns | {f"other_{name}": pattern for name, pattern in patterns.items()}


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern whose groups are its gaps; a gap that comes twice must be filled the same way."""
    pattern = ""
    for i, piece in enumerate(re.split(r"\{(\w+)\}", template)):
        if i % 2 == 0:
            pattern += re.escape(piece.lower())
        else:
            pattern += f"(?P={piece})" if f"(?P<{piece}>" in pattern else f"(?P<{piece}>{_values()[piece]})"
    return re.compile(pattern)


@cache
def _any_subject() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_values()['subject']})\b")


@cache
def _request_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind.name, _pattern(wording)) for kind in KINDS for wording in kind.requests)


@cache
def _sentence_patterns() -> tuple[tuple[str, int, re.Pattern[str]], ...]:
    """Longest first, so that a short sentence is not found inside a longer one."""
    templates = [
        (kind.name, slot, template)
        for kind in KINDS
        for slot, group in enumerate((kind.lead, *kind.body))
        for template in group
    ]
    templates.sort(key=lambda item: -len(item[2]))
    return tuple((kind, slot, _pattern(template)) for kind, slot, template in templates)
