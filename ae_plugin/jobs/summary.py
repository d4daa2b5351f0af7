"""Training reports in five lines, decisions in two, what became of verdicts, and versions in one, for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timezone

from ae_plugin.config import Pipeline
from ae_plugin.latent_schemas import CompleteRecord, EmbedRecord, GenerateRecord, TraverseRecord
from ae_plugin.schemas import DecisionRecord, FeedbackMark, FeedbackUse, ModelEntry, RunRecord, TrainReport


def many(count: int, one: str, more: str = "") -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def some(texts: Sequence[str], shown: int) -> list[str]:
    """The first few, and how many more there are."""
    more = len(texts) - shown
    return [*texts[:shown], *([f"{more:,} more"] if more > 0 else [])]


def bytes_in_words(count: float) -> str:
    """`812 bytes`, `45.2 kB`, `1.3 GB`."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for name in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {name}"
    return f"{count / 1000:.1f} TB"


def train_lines(report: TrainReport) -> list[str]:
    """Say what a training did: rows, steps, seconds, calibration, and how it compares."""
    learned = [column.column for column in report.columns if column.role == "learned"]
    early = " (stopped early)" if report.stopped_early else ""
    by_name = {result.scorer: result for result in report.gate.results}
    others = [name for name in ("pca", "untrained", "champion") if name in by_name]
    versus = ", ".join(f"{name} {by_name[name].mean:.3f}" for name in others)
    days = many(len(report.partitions), "partition")
    told = f"{by_name['challenger'].mean:.3f}; {versus}" if others else "; ".join(report.gate.reasons)
    lines = [
        f"model {report.model_version}: {len(learned)} of {many(len(report.columns), 'column')}, "
        f"{many(report.features, 'feature')}",
        f"rows: {report.rows_train} to train, {report.rows_validation} to stop early, of {report.rows_total} in {days}",
        f"steps: {report.steps} of {report.steps_budget}{early} at {report.rows_per_second:.0f} rows/s; "
        f"{report.seconds:.1f} s in all, peak {report.peak_memory_mb:.0f} MB",
        f"calibration: {report.rows_calibration} rows never trained on; LiteRT equals Keras within "
        f"{report.export_difference:.0e}",
        f"faults told from normal rows (AUROC): {told}",
    ]
    return [*lines, *(f"note: {note}" for note in report.notes)]


def model_line(entry: ModelEntry) -> str:
    """Say what a version is, and what points at it."""
    gate = "passed" if entry.gate_passed else "failed"
    what = entry.problem or f"{entry.created_at}  {entry.rows_train} rows  gate {gate}"
    return f"{entry.version}  {what}  {', '.join(entry.pointers)}".rstrip()


def unit(run: RunRecord) -> str:
    """What a row of the source is."""
    return "row" if run.pictures_repaired is None else "picture"


def mended(run: RunRecord) -> str:
    """Say what was repaired: cells, or pictures, and how many of these could not be read."""
    if run.pictures_repaired is None:
        return f"{many(run.cells_repaired, 'cell')} repaired, {many(run.cells_imputed, 'null')} filled"
    unread = f", {run.unreadable_rows:,} cannot be read" if run.unreadable_rows else ""
    return f"{many(run.pictures_repaired, 'picture')} repaired{unread}"


def run_line(run: RunRecord) -> str:
    """Say what a run did."""
    rate = f" ({run.observed_alert_rate:.2%})" if run.observed_alert_rate is not None else ""
    return (
        f"{run.partition or run.pipeline}: {many(run.rows, unit(run))}, "
        f"{many(run.anomalies, 'anomaly', 'anomalies')}{rate}, {mended(run)}, {run.guard.verdict}, {run.seconds:.2f} s"
    )


def decision_words(made: DecisionRecord) -> str:
    """`released by ann on 2026-11-30 15:43 UTC (a blizzard)`."""
    note = f" ({' '.join(made.note.split())})" if made.note else ""
    when = f"{made.when.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    return f"{_DECIDED[made.decision]} by {' '.join(made.who.split())} on {when}{note}"


_DECIDED = {"release": "released", "discard": "discarded"}


def decision_lines(pipeline: Pipeline, made: DecisionRecord) -> list[str]:
    """Say what was decided, and what happens next."""
    dag = f"{pipeline.name}__score"
    if made.decision == "discard":
        then = "not scored and not trained on until its files change; its rows in quarantine/ are removed"
    elif pipeline.score.keyed:
        then = f"`ae score` scores it, or a run of {dag} that is started by hand"
    else:
        then = f"the next run of {dag} scores it, or `ae score`"
    return [f"{made.partition or pipeline.name}: {decision_words(made)}", f"next: {then}"]


def feedback_notes(use: FeedbackUse) -> list[str]:
    """Say what became of verdicts on rows."""
    notes = []
    if use.confirmed:
        notes.append(f"feedback: {many(use.confirmed, 'confirmed row was', 'confirmed rows were')} left out")
    if use.false_alarms:
        who = many(use.false_alarms, "false alarm is", "false alarms are")
        notes.append(f"feedback: {who} trained on as normal, {many(use.copies, 'time')} each")
    if use.not_found:
        who = many(use.not_found, "verdict is on a row that is", "verdicts are on rows that are")
        notes.append(f"feedback: {who} no longer there")
    if use.elsewhere:
        who = many(use.elsewhere, "verdict is", "verdicts are")
        notes.append(f"feedback: {who} on partitions that are not trained on, see train.until and train.partitions")
    return notes


def embed_line(record: EmbedRecord) -> str:
    """What was embedded, for people."""
    where = record.partition or "the source"
    lost = f", {many(record.unreadable_rows, 'picture')} not readable" if record.unreadable_rows else ""
    made = f"{many(record.rows, 'embedding')} of {many(record.latent_dim, 'number')}"
    return f"{where}: {made}{lost}, {record.model_version}, {record.seconds:.2f} s"


def complete_lines(record: CompleteRecord, unit: str) -> list[str]:
    """How a partition was completed, for people; `unit`: `cell` or `pixel`."""
    lost = f", {many(record.unreadable_rows, 'picture')} not readable" if record.unreadable_rows else ""
    left = f", {record.left:,} left as they are" if record.left else ""
    of = many(record.rows, "row" if unit == "cell" else "picture")
    made = f"{many(record.filled, unit)} filled in {record.rows_completed:,} of {of}{left}{lost}"
    line = f"{record.partition or 'the source'}: {made}, {record.model_version}, {record.seconds:.2f} s"
    return [line, *(f"note: {note}" for note in record.notes)]


def generate_lines(record: GenerateRecord, unit: str) -> list[str]:
    """What was generated, and how near it is to history, for people; `unit`: `row` or `picture`."""
    given = ", ".join(f"{name}={'' if text is None else text}" for name, text in record.where.items())
    lines = [
        f"{record.pipeline}: {many(record.rows, f'synthetic {unit}')}{f' with {given}' if given else ''}, "
        f"{record.model_version}, seed {record.seed}, {record.seconds:.2f} s"
    ]
    if record.synthetic.quantiles and record.held_out.quantiles:
        ours, theirs = record.synthetic.quantiles, record.held_out.quantiles
        lines.append(
            f"distance to the nearest {unit} of history: {ours['0.5']:g} in the middle, {ours['0.05']:g} for the "
            f"nearest 5%; of real {unit}s held out: {theirs['0.5']:g} and {theirs['0.05']:g}"
        )
    lines.append(f"copies of a {unit} of history: {record.copies:,}; {record.redrawn:,} redrawn")
    return [*lines, *(f"note: {note}" for note in record.notes), *(f"wrote {name}" for name in record.outputs)]


def traverse_lines(record: TraverseRecord) -> list[str]:
    """What was traversed: a line for each latent variable, for people."""
    where = record.partition or "the source"
    lines = [f"{where}, row {record.row}: {many(record.rows, 'frame')}, {record.model_version}, {record.seconds:.2f} s"]
    for note in record.latents:
        much = f"{note.carries:.2f} nats" if record.carried_by == "kl" else f"{note.carries:.1%} of the variance"
        lines.append(f"latent {note.latent}: {note.title} ({much})")
    return lines


def mark_line(mark: FeedbackMark) -> str:
    """A verdict on a row, for people."""
    of = f", {mark.column}" if mark.column else ""
    note = f" ({' '.join(mark.note.split())})" if mark.note else ""
    return f"{mark.partition or 'the source'}, row {mark.row}{of}: {mark.verdict}{note}"
