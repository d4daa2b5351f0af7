"""What a partition looked like when it was scored, for whoever looks: kept beside its run's record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ae_plugin.core.calibration import threshold
from ae_plugin.core.histogram import count_scores, side_by_side, unit_of
from ae_plugin.core.plane import Point, Sketch
from ae_plugin.core.values import Floats
from ae_plugin.schemas import ColumnProfile, MapPoint, Profile, RunRecord, ScoreHistogram


def profile_of(
    record: RunRecord, scores: Counter[int], calibration: Floats, sketch: Sketch, columns: list[ColumnProfile]
) -> Profile:
    """Put together what was seen of a partition.

    Args:
        record: of its run.
        scores: see `count_scores`; in units of `unit_of(calibration)`.
        calibration: float32 [m], scores of the calibration rows, increasing.
        sketch: some of its rows.
        columns: how their values are spread.
    """
    limit = record.flagged_up_to if record.flagged_up_to is not None else record.alert_rate
    unit = unit_of(calibration)
    edges, rows, theirs = side_by_side(scores, count_scores(calibration, unit), unit)
    histogram = ScoreHistogram(edges=edges, rows=rows, calibration=theirs, threshold=threshold(calibration, limit))
    return Profile(
        run_id=record.run_id,
        partition=record.partition,
        model_version=record.model_version,
        columns=columns,
        scores=histogram if edges else None,
        points=_points(sketch.sample),
        worst=_points(sketch.worst),
    )


def _points(found: Sequence[Point]) -> list[MapPoint]:
    return [MapPoint(row=row, x=x, y=y, anomaly_score=score, p_value=p) for row, x, y, score, p in found]
