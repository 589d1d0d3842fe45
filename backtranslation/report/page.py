"""The report: what its sections hold, which examples it shows, and the one HTML page that shows them.

Takes rows and tables, names no file. Everything shown is untrusted: the template escapes all of it, an address becomes
a link only if it is http or https, and the page's content policy forbids scripts altogether.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import nsmallest
from math import isnan, nan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
import pandas as pd
from markupsafe import Markup

from backtranslation.files import Row, row_hash
from backtranslation.report import figures
from backtranslation.report.audit import Audit
from backtranslation.report.statistics import (
    Comparison,
    Estimate,
    Lengths,
    LossEstimate,
    Overlap,
    PairLengths,
    ScoreSummary,
    estimate_share,
)

MAX_LABEL = 50  # characters in a figure; the name of a scorer may be of any length
NOTHING = "\u2013"  # in place of a number of no rows
FUNNEL_UNITS = ("files", "records", "sections", "segments")
# What is passed on, and whether it stands before (0) or after (2) what its unit lost.
PASSED_ON = {"read": 0, "found": 0, "extracted": 0, "kept": 2}


@dataclass
class Sample:
    """A candidate pair with what is known of it."""

    instruction: str
    response: str
    rejection: str | None = None
    url: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)


@dataclass
class CandidateSurvey:
    """All candidates in one pass: lengths of the usable ones, rejections by reason, examples."""

    pool: PairLengths
    rejections: Counter[str] = field(default_factory=Counter)
    wanted: dict[str, Sample] = field(default_factory=dict)
    rejected: dict[str, Sample] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPairs:
    """How many pairs a model learnt from, and how many it could not learn from, by reason."""

    used: int
    left_out: dict[str, int]


@dataclass(frozen=True)
class AnswerSample:
    """One held-out instruction with the human reference and every model's answer."""

    instruction: str
    reference: str
    answers: dict[str, str]


@dataclass(frozen=True)
class FunnelStep:
    """Pages or segments that a step of the extraction kept or dropped, by source."""

    label: str
    kept: bool
    by_source: dict[str, int]

    @property
    def total(self) -> int:
        """All sources together."""
        return sum(self.by_source.values())


@dataclass(frozen=True)
class TruthMeasure:
    """One number measured against the known truth of a generated world; `target`: what it should reach."""

    measure: str
    subject: str
    estimate: Estimate
    rows: int
    target: float | None

    @property
    def verdict(self) -> str:
        """Whether the value reaches its target (0 reaches none), and whether its whole interval does."""
        if self.target is None:
            return ""
        if not self.estimate.value >= self.target or self.estimate.value == 0:
            return "not met"
        return "met" if self.estimate.low >= self.target else "met, within noise"


@dataclass(frozen=True)
class ShareOfRows:
    """A share with its interval, the number of rows behind it, and what it would be by chance."""

    words: str
    rows: int
    share: Estimate
    by_chance: float | None = None


@dataclass(frozen=True)
class BackwardModel:
    """How good the backward model is: its held-out loss, shares, and why held-out instructions cannot be used."""

    loss: LossEstimate
    shares: Sequence[ShareOfRows]
    rejections: Mapping[str, int]


@dataclass(frozen=True)
class StageCost:
    """What the results of a stage took to make, of one model or iteration where they belong to one."""

    stage: str
    subject: str
    results: int
    time: timedelta
    gpu_time: timedelta
    tokens: int | None
    last_started: datetime


@dataclass(frozen=True)
class Judge:
    """Who compared the answers; of a model at a server, its address and the tokens that it read and wrote."""

    name: str
    url: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Report:
    """Everything the page shows; what a run does not have stays empty."""

    seed: PairLengths
    held_out: PairLengths
    pool: PairLengths
    settings_yaml: str
    trainings: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    training_pairs: Mapping[str, TrainingPairs] = field(default_factory=dict)
    funnel: Sequence[FunnelStep] = ()
    rejections: Mapping[str, int] = field(default_factory=dict)
    iterations: Sequence[ScoreSummary] = ()
    selections: Sequence[PairLengths] = ()
    overlaps: Sequence[Overlap] = ()
    audits: Sequence[Audit] = ()
    losses: Sequence[LossEstimate] = ()
    comparisons: Sequence[Comparison] = ()
    judge: Judge = Judge("M0")
    backward: BackwardModel | None = None
    truth: Sequence[TruthMeasure] = ()
    costs: Sequence[StageCost] = ()
    curated_samples: Sequence[Sample] = ()
    highest_samples: Sequence[Sample] = ()
    lowest_samples: Sequence[Sample] = ()
    rejected_samples: Sequence[Sample] = ()
    answer_samples: Sequence[AnswerSample] = ()


def sample_ids(ids: Iterable[str], count: int, random_seed: int) -> list[str]:
    """Draw the ids whose hash of seed and id is smallest: what is drawn does not depend on their order."""
    return nsmallest(count, ids, key=lambda row_id: _draw(row_id, random_seed))


def lowest_ids(scores: Iterable[tuple[str, float]], count: int, random_seed: int) -> list[str]:
    """The ids with the lowest scores, the lowest first; of equal scores, those that `sample_ids` draws."""
    lowest = nsmallest(count, scores, key=lambda scored: (scored[1], _draw(scored[0], random_seed)))
    return [row_id for row_id, _ in lowest]


def survey_candidates(rows: Iterable[Row], wanted: Collection[str], random_seed: int) -> CandidateSurvey:
    """Go once through candidates; keep those whose id is wanted, and one drawn example for each rejection reason."""
    survey = CandidateSurvey(PairLengths("pool of candidates"))
    ranks: dict[str, str] = {}
    for row in rows:
        if row["id"] in wanted:
            survey.wanted[row["id"]] = Sample(row["instruction"], row["response"])
        reason = row["rejection"]
        if reason is None:
            survey.pool.add(row)
            continue
        survey.rejections[reason] += 1
        rank = _draw(row["id"], random_seed)
        if reason not in ranks or rank < ranks[reason]:
            ranks[reason] = rank
            survey.rejected[reason] = Sample(row["instruction"], row["response"], rejection=reason)
    return survey


def _draw(row_id: str, random_seed: int) -> str:
    return row_hash(random_seed, row_id)


def sample_answers(answers: Mapping[str, Sequence[Row]], count: int, random_seed: int) -> list[AnswerSample]:
    """Draw held-out instructions that every model answered; `answers` holds each model's rows."""
    by_id = {model: {row["id"]: row for row in rows if not row["failure"]} for model, rows in answers.items()}
    shared = set.intersection(*(set(rows) for rows in by_id.values())) if by_id else set()
    first = next(iter(by_id.values()), {})
    return [
        AnswerSample(
            first[row_id]["instruction"],
            first[row_id]["reference"],
            {model: rows[row_id]["answer"] for model, rows in by_id.items()},
        )
        for row_id in sample_ids(shared, count, random_seed)
    ]


def funnel_steps(table: pd.DataFrame) -> list[FunnelStep]:
    """Read the columns source, shard, step (`unit/what became of it`), count, and add up the shards.

    Steps come unit by unit, what is passed on before and after what is dropped, the largest drops first.
    """
    counts = table.pivot_table(index="step", columns="source", values="count", aggfunc="sum", sort=False, fill_value=0)
    steps = {str(step): {str(source): int(n) for source, n in row.items()} for step, row in counts.iterrows()}

    def place(step: str) -> tuple[int, int, int]:
        unit, _, what = step.partition("/")
        return FUNNEL_UNITS.index(unit), PASSED_ON.get(what, 1), -sum(steps[step].values())

    return [_funnel_step(step, steps[step]) for step in sorted(steps, key=place)]


def _funnel_step(step: str, by_source: dict[str, int]) -> FunnelStep:
    unit, _, what = step.partition("/")
    kept = what in PASSED_ON
    return FunnelStep(f"{unit} {what}" if kept else f"{unit}: {what}", kept, by_source)


def count_training_pairs(counts: Mapping[str, Row]) -> TrainingPairs:
    """Add up {kind of pair: {"used", "left_out": {id: reason}}}."""
    left_out: Counter[str] = Counter()
    for count in counts.values():
        left_out.update(count["left_out"].values())
    return TrainingPairs(sum(count["used"] for count in counts.values()), dict(left_out))


def truth_measures(rows: Iterable[Row]) -> list[TruthMeasure]:
    """Read {"measure", "model_or_iteration", "value", "low", "high", "n", "target"?}."""
    return [
        TruthMeasure(
            measure=row["measure"],
            subject=str(row["model_or_iteration"]),
            estimate=Estimate(row["value"], row["low"], row["high"]),
            rows=row["n"],
            target=row.get("target"),
        )
        for row in rows
    ]


def describe_backward_model(
    loss: LossEstimate, survey: CandidateSurvey, instructions: Sequence[Row], round_trip: Row
) -> BackwardModel:
    """Join what was measured of the backward model: on segments, on held-out responses, and by the round trip."""
    usable, segments = survey.pool.count, survey.pool.count + survey.rejections.total()
    rejections = Counter(row["rejection"] for row in instructions if row["rejection"])
    ranked = [row for row in round_trip["pairs"] if row["rank"] is not None]
    first, trips = sum(row["rank"] == 1 for row in ranked), len(round_trip["pairs"])
    candidates = max((row["candidates"] for row in ranked), default=0)
    kept = len(instructions) - rejections.total()
    return BackwardModel(
        loss=loss,
        shares=[
            ShareOfRows("segments whose instruction can be used", segments, estimate_share(usable, segments)),
            ShareOfRows(
                "held-out responses whose instruction can be used",
                len(instructions),
                estimate_share(kept, len(instructions)),
            ),
            ShareOfRows(
                f"round trip: the response comes first of {candidates}" if candidates else "round trip",
                trips,
                estimate_share(first, trips),
                1 / candidates if candidates else None,
            ),
        ],
        rejections=dict(rejections.most_common()),
    )


def stage_costs(costs: Row) -> list[StageCost]:
    """Read {"stages": [{"stage", "model", "iteration", "results", ...}, ...], "total"}; the total comes last."""
    return [_stage_cost(row) for row in [*costs["stages"], costs["total"]] if row["results"]]


def _stage_cost(row: Row) -> StageCost:
    return StageCost(
        stage=row["stage"] or "all",
        subject=_subject(row),
        results=row["results"],
        time=timedelta(seconds=round(row["seconds"])),
        gpu_time=timedelta(seconds=round(row["gpu_seconds"])),
        tokens=row["tokens"],
        last_started=datetime.fromisoformat(row["last_started"]),
    )


def _subject(row: Row) -> str:
    """The model, iteration or scorer that a cost belongs to."""
    names = (("", "model"), ("iteration ", "iteration"), ("audit of ", "scorer"))
    return ", ".join(f"{words}{row[name]}" for words, name in names if row[name])


def with_seconds(audit: Audit, costs: Row) -> Audit:
    """The audit with what a thousand of its rows took, by scorer and score; a combined score takes all of its parts."""
    took = {
        (row["stage"], row["scorer"], row["iteration"] is None): 1000 * row["seconds"] / max(audit.rows, 1)
        for row in costs["stages"]
        if row["scorer"] and row["iteration"] in (None, str(audit.iteration))
    }
    seconds: dict[tuple[str, str], float] = {}
    for scorer in {measure.scorer for measure in audit.measures}:
        rubric = took.get(("score_candidates", scorer, False), nan)
        forward = took.get(("measure_likelihood", scorer, False), nan)
        backward = took.get(("measure_likelihood", scorer, True), nan)
        parts = {"score": rubric, "expected_score": rubric, "likelihood": forward, "backward_likelihood": backward}
        seconds |= {(scorer, score): value for score, value in parts.items()}
        seconds[scorer, "combined"] = rubric + forward + backward
    return replace(audit, seconds=seconds)


def render_report(report: Report, template: Path) -> str:
    """The whole page, from its Jinja template: one HTML text that needs no other file."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        count=lambda number: NOTHING if isnan(number) else f"{number:,.0f}",
        percent=lambda share: NOTHING if isnan(share) else f"{100 * share:.1f} %",
        percent_interval=_percent_interval,
        interval=_interval,
        mean_and_deviation=_mean_and_deviation,
        words=lambda name: name.replace("_", " "),
        is_web_address=is_web_address,
    )
    page = environment.from_string(template.read_text("utf-8"))
    return page.render(
        report=report,
        nan=nan,
        steps=_steps(report),
        outcomes=_outcomes(report),
        failed_gates=[one for one in report.audits if one.gate and one.gate.can_tell is False],
        drawings=_draw_figures(report),
        parsed_scores=sorted({score for summary in report.iterations for score in summary.expected_by_parsed}),
    )


def is_web_address(url: str) -> bool:
    """Whether an address from a page may become a link."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _percent_interval(rate: Estimate) -> str:
    if isnan(rate.value):
        return NOTHING
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def _interval(number: Estimate) -> str:
    return NOTHING if isnan(number.value) else f"{number.value:.3f} ({number.low:.3f} to {number.high:.3f})"


def _mean_and_deviation(lengths: Lengths) -> str:
    """In the form of the paper's table; a single length has no deviation."""
    if lengths.count < 2:
        return f"{lengths.mean:,.0f}" if lengths.count else ""
    return f"{lengths.mean:,.0f} ± {lengths.deviation:,.0f}"


def _steps(report: Report) -> list[tuple[str, str]]:
    """What went through each step of the method: a number, and words that say what it counts."""
    generated = report.pool.count + sum(report.rejections.values())
    return [
        *((f"{step.total:,}", "pages or texts read") for step in report.funnel if step.label == "records read"),
        *([(f"{generated:,}", "segments, one instruction written for each"),
           (f"{report.pool.count:,}", "candidate pairs after the filters")] if generated else []),
        *((f"{row.count:,}", f"pairs selected by M{number}") for number, row in enumerate(report.selections)),
    ]  # fmt: skip


def _outcomes(report: Report) -> list[tuple[str, str]]:
    """How good the last model is: a number, and words that say what it measures and give its interval."""
    last = f"M{len(report.iterations)}"
    return [
        *(
            (f"{row.difference.value:+.3f}", f"held-out loss of {last} against {report.losses[0].model},"
             f" nats per token ({row.difference.low:+.3f} to {row.difference.high:+.3f})")
            for row in report.losses
            if row.model == last and row.difference and not isnan(row.difference.value)
        ),
        *(
            (f"{100 * row.win_rate.value:.1f} %", f"of {last}'s answers judged better than {row.second}'s"
             f" ({100 * row.win_rate.low:.1f} to {100 * row.win_rate.high:.1f})")
            for row in report.comparisons
            if row.first == last and row.rows
        ),
    ]  # fmt: skip


def _true_shares(measures: Sequence[TruthMeasure]) -> list[tuple[str, Estimate]]:
    """The measures that are shares and have no target; differences and ratios are in the table alone."""
    return [(f"{row.measure}: {row.subject}", row.estimate) for row in measures if row.target is None]


def _areas_by_kind(audits: Sequence[Audit]) -> dict[str, list[tuple[str, Estimate]]]:
    """For every kind of wrong pair, the AUC of every score."""
    areas: dict[str, list[tuple[str, Estimate]]] = {}
    for audit in audits:
        for row in audit.measures:
            label = f"{audit.iteration}: {row.scorer}, {row.score.replace('_', ' ')}"
            areas.setdefault(row.kind, []).append((label[:MAX_LABEL], row.auc))
    return areas


def _draw_figures(report: Report) -> dict[str, Markup]:
    """The figures for which there are numbers."""
    drawers: list[tuple[str, Callable[[Any], Markup], Any]] = [
        ("truth", figures.draw_shares, _true_shares(report.truth)),
        ("funnel", figures.draw_funnel, [(step.label, step.total, step.kept) for step in report.funnel]),
        ("training", figures.draw_training, report.trainings),
        ("scores", figures.draw_scores, report.iterations),
        ("audit", figures.draw_audit, _areas_by_kind(report.audits)),
        ("losses", figures.draw_losses, report.losses),
        ("win_rates", figures.draw_win_rates, report.comparisons),
    ]
    return {name: draw(numbers) for name, draw, numbers in drawers if numbers}
