"""Numbers from finished rows: lengths, score histograms, overlaps, losses and win rates with intervals.

Knows no model, no file and no path. An interval is the 95 % percentile interval of a paired bootstrap over the held-out
rows: the same draws serve every model, so that differences keep what the models have in common. A share by itself has a
Wilson interval.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.stats import binomtest

from backtranslation.files import Row
from backtranslation.score_names import COLUMNS

BOOTSTRAP_DRAWS = 1000
# Where bins of scores begin and end; those of others span what there is. Written scores are counted as they are.
EDGES = {"expected_score": np.linspace(1, 5, 17), "combined": np.linspace(0, 1, 17)}
BINS = 16
RIDGE = 0.01

Floats = NDArray[np.float64]


@dataclass
class Lengths:
    """Mean and standard deviation of lengths in characters, from exact integer sums."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, length: int) -> None:
        """Take one more length in."""
        self.count += 1
        self.total += length
        self.squares += length * length

    @property
    def mean(self) -> float:
        """In characters; nan if no length was added."""
        return self.total / self.count if self.count else float("nan")

    @property
    def deviation(self) -> float:
        """Sample standard deviation in characters; nan for fewer than two lengths."""
        if self.count < 2:
            return float("nan")
        return ((self.squares - self.total * self.total / self.count) / (self.count - 1)) ** 0.5


@dataclass
class PairLengths:
    """One row of the paper's data table (table 2): instruction and output lengths of a set of pairs."""

    name: str
    instruction: Lengths = field(default_factory=Lengths)
    response: Lengths = field(default_factory=Lengths)

    def add(self, row: Row) -> None:
        """Take one pair in."""
        self.instruction.add(len(row["instruction"]))
        self.response.add(len(row["response"]))

    @property
    def count(self) -> int:
        """Number of pairs."""
        return self.response.count


def pair_lengths(name: str, rows: Iterable[Row]) -> PairLengths:
    """Lengths of all pairs, in one pass that holds none of them."""
    lengths = PairLengths(name)
    for row in rows:
        lengths.add(row)
    return lengths


@dataclass(frozen=True)
class ScoreBars:
    """How often each score occurs, {score: (kept, not kept)}: bins of a width, by their lower edges, or values (0)."""

    width: float
    counts: dict[float, tuple[int, int]]


@dataclass(frozen=True)
class ScoreSummary:
    """The scores of one iteration in numbers: bars of every score that there is; `selected` holds the ids kept."""

    rows: int
    failures: dict[str, int]
    bars: dict[str, ScoreBars]
    expected_by_parsed: dict[float, tuple[float, float]]
    selected: pa.ChunkedArray

    @property
    def unparsable_share(self) -> float:
        """Share of the rows without the score that selects."""
        return sum(self.failures.values()) / self.rows if self.rows else 0.0


def summarise_scores(scores: pa.Table) -> ScoreSummary:
    """Summarise columns id, those of scores (null: there is none), failure, selected.

    `expected_by_parsed` holds mean and standard deviation of the expected score at every written score.
    """
    numbers = scores.select([*COLUMNS.values(), "selected"]).to_pandas()
    selected = numbers["selected"].to_numpy(bool)
    bars = {name: _bars(name, numbers[name].to_numpy(float), selected) for name in COLUMNS.values()}
    by_parsed = numbers.groupby("score")["expected_score"].agg(["mean", "std"]).dropna(subset="mean")
    failures = {count["values"]: count["counts"] for count in scores["failure"].drop_null().value_counts().to_pylist()}
    return ScoreSummary(
        rows=len(scores),
        failures=dict(Counter(failures).most_common()),
        bars={name: found for name, found in bars.items() if found.counts},
        expected_by_parsed={
            float(score): (float(mean), float(deviation))
            for score, mean, deviation in by_parsed.reset_index().to_numpy(float)
        },
        selected=scores["id"].filter(scores["selected"]),
    )


def _bars(name: str, values: Floats, selected: NDArray[np.bool_]) -> ScoreBars:
    """Count the values of a score, kept and not kept, in ascending order; nan is left out."""
    width = 0.0
    if name != "score" and not np.isnan(values).all():
        edges = EDGES.get(name, np.linspace(np.nanmin(values), np.nanmax(values), BINS + 1))
        width = float(edges[1] - edges[0])
        values = np.where(np.isnan(values), np.nan, edges[np.digitize(values, edges[1:-1])])
    kept, dropped = _count(values[selected]), _count(values[~selected])
    return ScoreBars(width, {value: (kept[value], dropped[value]) for value in sorted(kept | dropped)})


def _count(values: Floats) -> Counter[float]:
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


@dataclass(frozen=True)
class Overlap:
    """How much two selections share."""

    first: str
    second: str
    shared: int
    only_first: int
    only_second: int

    @property
    def jaccard(self) -> float:
        """Shared rows over all rows of both; nan when both are empty."""
        union = self.shared + self.only_first + self.only_second
        return self.shared / union if union else float("nan")


def overlaps(selections: Mapping[str, pa.ChunkedArray]) -> list[Overlap]:
    """Every pair of selections, in order; each selection is the ids that it kept."""
    found = []
    for first, second in combinations(selections, 2):
        one, other = selections[first], selections[second]
        shared = pc.sum(pc.is_in(one, value_set=other), min_count=0).as_py()
        found.append(Overlap(first, second, shared, only_first=len(one) - shared, only_second=len(other) - shared))
    return found


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; all three are nan where there are no rows."""

    value: float
    low: float
    high: float


NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"))


def bootstrap_draws(rows: int, random_seed: int) -> Floats:
    """How often each row occurs in each of the resampled sets; shape (draws, rows), each draw sums to `rows`."""
    if rows == 0:
        return np.empty((BOOTSTRAP_DRAWS, 0))
    generator = np.random.default_rng(random_seed)
    return generator.multinomial(rows, np.full(rows, 1 / rows), size=BOOTSTRAP_DRAWS).astype(float)


def estimate(value: float, resampled: Floats) -> Estimate:
    """The value with the percentile interval of its resampled copies, those apart that have no value."""
    if np.isnan(resampled).all():
        return NO_ESTIMATE
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def estimate_share(hits: int, rows: int) -> Estimate:
    """A share of rows with its 95 % Wilson interval, which has a width at 0 and 1 too."""
    if rows == 0:
        return NO_ESTIMATE
    interval = binomtest(hits, rows).proportion_ci(method="wilson")
    return Estimate(hits / rows, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class LossEstimate:
    """Held-out loss of one model in nats per target token, and its difference to that of the first model.

    Over the pairs that every model has a loss for; the others are `left_out`.
    """

    model: str
    pairs: int
    left_out: int
    tokens: int
    loss: Estimate
    difference: Estimate | None


def compare_losses(
    losses: Mapping[str, tuple[Sequence[float | None], Sequence[int]]], random_seed: int
) -> list[LossEstimate]:
    """Loss of each model from (mean loss of each pair, target tokens of each pair), the same pairs in the same order.

    The loss is the mean over all target tokens; differences are to the first model, which has none. A pair may have no
    loss.
    """
    found: list[LossEstimate] = []
    baseline: tuple[float, Floats] | None = None
    of_all = list(zip(*(pair_losses for pair_losses, _ in losses.values()), strict=True))
    measured = [index for index, of_one in enumerate(of_all) if None not in of_one]
    for model, (pair_losses, pair_tokens) in losses.items():
        tokens = np.asarray(pair_tokens, float)[measured]
        nats = np.asarray(pair_losses, float)[measured] * tokens
        draws = bootstrap_draws(len(tokens), random_seed)
        with np.errstate(invalid="ignore"):  # of no pairs, the loss is nan
            value, resampled = nats.sum() / tokens.sum(), (draws @ nats) / (draws @ tokens)
        difference = None if baseline is None else estimate(value - baseline[0], resampled - baseline[1])
        counts = len(measured), len(of_all) - len(measured), int(tokens.sum())
        found.append(LossEstimate(model, *counts, estimate(value, resampled), difference))
        baseline = baseline or (value, resampled)
    return found


@dataclass(frozen=True)
class Comparison:
    """Two models' answers, judged in both orders. Rates are the first model's; lengths are mean characters.

    Of `rows` that were judged, those that are `cut` showed the judge cut texts; numbers of no row are nan.
    """

    first: str
    second: str
    rows: int
    cut: int
    not_judged: int
    win_rate: Estimate
    length_controlled: Estimate
    consistency: float
    shown_first: float
    first_length: float
    second_length: float


def compare_answers(
    first: str,
    second: str,
    judgements: Sequence[Row],
    lengths: tuple[Mapping[str, int], Mapping[str, int]],
    random_seed: int,
) -> Comparison:
    """Win rate of `first` over `second`.

    A row is won when the mean of both orders' probabilities is above one half, and half won when it is one half.
    `consistency` is the share of rows where both orders name the same winner; `shown_first` is the mean
    probability that the answer shown first is called better (one half: no preference for a place).
    """
    judged = [row for row in judgements if row["failure"] is None]
    not_judged = len(judgements) - len(judged)
    if not judged:
        nothing = NO_ESTIMATE.value
        return Comparison(first, second, 0, 0, not_judged, NO_ESTIMATE, NO_ESTIMATE, nothing, nothing, nothing, nothing)
    forward = np.array([row["first_wins_forward"] for row in judged], float)
    backward = np.array([row["first_wins_reversed"] for row in judged], float)
    first_lengths = np.array([lengths[0][row["id"]] for row in judged], float)
    second_lengths = np.array([lengths[1][row["id"]] for row in judged], float)
    wins = (np.sign(forward + backward - 1) + 1) / 2
    draws = bootstrap_draws(len(wins), random_seed)
    controlled = length_controlled_rates(wins, first_lengths - second_lengths, np.vstack([np.ones(len(wins)), draws]))
    return Comparison(
        first=first,
        second=second,
        rows=len(wins),
        cut=sum(row["cut"] for row in judged),
        not_judged=not_judged,
        win_rate=estimate(wins.mean(), draws @ wins / len(wins)),
        length_controlled=estimate(controlled[0], controlled[1:]),
        consistency=float(((forward > 0.5) == (backward > 0.5)).mean()),
        shown_first=float((forward + 1 - backward).mean() / 2),
        first_length=float(first_lengths.mean()),
        second_length=float(second_lengths.mean()),
    )


def length_controlled_rates(wins: Floats, length_difference: Floats, draws: Floats) -> Floats:
    """Win rates at equal length, one for each row of `draws` (row weights, shape (draws, rows)).

    Fits P(win) = sigmoid(a + b * tanh(difference / its deviation)) by Newton's method with a light ridge, and
    returns sigmoid(a) (the length term of Dubois et al. 2024, arXiv 2404.04475, without their item difficulties).
    """
    spread = length_difference.std()
    length = np.tanh(length_difference / spread) if spread > 0 else np.zeros_like(wins)
    features = np.stack([np.ones_like(length), length])
    weights = np.zeros((len(draws), 2))
    for _ in range(25):
        predicted = _sigmoid(weights @ features)
        gradient = (draws * (wins - predicted)) @ features.T - RIDGE * weights
        curvature = np.einsum("dr,ir,jr->dij", draws * predicted * (1 - predicted), features, features)
        step = np.linalg.solve(curvature + RIDGE * np.eye(2), gradient[..., None])[..., 0]
        weights += np.clip(step, -2, 2)
    return _sigmoid(weights[:, 0])


def _sigmoid(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-values))
