"""The report's figures, each a function from numbers to one inline SVG.

Knows no file and no page. Text and lines are drawn in the page's own ink (`currentColor`), so that a figure follows
the page into dark mode; the same numbers make the same bytes.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from cycler import cycler
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backtranslation.report.statistics import Comparison, Estimate, LossEstimate, ScoreBars, ScoreSummary
from backtranslation.score_names import COLUMNS, RATED

INK = "#010203"
KEPT, DROPPED = "#2a78b5", "#a9b4bf"
PALETTE = ["#2a78b5", "#d9822b", "#3c9d6a", "#8a63b8", "#c2475a", "#7c8894"]
NO_METADATA: Any = {"Date": None, "Creator": None, "Format": None, "Type": None}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=PALETTE),
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@mpl.rc_context(STYLE)
def draw_funnel(steps: Sequence[tuple[str, int, bool]]) -> Markup:
    """Horizontal bars, one for each (label, count, kept); what is dropped is grey."""
    figure, axes = _figure(width=9, height=0.6 + 0.28 * len(steps))
    labels = [label for label, _, _ in steps]
    bars = axes.barh(
        range(len(steps)), [count for _, count, _ in steps], color=[KEPT if kept else DROPPED for *_, kept in steps]
    )
    axes.bar_label(bars, [f"{count:,}" for _, count, _ in steps], padding=3)
    axes.set_yticks(range(len(steps)), labels)
    axes.invert_yaxis()
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(bottom=False, left=False, labelbottom=False)
    axes.margins(x=0.12)
    return _svg(figure, "How many pages and segments each step kept and dropped")


@mpl.rc_context(STYLE)
def draw_training(logs: Mapping[str, pd.DataFrame]) -> Markup:
    """Loss, learning rate and speed over the steps of every training (columns as in the training tables)."""
    figure, panels = _figures(width=9, height=2.8, columns=3)
    columns = [("loss", "loss, nats per token"), ("learning_rate", "learning rate"), ("tokens_per_second", "tokens/s")]
    for axes, (column, title) in zip(panels, columns, strict=True):
        for name, log in logs.items():
            axes.plot(log["step"], log[column], label=name, linewidth=1.4, marker="." if len(log) < 3 else None)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5))
    panels[0].legend(fontsize=8)
    return _svg(figure, "Training curves: loss, learning rate and speed by step")


@mpl.rc_context(STYLE)
def draw_scores(iterations: Sequence[ScoreSummary]) -> Markup:
    """One row for each iteration, one panel for each score; the kept part of each bar stands out."""
    names = [name for name in COLUMNS.values() if any(name in summary.bars for summary in iterations)]
    if not names:
        return Markup()
    figure, panels = _figures(width=9, height=2.3 * len(iterations), columns=len(names), rows=len(iterations))
    places = [(number, name) for number in range(len(iterations)) for name in names]
    for axes, (number, name) in zip(panels, places, strict=True):
        _score_bars(axes, iterations[number].bars.get(name, ScoreBars(0, {})))
        axes.set_title(f"{number + 1}: {name.replace('_', ' ')}")
        if name in {COLUMNS[score] for score in RATED}:  # from 1 to 5
            axes.set_xlim(0.7, 5.3)
            axes.set_xticks(range(1, 6))
    panels[len(names) - 1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure, "Histograms of the scores of each iteration")


def _score_bars(axes: Axes, bars: ScoreBars) -> None:
    """Stacked bars of kept and not kept rows at each score."""
    kept, dropped = [n for n, _ in bars.counts.values()], [n for _, n in bars.counts.values()]
    width = bars.width * 0.9 or 0.36
    align: Literal["edge", "center"] = "edge" if bars.width else "center"
    axes.bar(list(bars.counts), kept, width=width, align=align, color=KEPT, label="kept")
    axes.bar(list(bars.counts), dropped, width=width, align=align, bottom=kept, color=DROPPED, label="not kept")


@mpl.rc_context(STYLE)
def draw_audit(areas: Mapping[str, Sequence[tuple[str, Estimate]]]) -> Markup:
    """A panel for each kind of wrong pair: AUC of every score with its interval; the line at one half is chance."""
    labels = [label for label, _ in next(iter(areas.values()))]
    figure, panels = _figures(width=9, height=1 + 0.28 * len(labels), columns=len(areas))
    for axes, (kind, rows) in zip(panels, areas.items(), strict=True):
        for row, (_, area) in enumerate(rows):
            axes.errorbar(area.value, row, xerr=_whiskers(area), fmt="o", markersize=4, capsize=2, color=KEPT)
        axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(kind.replace("_", " "))
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)), labels if axes is panels[0] else [])
        axes.set_xlabel("AUC")
    return _svg(figure, "How well each score tells right pairs from wrong ones, with 95 % intervals")


def draw_losses(losses: Sequence[LossEstimate]) -> Markup:
    """Held-out loss of every model with its interval."""
    rows = [(item.model, item.loss) for item in losses]
    return _draw_estimates(rows, "held-out loss, nats per target token", "Held-out loss of every model")


def draw_shares(shares: Sequence[tuple[str, Estimate]]) -> Markup:
    """Shares by the truth, from 0 to 100 %, with their intervals."""
    rows = [(label, _percent(share)) for label, share in shares]
    return _draw_estimates(rows, "%", "Shares measured against the truth", limits=(-2, 102))


@mpl.rc_context(STYLE)
def _draw_estimates(
    rows: Sequence[tuple[str, Estimate]], unit: str, description: str, limits: tuple[float, float] | None = None
) -> Markup:
    """A dot and a 95 % interval for each (label, estimate), from top to bottom."""
    figure, axes = _figure(width=9, height=0.8 + 0.35 * len(rows))
    for row, (_, estimate) in enumerate(rows):
        axes.errorbar(
            estimate.value,
            row,
            xerr=_whiskers(estimate),
            fmt="o",
            capsize=3,
            color=KEPT,
        )
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.margins(y=0.2)
    axes.set_xlim(limits)
    axes.set_xlabel(unit)
    return _svg(figure, f"{description} with 95 % intervals")


@mpl.rc_context(STYLE)
def draw_win_rates(comparisons: Sequence[Comparison]) -> Markup:
    """Win rates, plain (filled) and length-controlled (open), with intervals; the line marks one half."""
    figure, axes = _figure(width=9, height=0.9 + 0.45 * len(comparisons))
    for row, item in enumerate(comparisons):
        for share, shift, fill in [(item.win_rate, -0.12, KEPT), (item.length_controlled, 0.12, "none")]:
            rate = _percent(share)
            axes.errorbar(
                rate.value,
                row + shift,
                xerr=_whiskers(rate),
                fmt="o",
                capsize=3,
                color=KEPT,
                markerfacecolor=fill,
                label={KEPT: "win rate", "none": "length-controlled"}[fill] if row == 0 else None,
            )
    axes.axvline(50, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(comparisons)), [f"{item.first} over {item.second}" for item in comparisons])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.margins(y=0.2)
    axes.set_xlabel("% of held-out instructions won")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure, "Win rates with 95 % intervals")


def _percent(share: Estimate) -> Estimate:
    return Estimate(100 * share.value, 100 * share.low, 100 * share.high)


def _whiskers(estimate: Estimate) -> list[list[float]]:
    """Lengths of the interval to the left and right; rounding, or few rows, may leave the value outside."""
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure, panels = _figures(width, height, columns=1)
    return figure, panels[0]


def _figures(width: float, height: float, columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure (inches) and its panels, row by row. No window toolkit is involved."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _svg(figure: Figure, description: str) -> Markup:
    """The figure as an SVG element that scales with its column and says what it shows."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    element = buffer.getvalue()
    element = element[element.index("<svg") :].replace(INK, "currentColor")
    element = re.sub(r' id="[a-z]\w*?_\d+"', "", element)  # axes_1, patch_2: not unique in a page of several figures
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{description}"', 1))
