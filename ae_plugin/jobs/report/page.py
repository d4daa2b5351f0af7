"""The page: everything that the template shows, put together.

It is made from what is stored, and from the source rows of the worst rows, without the clock: the same output gives
the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from ae_plugin.config import Pipeline
from ae_plugin.core.calibration import rows_needed, threshold
from ae_plugin.core.values import Floats
from ae_plugin.jobs.latent.traversed import SHEET, read_traversal
from ae_plugin.jobs.report import charts, words
from ae_plugin.jobs.report.rows import Explainer
from ae_plugin.jobs.report.stored import (
    ALIKE,
    RATES,
    Cells,
    Scores,
    Version,
    read_cells,
    read_scores,
    read_versions,
    worst_rows,
)
from ae_plugin.jobs.summary import decision_words, many
from ae_plugin.latent_schemas import Reduction, TraverseRecord
from ae_plugin.schemas import RunRecord, TrainReport
from ae_plugin.store.commit import recover
from ae_plugin.store.decisions import decided_on_runs
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Move, Registry
from ae_plugin.store.runs import latest
from ae_plugin.versions import read_reduction

if TYPE_CHECKING:
    from ae_plugin.jobs.report.sheet import Sheet

RECENT, NAMED = 60, 12


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
class Promise:
    """One line of the calibration table.

    Attributes:
        rate: an alert rate.
        needed: calibration rows that an alarm at this rate needs.
        threshold: the score that an alarm must exceed; None when none can fire.
        rows: rows scored by the champion that were looked at.
        alarms: how many of them are flagged at this rate.
        chosen: it is the pipeline's own.
    """

    rate: float
    needed: int
    threshold: float | None
    rows: int
    alarms: int
    chosen: bool


@dataclass(frozen=True)
class Calibration:
    """The champion's calibration set, beside what was scored with it.

    Attributes:
        rows: how many there are.
        chart: histogram of their scores.
        limit: the score that an alarm must exceed, as drawn; None when none can fire.
        partition: the newest one that the champion scored.
        promises: lines of the table.
        problem: why there is none of it.
    """

    rows: int
    chart: str
    limit: float | None
    partition: str | None
    promises: list[Promise]
    problem: str


def _page(pipeline: Pipeline, folder: Folder) -> str:
    everything = list(latest(folder).values())
    runs = everything[-RECENT:]
    models = _models_of(Registry(pipeline.output))
    past, rows = _past(pipeline, folder, runs, models), _rows(pipeline, folder, runs, models)
    images = pipeline.source.format == "images"
    return _template().render(
        pipeline=pipeline,
        images=images,
        unit="picture" if images else "row",
        runs=runs,
        partitions=len(everything),
        verdict=words.verdict(runs, past.loud, rows.cells.newest, past.decided) if runs else None,
        news=words.news(pipeline, runs, models.champion, past.needed, models.total, past.decided),
        traversal=_traversal(folder),
        **models.named(),
        **vars(past),
        **vars(rows),
    )


@dataclass(frozen=True)
class Models:
    """What the registry holds.

    Attributes:
        total: how many versions there are.
        versions: those that are shown.
        champion: the one that scores; None where there is none.
        move: the last time that the champion changed.
        reduction: the champion's code in few numbers; None where it has none.
    """

    total: int
    versions: Sequence[Version]
    champion: Version | None
    move: Move | None
    reduction: Reduction | None

    @property
    def card(self) -> TrainReport | None:
        """The champion's training report."""
        return self.champion.report if self.champion else None

    def named(self) -> dict[str, Any]:
        """What the template calls it."""
        card, reduction = self.card, self.reduction
        return {
            "champion": self.champion,
            "card": card,
            "move": self.move,
            "versions": self.versions,
            "versions_total": self.total,
            "reduction": reduction,
            "reduction_chart": charts.reduction_chart(reduction) if reduction else "",
            "loss_chart": charts.loss_chart(card.loss_curve) if card and card.loss_curve else "",
        }


def _models_of(registry: Registry) -> Models:
    pointer, names = registry.pointer("champion"), registry.versions()
    versions = read_versions(registry, names, pointer.version if pointer else None)
    champion = next((version for version in versions if "champion" in version.pointers), None)
    move = pointer.history[-1] if pointer and pointer.history else None
    return Models(len(names), versions, champion, move, read_reduction(registry, champion.name) if champion else None)


@dataclass(frozen=True)
class Past:
    """What came of the partitions, as the template calls it.

    Attributes:
        needed: calibration rows that an alarm needs.
        of_alarms: the alert rate is a share of alarms.
        alone: calibration rows that a single alarm of the newest partition would need then.
        state_of: when the newest thing on the page happened.
        scored, newest: runs that scored rows, and the last of them.
        rate: share of their rows that are anomalies.
        rate_chart: of all runs.
        loud: runs with more alarms than chance explains.
        decided: partition -> what a person decided on it, in words.
    """

    needed: int
    of_alarms: bool
    alone: int | None
    state_of: str | None
    scored: list[RunRecord]
    newest: RunRecord | None
    rate: float | None
    rate_chart: str
    loud: set[str]
    decided: dict[str, str]


def _past(pipeline: Pipeline, folder: Folder, runs: Sequence[RunRecord], models: Models) -> Past:
    scored, card = _scored(runs), models.card
    newest = scored[-1] if scored else None
    waiting = {run.partition: run for run in runs if run.outcome != "scored"}
    limits = [charts.chance_limit(run, card.rows_calibration if card else 0) for run in runs]
    return Past(
        needed=rows_needed(pipeline.score.alert_rate),
        of_alarms=pipeline.score.alert_rate_of == "alarms",
        alone=rows_needed(pipeline.score.alert_rate / newest.rows) if newest else None,
        state_of=_state_of(runs, models.versions, models.move),
        scored=scored,
        newest=newest,
        rate=sum(run.anomalies for run in scored) / sum(run.rows for run in scored) if scored else None,
        rate_chart=charts.rate_chart(runs, limits) if runs else "",
        loud={run.run_id for run, limit in zip(runs, limits, strict=True) if (run.observed_alert_rate or 0) > limit},
        decided={name: decision_words(one) for name, one in decided_on_runs(folder, waiting).items()},
    )


def _scored(runs: Sequence[RunRecord]) -> list[RunRecord]:
    return [run for run in runs if run.outcome == "scored" and run.rows]


@dataclass(frozen=True)
class Rows:
    """What is said of single rows (pictures), as the template calls it.

    Attributes:
        problems: why scores of a run are not among it.
        rows_left: anomalies that are not shown.
        cells: wrong cells by column and by row.
        alike: how many alike ones are one line.
        named: columns by how many cells of them are named, the most first.
        explained, sheet: the worst rows, or pictures.
        shares, p_value_chart: how the newest partition's p-values lie; None where they are not there.
        calibration: what the champion promises; None without one.
    """

    problems: list[str]
    rows_left: int
    cells: Cells
    alike: int
    named: list[tuple[str, int]]
    explained: Sequence[object]
    sheet: Sequence[object]
    shares: Sequence[float] | None
    p_value_chart: str | None
    calibration: Calibration | None


def _rows(pipeline: Pipeline, folder: Folder, runs: Sequence[RunRecord], models: Models) -> Rows:
    scores, problems = read_scores(folder, runs)
    worst = worst_rows(scores)
    cells = read_cells(folder, runs, worst)
    images = pipeline.source.format == "images"
    explainer = None if images else Explainer(pipeline, Registry(pipeline.output))
    sheet = _sheet(pipeline, folder) if images else None
    asked, scored = explainer or sheet, _scored(runs)
    shares = charts.p_value_shares(scores[0].p_value) if scored and scores and scores[0].run is scored[-1] else None
    champion = models.champion if models.card else None
    return Rows(
        problems=problems,
        rows_left=sum(run.anomalies for run in scored) - len(worst),
        cells=cells,
        alike=ALIKE,
        named=sorted(cells.named.items(), key=lambda item: (-item[1], item[0]))[:NAMED],
        explained=explainer.explain(worst, runs) if explainer else [],
        sheet=sheet.strips(worst, runs) if sheet else [],
        shares=shares,
        p_value_chart=None if shares is None else charts.p_value_chart(shares),
        calibration=_calibration(pipeline, asked, champion, scores) if asked and champion else None,
    )


@dataclass(frozen=True)
class Traversal:
    """The newest traversal: its record, and its contact sheet in base64."""

    record: TraverseRecord
    sheet: str


def _traversal(folder: Folder) -> Traversal | None:
    """None where there is none, or what there is does not fit its record."""
    record = read_traversal(folder)
    if record is None:
        return None
    try:
        sheet = folder.read(SHEET)
    except FileNotFoundError:
        return None
    whole = hashlib.sha256(sheet).hexdigest() == record.outputs.get(SHEET)
    return Traversal(record, base64.b64encode(sheet).decode()) if whole else None


def _sheet(pipeline: Pipeline, folder: Folder) -> Sheet:
    # Only now: what reads pictures is slow to import.
    from ae_plugin.jobs.report.sheet import Sheet

    return Sheet(pipeline, folder)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"percent": words.percent, "rate": "{:.2%}".format, "number": "{:,}".format}
    environment.filters |= {"moment": words.moment, "place": words.place, "short": words.short}
    environment.globals |= {"value": words.value, "many": many, "reasons": words.reasons, "beside": words.beside}
    environment.globals |= {"why": words.why}
    environment.globals |= {"lane_x": charts.lane_x}
    text = package_files("ae_plugin.jobs.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def _state_of(runs: Sequence[RunRecord], versions: Sequence[Version], move: Move | None) -> str | None:
    """When the newest thing on the page happened: no clock, so that nothing new means the same bytes."""
    moments = [run.started_at for run in runs] + [version.report.created_at for version in versions if version.report]
    return max(moments + ([move.at] if move else []), default=None)


def _calibration(
    pipeline: Pipeline, asked: Explainer | Sheet, champion: Version, scores: Sequence[Scores]
) -> Calibration:
    """What the champion promises at several alert rates, and what came of it on the partitions it scored."""
    chosen, method = pipeline.score.alert_rate, pipeline.score.method
    of_alarms = pipeline.score.alert_rate_of == "alarms"
    known: Floats | str = asked.calibration(champion.name)
    if isinstance(known, str):
        return Calibration(0, "", None, None, [], known)
    own = [found for found in scores if found.run.model_version == champion.name and found.run.method == method]
    rows = sum(len(found.p_value) for found in own)
    promises = [
        Promise(
            rate,
            rows_needed(rate),
            threshold(known, rate),
            rows,
            sum(found.alarms(rate) for found in own),
            rate == chosen and not of_alarms,
        )
        for rate in sorted(RATES if of_alarms else {*RATES, chosen}, reverse=True)
    ]
    # Of alarms the rate says nothing of a row by itself: what was flagged is up to the partition.
    flagged = (own[0].run.flagged_up_to if own else None) or 0.0
    limit = threshold(known, flagged if of_alarms else chosen)
    chart = charts.score_chart(known, own[0].anomaly_score if own else None, limit)
    return Calibration(len(known), chart, limit, own[0].run.partition if own else None, promises, "")
