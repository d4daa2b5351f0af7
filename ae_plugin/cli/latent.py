"""The verbs of what the bottleneck is good for besides scoring."""

from __future__ import annotations

from typing import Annotated

import typer

from ae_plugin.cli.app import JsonFlag, PipelineArg, app, show


@app.command()
def embed(
    pipeline: PipelineArg,
    partition: Annotated[str | None, typer.Option(help="One partition; absent: all that have none yet.")] = None,
    source: Annotated[str | None, typer.Option("--input", help="Embed this file or folder instead.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Write there instead.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the latent code of each row: of what was scored and has none yet, one partition, or one input."""
    from ae_plugin import config
    from ae_plugin.jobs.latent.embed import due_embeddings
    from ae_plugin.jobs.latent.embed import embed as job
    from ae_plugin.jobs.summary import embed_line

    loaded = config.load(pipeline)
    one = partition is not None or source is not None
    named = [partition] if one else list[str | None](due_embeddings(loaded))
    done = [job(loaded, name or None, source=source, output=output) for name in named]
    whole = done[0] if one else {"pipeline": loaded.name, "embedded": [each.model_dump(mode="json") for each in done]}
    show(whole, as_json, [embed_line(each) for each in done] or ["nothing to do: all that was scored has embeddings"])


@app.command("label-fit")
def label_fit(
    pipeline: PipelineArg,
    labels: Annotated[str, typer.Option(help="A Parquet or CSV file that names rows and says what they are.")],
    label: Annotated[str | None, typer.Option(help="Its column of labels; absent: `label`, or the only other.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Learn classes from a handful of labelled rows; the labels are kept for the champions to come."""
    from ae_plugin import config
    from ae_plugin.jobs.latent.heads import label_fit as job
    from ae_plugin.jobs.latent.words import label_fit_lines

    record = job(config.load(pipeline), labels, label)
    show(record, as_json, label_fit_lines(record))


@app.command()
def classify(
    pipeline: PipelineArg,
    partition: Annotated[str | None, typer.Option(help="One partition; absent: all that have none yet.")] = None,
    source: Annotated[str | None, typer.Option("--input", help="Classify this file or folder instead.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Write there instead.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the class of each row: of what was scored and has none yet, one partition, or one input."""
    from ae_plugin import config
    from ae_plugin.jobs.latent.classify import classify as job
    from ae_plugin.jobs.latent.classify import due_classes
    from ae_plugin.jobs.latent.words import classify_line

    loaded = config.load(pipeline)
    one = partition is not None or source is not None
    named = [partition] if one else list[str | None](due_classes(loaded))
    done = [job(loaded, name or None, source=source, output=output) for name in named]
    whole = done[0] if one else {"pipeline": loaded.name, "classified": [each.model_dump(mode="json") for each in done]}
    show(whole, as_json, [classify_line(each) for each in done] or ["nothing to do: all that was scored has classes"])
