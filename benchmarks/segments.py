"""How fast pages become segments on one core, beside trafilatura.

    python benchmarks/segments.py pages-1.warc.gz pages-2.warc.gz

Prints a Markdown table of pages and megabytes of HTML per second of processor time. Every row reads the WARC files
again; trafilatura, which only extracts the text, gets every so many-th page (`--sample`). Then prints what it costs
that the stage works in a child process with bounds. Needs the `benchmark` extra.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import quantiles

import trafilatura
from resiliparse.extract.html2text import extract_plain_text

from backtranslation.corpus.documents import Document
from backtranslation.corpus.extraction import DroppedSample, extract_rows, keep_passages, segment_row
from backtranslation.corpus.filters import navigation_pattern
from backtranslation.corpus.pages import html_pieces
from backtranslation.corpus.readers import read_documents
from backtranslation.corpus.shards import ShardIdentity
from backtranslation.settings.corpus import Fields, SegmentFilters, SegmentSettings
from backtranslation.tally import Tally

RUNS = 14
SETTINGS, FILTERS = SegmentSettings(), SegmentFilters()
NAVIGATION = navigation_pattern(FILTERS.navigation_headers)
SHARD = ShardIdentity(name="benchmark", source="benchmark", format="warc")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warc", nargs="+", type=Path)
    parser.add_argument("--sample", type=int, default=20, help="one page in so many for trafilatura (default: 20)")
    args = parser.parse_args()

    print("| from WARC to | pages | pages/s/core | MB/s/core |\n|---|---|---|---|")
    measure("records, decoded", lambda document: None, args.warc)
    measure("Markdown and headers of the whole page", lambda document: html_pieces(document.content, []), args.warc)
    measure("**filtered segments**", extract_page, args.warc)
    measure("resiliparse main content", resiliparse_text, args.warc)
    measure("trafilatura", trafilatura_text, args.warc, args.sample)
    measure("trafilatura, fast", trafilatura_fast_text, args.warc, args.sample)
    measure_bounds(args.warc)


def measure(name: str, work: Callable[[Document], object], paths: list[Path], sample: int = 1) -> None:
    """Print a row: processor time of reading every `sample`-th page of the files and doing the work."""
    pages = megabytes = 0.0
    work(Document("<h1>Warm</h1><p>Models are loaded at the first call.</p>", True, "", "", 0))
    started = time.process_time()
    for document in read_pages(paths, sample):
        work(document)
        pages += 1
        megabytes += len(document.content) / 1e6
    seconds = time.process_time() - started
    print(f"| {name} | {pages:,.0f} | {pages / seconds:,.0f} | {megabytes / seconds:,.1f} |", flush=True)


def measure_bounds(paths: list[Path]) -> None:
    """Print what it costs to work in a child process that can be ended, from pairs of runs side by side."""
    costs = []
    for number in range(RUNS):
        ways = [extract_alone, extract_in_bounds]
        seconds = {way: in_fresh_processes(way, paths) for way in (ways if number % 2 else reversed(ways))}
        costs.append(seconds[extract_in_bounds] / seconds[extract_alone] - 1)
    low, middle, high = quantiles(costs, n=4)
    print(
        f"\nin a process with bounds: {middle:+.1%} of processor time ({low:+.1%} to {high:+.1%}: half of {RUNS} pairs)"
    )


def in_fresh_processes(extract: Callable[[Path], float], paths: list[Path]) -> float:
    """Seconds for all files, each in a process of its own, as the stage is."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return sum(pool.map(extract, paths))


def extract_alone(path: Path) -> float:
    """Seconds of the processor for all segments of a file, in this process."""
    started = processor_seconds()
    for document in read_pages([path], sample=1):
        extract_page(document)
    return processor_seconds() - started


def extract_in_bounds(path: Path) -> float:
    """The same as the stage does it."""
    started = processor_seconds()
    list(extract_rows(path, SHARD, Fields(), SETTINGS, FILTERS, Tally(), DroppedSample()))
    return processor_seconds() - started


def processor_seconds() -> float:
    """What this process and those that it ended have used."""
    return sum(sum(getrusage(whose)[:2]) for whose in (RUSAGE_SELF, RUSAGE_CHILDREN))


def read_pages(paths: list[Path], sample: int) -> Iterator[Document]:
    """The first of each `sample` pages of all files."""
    for path in paths:
        shard = ShardIdentity(name=path.name, source="benchmark", format="warc", splits=sample)
        for _, document in read_documents(path, shard, Fields(), SETTINGS.max_page_bytes, Tally()):
            yield document


def extract_page(document: Document) -> object:
    """What extract_segments does with a page."""
    return [
        segment_row(passage, document, SHARD)
        for passage in keep_passages(document, SETTINGS, FILTERS, NAVIGATION, Tally(), [])
    ]


def resiliparse_text(document: Document) -> object:
    """Main content with minimal markup."""
    return extract_plain_text(document.content, main_content=True, preserve_formatting="minimal_html")


def trafilatura_text(document: Document) -> object:
    """Markdown with the default settings."""
    return trafilatura.extract(document.content, output_format="markdown")


def trafilatura_fast_text(document: Document) -> object:
    """Markdown without the fallbacks."""
    return trafilatura.extract(document.content, output_format="markdown", fast=True)


if __name__ == "__main__":
    main()
