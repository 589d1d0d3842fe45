"""Texts as a flat stream of Markdown pieces and headers, and such pieces as Markdown again.

Knows nothing of HTML (`pages` makes pieces of it), of sections and of lengths.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """A paragraph, list item, code block or table; if `tight`, no blank line separates it from the one before."""

    text: str
    tight: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """A heading of level 1 to 6."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class ScopeStart:
    """An HTML section or article begins."""


@dataclass(frozen=True, slots=True)
class ScopeEnd:
    """An HTML section or article ends, and with it the sections of the headers in it."""


Token = Header | Piece | ScopeStart | ScopeEnd


def join_pieces(pieces: list[Piece]) -> str:
    """Markdown of consecutive pieces."""
    parts = [part for piece in pieces for part in ("\n" if piece.tight else "\n\n", piece.text)]
    return "".join(parts[1:])


def text_pieces(text: str) -> Iterator[Header | Piece]:
    """Paragraphs, code blocks and `# headers` of plain text or Markdown; its lines, if it has no blank ones."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    separator = r"\n[ \t]*\n\s*" if re.search(r"\n[ \t]*\n", text) else r"\n"
    fenced: list[str] = []
    for block in re.split(separator, text):
        header = re.match(r"(#{1,6})[ \t]++(\S.*+)\n?", block)
        if fenced or block.count("```") % 2:
            fenced.append(block)
            if block.count("```") % 2 == 0 or len(fenced) == 1:
                continue
            yield Piece("\n\n".join(fenced))
            fenced = []
        elif header:
            yield Header(len(header[1]), _header_text(header[2]))
            if rest := block[header.end() :].strip():
                yield Piece(rest)
        elif block.strip():
            yield Piece(block.rstrip())
    if fenced:
        yield Piece("\n\n".join(fenced))


def _header_text(line: str) -> str:
    """What a header says, without the signs that may close it."""
    text = line.rstrip(" \t")
    return (text.rstrip("#").rstrip(" \t") or "#") if text == line else text


def list_item(text: str, first: str, rest: str, tight: bool) -> Piece:
    """A piece whose first line begins with `first` (a marker) and whose other lines begin with `rest` (an indent)."""
    lines = text.split("\n")
    return Piece("\n".join([first + lines[0], *((rest + line).rstrip() for line in lines[1:])]), tight)


def code_block(text: str) -> str:
    """The text as a fenced code block."""
    fence = "````" if "```" in text else "```"
    return "\n".join([fence, *(line.rstrip() for line in text.splitlines()), fence])


def table(rows: list[list[str]]) -> str:
    """A table whose first row is its head; short rows are filled up."""
    width = max(map(len, rows))
    lines = []
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append("| " + " | ".join(cells + [""] * (width - len(row))) + " |")
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
