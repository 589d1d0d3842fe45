"""The label after which a model names a number, and how both are found in what the model writes."""

import re

from backtranslation.letters import UNSPACED

# A number in Markdown, brackets or quotation marks, and the scale that it may name.
OPENING, CLOSING = r"[\s*_<\[({\"'`\u201c\u2018]*", r"[*_>\])}\"'`\u201d\u2019]*"
NUMBER = re.compile(rf"{OPENING}(-?\d+(?:[.,]\d+)?){CLOSING}(?:\s*(?:/|out of)\s*(\d+))?")
END_OF_LINE = re.compile(r"[^\w\n%]*(?:\n|$)")


def label_pattern(label: str) -> re.Pattern[str]:
    """Matches a label in any case and in Markdown, with the white space behind it; `=` may stand for its colon.

    A label that has no colon needs none. Where words are written without spaces, a label may follow another letter.
    """
    colons = ":=" if label.isascii() else ":=\uff1a"
    name = label.rstrip(f"{colons} ")
    behind, ahead = ("", "") if re.match(f"[{UNSPACED}]", name) else (r"(?<!\w)", r"(?!\w)")
    colon = f"[{colons}]" if label[-1] in colons else f"[{colons}]?"
    return re.compile(rf"{behind}{re.escape(name)}{ahead}[*_\s]*{colon}[*_\s]*", re.IGNORECASE)


def find_score_label(written: str, label: str) -> re.Match[str] | None:
    """The label of the first line that holds a score and nothing else, or else the last label; None if there is none.

    What a model invents after it has given its score, such as a further pair and its score, does not count.
    """
    labels = list(label_pattern(label).finditer(written))
    complete = (found for found in labels if _is_alone(written, found))
    return next(complete, labels[-1] if labels else None)


def _is_alone(written: str, label: re.Match[str]) -> bool:
    """Whether nothing but a number stands in the line of a label."""
    before = written[: label.start()].rpartition("\n")[2]
    number = NUMBER.match(written, label.end())
    return not re.search(r"\w", before) and number is not None and bool(END_OF_LINE.match(written, number.end()))
