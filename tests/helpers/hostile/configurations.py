"""Hostile configurations: what YAML can hold, and what people and machines write into it."""

from pathlib import Path

from backtranslation.commands.workflow_jobs import read_configfiles
from helpers.hostile.cases import Case, Met

RUN = """
base_model: {path: owner/model}
corpus: {sources: [{name: web, paths: [pages.warc.gz]}]}
seed: {path: seed.jsonl}
held_out: {size: 10}
"""
LAUGHS = "".join(f"l{k}: &l{k} [{', '.join([f'*l{k - 1}'] * 10)}]\n" for k in range(1, 10))
BOMB = f"l0: &l0 [{', '.join(['lol'] * 10)}]\n{LAUGHS}"
KEYS = "".join(f"  k{k}: &k{k} {{{', '.join(f'a{j}: *k{k - 1}' for j in range(10))}}}\n" for k in range(1, 10))
KEY_BOMB = f"augmentation:\n  k0: &k0 {{a: 1}}\n{KEYS}"


def meet(path: Path) -> Met:
    """Read a configuration as a command does."""
    read_configfiles([path])
    return Met()


def configuration(name: str, text: str | bytes, expected: str = "config: ", stops: bool = True) -> Case:
    """A case of a file."""

    def build(folder: Path) -> Path:
        path = folder / "run.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return Case(name, "configuration", build, meet, expected, stops)


def added(name: str, text: str, expected: str = "config: ", stops: bool = True) -> Case:
    """A case of lines after a good configuration."""
    return configuration(name, f"{RUN}{text}\n", expected, stops)


CONFIGURATION_CASES = [
    added("a good one", "", "fine", stops=False),
    added("a billion laughs", BOMB),
    added(
        "a billion laughs as a setting", f"iterations: *l9\n{BOMB}".replace("iterations: *l9\n", "") + "iterations: *l9"
    ),
    added("a billion keys", KEY_BOMB),
    added("a list that holds itself", "iterations: &a [*a]"),
    added("an object that holds itself", "augmentation: &a {b: *a}"),
    added("nested too deep", f"iterations: {'[' * 100_000}", "run.yaml"),
    added("nested too deep, closed", f"iterations: {'[' * 5000}{']' * 5000}", "run.yaml"),
    added("a tag that is code", "iterations: !!python/object/apply:os.system ['touch owned']", "run.yaml"),
    added("a text", "iterations: many", "config: iterations"),
    added("null", "iterations: null", "config: iterations"),
    added("a list", "iterations: [1]", "config: iterations"),
    added("an object", "iterations: {a: 1}", "config: iterations"),
    added("a boolean", "random_seed: [true]", "config: random_seed"),
    added("a negative number", "iterations: -1", "config: iterations"),
    added("no number", "selection: {threshold: .nan}", "config: selection"),
    added("an endless number", "scoring: {max_unparsable_share: .inf}", "config: scoring"),
    added("a number of 5,000 digits", f"iterations: {'9' * 5000}", "run.yaml"),
    added("a random seed of 5,000 digits", f"random_seed: {'9' * 5000}", "run.yaml"),
    added("a date", "iterations: 2026-01-01", "config: iterations"),
    added("binary data", "iterations: !!binary aGVsbG8=", "config: iterations"),
    added("a number as key", "5: 1"),
    added("null as key", "~: 1"),
    added("a list as key", "? [1, 2]\n: 1", ""),
    added("a key with a line end", '"a\\nb": 1'),
    added("a key with escapes", '"a\\e[2J": 1'),
    added("a key of 1 MB", f"? {'a' * 1_000_000}\n: 1"),
    added("a value with escapes", 'iterations: "\\e]0;owned\\a"', "config: iterations"),
    added("a value of 1 MB", f"iterations: {'a' * 1_000_000}", "config: iterations"),
    added("half a surrogate pair", 'results: "\\ud800"', "config: results"),
    added("NUL in a path", 'results: "a\\0b"', "config: results"),
    added("a key twice", "iterations: 1\niterations: 2", "fine", stops=False),
    added(
        "a password in an address",
        "evaluation: {judge: 'https://user:password@example.org/model'}",
        "config: evaluation.judge",
    ),
    configuration("empty", "", "run.yaml"),
    configuration("null alone", "null", "run.yaml"),
    configuration("a list alone", "[1, 2]", "run.yaml"),
    configuration("a text alone", "hello", "run.yaml"),
    configuration("tabs", "iterations:\n\t1", "run.yaml"),
    configuration("no UTF-8", b"iterations: \xff\xfe", "run.yaml"),
    configuration("UTF-16", RUN.encode("utf-16"), "run.yaml"),
    configuration("NULs", bytes(1000), "run.yaml"),
    configuration("a byte order mark", b"\xef\xbb\xbf" + RUN.encode(), "fine", stops=False),
    configuration("two documents", f"{RUN}---{RUN}", "run.yaml"),
    configuration("an anchor that is not there", "iterations: *a", "run.yaml"),
]
