"""Pages and texts as they come out of a corpus file, which of its records are read, and what can be used as text."""

from dataclasses import dataclass

from backtranslation.corpus.decoding import decode_text
from backtranslation.jobs.bounds import Items
from backtranslation.tally import Tally

MAX_LICENSE = 1000  # characters: every segment carries it, and a text of pages is no name of a license
MAX_TAGS = 300_000  # a parsed page takes up to 700 bytes of memory per tag, however short the page


@dataclass(frozen=True)
class Document:
    """One page or text, and where it came from.

    `record_offset` is a byte offset in WARC files and (uncompressed) JSON lines, a row number in Parquet, 0 in HTML
    files. `file` is the file's name, below the folder where the input is a folder. `license` is what a row says of it,
    a name or an address; None where it says nothing.
    """

    content: str
    is_html: bool
    url: str
    file: str
    record_offset: int
    license: str | None = None


@dataclass
class Share:
    """Deals records out to the parts of a file in turn; of its own, a part takes those that are still to be read."""

    split: int
    splits: int
    items: Items
    seen: int = 0

    def takes_next(self) -> bool:
        """Whether the next record is to be read."""
        self.seen += 1
        return (self.seen - self.split) % self.splits == 0 and self.items.begin(self.seen)

    def note_damage(self, tally: Tally, where: str) -> None:
        """Count a damaged stretch after the record seen last, unless an earlier process did."""
        if self.seen >= self.items.after:
            tally.refuse("files/damaged stretch", where)


def usable_text(data: bytes, charset: str | None, where: str, max_bytes: int, tally: Tally) -> str | None:
    """The decoded bytes, or None with the reason counted."""
    if len(data) > max_bytes:
        tally.skip("records/too large", f"{where}: more than {max_bytes:,} bytes")
        return None
    if not data.strip():
        tally.skip("records/empty", where)
        return None
    text = decode_text(data, charset)
    if is_garbled(text):
        tally.refuse("records/not text", where)
        return None
    return text


def is_garbled(text: str) -> bool:
    """Whether more than 1 % of the characters are NULs, or stand for bytes that could not be read."""
    return text.count("\ufffd") + text.count("\0") > len(text) / 100


def has_too_many_tags(html: str, where: str, tally: Tally) -> bool:
    if (tags := html.count("<")) <= MAX_TAGS:
        return False
    tally.skip("records/too many tags", f"{where}: {tags:,}")
    return True
