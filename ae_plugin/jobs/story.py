"""What a run says in its log, in a dozen lines: what was read, found and written, and what the guard made of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from ae_plugin.core.drift import by_chance
from ae_plugin.jobs.summary import bytes_in_words, many, mended, some, unit
from ae_plugin.masks import shown
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import SourceFile
from ae_plugin.store.runs import RUNS

log = logging.getLogger(__name__)
SHOWN = 3
"""Columns, reasons and notes that are named; all of them are in the run record."""


def tell_start(pipeline: str, partition: str, version: str, files: Sequence[SourceFile]) -> None:
    """Say what is going to be scored."""
    place = files[0].uri.removesuffix(f"/{files[0].name}")
    held = f"{many(len(files), 'file')}, {bytes_in_words(sum(file.size for file in files))}"
    log.info("scoring %s of %s with %s: %s in %s", partition or "the source", pipeline, version, held, shown(place))


def tell_end(record: RunRecord, output: str, calibration_rows: int) -> None:
    """Say what became of it; `output` is where it was written to."""
    for line in lines(record, output, calibration_rows):
        log.info("%s", line)
    for note in some(record.notes, SHOWN):
        log.warning("%s", note)
    speed = f"{record.rows_per_second:,.0f} {unit(record)}s/s"
    log.info("%.2f s, %s, peak %.0f MB", record.seconds, speed, record.peak_memory_mb)


def lines(record: RunRecord, output: str, calibration_rows: int) -> list[str]:
    """What was found and written."""
    what, tables = unit(record), record.pictures_repaired is None
    promised = f"of the normal {what}s" if record.alert_rate_of == "rows" else "of these are normal"
    share = f" ({record.observed_alert_rate:.2%}, at most {record.alert_rate:.2%} {promised})" if record.rows else ""
    told = [f"{many(record.rows, what)}, {many(record.anomalies, 'anomaly', 'anomalies')}{share}"]
    if record.top_columns:
        worst = [f"{name} ({count:,})" for name, count in record.top_columns.items()]
        told.append(f"worst columns, and the {what}s they are worst in: {', '.join(some(worst, SHOWN))}")
    told.append(f"{many(record.cells_flagged, 'wrong cell')}, {mended(record)}" if tables else mended(record))
    if record.p_value_drift is not None:
        usual = by_chance(record.rows - record.unreadable_rows, calibration_rows)
        told.append(f"p-values drifted by {record.p_value_drift:.3f}; chance alone stays below {usual:.3f}")
    told.append(f"guard: {'; '.join([record.guard.verdict, *some(record.guard.reasons, SHOWN)])}")
    written = [*_datasets(record), f"{RUNS}/{record.run_id}.json"]
    told.append(f"{record.outcome}; wrote {', '.join(written)} in {shown(output)}")
    return told


def _datasets(record: RunRecord) -> list[str]:
    """The partition's folder of each dataset that was written, with the number of its files."""
    folders = Counter(
        f"{name.rstrip('/')}/" if name.endswith("/") else f"{name.rpartition('/')[0]}/" for name in record.outputs
    )
    return [folder if count == 1 else f"{folder} ({count} files)" for folder, count in folders.items()]
