"""Human-written pairs: the ways they are stored, which of them are used, and which are held out.

Knows nothing of prompts or models. docs/seed.md shows a row of every format.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from backtranslation.corpus.pair_files import LocatedRow, dataset_rows, stored_rows
from backtranslation.errors import DataError
from backtranslation.files import Row, row_hash
from backtranslation.jobs.progress import log
from backtranslation.settings.limits import Limits
from backtranslation.settings.seed import PairFormat
from backtranslation.tally import Tally

ROLES = {"human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant"}
FIRST_ROWS = 20  # by their fields a file's format is known
CONTEXT_FIELDS = ("input", "context")  # of Alpaca and Dolly: what an instruction speaks of
ALPACA, PROMPT_COMPLETION = {"instruction", "output"}, {"prompt", "completion"}


def read_pairs(path: str | Path | None, pair_format: PairFormat, limits: Limits | None = None) -> list[Row]:
    """All pairs of a file, or of a data set where there is no path, as `iterate_pairs` gives them.

    Rows that cannot be used are named and counted in the log. Raises DataError, with counts and examples, if they are
    too many, and if there are no pairs.
    """
    tally = Tally()
    pairs = list(iterate_pairs(path, pair_format, tally))
    source, read = name_source(path, pair_format), tally.counts["rows/read"]
    tally.check(read, f"rows of {source}", (limits or Limits()).max_unusable_share)
    if not pairs:
        examples = "".join(f"\n  {example}" for example in tally.examples)
        raise DataError(f"{source}: holds no pairs; it has {read:,} rows{examples}")
    left_out, refused = tally.counts["rows/left out"], tally.refused.total()
    log.info(f"{source}: {len(pairs):,} pairs in {read:,} rows; {left_out:,} left out, {refused:,} cannot be used")
    return pairs


def iterate_pairs(path: str | Path | None, pair_format: PairFormat, tally: Tally) -> Iterator[Row]:
    """Yield pairs as {"id", "instruction", "response"}, in the order of their rows.

    - pairs: two named fields;
    - alpaca: `instruction` and, after a blank line, `input` where it is not empty; `output`;
    - prompt-completion: two texts, or two lists of messages, which together are a conversation;
    - messages, sharegpt: the first user turn, with a system text before it, and the reply to it; conversations that
      begin otherwise are left out;
    - oasst: the first turn of each tree and the reply that people ranked first (paper, section 3.1); trees without one,
      or not in `language`, are left out. Flat messages are put together to trees before.

    Counts `rows/read`, and refuses rows that cannot be used. Raises DataError as `stored_rows` and `dataset_rows` do,
    and if `auto` finds the fields of no format in the first rows.
    """
    source, rows = name_source(path, pair_format), _rows_of(path, pair_format, tally)
    head = list(islice(rows, FIRST_ROWS))
    name: str = pair_format.format
    if head and name == "auto":
        name = _detect_format(source, [row for _, row in head], pair_format)
    if name == "pairs":
        _warn_of_context(source, [row for _, row in head], pair_format)
    rows = chain(head, rows)
    for where, row in _as_trees(rows) if name == "oasst" else rows:
        try:
            pair = READERS[name](row, pair_format)
        except (KeyError, TypeError, IndexError, AttributeError):
            tally.refuse(f"rows/not in the format {name}", f"{where}, which has {name_fields(row)}")
            continue
        if pair is None:
            tally.counts["rows/left out"] += 1
        elif fault := _fault(*pair):
            tally.refuse(f"rows/{fault}", where)
        else:
            instruction, response = (part.strip() for part in pair)
            yield {"id": pair_id(instruction, response), "instruction": instruction, "response": response}


def name_source(path: str | Path | None, pair_format: PairFormat) -> str:
    """The file or data set, for messages."""
    return f"data set {pair_format.dataset.name}" if path is None and pair_format.dataset else str(path)


def name_fields(row: Row) -> str:
    """The fields of a row, for messages."""
    names = ", ".join(map(repr, list(row)[:12]))
    return f"the fields {names}{', ...' if len(row) > 12 else ''}" if row else "no fields"


def pair_id(instruction: str, response: str) -> str:
    """A stable name of a pair: 16 hexadecimal digits of its content."""
    return row_hash(instruction, response)


def set_aside(pairs: Sequence[Row], size: int, random_seed: int) -> tuple[list[Row], list[Row]]:
    """Split pairs into (rest, held out).

    Raises DataError if nothing would be left to train on.
    """
    if size >= len(pairs):
        raise DataError(f"held_out.size is {size}, but there are only {len(pairs)} seed pairs")
    chosen = {pair["id"] for pair in draw_pairs(pairs, size, random_seed)}
    return [pair for pair in pairs if pair["id"] not in chosen], [pair for pair in pairs if pair["id"] in chosen]


def draw_pairs(pairs: Sequence[Row], size: int, random_seed: int) -> list[Row]:
    """`size` of the pairs, in their order: those whose hash of (random seed, id) is smallest.

    Which pair is drawn does not depend on its place in the file, so that a reordered file gives the same seed.
    Raises DataError if there are fewer.
    """
    if size > len(pairs):
        raise DataError(f"seed.size is {size}, but there are only {len(pairs)} pairs")

    def rank(pair: Row) -> str:
        return row_hash(random_seed, pair["id"], size=64)

    chosen = {pair["id"] for pair in sorted(pairs, key=rank)[:size]}
    return [pair for pair in pairs if pair["id"] in chosen]


def drop_repeated(pairs: Sequence[Row], held_out: Sequence[Row] = ()) -> list[Row]:
    """The pairs without repeated ids, and without those whose instruction also stands in the held-out pairs."""
    seen: set[str] = set()
    held_out_instructions = {_normalize(pair["instruction"]) for pair in held_out}
    kept = []
    for pair in pairs:
        if pair["id"] not in seen and _normalize(pair["instruction"]) not in held_out_instructions:
            kept.append(pair)
        seen.add(pair["id"])
    if len(kept) < len(pairs):
        log.info("%d pairs dropped: repeated, or their instruction is held out", len(pairs) - len(kept))
    return kept


def _normalize(text: str) -> str:
    return " ".join(text.lower().split())


def _rows_of(path: str | Path | None, pair_format: PairFormat, tally: Tally) -> Iterator[LocatedRow]:
    if path is not None:
        return stored_rows(Path(path), tally)
    assert pair_format.dataset is not None  # the settings give one or the other
    return dataset_rows(pair_format.dataset, tally)


def _warn_of_context(source: str, rows: Sequence[Row], pair_format: PairFormat) -> None:
    """Say so if texts that belong to the instruction are passed over."""
    read = {pair_format.instruction_field, pair_format.response_field}
    if unread := sorted({name for row in rows for name in CONTEXT_FIELDS if row.get(name)} - read):
        log.warning(f"{source}: format pairs reads {' and '.join(sorted(read))} alone, not {' or '.join(unread)}")


def _fault(instruction: object, response: object) -> str:
    """Why a pair cannot be used; empty if it can."""
    for name, part in (("instruction", instruction), ("response", response)):
        if part is not None and not isinstance(part, str):
            return f"{name} is not a text"
        if not part or not part.strip():
            return f"{name} is empty"
        try:
            part.encode()
        except UnicodeEncodeError:  # JSON may hold half a surrogate pair
            return f"{name} is not valid Unicode"
    return ""


def _detect_format(source: str, rows: Sequence[Row], pair_format: PairFormat) -> str:
    """The format that most of the first rows of a file have, by their fields."""
    found = Counter(name for row in rows if (name := _format_of(row, pair_format)))
    if not found:
        raise DataError(
            f"{source}: its first rows have {name_fields(rows[0])}, which is no known format: set instruction_field and"
            f" response_field, or rename fields to those of a format: instruction and response; instruction, input and"
            " output (alpaca); prompt and completion; messages; conversations (sharegpt); OASST1's trees or messages"
        )
    return found.most_common(1)[0][0]


def _format_of(row: Row, pair_format: PairFormat) -> str | None:
    """The format of one row by its fields; of Alpaca's fields none is passed over."""
    named = {pair_format.instruction_field, pair_format.response_field}
    if named <= row.keys() and named != ALPACA:
        return "pairs"
    if row.keys() >= ALPACA:
        return "alpaca"
    if row.keys() >= PROMPT_COMPLETION:
        return "prompt-completion"
    if row.keys() >= {"message_id", "parent_id"} or isinstance(row.get("prompt"), dict):
        return "oasst"
    return next((name for field, name in (("messages",) * 2, ("conversations", "sharegpt")) if field in row), None)


def _read_pairs(row: Row, pair_format: PairFormat) -> tuple[Any, Any]:
    return row[pair_format.instruction_field], row[pair_format.response_field]


def _read_alpaca(row: Row, _: PairFormat) -> tuple[Any, Any]:
    instruction, context = row["instruction"], row.get("input")
    if context is None or not context.strip():
        return instruction, row["output"]
    return f"{instruction.strip()}\n\n{context.strip()}", row["output"]


def _read_prompt_completion(row: Row, _: PairFormat) -> tuple[Any, Any] | None:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list):
        return _first_turn([(message["role"], message["content"]) for message in [*prompt, *completion]])
    return prompt, completion


def _read_messages(row: Row, _: PairFormat) -> tuple[Any, Any] | None:
    return _first_turn([(message["role"], message["content"]) for message in row["messages"]])


def _read_sharegpt(row: Row, _: PairFormat) -> tuple[Any, Any] | None:
    return _first_turn([(message["from"], message["value"]) for message in row["conversations"]])


def _first_turn(messages: Sequence[tuple[str, Any]]) -> tuple[Any, Any] | None:
    """The first user text, a system text before it included, and the reply to it; None if it begins otherwise."""
    system = [text for role, text in messages[:1] if role == "system"]
    turns = [(ROLES.get(role), text) for role, text in messages[len(system) :]]
    if [role for role, _ in turns[:2]] != ["user", "assistant"]:
        return None
    return "\n\n".join([*system, turns[0][1]]), turns[1][1]


def _read_oasst(row: Row, pair_format: PairFormat) -> tuple[Any, Any] | None:
    prompt = row["prompt"]
    if pair_format.language not in (None, prompt["lang"]) or prompt.get("deleted"):
        return None
    best = [reply for reply in prompt["replies"] if _is_best_reply(reply, prompt["lang"])]
    return (prompt["text"], best[0]["text"]) if best else None


def _is_best_reply(reply: dict[str, Any], language: str) -> bool:
    return reply.get("rank") == 0 and reply["lang"] == language and not reply.get("deleted")


def _as_trees(rows: Iterable[LocatedRow]) -> Iterator[LocatedRow]:
    """OASST1 trees as they are; flat messages put together to trees of one turn, in the order of their first ones."""
    messages: list[LocatedRow] = []
    replies: dict[str, list[Row]] = defaultdict(list)
    for where, row in rows:
        parent = row.get("parent_id")
        if "prompt" in row or not isinstance(row.get("message_id"), str):
            yield where, row
        elif isinstance(parent, str):
            replies[parent].append(row)
        else:
            messages.append((where, row))
    for where, message in messages:
        yield where, {"prompt": message | {"replies": replies[message["message_id"]]}}


READERS: dict[str, Callable[[Row, PairFormat], tuple[Any, Any] | None]] = {
    "pairs": _read_pairs,
    "alpaca": _read_alpaca,
    "prompt-completion": _read_prompt_completion,
    "messages": _read_messages,
    "sharegpt": _read_sharegpt,
    "oasst": _read_oasst,
}
