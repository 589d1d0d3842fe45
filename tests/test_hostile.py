"""Hostile inputs: each is counted or stopped with a message, in bounded time and memory; its neighbours are kept."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.configurations import smallest
from helpers.hostile import CASES
from helpers.hostile.archives import beside_good, good
from helpers.hostile.cases import BOTH, Case, Met, extract, good_page, read_seed
from helpers.hostile.pairs import PAIRS
from helpers.hostile.rows import GOOD
from helpers.hostile.runner import Result, fault, meet_all
from helpers.warc_files import record, warc_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backtranslation.corpus.decoding import decode_text
from backtranslation.errors import UserError
from backtranslation.settings.run import load_settings
from backtranslation.settings.slices import SettingsError

QUICK = ("seed", "configuration")
MAX_MEGABYTES = 1024


def check_results(cases: list[Case]) -> list[Result]:
    """Meet all cases and assert that each came out as it should."""
    by_name = {(case.kind, case.name): case for case in cases}
    assert len(by_name) == len(cases), "two cases of one kind have the same name"
    results = list(meet_all(cases))
    faults = {
        f"{result.kind}: {result.name}": found
        for result in results
        if (found := fault(by_name[result.kind, result.name], result))
    }
    assert not faults, "\n".join(f"{name}: {found}" for name, found in faults.items())
    return results


def test_small_hostile_inputs() -> None:
    check_results([case for case in CASES if case.kind in QUICK])


@pytest.mark.long
def test_every_other_hostile_input_and_its_memory() -> None:
    results = check_results([case for case in CASES if case.kind not in QUICK])
    worst = max(results, key=lambda result: result.megabytes)
    assert worst.megabytes < MAX_MEGABYTES, f"{worst.kind}: {worst.name} took {worst.megabytes:,.0f} MB"


# Inputs that hypothesis draws, always the same ones. Each of the long tests starts the process of a stage for each.

drawn = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HTML_PARTS = [
    *(f"<{tag}>" for tag in ("h1", "h3", "p", "div", "ul", "li", "table", "tr", "td", "pre", "code", "a href=x", "b")),
    *(f"</{tag}>" for tag in ("h1", "h3", "p", "div", "ul", "li", "table", "tr", "td", "pre", "code", "a", "b")),
    "<script>", "<!--", "-->", "<![CDATA[", "&lt;", "&#0;", "<p class='nav note", "'", '"', ">", "<", "\0", "\n",
    "\ue000", "<svg>", "<template>", "<select>", "<br>", "`", "word ", "A sentence ends. ", "\u3042", "\ud800",
]  # fmt: skip
TEXT_PARTS = [
    "#",
    " ",
    "\n",
    "\n\n",
    "```",
    "`",
    ">",
    "- ",
    "1. ",
    "|",
    "\r",
    "\t",
    "\0",
    "word",
    "Ends.",
    "\u2028",
    "\ud800",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def soup(parts: list[str]) -> st.SearchStrategy[str]:
    """Parts in any order."""
    return st.lists(st.sampled_from(parts), max_size=60).map("".join)


def keeps_neighbours(meet: Callable[[Path], Met], path: Path, data: bytes) -> None:
    """Write a file, meet it, and assert that its good neighbours are kept."""
    path.write_bytes(data)
    assert meet(path).kept == BOTH


@pytest.mark.long
@drawn
@given(block=st.binary(max_size=300))
def test_any_bytes_in_a_warc_record(tmp_path: Path, block: bytes) -> None:
    hostile = warc_record("response", "application/http", "WARC-Target-URI: https://example.org/\r\n", block)
    keeps_neighbours(extract("warc"), tmp_path / "pages.warc", beside_good(hostile))


@pytest.mark.long
@drawn
@given(head=st.text(max_size=100), body=soup(HTML_PARTS))
def test_any_headers_of_http(tmp_path: Path, head: str, body: str) -> None:
    block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset={head}\r\n{head}\r\n\r\n{body}".encode(
        errors="replace"
    )
    hostile = warc_record("response", "application/http", "WARC-Target-URI: https://example.org/\r\n", block)
    keeps_neighbours(extract("warc"), tmp_path / "pages.warc", beside_good(hostile))


@pytest.mark.long
@drawn
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_changed_bytes_of_a_warc_record(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    hostile = bytearray(record(b"<h1>A header</h1><p>" + b"text " * 50))
    for place, value in changes:
        hostile[place] = value
    path = tmp_path / "pages.warc"
    path.write_bytes(b"".join([good(1), hostile, good(2)]))
    assert "Garden 1" in extract("warc")(path).kept  # a length that lies may swallow what follows


@pytest.mark.long
@drawn
@given(html=soup(HTML_PARTS))
def test_any_order_of_tags(tmp_path: Path, html: str) -> None:
    pages = tmp_path / "pages"
    pages.mkdir(exist_ok=True)
    for name, page in {"a": good_page(1), "b": html, "c": good_page(2)}.items():
        (pages / f"{name}.html").write_bytes(page.encode(errors="surrogatepass"))
    assert extract("html")(pages).kept == BOTH


@pytest.mark.long
@drawn
@given(text=soup(TEXT_PARTS))
def test_any_order_of_markdown(tmp_path: Path, text: str) -> None:
    rows = [GOOD[0], {"text": text, "url": text}, GOOD[1]]
    keeps_neighbours(extract("jsonl"), tmp_path / "pages.jsonl", "\n".join(map(json.dumps, rows)).encode())


@pytest.mark.long
@drawn
@given(value=json_values, text=json_values, url=json_values)
def test_any_json(tmp_path: Path, value: Any, text: Any, url: Any) -> None:
    rows = [GOOD[0], value, {"text": text, "url": url, "html": value}, GOOD[1]]
    keeps_neighbours(extract("jsonl"), tmp_path / "pages.jsonl", "\n".join(map(json.dumps, rows)).encode())


@pytest.mark.long
@drawn
@given(line=st.binary(max_size=200).filter(lambda line: b"\n" not in line))
def test_any_line(tmp_path: Path, line: bytes) -> None:
    lines = [json.dumps(GOOD[0]).encode(), line, json.dumps(GOOD[1]).encode()]
    keeps_neighbours(extract("jsonl"), tmp_path / "pages.jsonl", b"\n".join(lines))


@pytest.mark.long
@drawn
@given(cells=st.lists(st.binary(max_size=20) | st.none(), min_size=1, max_size=3))
def test_any_bytes_in_a_string_column(tmp_path: Path, cells: list[bytes | None]) -> None:
    plain = pa.array([GOOD[0]["text"].encode(), *cells, GOOD[1]["text"].encode()], pa.binary())
    path = tmp_path / "pages.parquet"
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), len(plain), plain.buffers())}), path)
    assert extract("parquet")(path).kept == BOTH


@pytest.mark.long
@drawn
@given(changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_of_a_parquet_file(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    path = tmp_path / "pages.parquet"
    pq.write_table(pa.Table.from_pylist(GOOD), path, compression=None)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data)
    counted_or_stopped(extract("parquet"), path)


def counted_or_stopped(meet: Callable[[Path], Met], path: Path) -> None:
    """Whatever is wrong, a message names the file."""
    try:
        meet(path)
    except UserError as error:
        assert path.name in str(error)


@drawn
@given(
    row=st.dictionaries(
        st.sampled_from(["instruction", "response", "messages", "conversations", "prompt"]), json_values
    )
)
def test_any_pair(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "seed.jsonl"
    path.write_text("\n".join(map(json.dumps, [row, *PAIRS])))
    counted_or_stopped(read_seed(), path)


@drawn
@given(data=st.binary(max_size=300), charset=st.text(max_size=20) | st.sampled_from(["utf-7", "idna", "undefined"]))
def test_any_bytes_in_any_charset(data: bytes, charset: str) -> None:
    decode_text(data, charset).encode()


@drawn
@given(key=st.sampled_from([*smallest(), "iterations", "prompts", "training"]), value=json_values)
def test_any_setting(key: str, value: Any) -> None:
    try:
        load_settings(smallest(**{key: value}))
    except SettingsError as error:
        assert all(line.startswith("config: ") for line in str(error).splitlines())


@drawn
@given(text=st.text(alphabet=string.printable, max_size=40))
def test_any_path_of_a_corpus(text: str) -> None:
    from backtranslation.corpus.shards import list_shards
    from backtranslation.settings.corpus import Source

    with pytest.raises(UserError, match="corpus.sources"):
        list_shards([Source(name="web", paths=[f"/nowhere/{text}"])])
