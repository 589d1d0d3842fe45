"""The results folder: every path below it, named once, for rules that make files and for commands that read them.

`<results>` stands for the folder itself, which Snakemake puts in (pathvars); words in braces are its wildcards. What
lies below the store, only the modules of `jobs` know.
"""

import re
from collections.abc import Iterator
from pathlib import Path

RESULTS = "<results>"

# The generated world, where a run has one
MINIATURE_PAGES = "<results>/miniature/pages-{number}.warc.gz"
MINIATURE_SEED = "<results>/miniature/seed.jsonl"
MINIATURE_HELD_OUT = "<results>/miniature/held_out.jsonl"
MINIATURE_TRUTH = "<results>/miniature/truth.jsonl"
TRUTH_MEASURES = "<results>/miniature/truth_report.json"

# 1. Segments
EXTRACTED_SEGMENTS = "<results>/extraction/{shard}.jsonl.zst"
EXTRACTION_FUNNEL = "<results>/extraction/{shard}.funnel.json"
DROPPED_SEGMENTS = "<results>/extraction/{shard}.dropped.jsonl.zst"
SEGMENTS = "<results>/segments/{shard}.jsonl.zst"
FUNNEL = "<results>/extraction/funnel.tsv"

# 2. Human-written pairs
SEED = "<results>/seed/train.jsonl.zst"
HELD_OUT = "<results>/seed/held_out.jsonl.zst"

# 3. and 6. Models
TRAINED_MODEL = "<results>/trained/{model}"
TRAINING_LOG = "<results>/training/{model}.tsv"
TRAINING_PAIRS = "<results>/training/{model}.pairs.json"
TENSORBOARD = "<results>/logs/tensorboard"

# 4. Candidates
INSTRUCTIONS = "<results>/instructions/{shard}.jsonl.zst"
CANDIDATES = "<results>/candidates/{shard}.jsonl.zst"
RANDOM_CANDIDATES = "<results>/controls/random.jsonl.zst"

# 5. Curation
SCORER_TEXTS = "<results>/iterations/{iteration}/judgements/{shard}.jsonl.zst"
LIKELIHOODS = "<results>/iterations/{iteration}/likelihoods/{shard}.jsonl.zst"
BACKWARD_LIKELIHOODS = "<results>/backward_likelihoods/{shard}.jsonl.zst"
SCORES = "<results>/iterations/{iteration}/scores/{shard}.jsonl.zst"
SCORE_TABLE = "<results>/iterations/{iteration}/scores.parquet"
CURATED = "<results>/iterations/{iteration}/curated.jsonl.zst"

# 5. The audit of the scorers
AUDIT_PAIRS = "<results>/audit/pairs.jsonl.zst"
AUDIT_BACKWARD_LIKELIHOODS = "<results>/audit/{scorer}/backward_likelihoods.jsonl.zst"
AUDIT_LIKELIHOODS = "<results>/iterations/{iteration}/audit/{scorer}/likelihoods.jsonl.zst"
AUDIT_TEXTS = "<results>/iterations/{iteration}/audit/{scorer}/judgements.jsonl.zst"
AUDIT_SCORES = "<results>/iterations/{iteration}/audit/{scorer}/scores.jsonl.zst"
COMBINED_WEIGHTS = "<results>/iterations/{iteration}/audit/weights.json"
AUDIT_MEASURES = "<results>/iterations/{iteration}/audit/measures.json"

# 7. Evaluation
HELD_OUT_LOSS = "<results>/evaluation/losses/{model}.json"
ANSWERS = "<results>/evaluation/{model}/answers.jsonl.zst"
BACKWARD_LOSS = "<results>/evaluation/backward/loss.json"
BACKWARD_INSTRUCTIONS = "<results>/evaluation/backward/instructions.jsonl.zst"
ROUND_TRIP = "<results>/evaluation/backward/round_trip.json"
JUDGEMENTS = "<results>/evaluation/judgements/{first}-vs-{second}.jsonl.zst"

# 8. Model folders that people take
MODEL = "<results>/models/{model}"

# 9. Report
REPORT = "<results>/report/index.html"
COSTS = "<results>/costs.json"
SETTINGS = "<results>/settings.json"
RESULTS_CARD = "<results>/README.md"

STORE = "<results>/store"


def log_of(rule: str, *wildcards: str) -> str:
    """The log of a rule; of one with wildcards, that of each of its jobs."""
    return "/".join([RESULTS, "logs", rule, *wildcards]) + ".log"


def locate(results: str | Path, pattern: str, **wildcards: object) -> Path:
    """The path that a pattern names in a results folder."""
    return Path(str(results) + pattern.removeprefix(RESULTS).format(**wildcards))


def find(results: str | Path, pattern: str) -> Iterator[tuple[dict[str, str], Path]]:
    """All paths of a results folder that a pattern matches, in order, each with the values of its wildcards."""
    relative, matcher = pattern.removeprefix(f"{RESULTS}/"), _matcher(pattern)
    for path in sorted(Path(results).glob(re.sub(r"\{\w+\}", "*", relative))):
        found = matcher.fullmatch(path.relative_to(results).as_posix())
        if found and found.groupdict() == wildcards_of(results, path):  # else another pattern is more exact
            yield found.groupdict(), path


def wildcards_of(results: str | Path, path: str | Path) -> dict[str, str]:
    """The wildcards of the pattern above that a path of a results folder follows, the most exact one; else none."""
    relative = Path(path).relative_to(results).as_posix()
    patterns = [value for name, value in globals().items() if name.isupper() and value.startswith(f"{RESULTS}/")]
    found = [(pattern, match) for pattern in patterns if (match := _matcher(pattern).fullmatch(relative))]
    exact = max(found, key=lambda item: len(re.sub(r"\{\w+\}", "", item[0])), default=None)
    return exact[1].groupdict() if exact else {}


def _matcher(pattern: str) -> re.Pattern[str]:
    relative = re.escape(pattern.removeprefix(f"{RESULTS}/"))
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+?)", relative))
