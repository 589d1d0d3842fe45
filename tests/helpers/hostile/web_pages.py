"""Hostile HTML pages, each in a folder between two good ones."""

from collections.abc import Callable
from pathlib import Path

from helpers.hostile.cases import MEGABYTE, Case, extract, good_page

DEEP = 100_000


def html(name: str, content: bytes | Callable[[], bytes], expected: str = "fine") -> Case:
    """A case of one hostile page, given as bytes or as what makes them."""

    def build(folder: Path) -> Path:
        pages = folder / "pages"
        pages.mkdir()
        (pages / "a.html").write_text(good_page(1))
        (pages / "b.html").write_bytes(content if isinstance(content, bytes) else content())
        (pages / "c.html").write_text(good_page(2))
        return pages

    return Case(name, "HTML", build, extract("html"), expected)


def nested(tag: bytes, depth: int = DEEP, text: bytes = b"a") -> Callable[[], bytes]:
    """Elements in one another, each with a text."""
    return lambda: (b"<" + tag + b">" + text) * depth


def closed(tag: bytes, depth: int = DEEP) -> Callable[[], bytes]:
    """Elements in one another, all of them closed."""
    return lambda: (b"<" + tag + b">a") * depth + (b"</" + tag + b">") * depth


def flood(unit: bytes, size: int = 9 * MEGABYTE, before: bytes = b"", after: bytes = b"") -> Callable[[], bytes]:
    """A unit many times over."""
    return lambda: before + unit * (size // len(unit)) + after


def rows(cells: int, count: int, attributes: str = "") -> Callable[[], bytes]:
    """A table with so many cells in so many rows."""
    row = f"<tr>{f'<td {attributes}>a</td>' * cells}</tr>".encode()
    return lambda: b"<h1>A</h1><table>" + row * count + b"</table>"


TOO_MANY = "records/too many tags"
NOT_TEXT = "records/not text"
NESTED = (
    "div", "ul", "ol", "li", "table", "blockquote", "section", "a", "b", "font", "nobr", "p", "span", "pre", "code",
    "button", "select", "form", "svg", "math", "template", "noscript", "dl", "dd", "ruby", "center",
)  # fmt: skip

HTML_CASES = [
    html("a million attributes", lambda: b"<p " + b" ".join(b"a%d=1" % k for k in range(1_000_000)) + b">a"),
    html("a million equal attributes", flood(b"a=1 ", before=b"<p ", after=b">a")),
    html("an attribute of 9 MB", flood(b"x", before=b'<p class="', after=b'">a')),
    html("an attribute of 9 MB of classes", flood(b"a-b ", before=b'<div class="', after=b'">a')),
    html("an attribute name of 9 MB", flood(b"x", before=b"<p ", after=b">a")),
    html("an attribute without an end", flood(b"x>", before=b'<p class="')),
    html("a tag name of 9 MB", flood(b"x", before=b"<p", after=b">a")),
    html("styles in a style", flood(b"style=display:", before=b"<p style='", after=b"'>a")),
    html("a link with 9 MB of address", flood(b"a", before=b"<a href='", after=b"'>a</a>")),
    html("h1 to h6 in one another", lambda: b"".join(b"<h%d>a" % (1 + k % 6) for k in range(DEEP))),
    html("h6 to h1 in one another", lambda: b"".join(b"<h%d>a" % (6 - k % 6) for k in range(DEEP))),
    html("h1 to h6 after one another", lambda: b"".join(b"<h%d>a</h%d>" % (1 + k % 6, 1 + k % 6) for k in range(DEEP))),
    html(
        "headers deep in divisions",
        lambda: b"".join(b"<div><h%d>a</h%d>" % (1 + k % 6, 1 + k % 6) for k in range(50_000)),
    ),
    *(html(f"{tag} in {tag}", nested(tag.encode())) for tag in NESTED),
    html("ul and li in one another", nested(b"ul><li", 75_000)),
    html("tables in cells", nested(b"table><tr><td", 75_000)),
    html("div, closed", closed(b"div")),
    html("ul, closed", closed(b"ul")),
    html("section, closed", closed(b"section")),
    html("b, i and p out of order", lambda: b"<b><i><p>a</b></i>" * 40_000),
    html("a, b and font out of order", lambda: b"<a><b><font color=x>a</a></b>" * 40_000),
    html("closing tags alone", flood(b"</div>", 1_500_000)),
    html("closing tags of 300,000 names", lambda: b"".join(b"</x%d>" % k for k in range(290_000))),
    html(
        "comments without an end",
        flood(b"<!--", 1_100_000),
    ),
    html("comments with a wrong end", flood(b"<!-- --!> --", 2_900_000)),
    html("a comment of 9 MB", flood(b"-", before=b"<!--", after=b"-->")),
    html("declarations", flood(b"<!a", 890_000)),
    html("processing instructions", flood(b"<?a", 890_000)),
    html("CDATA", flood(b"<![CDATA[", 2_600_000)),
    html("less-than signs", flood(b"<"), TOO_MANY),
    html("300,000 less-than signs", flood(b"<", 299_000)),
    html("less-than signs with spaces", flood(b"< ", 590_000)),
    html("escaped less-than signs", flood(b"&lt;script>")),
    html("greater-than signs", flood(b">")),
    *(
        html(f"{tag} without an end", flood(f"<{tag}>".encode(), 290_000 * (len(tag) + 2)))
        for tag in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "plaintext", "noscript")
    ),
    html("scripts in escaped comments", flood(b"<script><!--<script>", 1_900_000)),
    html("scripts written by noscript", flood(b"<noscript><script></noscript>", 2_100_000)),
    html("styles in math", flood(b"<math><style><!--</style>", 2_400_000)),
    html("entities", flood(b"&amp;")),
    html("entities without an end", flood(b"&#x")),
    html("entities beyond Unicode", flood(b"&#x110000;&#xD800;&#0;&#99999999999999999999;")),
    html("ampersands", flood(b"&")),
    html("the longest entity", flood(b"&CounterClockwiseContourIntegral;")),
    html("NULs alone", bytes(100_000), NOT_TEXT),
    html("NULs in tags", b"<h1>A</h1><p\0a=\0>" + b"word " * 1000),
    html("half surrogate pairs", b"<h1>A</h1>" + b"word " * 1000 + b"\xed\xa0\x80"),
    html("UTF-16 with an odd byte", b"\xff\xfe" + good_page(3).encode("utf-16-le") + b"a"),
    html("UTF-16 with half a pair", b"\xfe\xff" + good_page(3).encode("utf-16-be") + b"\xd8\x00\x00a"),
    html("a byte order mark alone", b"\xff\xfe"),
    html("UTF-32", good_page(3).encode("utf-32")),
    html("ISO-2022-JP", b"\x1b$B" + b"0l" * 1000 + b"\x1b(B" + good_page(3).encode()),
    html("ISO-2022-KR escapes", b"\x1b$)C" + b"\x0e\xff\x0f" * 1000),
    html("escape bytes", flood(b"\x1b")),
    html("GB 18030", good_page(3).encode() + "\u3400".encode("gb18030") * 100 + b"\x84\x31\xa4\x37\xff"),
    html("a meta tag of rot13", b'<meta charset="rot13">' + good_page(3).encode() + b"\xe9"),
    html("a meta tag of punycode", b'<meta charset="punycode">' + b"ab-cd\xe9 " * 1_000_000),
    html("a meta tag of unicode_escape", b'<meta charset="unicode_escape"><h1>A</h1>\xe9' + b"\\ud800 " * 1000),
    html("a meta tag with NUL", b'<meta charset="a\0b">' + good_page(3).encode() + b"\xe9"),
    html("a table of 70,000 rows", rows(1, 70_000)),
    html("a table of 130,000 columns", rows(130_000, 1)),
    html("a table of 130,000 columns and short rows", lambda: rows(100_000, 1)()[:-8] + b"<tr><td>a<td>b" * 30_000),
    html("columns without end", rows(100, 100, "colspan=999999999 rowspan=999999999")),
    html("cells with line breaks", lambda: b"<table>" + b"<tr><td>a<br>b<td>c" * 60_000),
    html("a million line breaks", flood(b"<br>", 290_000 * 4, before=b"<h1>A</h1>")),
    html("line breaks of our own", flood("\ue000 ".encode(), before=b"<h1>A</h1><p>a<br>")),
    html("spaces and full stops", flood(b" .", before=b"<h1>A</h1><p>a")),
    html("spaces", flood(b" ", before=b"<h1>A", after=b"b</h1>")),
    html("spaces and permalinks", flood(b" #", before=b"<h1>A", after=b"b</h1>")),
    html("a figure of digits", flood(b"1.-", before=b"<p>figure 1", after=b"a")),
    html("spaces in a listing", flood(b" ", before=b"<h1>A</h1><pre>", after=b"a</pre>")),
    html("empty lines in a listing", flood(b" \n", before=b"<h1>A</h1><pre>", after=b"a</pre>")),
    html("indented lines in a listing", lambda: b"<pre>" + b"".join(b" " * (k % 3000) + b"a\n" for k in range(5000))),
    html("backticks in a listing", flood(b"`", before=b"<h1>A</h1><pre>", after=b"</pre>")),
    html("listings and code", flood(b"<pre><code>a</code>", 1_400_000)),
    html("one word of 9 MB", flood(b"x", before=b"<h1>A</h1><p>")),
    html("a header of 9 MB", flood(b"word ", before=b"<h1>")),
    html("ordinals", b"<ol start=999999><li>a" + b"</ol><ol start=-999999999999><li>b" * 10_000),
    html("notes in notes", nested(b"div class='note'", 75_000)),
    html("a class that begins many words", nested(b"div class='" + b"has-no-is-js-nav_ " * 50 + b"'", 5_000)),
    html("different attributes", lambda: b"".join(b"<p id='nav%d'>a" % k for k in range(200_000))),
    html("a frameset", b"<frameset>" * 10_000),
    html("nothing but a doctype", b"<!doctype html>" * 1000),
    html("escape sequences", f"<h1>\x1b]0;owned\x07</h1>{good_page(3)}".encode()),
    html("an empty file", b"", "records/empty"),
    html("more than 10 MB", flood(b"a", 10 * MEGABYTE + 1), "records/too large"),
]
