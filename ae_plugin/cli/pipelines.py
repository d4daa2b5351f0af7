"""The verbs of a pipeline's life: look at it, train, score, decide, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ae_plugin.cli.app import JsonFlag, PipelineArg, app, complain, show


@app.command()
def init(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, file or glob.")],
    name: Annotated[str | None, typer.Option(help="Of the pipeline.")] = None,
    path: Annotated[Path | None, typer.Option(help="Of the YAML to write.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite the YAML.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a pipeline YAML from what a source holds."""
    from ae_plugin.jobs.init import init as job

    written = job(source, name=name, path=path, force=force)
    show({"path": str(written)}, as_json, [f"wrote {written}", f"next: ae check {written}, ae train {written}"])


@app.command()
def check(pipeline: PipelineArg, as_json: JsonFlag = False) -> None:
    """Read everything a pipeline needs; run nothing."""
    from ae_plugin import config
    from ae_plugin.jobs.check import check as job
    from ae_plugin.jobs.summary import many

    found = job(config.load(pipeline))
    lines = [
        f"{found.pipeline}: {many(found.files, 'file')}, {many(found.partitions, 'partition')}, "
        f"{found.bytes / 1e6:.1f} MB",
        f"columns: {', '.join(found.columns)}",
        f"trains on {many(len(found.train_partitions), 'partition')}; champion: {found.champion or 'none'}",
        *found.notes,
    ]
    show(found, as_json, lines)


@app.command()
def train(pipeline: PipelineArg, as_json: JsonFlag = False) -> None:
    """Train a version, and promote it as the pipeline says (`promote: auto`)."""
    from ae_plugin import config
    from ae_plugin.jobs.promote import promote as promote_job
    from ae_plugin.jobs.summary import train_lines
    from ae_plugin.jobs.train import train as job

    loaded = config.load(pipeline)
    report = job(loaded, on_progress=_progress())
    lines = train_lines(report)
    promoted = None
    if loaded.promote == "auto":
        promoted = promote_job(loaded, report.model_version)
        lines.append(_promotion(promoted.promoted, promoted.champion, promoted.reasons))
    else:
        lines.append(f"{report.model_version} waits as challenger: `ae promote {pipeline}`")
    show({**report.model_dump(mode="json"), "promotion": promoted and promoted.model_dump(mode="json")}, as_json, lines)


def _promotion(done: bool, champion: str | None, reasons: list[str]) -> str:
    word = f"champion is {champion} now" if done else f"not promoted (champion: {champion or 'none'})"
    return f"{word}: {'; '.join(reasons)}"


def _progress() -> Any:
    """A progress bar on stderr when a person is watching; the log tells the rest."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("training")

    def advance(step: int, steps: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=step, total=steps)
        if step >= steps:
            bar.stop()

    return advance


@app.command()
def score(
    pipeline: PipelineArg,
    partition: Annotated[str | None, typer.Option(help="One partition; absent: all that are new or changed.")] = None,
    source: Annotated[str | None, typer.Option("--input", help="Score this file or folder instead.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Write there instead.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Score what is new or changed, or one partition, or one input."""
    from ae_plugin import config
    from ae_plugin.jobs.due import due, idle
    from ae_plugin.jobs.score import score as job
    from ae_plugin.jobs.several import score_several
    from ae_plugin.jobs.summary import run_line

    loaded = config.load(pipeline)
    if partition is not None or source is not None:
        record = job(loaded, partition, source=source, output=output)
        show(record, as_json, [run_line(record)])
        return
    named = due(loaded)
    done = score_several(loaded, named, output=output, tell=complain)
    show(done.as_json(loaded.name), as_json, done.lines if named or as_json else [idle(loaded)])
    if done.exit_code:
        raise typer.Exit(done.exit_code)


@app.command()
def evaluate(
    pipeline: PipelineArg,
    label: Annotated[str, typer.Option(help="Column that says which rows are anomalous.")],
    labels: Annotated[str | None, typer.Option(help="File that holds it, for pictures; absent: the source.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare scores with a label column that the model never saw."""
    from ae_plugin import config
    from ae_plugin.jobs.evaluate import evaluate as job

    found = job(config.load(pipeline), label, labels)
    lines = [
        f"{found.rows} rows, {found.positives} labelled anomalies, model {found.model_version}",
        f"AUROC {found.auroc:.4f}, average precision {found.average_precision:.4f}",
        f"at alert_rate: precision {found.precision:.3f}, recall {found.recall:.3f}, F1 {found.f1:.3f}",
        f"observed alarm rate {found.observed_alert_rate:.2%}, on normal rows {found.false_alarm_rate:.2%}",
    ]
    show(found, as_json, lines)


@app.command()
def models(pipeline: PipelineArg, as_json: JsonFlag = False) -> None:
    """List model versions and the pointers at them."""
    from ae_plugin import config
    from ae_plugin.jobs.models import models as job
    from ae_plugin.jobs.summary import model_line

    loaded = config.load(pipeline)
    entries = job(loaded)
    lines = [model_line(entry) for entry in entries] or ["no versions yet: run `ae train`"]
    show({"pipeline": loaded.name, "models": [e.model_dump(mode="json") for e in entries]}, as_json, lines)


VersionArg = Annotated[str | None, typer.Argument(metavar="VERSION", help="As in `ae models`.")]


@app.command()
def promote(
    pipeline: PipelineArg,
    version: VersionArg = None,
    force: Annotated[bool, typer.Option(help="Whatever the gate says; recorded as forced.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the challenger (or VERSION) champion, when its gate passed."""
    from ae_plugin import config
    from ae_plugin.jobs.promote import promote as job

    done = job(config.load(pipeline), version, force=force)
    forced = ["forced"] if done.forced else []
    show(done, as_json, [_promotion(done.promoted, done.champion, [*forced, *done.reasons])])


@app.command()
def rollback(pipeline: PipelineArg, version: VersionArg = None, as_json: JsonFlag = False) -> None:
    """Point champion back at the version before it (or at VERSION)."""
    from ae_plugin import config
    from ae_plugin.jobs.promote import rollback as job

    done = job(config.load(pipeline), version)
    show(done, as_json, [_promotion(done.promoted, done.champion, done.reasons)])


@app.command()
def feedback(
    pipeline: PipelineArg,
    partition: Annotated[str | None, typer.Option(help="Of the row.")] = None,
    row: Annotated[int | None, typer.Option(help="Place in the partition, as in scores/.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; once for each of source.keys.")] = None,
    verdict: Annotated[str | None, typer.Option(help="false_alarm or confirmed.")] = None,
    column: Annotated[str | None, typer.Option(help="The cell that it is about; absent: the whole row.")] = None,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    who: Annotated[str | None, typer.Option(help="Absent: you.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="A Parquet or CSV file of verdicts.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what was said; add nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Say of rows that they are false alarms, or confirmed; the next training honours it."""
    from ae_plugin import config
    from ae_plugin.jobs import feedback as job
    from ae_plugin.jobs.summary import mark_line

    loaded = config.load(pipeline)
    if listed:
        done = job.standing(loaded)
    elif source is not None:
        done = job.feedback(loaded, job.said_in(source, loaded.source.row_keys))
    else:
        said = job.Said(verdict or "", partition, row, job.keys_of(key or []), column, note, who=who)
        done = job.feedback(loaded, [said])
    lines = [mark_line(mark) for mark in done.marks]
    show(done, as_json, lines or ["no feedback"])


PartitionArg = Annotated[
    str | None,
    typer.Argument(metavar="PARTITION", help="Its value or hive path; not for a source without any."),
]
NoteOption = Annotated[str | None, typer.Option("--note", help="Why.")]


@app.command()
def release(
    pipeline: PipelineArg, partition: PartitionArg = None, note: NoteOption = None, as_json: JsonFlag = False
) -> None:
    """Let a refused partition be scored at the next run, whatever the guard says."""
    _decide(pipeline, partition, "release", note, as_json)


@app.command()
def discard(
    pipeline: PipelineArg, partition: PartitionArg = None, note: NoteOption = None, as_json: JsonFlag = False
) -> None:
    """Leave a refused partition out for good, unless its files change; empty its quarantine."""
    _decide(pipeline, partition, "discard", note, as_json)


def _decide(pipeline: str, partition: str | None, decision: str, note: str | None, as_json: bool) -> None:
    from ae_plugin import config
    from ae_plugin.jobs.decide import decide as job
    from ae_plugin.jobs.summary import decision_lines

    loaded = config.load(pipeline)
    made = job(loaded, partition, decision, note=note)
    show(made, as_json, decision_lines(loaded, made))


@app.command()
def report(
    pipeline: PipelineArg,
    path: Annotated[Path | None, typer.Option(help="Of the HTML file; absent: report.html in the output.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write one self-contained HTML file: the model, its partitions, the worst rows and cells."""
    from ae_plugin import config
    from ae_plugin.jobs.report import report as job

    written = job(config.load(pipeline), path)
    show({"path": written}, as_json, [f"wrote {written}"])
