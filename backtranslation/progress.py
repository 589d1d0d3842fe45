"""What a running job tells its log: what runs, rows done of how many, rows/s, tokens/s, time left."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from backtranslation.files import UserError

Item = TypeVar("Item")

log = logging.getLogger("backtranslation")


def start_job(rule: str, subject: str = "", threads: int = 1) -> None:
    """Log to standard error under the rule and what it works on (of a path, its stem), and limit the threads.

    Must run before torch is imported. Waiting threads sleep: spinning ones starve a second job on the same cores.
    """
    os.environ.update(
        OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads),
        OMP_WAIT_POLICY="PASSIVE", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )  # fmt: skip
    name = " ".join(filter(None, (rule, Path(subject).name.split(".")[0])))
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format=f"%(asctime)s {name}: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    log.setLevel(logging.INFO)


class Progress:
    """Counts rows and tokens; logs at most every `seconds` seconds, and once at the end."""

    def __init__(self, total: int | None, unit: str = "rows", seconds: float = 10) -> None:
        self.total, self.unit, self.seconds = total, unit, seconds
        self.done = self.tokens = 0
        self.started = self.told = time.monotonic()

    def add(self, rows: int = 1, tokens: int = 0) -> None:
        """Note that so many more rows and tokens are done."""
        self.done += rows
        self.tokens += tokens
        if time.monotonic() - self.told >= self.seconds:
            self.tell()

    def tell(self) -> None:
        """Log one line now."""
        self.told = time.monotonic()
        elapsed = max(self.told - self.started, 1e-9)
        of_total = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.done:,}{of_total} {self.unit}", f"{self.done / elapsed:,.1f} {self.unit}/s"]
        if self.tokens:
            parts.append(f"{self.tokens / elapsed:,.0f} tokens/s")
        if self.total and 0 < self.done < self.total:
            parts.append(f"{elapsed / self.done * (self.total - self.done):,.0f} s left")
        log.info(", ".join(parts))


def track(items: Iterable[Item], total: int | None, unit: str = "rows") -> Iterator[Item]:
    """Yield the items, logging progress."""
    progress = Progress(total, unit)
    for item in items:
        yield item
        progress.add()
    progress.tell()


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main function; a fault that the user can mend ends it with one line and exit code 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: error: {error}")
