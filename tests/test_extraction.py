"""The two scripts of the first step on real files: what they write, what they count, what they cost."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.warc_files import page, record, write_warc

from backtranslation.corpus import extraction
from backtranslation.corpus.extraction import SAMPLE_SIZE, DroppedSample, extract_rows
from backtranslation.corpus.shards import ShardIdentity
from backtranslation.files import Row, read_rows, write_rows
from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
from backtranslation.tally import Tally

ROOT = Path(__file__).parent.parent


def script_command(name: str, results: Path, *arguments: object) -> list[str]:
    script = str(ROOT / "scripts" / f"{name}.py")
    return [sys.executable, script, "--store", str(results / "store"), *map(str, arguments)]


def run_script(name: str, results: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(script_command(name, results, *arguments), capture_output=True, text=True, timeout=300)


def extract_command(
    path: Path, folder: Path, name: str = "web-a", file_format: str = "warc", **segments: int
) -> list[str]:
    spec = {
        "shard": {"name": name, "source": "web", "format": file_format},
        "segments": {"max_page_bytes": 5_000_000} | segments,
    }
    outputs: tuple[object, ...] = ("--segments", folder / f"{name}.jsonl.zst", "--funnel", folder / f"{name}.json")
    outputs += ("--dropped", folder / f"{name}.dropped.jsonl.zst")
    return script_command("extract_segments", folder, "--spec", json.dumps(spec), "--pages", path, *outputs)


def extract(
    path: Path, folder: Path, name: str = "web-a", file_format: str = "warc", **segments: int
) -> subprocess.CompletedProcess[str]:
    command = extract_command(path, folder, name, file_format, **segments)
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def rows_of(path: Path) -> list[Row]:
    return list(read_rows(path))


def distinct_page(number: int) -> str:
    """A page whose sentences stand on no other page."""
    sentences = (
        f"<p>In the {number}th garden the {number * 31 + part}th bed has plants from the {number * 17 + part}th "
        f"country, and they grow best when {part} litres of rain fall in a week.</p>"
        for part in range(12)
    )
    return f"<html><body><nav>Home</nav><h1>Garden {number}</h1>{''.join(sentences)}</body></html>"


def test_segments_can_be_traced_to_their_page(tmp_path: Path) -> None:
    path = write_warc(
        tmp_path / "a.warc.gz",
        record(distinct_page(1).encode(), url="https://example.org/1"),
        record(b"gone", status="404 Not Found"),
        record(distinct_page(2).encode(), url="https://example.org/2"),
    )
    result = extract(path, tmp_path)
    assert result.returncode == 0, result.stderr
    first, second = rows_of(tmp_path / "web-a.jsonl.zst")
    assert list(first) == ["id", "text", "url", "source", "shard", "file", "record_offset", "heading_path", "license"]
    assert (first["url"], first["source"], first["shard"]) == ("https://example.org/1", "web", "web-a")
    assert (second["heading_path"], second["file"]) == (["Garden 2"], "a.warc.gz")
    assert path.read_bytes()[second["record_offset"] :].startswith(b"\x1f\x8b")
    funnel = json.loads((tmp_path / "web-a.json").read_text())
    assert funnel["counts"] == {
        "records/read": 3, "records/HTTP status other than 200": 1, "sections/found": 2, "segments/extracted": 2,
        "sections/navigation": 0, "sections/inside a segment": 0,
    }  # fmt: skip
    assert "404" in result.stderr


def test_unreadable_file_stops_with_one_line_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"no WARC at all" * 100)
    result = extract(path, tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith(f"extract_segments: error: {path}")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "web-a.jsonl.zst").exists()


def test_unknown_language_stops_before_reading(tmp_path: Path) -> None:
    spec = {"shard": {"name": "a", "source": "a", "format": "warc"}, "filters": {"languages": ["english"]}}
    outputs = (
        "--segments",
        tmp_path / "a.jsonl.zst",
        "--funnel",
        tmp_path / "a.json",
        "--dropped",
        tmp_path / "d.jsonl",
    )
    path = write_warc(tmp_path / "a.warc.gz", record(b"gone", status="404 Not Found"))
    result = run_script("extract_segments", tmp_path, "--spec", json.dumps(spec), "--pages", path, *outputs)
    assert result.returncode == 1 and "english" in result.stderr and "Traceback" not in result.stderr
    assert "404" not in result.stderr


def test_what_stands_around_the_text_is_sampled(tmp_path: Path) -> None:
    """Notices, lists of links, navigation, and passages that a filter dropped; no scripts, and equal texts once."""
    links = "".join(f'<li><a href="/{number}">Archive of {number}</a></li>' for number in range(9))
    around = (
        "<script>var tracker = 'of the visitors of this page';</script>"
        '<div class="cookie-notice"><p>We use cookies &amp; the like.</p><button>Accept all</button></div>'
    )
    pages = [distinct_page(number).replace("<h1>", f"{around}<ul>{links}</ul><h1>") for number in (1, 2)]
    pages[0] += "<h2>See also</h2><p>Other pages about gardens and plants.</p>"
    path = write_warc(
        tmp_path / "a.warc.gz",
        *(record(html.encode(), url=f"https://example.org/{number}") for number, html in enumerate(pages)),
        record(distinct_page(3).replace(">Garden 3<", ">GARDEN THREE<").encode(), url="https://example.org/3"),
    )
    assert extract(path, tmp_path).returncode == 0
    dropped = rows_of(tmp_path / "web-a.dropped.jsonl.zst")
    (passage,) = (row["text"] for row in dropped if row["reason"] == "capitals in header")
    assert passage.startswith("In the 3th garden")
    assert {(row["text"], row["reason"], row["url"]) for row in dropped} == {
        (passage, "capitals in header", "https://example.org/3"),
        ("We use cookies & the like. Accept all", "boilerplate", "https://example.org/0"),
        (" ".join(f"- Archive of {number}" for number in range(9)), "boilerplate", "https://example.org/0"),
        ("See also\n\nOther pages about gardens and plants.", "navigation", "https://example.org/0"),
    }


def test_the_sample_of_dropped_texts_is_bounded_and_depends_on_no_order() -> None:
    rows: list[Row] = [{"id": str(number), "text": f"text {number}"} for number in range(500)]
    samples = [DroppedSample() for _ in range(2)]
    for sample, ordered in zip(samples, (rows, rows[::-1]), strict=True):
        for row in ordered * 2:
            sample.add(row)
    assert samples[0].rows == samples[1].rows
    assert len({row["id"] for row in samples[0].rows}) == SAMPLE_SIZE


def test_the_sample_is_the_same_when_a_page_ends_its_reader(tmp_path: Path) -> None:
    around = "".join(f"<nav>Menu {number} of the pages of this site</nav>" for number in range(300))
    pages = [distinct_page(1).replace("<h1>", f"{around}<h1>"), hostile_page(), distinct_page(2)]
    samples = []
    for number, htmls in enumerate((pages, [pages[0], pages[2]])):
        write_rows(tmp_path / f"{number}.jsonl", [{"html": html} for html in htmls])
        assert extract(tmp_path / f"{number}.jsonl", tmp_path, file_format="jsonl", max_page_seconds=1).returncode == 0
        samples.append([row["text"] for row in rows_of(tmp_path / "web-a.dropped.jsonl.zst")])
    assert samples[0] == samples[1] and len(samples[0]) == SAMPLE_SIZE


def deduplicate(folder: Path, output: Path, names: list[str], held_out: list[Row]) -> pd.DataFrame:
    """Run the second script on extracted shards; return the funnel."""
    write_rows(folder / "held_out.jsonl.zst", held_out)
    result = run_script(
        "deduplicate_segments", output, "--spec", "{}", "--held-out", folder / "held_out.jsonl.zst",
        "--extracted", *(folder / f"{name}.jsonl.zst" for name in names),
        "--funnels", *(folder / f"{name}.json" for name in names),
        "--segments", *(output / f"{name}.jsonl.zst" for name in names),
        "--funnel", output / "funnel.tsv",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return pd.read_csv(output / "funnel.tsv", sep="\t")


def test_earlier_shards_win_and_later_ones_change_nothing(tmp_path: Path) -> None:
    pages = {"web-a": range(0, 6), "web-b": range(4, 10), "web-c": range(8, 12)}
    for name, numbers in pages.items():
        records = [record(distinct_page(number).encode(), url=f"https://{name}.org/{number}") for number in numbers]
        assert extract(write_warc(tmp_path / f"{name}.warc", *records), tmp_path, name).returncode == 0
    held_out = [
        {
            "id": "h",
            "instruction": "Tell me about gardens.",
            "response": rows_of(tmp_path / "web-a.jsonl.zst")[0]["text"],
        }
    ]
    before, after = tmp_path / "before", tmp_path / "after"
    deduplicate(tmp_path, before, ["web-a", "web-b"], held_out)
    funnel = deduplicate(tmp_path, after, ["web-a", "web-b", "web-c"], held_out)
    kept = {name: [row["heading_path"][-1] for row in rows_of(after / f"{name}.jsonl.zst")] for name in pages}
    assert kept["web-a"] == [f"Garden {number}" for number in range(1, 6)]
    assert kept["web-b"] == [f"Garden {number}" for number in range(6, 10)]
    assert kept["web-c"] == ["Garden 10", "Garden 11"]
    for name in ("web-a", "web-b"):
        assert (before / f"{name}.jsonl.zst").read_bytes() == (after / f"{name}.jsonl.zst").read_bytes()
    counts = funnel.groupby("step")["count"].sum()
    dropped = counts["segments/duplicate"] + counts.get("segments/near duplicate", 0) + counts["segments/held out"]
    assert counts["segments/extracted"] == counts["segments/kept"] + dropped == 16
    assert counts["segments/held out"] == 1
    assert set(funnel["shard"]) == set(pages) and set(funnel["source"]) == {"web"}


def hostile_page() -> str:
    """A page on which the parser spends minutes."""
    return "<p " + " ".join(f"a{number}=1" for number in range(200_000)) + ">x"


def test_page_that_takes_too_long_is_dropped_and_counted(tmp_path: Path) -> None:
    pages = [distinct_page(1), hostile_page(), distinct_page(2)]
    write_rows(tmp_path / "a.jsonl", [{"html": html} for html in pages])
    result = extract(tmp_path / "a.jsonl", tmp_path, file_format="jsonl", max_page_seconds=1)
    assert result.returncode == 0, result.stderr
    assert [row["heading_path"] for row in rows_of(tmp_path / "web-a.jsonl.zst")] == [["Garden 1"], ["Garden 2"]]
    counts = json.loads((tmp_path / "web-a.json").read_text())["counts"]
    assert counts["records/read"] == 3 and counts["records/took too long"] == 1
    assert "took too long: record 2 of a.jsonl" in result.stderr


def test_page_that_takes_too_much_memory_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "MAX_MEMORY", 150 << 20)
    many_headers = {"text": "# a\n\n" * 1_000_000}
    write_rows(tmp_path / "a.jsonl", [{"html": distinct_page(1)}, many_headers, {"html": distinct_page(2)}])
    shard, tally = ShardIdentity(name="a", source="a", format="jsonl"), Tally()
    rows = extract_rows(
        tmp_path / "a.jsonl", shard, Fields(), SegmentSettings(), SegmentFilters(), tally, DroppedSample()
    )
    assert [row["heading_path"] for row in rows] == [["Garden 1"], ["Garden 2"]]
    assert tally.counts["records/read"] == 3 and tally.counts["records/took too much memory"] == 1


def test_file_of_which_too_little_can_be_used_stops_with_counts_and_examples(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"body": "x"}] * 20 + [{"text": "x"}] * 20)
    result = extract(tmp_path / "a.jsonl", tmp_path, file_format="jsonl")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    said = result.stderr[result.stderr.index("extract_segments: error:") :]
    assert (
        f"20 of 40 records of {tmp_path / 'a.jsonl'} cannot be used (20 records/no text)" in said
        and "max_unusable_share = 0.25" in said
    )
    assert said.count("the line at byte") == 3 and "no 'text' or 'html'" in said
    assert not (tmp_path / "web-a.jsonl.zst").exists()


def test_one_bad_row_never_stops_a_run(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"body": "x"}])
    assert extract(tmp_path / "a.jsonl", tmp_path, file_format="jsonl").returncode == 0
    assert json.loads((tmp_path / "web-a.json").read_text())["counts"] == {"records/read": 1, "records/no text": 1}


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    """300 MB of pages and pictures, and one page of 100 MB, in less than 1 GiB."""
    path = tmp_path / "large.warc"
    picture = record(b"\x89PNG" + b"x" * 2_000_000, content_type="image/png")
    dense = record(("<h1>A</h1>" + "<p>x</p>" * 120_000).encode())  # just below the size limit, as many tags as can be
    with path.open("wb") as stream:
        stream.write(record(b"<p>" + b"x" * 100_000_000))
        for number in range(90):
            stream.write(picture)
            stream.write(record(distinct_page(number).encode()))
        stream.write(dense * 2)
    # Measured by a small process of its own: a child inherits the peak of the process that starts it.
    measure = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", measure, *extract_command(path, tmp_path, max_page_bytes=1_000_000)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert len(rows_of(tmp_path / "web-a.jsonl.zst")) == 90
    counts = json.loads((tmp_path / "web-a.json").read_text())["counts"]
    assert counts["records/too large"] == 1 and counts["records/not HTML"] == 90
    peak_kib = int(result.stdout)
    assert 100 * 1024 < peak_kib < 1024 * 1024


def test_other_formats_go_the_same_way(tmp_path: Path) -> None:
    text = " ".join(f"The {number}th plant needs water every {number} days in summer." for number in range(30))
    write_rows(tmp_path / "a.jsonl.zst", [{"text": text, "url": "u"}, {"html": page(), "url": "v"}])
    result = extract(tmp_path / "a.jsonl.zst", tmp_path, "web-x", "jsonl")
    assert result.returncode == 0, result.stderr
    assert [(row["url"], row["heading_path"]) for row in rows_of(tmp_path / "web-x.jsonl.zst")] == [
        ("u", []),
        ("v", ["How to water plants"]),
    ]
