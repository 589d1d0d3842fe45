"""Self-contained passages from pages and texts, as Markdown (paper, section 2.1 and appendix E).

A page becomes a tree of sections: a header and everything under it, lower headers included. Of nested sections the
largest that fits the length bounds is a segment, so no two segments overlap; of a section that is too long, its
introduction (what stands before its first lower header) may be one. A segment's text leaves its own header
out, since it is to be read as an answer; the header is the last entry of `heading_path`. Knows no files and no
filters, except that sections whose header is navigation are cut out before anything is measured.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from backtranslation.corpus.markdown import Header, Piece, ScopeStart, Token, join_pieces, text_pieces
from backtranslation.corpus.ngrams import words
from backtranslation.corpus.pages import html_pieces
from backtranslation.files import row_hash
from backtranslation.settings.corpus import SegmentSettings


@dataclass(frozen=True)
class Passage:
    """A segment's text and the headers above it, its own last."""

    text: str
    heading_path: tuple[str, ...]


@dataclass(frozen=True)
class Dropped:
    """A text that is part of no segment, and why."""

    text: str
    reason: str


@dataclass(eq=False)
class Section:
    """A header, the pieces of text and the sections under it. Level 0 is the document itself."""

    title: str
    level: int
    parent: "Section | None" = None
    children: "list[Piece | Section]" = field(default_factory=list)

    def subsections(self) -> "list[Section]":
        """The sections right under this one."""
        return [child for child in self.children if isinstance(child, Section)]


def segment_id(url: str, text: str) -> str:
    """16 hexadecimal digits that depend on address and text only."""
    return row_hash(url, text)


def cut_page(
    html: str, settings: SegmentSettings, navigation: re.Pattern[str], counts: Counter[str], dropped: list[Dropped]
) -> list[Passage]:
    """Segments of an HTML page, in its order; pages without a header have none.

    Adds to `counts` what became of each section: sections/found and sections/introductions together are those of
    navigation, too short, too long, inside a segment, and segments/extracted. Adds to `dropped` what stands around the
    text: boilerplate and navigation. Raises resiliparse's HTMLParserException when the page cannot be parsed.
    """
    boilerplate: list[str] = []
    root = section_tree(html_pieces(html, boilerplate))
    dropped += (Dropped(text, "boilerplate") for text in boilerplate)
    return list(_cut_sections(root, settings, navigation, counts, dropped))


def cut_text(
    text: str, settings: SegmentSettings, navigation: re.Pattern[str], counts: Counter[str], dropped: list[Dropped]
) -> list[Passage]:
    """Segments of plain text or Markdown: by its headers if it has some, else whole, else cut between paragraphs.

    Adds to `counts` and `dropped` as `cut_page` does.
    """
    pieces = list(text_pieces(text))
    if any(isinstance(piece, Header) for piece in pieces):
        return list(_cut_sections(section_tree(pieces), settings, navigation, counts, dropped))
    return list(_cut_paragraphs([piece for piece in pieces if isinstance(piece, Piece)], settings, counts))


def section_tree(pieces: Iterable[Token]) -> Section:
    """The document as a tree.

    The end of a scope (an HTML section) also ends the sections that began in it, unless the last of them is empty.
    """
    root = current = Section("", 0)
    scopes: list[Section] = []
    for piece in pieces:
        if isinstance(piece, Piece):
            if piece.text != current.title:
                current.children.append(piece)
        elif isinstance(piece, Header):
            while piece.level <= current.level and current.parent:
                current = current.parent
            section = Section(piece.text, piece.level, current)
            current.children.append(section)
            current = section
        elif isinstance(piece, ScopeStart):
            scopes.append(current)
        elif scopes:
            outer = scopes.pop()
            if current.children and _is_below(current, outer):
                current = outer
    return root


def _is_below(section: Section, other: Section) -> bool:
    above = section.parent
    while above is not None and above is not other:
        above = above.parent
    return above is other


def _cut_sections(
    root: Section,
    settings: SegmentSettings,
    navigation: re.Pattern[str],
    counts: Counter[str],
    dropped: list[Dropped],
) -> Iterator[Passage]:
    """Walk the tree from the top; what fits is a segment; if a section is too long, those below it are tried."""
    counts["sections/found"] += _count_sections(root)
    counts["sections/navigation"] += _remove_navigation(root, navigation, dropped)
    waiting: list[tuple[Section, tuple[str, ...]]] = [
        (section, (section.title,)) for section in reversed(root.subsections())
    ]
    while waiting:
        section, path = waiting.pop()
        text = render_section(section)
        if len(text) < settings.min_chars:
            counts["sections/too short"] += 1 + _count_sections(section)
        elif len(text) <= settings.max_chars:
            counts["segments/extracted"] += 1
            counts["sections/inside a segment"] += _count_sections(section)
            yield Passage(text, path)
        else:
            counts["sections/too long"] += 1
            yield from _cut_introduction(section, path, settings, counts)
            waiting += [(below, (*path, below.title)) for below in reversed(section.subsections())]


def _cut_introduction(
    section: Section, path: tuple[str, ...], settings: SegmentSettings, counts: Counter[str]
) -> Iterator[Passage]:
    """What stands between the header of a section and the first one below it, if it fits."""
    below = [number for number, child in enumerate(section.children) if isinstance(child, Section)]
    text = join_pieces([child for child in section.children[: below[0]] if isinstance(child, Piece)]) if below else ""
    if not text:
        return
    counts["sections/introductions"] += 1
    if len(text) < settings.min_chars:
        counts["sections/too short"] += 1
    elif len(text) <= settings.max_chars:
        counts["segments/extracted"] += 1
        yield Passage(text, path)
    else:
        counts["sections/too long"] += 1


def _remove_navigation(section: Section, navigation: re.Pattern[str], dropped: list[Dropped]) -> int:
    """Take out the sections whose header is navigation, with all below; return how many were taken out."""
    navigational = [below for below in section.subsections() if navigation.search(" ".join(words(below.title)))]
    taken_out = set(map(id, navigational))
    section.children = [child for child in section.children if id(child) not in taken_out]
    dropped += (Dropped(f"{below.title}\n\n{render_section(below)}", "navigation") for below in navigational)
    removed = sum(1 + _count_sections(below) for below in navigational)
    return removed + sum(_remove_navigation(below, navigation, dropped) for below in section.subsections())


def _count_sections(section: Section) -> int:
    """Sections below this one, however deep."""
    return sum(1 + _count_sections(below) for below in section.subsections())


def render_section(section: Section) -> str:
    """What stands under a header, as Markdown; sub-headers are counted from this section, empty ones left out."""
    return join_pieces(_section_pieces(section, depth=2))


def _section_pieces(section: Section, depth: int) -> list[Piece]:
    pieces: list[Piece] = []
    for child in section.children:
        if isinstance(child, Piece):
            pieces.append(child)
        elif below := _section_pieces(child, depth + 1):
            pieces += [Piece(f"{'#' * depth} {child.title}"), *below] if child.title else below
    return pieces


def _cut_paragraphs(paragraphs: list[Piece], settings: SegmentSettings, counts: Counter[str]) -> Iterator[Passage]:
    """The whole text if it fits, else runs of paragraphs, each as long as fits."""
    run: list[Piece] = []
    length = 0
    for paragraph in [*paragraphs, None]:
        added = len(paragraph.text) + len("\n\n") if paragraph else 0
        if run and (paragraph is None or length + added > settings.max_chars):
            counts["sections/found"] += 1
            text = join_pieces(run)
            if settings.min_chars <= len(text) <= settings.max_chars:
                counts["segments/extracted"] += 1
                yield Passage(text, ())
            else:
                counts["sections/too short" if len(text) < settings.min_chars else "sections/too long"] += 1
            run, length = [], 0
        if paragraph:
            run.append(paragraph)
            length += added if length else len(paragraph.text)
