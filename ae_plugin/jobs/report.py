"""Report: one self-contained HTML file about a pipeline: its model, its partitions, its most surprising cells.

The page is made from what is stored alone, without the clock: the same output gives the same bytes.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed
from ae_plugin.core.decode import as_text
from ae_plugin.core.values import take
from ae_plugin.engines.local import open_input, reading
from ae_plugin.errors import DataError, UserError
from ae_plugin.jobs.versions import read_report
from ae_plugin.schemas import RunRecord, TrainReport, cells_schema
from ae_plugin.store.commit import recover
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Move, PointerName, Registry
from ae_plugin.store.runs import latest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)
RECENT, VERSIONS, WORST, ALIKE, NAMED = 60, 20, 50, 5, 12
ROWS_READ, BATCH_ROWS = 500_000, 16_384
SURE = 0.99
BINS = 20
_CELL = tuple(cells_schema([]).names)
# Placeholders that the page's own colours replace, so that charts follow light and dark.
INK, QUIET, ACCENT, ALARM, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_COLOURS = {INK: "--ink", QUIET: "--quiet", ACCENT: "--accent", ALARM: "--alarm", PAPER: "--paper"}
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), QUIET),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top"), False),
    "font.size": 10,
    "svg.fonttype": "none",
}


def report(pipeline: Pipeline, path: Path | None = None) -> str:
    """Write the report of a pipeline.

    Args:
        pipeline: from `config.load`.
        path: of the HTML file, or a folder to put `report.html` into; absent: `report.html` in the output.

    Returns:
        Where it was written.

    Raises:
        StoreError: the file cannot be written, or a pointer file is not one.
    """
    folder = Folder(pipeline.output)
    recover(folder)
    html = _page(pipeline, folder).encode("utf-8", "replace")
    if path is None:
        folder.write("report.html", html)
        return f"{folder.uri}/report.html"
    if path.is_dir():
        path = path / "report.html"
    Folder(str(path.absolute().parent)).write(path.name, html)
    return str(path)


@dataclass(frozen=True)
class Version:
    """One line of the versions table; `report` is absent, and `problem` says why, when it cannot be read."""

    name: str
    pointers: list[str]
    report: TrainReport | None
    problem: str


@dataclass(frozen=True)
class WorstCell:
    """One wrong cell, and the row it is in."""

    partition: str
    keys: list[tuple[str, str | None]]
    row: int
    column: str
    observed: str | None
    expected: str | None
    cell_error: float
    p_value: float


@dataclass
class Cells:
    """What the `cells/` of recent partitions say.

    Attributes:
        worst: the most surprising ones, at most `WORST`, and at most `ALIKE` of a column in a partition.
        named: column -> how often it was named.
        read: cells read.
        cut: there were more of them than `ROWS_READ`.
        problems: files that could not be read.
    """

    worst: list[WorstCell] = field(default_factory=list)
    named: Counter[str] = field(default_factory=Counter)
    read: int = 0
    cut: bool = False
    problems: list[str] = field(default_factory=list)


def _page(pipeline: Pipeline, folder: Folder) -> str:
    registry = Registry(pipeline.output)
    everything = list(latest(folder).values())
    runs = everything[-RECENT:]
    pointer = registry.pointer("champion")
    names = registry.versions()
    versions = _versions(registry, names, pointer.version if pointer else None)
    champion = next((version for version in versions if "champion" in version.pointers), None)
    card = champion.report if champion else None
    scored = [run for run in runs if run.outcome == "scored" and run.rows]
    cells, newest = _cells(folder, runs), scored[-1] if scored else None
    shares = _p_value_shares(folder, newest) if newest else None
    limits = [_chance_limit(run, card.rows_calibration if card else 0) for run in runs]
    needed = rows_needed(pipeline.score.alert_rate)
    move = pointer.history[-1] if pointer and pointer.history else None
    return _template().render(
        pipeline=pipeline,
        champion=champion,
        card=card,
        move=move,
        needed=needed,
        state_of=_state_of(runs, versions, move),
        runs=runs,
        partitions=len(everything),
        scored=scored,
        newest=newest,
        rate=sum(run.anomalies for run in scored) / sum(run.rows for run in scored) if scored else None,
        news=_news(pipeline, runs, champion, needed, len(names)),
        rate_chart=_rate_chart(runs, limits) if runs else "",
        loud={run.run_id for run, limit in zip(runs, limits, strict=True) if (run.observed_alert_rate or 0) > limit},
        shares=shares,
        score_chart=None if shares is None else _score_chart(shares),
        cells=cells,
        alike=ALIKE,
        named=sorted(cells.named.items(), key=lambda item: (-item[1], item[0]))[:NAMED],
        versions=versions,
        versions_total=len(names),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"percent": _percent, "rate": "{:.2%}".format, "number": "{:,}".format}
    environment.filters |= {"moment": _moment, "place": _place, "short": _short}
    text = package_files("ae_plugin.jobs").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _place(partition: str) -> str:
    return partition or "the whole source"


def _moment(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def _short(text: str, length: int = 120) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _versions(registry: Registry, names: Sequence[str], champion: str | None) -> list[Version]:
    """The newest versions, newest first, and the champion however old it is."""
    pointers: tuple[PointerName, ...] = ("champion", "challenger")
    found = {name: registry.pointer(name) for name in pointers}
    newest, out = list(names[-VERSIONS:]), []
    for name in reversed(newest if champion in (None, *newest) else [str(champion), *newest]):
        here = [str(pointer) for pointer, at in found.items() if at and at.version == name]
        try:
            out.append(Version(name, here, read_report(registry, name), ""))
        except (UserError, OSError) as error:
            out.append(Version(name, here, None, str(error)))
    return out


def _state_of(runs: Sequence[RunRecord], versions: Sequence[Version], move: Move | None) -> str | None:
    """When the newest thing on the page happened: no clock, so that nothing new means the same bytes."""
    moments = [run.started_at for run in runs] + [version.report.created_at for version in versions if version.report]
    return max(moments + ([move.at] if move else []), default=None)


def _news(
    pipeline: Pipeline, runs: Sequence[RunRecord], champion: Version | None, needed: int, versions: int
) -> list[str]:
    """What a person should know first."""
    news = []
    if champion is None:
        mend = "look at the versions below, then run ae promote" if versions else "run ae train first"
        news.append(f"There is no champion yet, so nothing can be scored: {mend}.")
    elif champion.report is None:
        news.append(f"The champion {champion.name} cannot be read: {champion.problem}.")
    elif champion.report.rows_calibration < needed:
        have, rate = champion.report.rows_calibration, _percent(pipeline.score.alert_rate)
        news.append(f"No row can be flagged: an alarm at {rate} needs {needed:,} calibration rows, there are {have:,}.")
    if not runs:
        news.append("No partition was scored yet.")
    refused = [_place(run.partition) for run in runs if run.outcome != "scored"]
    if refused:
        few = ", ".join(refused[-3:]) + (" and others" if len(refused) > 3 else "")
        news.append(f"Unfamiliar, so not scored: {len(refused)} of {len(runs)} partitions ({few}).")
    return news


def _cells(folder: Folder, runs: Sequence[RunRecord]) -> Cells:
    """Read the cells of scored partitions, newest first, until the bound."""
    out = Cells()
    for run in reversed(runs):
        try:
            for batch in _batches(folder, run, "cells", ROWS_READ - out.read):
                out.named.update(batch.column(1 - len(_CELL)).to_pylist())
                out.read += batch.num_rows
                found = sorted(out.worst + _worst(batch, run.partition), key=_order)
                out.worst = [found[i] for i in _few_alike((cell.partition, cell.column) for cell in found)]
        except DataError as error:
            out.problems.append(str(error))
        if out.read >= ROWS_READ:
            out.cut = True
            break
    return out


def _batches(
    folder: Folder, run: RunRecord, dataset: str, limit: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Stream at most `limit` rows (to the next batch) of what this run wrote; nothing when that was withdrawn."""
    for name in (name for name in run.outputs if name.startswith(f"{dataset}/")):
        where = f"{folder.uri}/{name}"
        with reading(where), open_input(where) as handle:
            for batch in pq.ParquetFile(handle, pre_buffer=False).iter_batches(BATCH_ROWS, columns=columns):
                if limit <= 0:
                    return
                limit -= batch.num_rows
                yield batch


def _worst(batch: pa.RecordBatch, partition: str) -> list[WorstCell]:
    """The most surprising cells of a record batch: at least those that may be among the report's."""
    # By position: a row key may share its name with a column of `cells/`.
    first = batch.num_columns - len(_CELL)
    columns = batch.column(first + 1).to_pylist()
    p, error = _floats(batch.column(-1)), _floats(batch.column(-2))
    order = np.lexsort((-error, p))
    picked = order[_few_alike(columns[index] for index in order)]
    rows = [take(column, pa.array(picked)) for column in batch.columns]
    keys = [[(name, text) for text in _texts(rows[i])] for i, name in enumerate(batch.schema.names[:first])]
    cells = [rows[first + i].to_pylist() for i in range(len(_CELL))]
    return [
        WorstCell(partition, [key[i] for key in keys], **{name: cells[j][i] for j, name in enumerate(_CELL)})
        for i in range(len(picked))
    ]


def _few_alike(kinds: Iterable[Hashable]) -> list[int]:
    """Places of the first `ALIKE` of each kind, `WORST` in all: a fault of a whole column must not hide all others."""
    seen: Counter[Hashable] = Counter()
    kept: list[int] = []
    for place, kind in enumerate(kinds):
        seen[kind] += 1
        if seen[kind] <= ALIKE:
            kept.append(place)
        if len(kept) == WORST:
            break
    return kept


def _order(cell: WorstCell) -> tuple[float, float, str, int, str]:
    return cell.p_value, -cell.cell_error, cell.partition, cell.row, cell.column


def _floats(values: pa.Array) -> npt.NDArray[np.float32]:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.float32)


def _texts(values: pa.Array) -> list[str | None]:
    try:
        return list(as_text(values).to_pylist())
    except pa.ArrowException:
        return [None if value is None else str(value) for value in values.to_pylist()]
    except UnicodeDecodeError:  # row keys are passed through as they are
        return [value and value.decode(errors="replace") for value in values.cast(pa.binary()).to_pylist()]


def _p_value_shares(folder: Folder, run: RunRecord) -> list[float] | None:
    """Share of a partition's rows in each p-value bin; None when its scores are gone."""
    counts = np.zeros(BINS)
    try:
        for batch in _batches(folder, run, "scores", ROWS_READ, ["p_value"]):
            p = _floats(batch.column(-1))
            counts += np.histogram(p[~np.isnan(p)], BINS, (0, 1))[0]
    except DataError as error:
        log.warning("%s", error)
        return None
    return list(map(float, counts / counts.sum())) if counts.any() else None


def _chance_limit(run: RunRecord, calibration: int) -> float:
    """Alarm rate that `SURE` of all partitions of so many normal rows stay within; NaN when no alarm can fire."""
    from scipy.stats import betabinom

    allowed = math.floor(run.alert_rate * (calibration + 1) + 1e-9)
    if not run.rows or not allowed:
        return math.nan
    return float(betabinom.ppf(SURE, run.rows, allowed, calibration + 1 - allowed)) / run.rows


def _rate_chart(runs: Sequence[RunRecord], limits: Sequence[float]) -> str:
    """Observed alarm rate by partition beside the rate that was chosen, as SVG."""
    observed = np.array([math.nan if r.observed_alert_rate is None else r.observed_alert_rate for r in runs]) * 100
    chosen = np.array([run.alert_rate for run in runs]) * 100
    limit = np.array(limits) * 100
    kept = np.array([run.outcome == "scored" for run in runs]) & ~np.isnan(observed)
    refused = ~np.isnan(observed) & ~kept
    top = min(1.2 * float(np.nanmax(np.concatenate([observed[kept], 2 * chosen, limit]))), 100)
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


def _score_chart(shares: Sequence[float]) -> str:
    """Distribution of p-values, as SVG: level when all rows are normal."""

    def draw(axes: Axes) -> None:
        axes.bar(
            np.arange(BINS) / BINS, np.array(shares) * 100, width=0.9 / BINS, align="edge", color=ACCENT, alpha=0.75
        )
        axes.axhline(100 / BINS, color=INK, linewidth=1, linestyle="--")
        axes.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="p_value")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}%")

    return _svg(draw, "scores")


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
