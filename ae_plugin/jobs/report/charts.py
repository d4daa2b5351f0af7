"""Charts of the report as inline SVG in the page's own colours. No text of the data is drawn in them."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ae_plugin.core.values import Floats
from ae_plugin.latent_schemas import Reduction
from ae_plugin.schemas import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURE = 0.99
BINS = 20
SCORE_BINS = 40
# Placeholders that the page's own colours replace, so that charts follow light and dark.
INK, QUIET, ACCENT, ALARM, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_COLOURS = {INK: "--ink", QUIET: "--quiet", ACCENT: "--accent", ALARM: "--alarm", PAPER: "--paper"}
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), QUIET),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top"), False),
    "font.size": 10,
    "svg.fonttype": "none",
}


def p_value_shares(p: Floats) -> list[float]:
    """Share of a partition's rows in each p-value bin."""
    counts = np.histogram(p, BINS, (0, 1))[0]
    return list(map(float, counts / max(counts.sum(), 1)))


def chance_limit(run: RunRecord, calibration: int) -> float:
    """Alarm rate that `SURE` of all partitions of so many normal rows stay within; NaN when no alarm can fire.

    Where the rate is one of alarms it is 0: a partition of normal rows has none, but for that share of them.
    """
    from scipy.stats import betabinom

    if run.alert_rate_of == "alarms":
        return 0.0 if run.rows else math.nan
    allowed = math.floor(run.alert_rate * (calibration + 1) + 1e-9)
    if not run.rows or not allowed:
        return math.nan
    return float(betabinom.ppf(SURE, run.rows, allowed, calibration + 1 - allowed)) / run.rows


def rate_chart(runs: Sequence[RunRecord], limits: Sequence[float]) -> str:
    """Observed alarm rate by partition beside the rate that was chosen, as SVG."""
    observed = np.array([math.nan if r.observed_alert_rate is None else r.observed_alert_rate for r in runs]) * 100
    # A rate of alarms is no share of rows: there is no line to draw for it.
    chosen = np.array([math.nan if run.alert_rate_of == "alarms" else run.alert_rate for run in runs]) * 100
    limit = np.array(limits) * 100
    kept = np.array([run.outcome == "scored" for run in runs]) & ~np.isnan(observed)
    refused = ~np.isnan(observed) & ~kept
    top = min(1.2 * float(np.nanmax(np.concatenate([observed[kept], 2 * chosen, limit, [0.1]]))), 100)
    at, odd = np.arange(len(runs)), kept & (observed > limit)

    def draw(axes: Axes) -> None:
        axes.bar(at, np.nan_to_num(limit), width=0.9, color=QUIET, alpha=0.16, linewidth=0)
        axes.step(np.r_[-0.5, at + 0.5], np.r_[chosen[0], chosen], where="pre", color=INK, linewidth=1, linestyle="--")
        # Marks stay out of the layout: an empty line that is not clipped would shift the axes.
        marks: dict[str, Any] = {"linestyle": "none", "markersize": 5, "clip_on": False, "in_layout": False}
        for which, colour in ((kept & ~odd, ACCENT), (odd, ALARM)):
            axes.vlines(at[which], 0, observed[which], color=colour, linewidth=1.5)
            axes.plot(at[which], observed[which], marker="o", color=colour, **marks)
        # Refused partitions alarm on most rows: at the upper edge they do not flatten the others.
        high = np.minimum(observed[refused], top)
        axes.plot(at[refused], high, marker="^", color=PAPER, markeredgecolor=ALARM, **marks)
        # No ticks: the page names both ends, so that no text of the data is drawn.
        axes.set(xlim=(-0.6, len(runs) - 0.4), ylim=(0, top), xticks=[])
        axes.yaxis.set_major_formatter("{x:g}%")

    return _svg(draw, "rates")


def p_value_chart(shares: Sequence[float]) -> str:
    """Distribution of p-values, as SVG: level when all rows are normal."""

    def draw(axes: Axes) -> None:
        axes.bar(
            np.arange(BINS) / BINS, np.array(shares) * 100, width=0.9 / BINS, align="edge", color=ACCENT, alpha=0.75
        )
        axes.axhline(100 / BINS, color=INK, linewidth=1, linestyle="--")
        axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="p_value")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}%")

    return _svg(draw, "chances")


def score_chart(calibration: Floats, newest: Floats | None, threshold: float | None) -> str:
    """Histogram of calibration scores, over it that of the newest partition, and the threshold, as SVG."""
    top = max(float(np.quantile(calibration, 0.999)), 1.3 * (threshold or 0.0), 1e-6)
    edges = np.linspace(0, top, SCORE_BINS + 1)
    known = _shares(calibration, edges)
    fresh = None if newest is None or not len(newest) else _shares(newest, edges)
    least = min(100.0 / len(calibration), 100.0 / max(1, 0 if newest is None else len(newest)))

    def draw(axes: Axes) -> None:
        axes.bar(edges[:-1], known, width=np.diff(edges), align="edge", color=QUIET, alpha=0.35, linewidth=0)
        if fresh is not None:
            axes.stairs(np.maximum(fresh, least / 2), edges, color=ACCENT, linewidth=1.5)
        if threshold is not None:
            axes.axvline(threshold, color=ALARM, linewidth=1.5, linestyle="--")
        axes.set(xlim=(0, top), yscale="log", ylim=(least / 2, 150), xlabel="anomaly_score")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}%")

    return _svg(draw, "scores")


def _shares(scores: Floats, edges: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Percent of scores in each bin; the last bin holds all that lies beyond it."""
    return np.asarray(100 * np.histogram(np.minimum(scores, edges[-1]), edges)[0] / max(len(scores), 1))


def loss_chart(curve: Sequence[tuple[int, float, float]]) -> str:
    """Training and validation loss by step, as SVG."""
    steps, training, validation = (np.array(part, np.float64) for part in zip(*curve, strict=True))

    def draw(axes: Axes) -> None:
        axes.plot(steps, training, color=QUIET, linewidth=1.2)
        axes.plot(steps, validation, color=ACCENT, linewidth=1.8, marker="o" if len(steps) < 3 else None)
        best = int(np.nan_to_num(validation, nan=np.inf).argmin())
        axes.plot(steps[best], validation[best], marker="o", color=ACCENT, markersize=5)
        there = np.r_[training, validation]
        there = there[np.isfinite(there) & (there > 0)]
        # A loss that fell by more than a power of ten is a flat line but for its start on a linear scale.
        if len(there) and there.max() > 10 * there.min():
            axes.set(yscale="log")
            axes.minorticks_off()
        axes.set(xlabel="step", xlim=(0, max(1.0, float(steps.max()))))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_formatter("{x:,.0f}")

    return _svg(draw, "loss")


def reduction_chart(found: Reduction) -> str:
    """Share of the variance left by how many numbers are kept, the network's and PCA's, as SVG."""

    def draw(axes: Axes) -> None:
        for left, colour, width in ((found.pca_left, QUIET, 1.2), (found.network_left, ACCENT, 1.8)):
            axes.plot(np.arange(len(left)), 100 * np.array(left), color=colour, linewidth=width)
        own = found.pca_left if found.linear else found.network_left
        axes.plot(found.latent_dim, 100 * own[found.latent_dim], marker="o", color=ACCENT, markersize=5)
        axes.set(xlabel="numbers a row", xlim=(0, max(1, len(own) - 1)), ylim=(0, None))
        axes.yaxis.set_major_formatter("{x:g}%")
        axes.xaxis.set_major_formatter("{x:g}")

    return _svg(draw, "reduction")


def _svg(draw: Callable[[Axes], None], salt: str) -> str:
    """Draw one chart, without pyplot; ids depend on the salt and on what is drawn alone."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(5.6, 2.8), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
    # HTML needs no namespaces, and two charts in one page must not share ids.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"|(?<=<g) id="[^"]*"', "", out.getvalue())
    text = text[text.index("<svg") :]
    for placeholder, colour in _COLOURS.items():
        text = text.replace(placeholder, f"var({colour})")
    return text


def lane_x(place: float) -> float:
    """Where a lane draws a distance, -100 to 100: the band ends at 30, and what lies beyond is drawn nearer."""
    far = abs(place)
    drawn = 30 * far if far <= 1 else 30 + 62 * (1 - 1 / far) if math.isfinite(far) else 92
    return round(math.copysign(drawn, place), 1)
