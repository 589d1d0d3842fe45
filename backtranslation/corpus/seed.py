"""Human-written pairs: four ways they are stored, which of them are used, and which are held out.

Knows nothing of prompts or models.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from backtranslation.errors import DataError
from backtranslation.files import Row, read_rows, row_hash
from backtranslation.jobs.progress import log
from backtranslation.settings.seed import PairFormat

ROLES = {"human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant"}


def read_pairs(path: str | Path, pair_format: PairFormat) -> list[Row]:
    """All pairs of a file as {"id", "instruction", "response"}, in file order.

    - pairs: two named fields;
    - messages, sharegpt: the first user turn, with a system text before it, and the reply to it; conversations that
      begin otherwise are left out and counted in the log;
    - oasst: the first turn of each tree and the reply that people ranked first (paper, section 3.1); trees without one,
      or not in `language`, are left out and counted in the log.

    Raises DataError naming file and row.
    """
    path = Path(path)
    name: str = pair_format.format
    pairs: list[Row] = []
    left_out = 0
    for number, row in enumerate(_stored_rows(path), start=1):
        if name == "auto":
            name = _detect_format(path, row, pair_format)
        try:
            pair = READERS[name](row, pair_format)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise DataError(f"{path}: row {number}: cannot be read with format {name} ({error!r})") from None
        if pair is None:
            left_out += 1
            continue
        instruction, response = (part.strip() if isinstance(part, str) else "" for part in pair)
        if not instruction or not response:
            raise DataError(f"{path}: row {number}: {'response' if instruction else 'instruction'} is empty")
        pairs.append({"id": pair_id(instruction, response), "instruction": instruction, "response": response})
    if not pairs:
        raise DataError(f"{path}: holds no pairs ({left_out} rows left out)")
    log.info("%s: %d pairs read, %d rows left out", path, len(pairs), left_out)
    return pairs


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


def _stored_rows(path: Path) -> Iterator[Row]:
    if path.suffix != ".parquet":
        yield from read_rows(path)
        return
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file ({error})") from None


def _detect_format(path: Path, row: Row, pair_format: PairFormat) -> str:
    """The format of a file by the fields of its first row."""
    marks = {
        pair_format.instruction_field: "pairs",
        "messages": "messages",
        "conversations": "sharegpt",
        "prompt": "oasst",
    }
    for field, name in marks.items():
        if field in row:
            return name
    raise DataError(
        f"{path}: row 1: has the fields {', '.join(map(repr, row))}, but none of {', '.join(map(repr, marks))}: "
        "set format, instruction_field and response_field"
    )


def _read_pairs(row: Row, pair_format: PairFormat) -> tuple[str, str]:
    return row[pair_format.instruction_field], row[pair_format.response_field]


def _read_messages(row: Row, _: PairFormat) -> tuple[str, str] | None:
    return _first_turn([(message["role"], message["content"]) for message in row["messages"]])


def _read_sharegpt(row: Row, _: PairFormat) -> tuple[str, str] | None:
    return _first_turn([(message["from"], message["value"]) for message in row["conversations"]])


def _first_turn(messages: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first user text, a system text before it included, and the reply to it; None if it begins otherwise."""
    system = [text for role, text in messages[:1] if role == "system"]
    turns = [(ROLES.get(role), text) for role, text in messages[len(system) :]]
    if [role for role, _ in turns[:2]] != ["user", "assistant"]:
        return None
    return "\n\n".join([*system, turns[0][1]]), turns[1][1]


def _read_oasst(row: Row, pair_format: PairFormat) -> tuple[str, str] | None:
    prompt = row["prompt"]
    if pair_format.language not in (None, prompt["lang"]) or prompt.get("deleted"):
        return None
    best = [reply for reply in prompt["replies"] if _is_best_reply(reply, prompt["lang"])]
    return (prompt["text"], best[0]["text"]) if best else None


def _is_best_reply(reply: dict[str, Any], language: str) -> bool:
    return reply.get("rank") == 0 and reply["lang"] == language and not reply.get("deleted")


READERS: dict[str, Callable[[Row, PairFormat], tuple[str, str] | None]] = {
    "pairs": _read_pairs,
    "messages": _read_messages,
    "sharegpt": _read_sharegpt,
    "oasst": _read_oasst,
}
