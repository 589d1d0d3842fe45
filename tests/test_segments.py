"""Cutting pages and texts into segments, and what Markdown becomes of them."""

import re
from collections import Counter

import pytest
from helpers.warc_files import page
from hypothesis import given, settings
from hypothesis import strategies as st

from backtranslation.corpus.filters import navigation_pattern
from backtranslation.corpus.markdown import Header, Piece, join_pieces, text_pieces
from backtranslation.corpus.pages import _without_raw, html_pieces
from backtranslation.corpus.segments import Passage, cut_page, cut_text, segment_id
from backtranslation.settings.corpus import SegmentFilters, SegmentSettings

NAVIGATION = navigation_pattern(SegmentFilters().navigation_headers)
ANY_LENGTH = SegmentSettings(min_chars=1, max_chars=100_000)


def cut(html: str, min_chars: int = 1, max_chars: int = 100_000) -> list[Passage]:
    """Segments of a page."""
    return cut_page(html, SegmentSettings(min_chars=min_chars, max_chars=max_chars), NAVIGATION, Counter(), [])


def markdown(html: str) -> str:
    """The text under the only header of a page whose body goes on with `html`."""
    (passage,) = cut(f"<h1>Title</h1>{html}")
    return passage.text


NESTED = """<h1>Garden</h1><p>{intro}</p>
<h2>Soil</h2><p>{soil}</p><h3>Sand</h3><p>{sand}</p><h3>Clay</h3><p>{clay}</p>
<h2>Water</h2><p>{water}</p>"""


def nested(**lengths: int) -> str:
    return NESTED.format(**{name: (name + " ") * (length // (len(name) + 1)) for name, length in lengths.items()})


def test_largest_section_that_fits_is_taken_with_all_under_it() -> None:
    html = nested(intro=50, soil=200, sand=200, clay=200, water=300)
    assert [passage.heading_path for passage in cut(html, 100, 2000)] == [("Garden",)]
    assert [passage.heading_path for passage in cut(html, 100, 700)] == [("Garden", "Soil"), ("Garden", "Water")]
    assert [passage.heading_path for passage in cut(html, 100, 300)] == [
        ("Garden", "Soil"), ("Garden", "Soil", "Sand"), ("Garden", "Soil", "Clay"), ("Garden", "Water"),
    ]  # fmt: skip
    assert cut(html, 900, 950) == []


def test_segment_holds_lower_headers_but_not_its_own() -> None:
    (passage,) = cut("<h2>Own</h2><p>One.</p><h3>Sub</h3><p>Two.</p><h4>Deep</h4><p>Three.</p><h3>Empty</h3>")
    assert passage.text == "One.\n\n## Sub\n\nTwo.\n\n### Deep\n\nThree."


def test_every_section_is_counted_once() -> None:
    html = nested(intro=50, soil=200, sand=20, clay=200, water=300) + "<h2>See also</h2><p>x</p><h3>Links</h3><p>y</p>"
    counts: Counter[str] = Counter()
    passages = cut_page(html, SegmentSettings(min_chars=100, max_chars=350), NAVIGATION, counts, [])
    assert counts.pop("sections/found") == 7
    assert counts.pop("sections/introductions") == 2
    assert counts["segments/extracted"] == len(passages) == 3
    assert counts["sections/navigation"] == 2
    assert sum(counts.values()) == 9


def test_text_before_the_first_lower_header_of_a_long_section_is_not_lost() -> None:
    html = nested(intro=150, soil=200, sand=200, clay=200, water=300)
    counts: Counter[str] = Counter()
    passages = cut_page(html, SegmentSettings(min_chars=100, max_chars=300), NAVIGATION, counts, [])
    assert [passage.heading_path for passage in passages] == [
        ("Garden",), ("Garden", "Soil"), ("Garden", "Soil", "Sand"), ("Garden", "Soil", "Clay"), ("Garden", "Water"),
    ]  # fmt: skip
    assert set(passages[0].text.split()) == {"intro"} and set(passages[1].text.split()) == {"soil"}
    assert counts["sections/introductions"] == 2
    too_long = "<h1>A</h1><p>" + "long " * 100 + "</p><h2>B</h2><p>short</p>"
    assert cut_page(too_long, SegmentSettings(min_chars=100, max_chars=300), NAVIGATION, counts, []) == []


LEVELS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 400)), max_size=25)


@given(LEVELS)
@settings(max_examples=60, deadline=None)
def test_segments_never_overlap_and_always_fit(sections: list[tuple[int, int]]) -> None:
    html = "".join(
        f"<h{level}>Header {number}</h{level}><p>" + f"w{number}x " * (length // 4) + "</p>"
        for number, (level, length) in enumerate(sections)
    )
    counts: Counter[str] = Counter()
    passages = cut_page(html, SegmentSettings(min_chars=100, max_chars=900), NAVIGATION, counts, [])
    found = [word for passage in passages for word in set(passage.text.split()) if word.startswith("w")]
    assert len(found) == len(set(found))
    assert all(100 <= len(passage.text) <= 900 for passage in passages)
    assert counts.pop("sections/found", 0) == len(sections)
    assert len(sections) + counts.pop("sections/introductions", 0) == sum(counts.values())


MARKDOWN = {
    "inline": ("<p>Use <b>bold</b> <code>a &lt; b</code>,\n and&nbsp;more.</p>", "Use bold `a < b`, and more."),
    "line break": ("<p>one<br>two<br/>\n three</p>", "one\ntwo\nthree"),
    "list": ("<ul><li>a</li><li>b<ol><li>c<li>d</ol></li></ul>", "- a\n- b\n  1. c\n  2. d"),
    "list after text": ("<p>x:</p><ul><li>a</li></ul><p>y</p>", "x:\n\n- a\n\ny"),
    "paragraphs in an item": ("<ol start=3><li><p>a</p><p>b</p></li><li>c</li></ol>", "3. a\n\n   b\n4. c"),
    "definitions": ("<dl><dt>t<dd>d<dt>u<dd>e</dl>", "- t\n  d\n- u\n  e"),
    "code": ("<pre>\n  if x &gt; 1:\n\n      <b>y</b>  \n</pre>", "```\nif x > 1:\n\n    y\n```"),
    "code in an item": ("<ul><li>do<pre>a\nb</pre></li></ul>", "- do\n\n  ```\n  a\n  b\n  ```"),
    "code that holds a fence": ("<pre>```\nx\n```</pre>", "````\n```\nx\n```\n````"),
    "table": (
        "<table><tr><th>a<th>b</tr><tr><td>1|2<td><code>3</code></table>", "| a | b |\n| --- | --- |\n| 1\\|2 | `3` |",
    ),
    "table that lays out": ("<table><tr><td><p>a</p><p>b</p></td></tr></table>", "a\n\nb"),
    "quotation": ("<blockquote><p>a</p><ul><li>b</ul></blockquote>", "> a\n\n> - b"),
    "note with a header": ('<div class="note"><h3>Note</h3><p>a</p></div><p>b</p>', "**Note**\n\na\n\nb"),
    "unclosed": ("<p>one<p><b>two<div>three", "one\n\ntwo\n\nthree"),
    "text without a paragraph": ("loose <i>text</i><div>block</div>tail", "loose text\n\nblock\n\ntail"),
    "picture": ("<p>Click <img src=x alt=y>.</p>", "Click."),
    "escapes": ("<p>&amp;lt; &quot;x&quot; &copy; &#x263A;</p>", '&lt; "x" © ☺'),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKDOWN)
def test_markdown(name: str) -> None:
    html, expected = MARKDOWN[name]
    assert markdown(html) == expected


LEFT_OUT = {
    "script": "<script>junk('</p>')</script>",
    "style": "<style>junk{}</style>",
    "comment": "<!-- junk <p>junk</p> -->",
    "navigation": "<nav><p>junk</p></nav>",
    "footer": "<footer><h2>junk</h2></footer>",
    "form": '<form><label>junk</label><input value="junk"><select><option>junk</option></select></form>',
    "button": "<p><button>junk</button></p>",
    "cookie notice": '<div id="cookie-notice"><p>junk</p></div>',
    "advertisement": '<div class="box ad"><p>junk</p></div>',
    "breadcrumbs": '<ul class="breadcrumb"><li>junk</li></ul>',
    "share buttons": '<div class="share-buttons">junk</div>',
    "comments": '<div id="comments"><p>junk</p></div>',
    "hidden": '<div style="color: red; display: none"><p>junk</p></div>',
    "role": '<div role="navigation">junk</div>',
    "list of links": '<ul><li><a href="/a">junk</a></li><li><a href="/b">junk two</a></li></ul>',
    "line of links": '<p><a href="/a">junk</a> | <a href="/b">junk</a></p>',
    "permalink": '<p>good<a class="headerlink" href="#x">junk</a></p>',
    "footnote mark": '<p>good<sup class="reference"><a href="#n">[junk]</a></sup></p>',
    "caption without its picture": "<p>Figure 3.1. junk</p>",
    "markup in an attribute": '<p title="<p>junk</p>">good</p>',
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_no_reader_came_for_is_left_out(name: str) -> None:
    text = markdown(f"<p>before</p>{LEFT_OUT[name]}<p>after</p>")
    assert "junk" not in text
    assert text.startswith("before") and text.endswith("after")


KEPT = {
    "layout beside a sidebar": '<div class="has-sidebar"><p>good</p></div>',
    "comment in a listing": '<pre><span class="comment"># good</span></pre>',
    "words that only contain a marked word": '<div class="headache navy adsorption"><p>good</p></div>',
    "list with some links": '<ul><li>good text that says something about <a href="/a">it</a></li></ul>',
    "sentence that is a link": '<p><a href="/a">This good sentence is a link.</a></p>',
}


@pytest.mark.parametrize("name", KEPT)
def test_what_only_looks_like_boilerplate_is_kept(name: str) -> None:
    assert "good" in markdown(f"<p>before</p>{KEPT[name]}<p>after</p>")


def test_end_of_an_html_section_ends_what_its_headers_stand_above() -> None:
    html = "<h1>A</h1><section><h2>B</h2><p>{b}</p></section><p>{a}</p>".format(b="b " * 60, a="a " * 60)
    assert [passage.text.strip()[0] for passage in cut(html, 100, 150)] == ["b"]
    banner = "<section><h1>A</h1></section><section><p>{a}</p></section>".format(a="a " * 60)
    assert [passage.heading_path for passage in cut(banner, 100, 150)] == [("A",)]


def test_headers_in_a_layout_table_are_headers() -> None:
    html = "<table><tr><td>menu</td><td><h1>A</h1><p>text</p><h2>B</h2><p>more</p></td></tr></table>"
    assert [passage.heading_path for passage in cut(html)] == [("A",)]


def test_header_is_cleaned() -> None:
    (passage,) = cut('<h1> A <b>long</b>\n title <a href="#x">¶</a></h1><p>x</p>')
    assert passage.heading_path == ("A long title",)


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<",
        "no markup at all",
        "<h1>",
        "<h1></h1><p>x",
        "<frameset><frame src=x></frameset>",
        "</p></div></li></td></table></ul>",
        "<h1>A</h1><tr><td>x</ul></table><li>y</dd>",
        "<h1>A</h1><pre><pre>x</pre></h1></pre>y",
        "<h1>A</h1>" + "<div>" * 20_000 + "deep",
        "<h1>A</h1>" + "<ul><li>x" * 5_000,
        "<h1>A</h1>" + "<table><tr><td>x" * 3_000,
        "<h1>A</h1>" + "<blockquote>x" * 5_000,
        "<h1>x" * 5_000,
        "<section><h2>x</h2><p>y" * 3_000,
        '<h1>A</h1><p class="' + "a-" * 50_000 + '">x',
        "<h1>A</h1><p>\x00\ufffd\ue000\u202e</p>",
    ],
    ids=range(17),
)
def test_broken_html_never_fails(html: str) -> None:
    for passage in cut(html):
        assert passage.text


def test_text_that_fits_is_one_segment() -> None:
    text = "First paragraph.\n\nSecond paragraph."
    assert cut_text(text, ANY_LENGTH, NAVIGATION, Counter(), []) == [Passage(text, ())]


def test_long_text_is_cut_between_paragraphs() -> None:
    paragraphs = [f"Paragraph {number} " + "word " * 15 for number in range(30)]
    counts: Counter[str] = Counter()
    passages = cut_text("\n\n".join(paragraphs), SegmentSettings(min_chars=200, max_chars=500), NAVIGATION, counts, [])
    assert all(200 <= len(passage.text) <= 500 for passage in passages)
    assert "\n\n".join(passage.text for passage in passages) == "\n\n".join(map(str.strip, paragraphs))
    assert counts == {"sections/found": len(passages), "segments/extracted": len(passages)}


def test_text_in_single_lines_is_cut_between_lines_and_too_long_ones_are_dropped() -> None:
    counts: Counter[str] = Counter()
    text = "\n".join(["a " * 60, "b " * 60, "c" * 1000, "d " * 60])
    passages = cut_text(text, SegmentSettings(min_chars=100, max_chars=300), NAVIGATION, counts, [])
    assert [passage.text[0] for passage in passages] == ["a", "d"]
    assert counts["sections/too long"] == 1


def test_markdown_text_is_cut_by_its_headers() -> None:
    text = "# Title\n\nIntro.\n\n## Part\nText.\n\n```\n# no header\n\nx\n```"
    assert list(text_pieces(text)) == [
        Header(1, "Title"), Piece("Intro."), Header(2, "Part"), Piece("Text."), Piece("```\n# no header\n\nx\n```"),
    ]  # fmt: skip
    (passage,) = cut_text(text, ANY_LENGTH, NAVIGATION, Counter(), [])
    assert passage.heading_path == ("Title",)
    assert passage.text == "Intro.\n\n## Part\n\nText.\n\n```\n# no header\n\nx\n```"


def test_pieces_of_a_page_are_its_whole_text() -> None:
    pieces = [piece for piece in html_pieces(page(sentences=3), []) if isinstance(piece, Piece)]
    assert join_pieces(pieces).count("th step is to water") == 3


def test_id_depends_on_address_and_text_only() -> None:
    assert segment_id("u", "t") == segment_id("u", "t") != segment_id("", "t")
    assert len(segment_id("u", "t")) == 16


RAW = re.compile(
    r"<(script|style|xmp|plaintext|noscript|iframe|noembed|noframes)\b[^>]*>.*?</\1>|<!--.*?-->|<[!?][^>]*>", re.S
)
HEADER = re.compile(r"(#{1,6})[ \t]+(\S.*?)[ \t]*#*(?:\n|$)")


@given(st.lists(st.sampled_from(["<script>", "</script>", "<style a=1>", "</style>", "<!--", "-->", "<!x", ">", "a"])))
@settings(max_examples=300, deadline=None)
def test_what_is_no_markup_is_found_as_by_the_plain_pattern(parts: list[str]) -> None:
    """The pattern says it in one line, but takes for ever where much begins and nothing ends."""
    html = "".join(parts)
    assert _without_raw(html) == RAW.sub("", html)


@given(st.text("# ab\t", max_size=20))
@settings(max_examples=500, deadline=None)
def test_headers_in_text_are_found_as_by_the_plain_pattern(text: str) -> None:
    found = HEADER.match(text.strip())
    expected = [Header(len(found[1]), found[2])] if found else []
    assert [piece for piece in text_pieces(text) if isinstance(piece, Header)] == expected


@pytest.mark.parametrize(
    "html",
    [
        "<h1>a</h1>" + "<script>" * 150_000,
        "<h1>a</h1>" + "<p title='<!-- '>x</p>" * 50_000,
        "<h2>search</h2><p>x</p>" * 40_000,
        "<table>" + "<tr>" + "<td>x" * 50_000 + "<tr><td>x<td>y" * 20_000,
        "".join(f"<h{number % 6 + 1}>" for number in range(100_000)),
    ],
    ids=["scripts", "comments", "navigation", "a wide table", "headers in headers"],
)
@pytest.mark.timeout(60)
def test_time_grows_with_the_page_and_no_faster(html: str) -> None:
    cut(html)


@pytest.mark.parametrize("text", ["# a" + " " * 3_000_000 + "b", "# a" + "#" * 3_000_000 + "b", "# " * 1_000_000])
@pytest.mark.timeout(60)
def test_time_grows_with_the_text_and_no_faster(text: str) -> None:
    cut_text(text, ANY_LENGTH, NAVIGATION, Counter(), [])
