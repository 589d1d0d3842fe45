"""Letters that regular expressions know too little of: those written without spaces between words, and marks.

Both are the inside of a character class. To `re`, the former are letters like any others, and marks are none.
"""

import unicodedata
from itertools import groupby

# Letters alone: digits of these scripts stand together as everywhere. Korean has spaces.
UNSPACED = (
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46"  # Thai
    "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"  # Lao
    "\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"  # Myanmar
    "\ua9e0-\ua9e4\ua9e6-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa76\uaa7a\uaa7e\uaa7f"  # Myanmar, other languages
    "\u1780-\u17b3\u17d7\u17dc"  # Khmer
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c"  # signs and numerals among ideographs
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # ideographs
)
MARK_BLOCKS = (
    (0x0300, 0x1DFF), (0x20D0, 0x30FF), (0xA66F, 0xABFF), (0xFB1E, 0xFE2F), (0x101FD, 0x1E94F), (0xE0100, 0xE01EF)
)  # fmt: skip


def _marks() -> str:
    """Accents, vowel signs and the like (Unicode category M), as ranges."""
    codes = (code for first, last in MARK_BLOCKS for code in range(first, last + 1))
    marks = [code for code in codes if unicodedata.category(chr(code)).startswith("M")]
    neighbours = groupby(enumerate(marks), lambda item: item[1] - item[0])
    runs = ([code for _, code in group] for _, group in neighbours)
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


MARKS = _marks()
