"""The web pages of the miniature world, as HTML, and the WARC files that hold them.

Around the passages is what real pages have, too: navigation, cookie notices, adverts, forms, scripts. This
module does not know whether a passage is good.
"""

import gzip
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from random import Random

from backtranslation.miniature.passages import Passage
from backtranslation.miniature.pretraining import heading

HEADER_TIME = "2026-01-01T00:00:00Z"
"""The date of every record: the world must not depend on the clock."""


@dataclass(frozen=True)
class Page:
    """One HTTP response: `body` is in the encoding that `content_type` names."""

    url: str
    content_type: str
    body: bytes
    status: str = "200 OK"


_SITES = ("attic.example", "village.example", "hobby.example", "almanac.example", "notes.example")
_GERMAN = (
    "Diese Seite ist leider nur auf Deutsch verfügbar, weil uns die Zeit für eine Übersetzung fehlt.",
    "Die alten Geräte wurden früher von Hand hergestellt und über viele Jahre gepflegt.",
    "Wer etwas kaufen möchte, sollte zuerst den Preis mit anderen Angeboten vergleichen.",
    "Im Garten wachsen die Blumen am besten, wenn sie genügend Wasser und Licht bekommen.",
    "Man darf die Tiere nicht allein lassen, denn sie brauchen jeden Tag frisches Futter.",
    "Vor langer Zeit lebte in einer kleinen Stadt ein Schneider, der niemals müde wurde.",
    "Bitte beachten Sie, dass die Werkstatt am Montag und am Dienstag geschlossen bleibt.",
    "Weitere Auskünfte erhalten Sie von unseren Mitarbeitern im großen Saal des Rathauses.",
)


def article(random: Random, number: int, passages: Sequence[Passage]) -> Page:
    """A page with the passages, each under a heading of its own; some of them one level lower."""
    sections = [
        (heading(random, passage.topic), passage.html + (_advert(random) if random.random() < 0.2 else ""))
        for passage in passages
    ]
    lower = random.random() < 0.25
    body = "<h2>Collected texts</h2>" if lower else ""
    level = "h3" if lower else "h2"
    body += "\n".join(f"<{level}>{escape(title)}</{level}>\n{text}" for title, text in sections)
    title = random.choice((passages[0].topic.subject.name, "Our collection", "Texts by our readers", "Archive"))
    return _page(random, number, title[0].upper() + title[1:], body, "en")


def foreign_page(random: Random, number: int) -> Page:
    """A page in a second language, in an old encoding."""
    paragraphs = ["".join(f"<p>{' '.join(random.sample(_GERMAN, 4))}</p>" for _ in range(1)) for _ in range(3)]
    body = "\n".join(f"<h2>Abschnitt {i}</h2>{text}" for i, text in enumerate(paragraphs, start=1))
    return _page(random, number, "Willkommen", body, "de", "iso-8859-1")


def link_page(random: Random, number: int) -> Page:
    """A page that holds links and a search form and no text."""
    links = "".join(f'<li><a href="/page/{random.randrange(10_000)}">Page</a></li>' for _ in range(30))
    return _page(random, number, "Contents", f"<h2>All pages</h2><ul>{links}</ul>{_FORM}", "en")


def picture(number: int) -> Page:
    """A response that is not a page."""
    return Page(f"https://{_SITES[0]}/picture/{number}.gif", "image/gif", b"GIF89a" + bytes(40))


def missing_page(number: int) -> Page:
    """A page that was not found."""
    body = b"<html><head><title>Not found</title></head><body><h1>Not found</h1></body></html>"
    return Page(f"https://{_SITES[1]}/lost/{number}", "text/html; charset=utf-8", body, "404 Not Found")


_FORM = (
    '<form action="/search" method="get"><label>Search <input type="text" name="q"></label>'
    '<button type="submit">Go</button></form>'
)
_ADVERTS = (
    "Best prices in town! Visit our shop today.",
    "You will not believe what this farmer did next.",
    "Lose weight without effort. Click now.",
)


def _advert(random: Random) -> str:
    return f'<div class="advertisement"><a href="/out">{random.choice(_ADVERTS)}</a></div>'


def _page(random: Random, number: int, title: str, content: str, language: str, charset: str = "utf-8") -> Page:
    site = random.choice(_SITES)
    menu = "".join(f'<li><a href="/{name.lower()}">{name}</a></li>' for name in ("Home", "Forum", "Shop", "About"))
    text = f"""<!DOCTYPE html>
<html lang="{language}">
<head><meta charset="{charset}"><title>{escape(title)} - {site}</title>
<style>body {{ margin: 2em; }}</style>
<script>window.tracker = {{ page: {number} }};</script></head>
<body>
<header><nav class="navigation"><ul>{menu}</ul></nav></header>
<div class="cookie-notice" role="dialog"><p>We use cookies to improve your visit.</p><button>Accept all</button></div>
<main><article>
<h1>{escape(title)}</h1>
{content}
</article></main>
<aside class="sidebar">{_advert(random)}{_FORM}</aside>
<footer><p>Copyright {site}. All rights reserved. <a href="/privacy">Privacy policy</a></p></footer>
</body>
</html>
"""
    return Page(f"https://{site}/page/{number}", f"text/html; charset={charset}", text.encode(charset))


def write_warc(pages: Sequence[Page], random: Random) -> bytes:
    """A gzipped WARC file, one member per record: a warcinfo record, then a request and a response per page."""
    records = [_record(random, "warcinfo", None, "application/warc-fields", b"software: miniature world\r\n")]
    for page in pages:
        path = page.url.split("example", 1)[1]
        host = page.url.split("/")[2]
        ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        records.append(_record(random, "request", page.url, "application/http; msgtype=request", ask))
        head = (
            f"HTTP/1.1 {page.status}\r\nContent-Type: {page.content_type}\r\nContent-Length: {len(page.body)}\r\n\r\n"
        ).encode()
        records.append(_record(random, "response", page.url, "application/http; msgtype=response", head + page.body))
    return b"".join(gzip.compress(record, mtime=0) for record in records)


def _record(random: Random, kind: str, url: str | None, content_type: str, block: bytes) -> bytes:
    target = f"WARC-Target-URI: {url}\r\n" if url else ""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\n{target}WARC-Date: {HEADER_TIME}\r\n"
        f"WARC-Record-ID: <urn:uuid:{uuid.UUID(int=random.getrandbits(128), version=4)}>\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"
