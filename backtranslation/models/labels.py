"""The label after which a model names a number, and how it is found in what the model writes."""

import re

from backtranslation.letters import UNSPACED


def label_pattern(label: str) -> re.Pattern[str]:
    """Matches a label in any case and in Markdown, with the white space behind it; `=` may stand for its colon.

    A label that has no colon needs none. Where words are written without spaces, a label may follow another letter.
    """
    colons = ":=" if label.isascii() else ":=\uff1a"
    name = label.rstrip(f"{colons} ")
    behind, ahead = ("", "") if re.match(f"[{UNSPACED}]", name) else (r"(?<!\w)", r"(?!\w)")
    colon = f"[{colons}]" if label[-1] in colons else f"[{colons}]?"
    return re.compile(rf"{behind}{re.escape(name)}{ahead}[*_\s]*{colon}[*_\s]*", re.IGNORECASE)
