"""HTML pages as a flat stream of headers and Markdown pieces.

A page is repaired by resiliparse's parser (lexbor), written out again, and read in one pass over its tags. Left out are
scripts, forms, navigation, notices, invisible elements, and blocks that are mostly links. Knows nothing of sections and
lengths.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from textwrap import dedent

from backtranslation.corpus.markdown import (
    Header,
    Piece,
    ScopeEnd,
    ScopeStart,
    Token,
    code_block,
    join_pieces,
    list_item,
    table,
)


def _names(separated_by_spaces: str) -> frozenset[str]:
    return frozenset(separated_by_spaces.split())


SKIPPED = _names(
    "noscript template svg iframe object applet canvas audio video map noembed noframes nav footer aside dialog menu "
    "button select textarea label fieldset figcaption"
)
# Where something begins whose content is not markup, or not text.
RAW_START = re.compile(r"<(?:(script|style|xmp|plaintext|noscript|iframe|noembed|noframes)\b[^>]*+>|!--|[!?])")
BOILERPLATE_WORDS = (
    "nav|navbar|navigation|navheader|navfooter|menu|menubar|breadcrumbs?|sidebar|footer|cookies?|consent|gdpr|banner|"
    "adverts?|advertisements?|advertising|ads?|adsense|sponsored|promo|promotion|newsletter|subscribe|subscription|signup|"
    "login|share|sharing|sharebar|social|related|recommended|recommendations|comments?|disqus|pagination|pager|toc|"
    "tableofcontents|skiplink|modal|popup|overlay|searchbox|searchform|toolbar|widget|hidden|copyright|disclaimer|linenos|"
    "gutter|metadata|byline|caption|sphinxsidebar"
)
# A class or id that begins or ends with such a word. Layout classes like has-sidebar describe what is beside them.
BOILERPLATE = re.compile(
    rf'(?:class|id|role)="(?:[^"]*\s)?(?!(?:has|with|without|no|is|js)[-_])(?:(?:[\w-]*[-_])?(?:{BOILERPLATE_WORDS})'
    rf'|(?:{BOILERPLATE_WORDS})[-_][\w-]*)(?=[\s"])',
    re.IGNORECASE,
)
ROLES = "navigation|banner|contentinfo|search|complementary|dialog|alert|menu|menubar|toolbar"
INVISIBLE = re.compile(
    rf'role="(?:{ROLES})"|aria-hidden="true"|\shidden=|style="[^"]*(?:display:\s*none|visibility:\s*hidden)', re.I
)
# Marks beside the text: permanent links, footnote numbers, edit links.
MARKS = re.compile(
    r'class="(?:[^"]*\s)?(?:headerlink|anchor|reference|footnote-ref|footnote-reference|mw-editsection)[\s"]'
)
ADMONITION = re.compile(
    r'class="(?:[^"]*[\s-])?(?:admonition|admonitionblock|note|tip|hint|warning|important|caution|danger)[\s"]',
    re.IGNORECASE,
)
CAPTION = re.compile(r"(?:figure|fig\.|image|photo|screenshot) ?[\d.-]+\d", re.I)  # nothing without its picture
PERMALINK = re.compile(r"\s*[#¶§🔗]\s*$")
TAG = re.compile(r"<(/?[a-zA-Z][^\s>]*+)([^>]*+)>([^<]*+)")  # serialised attributes hold no ">"

VOID = _names("area base br col embed hr img input link meta param source track wbr")
# Elements whose class may mark them as boilerplate; inside a line (a comment in a listing) it means something else.
CONTAINERS = _names("div section ul ol dl p table td li header form center")
MARKED = _names("a sup span")
LISTS = _names("ul ol dl")
ITEMS = _names("li dt dd")
BLOCKS = _names(
    "html body main article section div p center header hgroup form address blockquote details summary figure hr pre "
    "ul ol dl li dt dd table caption thead tbody tfoot tr td th h1 h2 h3 h4 h5 h6"
)
LINE_BREAK = "\ue000"
MAX_LINK_SHARE = 0.6
# Deeper lists and tables are read as if they were plain blocks: a hostile page nests them by the thousand.
MAX_NESTING = 12
MAX_CELLS = 100_000


def html_pieces(html: str, left_out: list[str]) -> list[Token]:
    """Headers and text of a page, in its order; adds the texts of boilerplate, one line each, to `left_out`.

    Raises resiliparse's HTMLParserException.
    """
    from resiliparse.parse.html import HTMLTree

    body = HTMLTree.parse(html).body
    if body is None:
        return []
    page = _Page(left_out)
    for tag in TAG.finditer(_without_raw(body.html)):
        page.read(*tag.groups())
    page.end_line()
    return page.pieces


def _without_raw(html: str) -> str:
    """The page without comments, scripts and the like; in one pass, however many of them never end."""
    kept = []
    place = 0
    endless: set[str] = set()
    for start in RAW_START.finditer(html):
        if start.start() >= place and (end := _end_of_raw(html, start, endless)):
            kept.append(html[place : start.start()])
            place = end
    return "".join([*kept, html[place:]])


def _end_of_raw(html: str, start: re.Match[str], endless: set[str]) -> int | None:
    """Where something ends that is not markup; None if it never does. `endless` keeps what was sought in vain."""
    for mark in [f"</{start[1]}>"] if start[1] else ["-->", ">"] if start[0] == "<!--" else [">"]:
        if mark not in endless:
            found = html.find(mark, start.end())
            if found >= 0:
                return found + len(mark)
            endless.add(mark)
    return None


@lru_cache(maxsize=10_000)
def _is_left_out(tag: str, attributes: str) -> bool:
    """Whether an element holds boilerplate, is invisible, or is a mark beside the text."""
    if tag in CONTAINERS:
        return bool(BOILERPLATE.search(attributes) or INVISIBLE.search(attributes))
    return bool(MARKS.search(attributes))


@lru_cache(maxsize=10_000)
def _is_admonition(attributes: str) -> bool:
    return bool(ADMONITION.search(attributes))


@dataclass
class _Container:
    """An open list, item, quotation or note, and how deep it lies. Lists count characters and links."""

    tag: str
    depth: int
    first_piece: int
    ordinal: int = 0
    indent: int = 0
    characters: int = 0
    links: int = 0


@dataclass
class _Table:
    """An open table, how deep it lies, and the pieces and containers that are continued after it."""

    depth: int
    pieces: list[Token]
    containers: list[_Container]
    rows: list[list[list[Token]]] = field(default_factory=list)
    characters: int = 0
    links: int = 0


class _Page:
    """The state while the tags of a page are read: open containers and tables, and the line being written.

    Depths count open elements; 0 means that there is no such element.
    """

    def __init__(self, left_out: list[str]) -> None:
        self.left_out = left_out
        self.skipped: list[str] = []
        self.pieces: list[Token] = []
        self.containers: list[_Container] = []
        self.tables: list[_Table] = []
        self.line: list[str] = []
        self.links = 0
        self.depth = self.skip_depth = self.link_depth = self.code_depth = self.listing_depth = self.header_level = 0

    def read(self, tag: str, attributes: str, text: str) -> None:
        """Read one tag and the text that follows it."""
        if tag[0] == "/":
            self.depth -= 1
            if self.skip_depth:
                if self.depth >= self.skip_depth:
                    self.skipped.append(text)
                    return
                self.end_skipped()
            elif self.listing_depth:
                self.close_listing()
            elif closer := CLOSERS.get(tag):
                closer(self)
        else:
            if tag not in VOID:
                self.depth += 1
            if self.skip_depth:
                self.skipped.append(text)
                return
            if self.listing_depth:
                self.read_in_listing(tag)
            elif tag in SKIPPED or (
                attributes and (tag in CONTAINERS or tag in MARKED) and _is_left_out(tag, attributes[:1000])
            ):
                if tag not in MARKED:
                    self.end_line()
                self.skip_depth = self.depth
                self.skipped.append(text)
                return
            elif opener := OPENERS.get(tag):
                opener(self, tag, attributes)
        if text and (self.line or self.listing_depth or not text.isspace()):
            self.line.append(text)
            if self.link_depth:
                self.links += len(text)

    def end_skipped(self) -> None:
        """End an element that is left out, and keep its text apart."""
        self.skip_depth = 0
        self.left_out.append(_plain(" ".join(self.skipped)))
        self.skipped = []

    def open_block(self, _tag: str, _attributes: str) -> None:
        """Begin a block; it ends the line before it."""
        self.end_line()

    def open_header(self, tag: str, _attributes: str) -> None:
        """Begin a header, h1 to h6."""
        self.end_line()
        self.header_level = int(tag[1])

    def close_header(self) -> None:
        """End a header."""
        self.end_line()
        self.header_level = 0

    def open_division(self, tag: str, attributes: str) -> None:
        """Begin a div: a plain block, unless it is a note."""
        self.end_line()
        if attributes and _is_admonition(attributes[:1000]):
            self.open_container(tag, attributes)

    def open_container(self, tag: str, attributes: str) -> None:
        """Begin a list, item, quotation or note."""
        self.end_line()
        if len(self.containers) < MAX_NESTING:
            start = re.search(r'start="(\d{1,6})"', attributes) if tag == "ol" else None
            self.containers.append(
                _Container(tag, self.depth, len(self.pieces), ordinal=int(start[1]) - 1 if start else 0)
            )

    def close_container(self) -> None:
        """End a list, item, quotation or note; drop it if it is mostly links."""
        self.end_line()
        if not self.containers or self.containers[-1].depth <= self.depth:
            return
        closed = self.containers.pop()
        if closed.links > MAX_LINK_SHARE * closed.characters:
            links = [piece for piece in self.pieces[closed.first_piece :] if isinstance(piece, Piece)]
            self.left_out.append(" ".join(join_pieces(links).split()))
            del self.pieces[closed.first_piece :]
        elif outer := self.innermost_list():
            outer.links += closed.links
            outer.characters += closed.characters

    def open_scope(self, _tag: str, _attributes: str) -> None:
        """Begin a section or article."""
        self.end_line()
        if not self.containers:
            self.pieces.append(ScopeStart())

    def close_scope(self) -> None:
        """End a section or article."""
        self.end_line()
        if not self.containers:
            self.pieces.append(ScopeEnd())

    def open_table(self, _tag: str, _attributes: str) -> None:
        """Begin a table, whose content is collected cell by cell."""
        self.end_line()
        if len(self.tables) < MAX_NESTING:
            self.tables.append(_Table(self.depth, self.pieces, self.containers))
            self.pieces, self.containers = [], []

    def open_row(self, _tag: str, _attributes: str) -> None:
        """Begin a row of a table."""
        self.end_line()
        if self.tables:
            self.tables[-1].rows.append([])

    def open_cell(self, _tag: str, _attributes: str) -> None:
        """Begin a cell of a table, td or th."""
        self.end_line()
        if self.tables and self.tables[-1].rows:
            self.pieces, self.containers = [], []
            self.tables[-1].rows[-1].append(self.pieces)

    def close_table(self) -> None:
        """Write a table that holds data as Markdown; one that only lays out the page is read cell by cell."""
        self.end_line()
        if not self.tables or self.tables[-1].depth <= self.depth:
            return
        closed = self.tables.pop()
        self.pieces, self.containers = closed.pieces, closed.containers
        if closed.links > MAX_LINK_SHARE * closed.characters:
            return
        rows = [row for row in closed.rows if any(row)]
        if texts := _texts_of_data(rows):
            self.write(table(texts))
            return
        for piece in (piece for row in rows for cell in row for piece in cell):
            if isinstance(piece, Piece):
                self.write(piece.text, piece.tight)
            elif isinstance(piece, Header):
                self.write_header(piece)
            elif not self.containers:
                self.pieces.append(piece)

    def open_listing(self, _tag: str, _attributes: str) -> None:
        """Begin a code block, pre."""
        self.end_line()
        self.listing_depth = self.depth

    def read_in_listing(self, tag: str) -> None:
        """Read a tag inside pre, where only line breaks count."""
        if tag == "br" or (tag in BLOCKS and self.line and not self.line[-1].endswith("\n")):
            self.line.append("\n")

    def close_listing(self) -> None:
        """Write the code block if this is its end."""
        if self.depth >= self.listing_depth:
            return
        text = dedent(re.sub(r"^(?:[ \t]*\n)+", "", _unescape("".join(self.line)))).rstrip()
        self.line, self.links, self.listing_depth = [], 0, 0
        if text:
            self.write(code_block(text))

    def open_break(self, _tag: str, _attributes: str) -> None:
        """Break the line."""
        self.line.append(LINE_BREAK)

    def open_link(self, _tag: str, attributes: str) -> None:
        """Begin a link, whose characters are counted."""
        if not self.link_depth and "href=" in attributes:
            self.link_depth = self.depth

    def close_link(self) -> None:
        """End a link."""
        if self.depth < self.link_depth:
            self.link_depth = 0

    def open_code(self, _tag: str, _attributes: str) -> None:
        """Begin code within a line."""
        if not self.code_depth:
            self.code_depth = self.depth
            self.line.append("`")

    def close_code(self) -> None:
        """End code within a line."""
        if self.depth < self.code_depth:
            self.code_depth = 0
            self.line.append("`")

    def end_line(self) -> None:
        """Write the paragraph or header that ends here."""
        if not self.line:
            return
        text, links = _plain("".join(self.line)), self.links
        self.line, self.links = [], 0
        if not any(map(str.isalnum, text)) or (len(text) < 200 and CAPTION.match(text)):
            return
        if text.count("`") % 2:  # code that goes on in the next paragraph
            text = text.replace("`", "")
        if self.header_level:
            self.write_header(Header(self.header_level, PERMALINK.sub("", text.replace("\n", " "))))
        elif enclosing := self.innermost_list() or (self.tables and self.tables[-1]):
            enclosing.characters += len(text)
            enclosing.links += links
            self.write(text)
        elif links <= MAX_LINK_SHARE * len(text) or text.endswith((".", ":", "!", "?")):
            self.write(text)
        else:
            self.left_out.append(text)

    def write_header(self, header: Header) -> None:
        """Write a header; inside a list, quotation or note as a line in bold, since it heads nothing outside."""
        if self.containers:
            self.write(f"**{header.text}**")
        else:
            self.pieces.append(header)

    def write(self, text: str, tight: bool = False) -> None:
        """Add a piece, marked and indented as the open containers ask."""
        if not self.containers:
            self.pieces.append(Piece(text, tight))
            return
        first = rest = ""
        outermost = listing = None
        for container in self.containers:
            if container.tag in LISTS:
                outermost, listing = outermost or container, container
            elif container.tag == "blockquote":
                first += "> "
                rest += "> "
            elif container.tag in ITEMS and listing and outermost:
                marker = " " * container.indent
                if not container.indent:
                    marker = _item_marker(container, listing)
                    container.indent = len(marker)
                    tight = tight or len(self.pieces) > outermost.first_piece
                first += marker
                rest += " " * container.indent
        self.pieces.append(list_item(text, first, rest, tight))

    def innermost_list(self) -> _Container | None:
        """The list whose links are counted."""
        return next((container for container in reversed(self.containers) if container.tag in LISTS), None)


def _item_marker(item: _Container, listing: _Container) -> str:
    if item.tag == "dd":  # continues the item that its term began
        return "  "
    if listing.tag == "ol":
        listing.ordinal += 1
        return f"{listing.ordinal}. "
    return "- "


def _texts_of_data(rows: list[list[list[Token]]]) -> list[list[str]] | None:
    """The cells of a table with several rows and columns of one line each; None if it lays out a page."""
    if sum(sum(map(bool, row)) > 1 for row in rows) < 2 or len(rows) * max(map(len, rows)) > MAX_CELLS:
        return None
    for cell in (cell for row in rows for cell in row):
        if len(cell) > 1 or not all(isinstance(piece, Piece) and "\n" not in piece.text for piece in cell):
            return None
    return [[join_pieces([piece for piece in cell if isinstance(piece, Piece)]) for cell in row] for row in rows]


def _unescape(text: str) -> str:
    """Undo the only escapes that a serialised page has in its text."""
    if "&" not in text:
        return text
    return text.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _plain(text: str) -> str:
    """Text of a line: white space squeezed, line breaks kept."""
    text = " ".join(_unescape(text).split())
    if " ." in text or " ," in text:  # where a picture was left out
        text = re.sub(r" ([.,])(?= |$)", r"\1", text)
    return re.sub(rf"\s*{LINE_BREAK}\s*", "\n", text).strip() if LINE_BREAK in text else text


OPENERS: dict[str, Callable[[_Page, str, str], None]] = {
    **dict.fromkeys(BLOCKS, _Page.open_block),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _Page.open_header),
    **dict.fromkeys((*LISTS, *ITEMS, "blockquote"), _Page.open_container),
    **dict.fromkeys(("section", "article"), _Page.open_scope),
    **dict.fromkeys(("td", "th"), _Page.open_cell),
    **dict.fromkeys(("code", "tt", "kbd", "samp"), _Page.open_code),
    "div": _Page.open_division,
    "table": _Page.open_table,
    "tr": _Page.open_row,
    "pre": _Page.open_listing,
    "br": _Page.open_break,
    "a": _Page.open_link,
}
CLOSERS: dict[str, Callable[[_Page], None]] = {
    **dict.fromkeys((f"/{tag}" for tag in BLOCKS), _Page.end_line),
    **dict.fromkeys(("/h1", "/h2", "/h3", "/h4", "/h5", "/h6"), _Page.close_header),
    **dict.fromkeys((*(f"/{tag}" for tag in (*LISTS, *ITEMS)), "/blockquote", "/div"), _Page.close_container),
    **dict.fromkeys(("/section", "/article"), _Page.close_scope),
    **dict.fromkeys(("/code", "/tt", "/kbd", "/samp"), _Page.close_code),
    "/table": _Page.close_table,
    "/a": _Page.close_link,
}
