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


@app.command()
def complete(
    pipeline: PipelineArg,
    partition: Annotated[str | None, typer.Option(help="One partition; absent: all that are not yet.")] = None,
    source: Annotated[str | None, typer.Option("--input", help="Complete this file or folder instead.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Write there instead.")] = None,
    mask: Annotated[str | None, typer.Option(help="What to fill beside what is empty: see the docs.")] = None,
    coverage: Annotated[float, typer.Option(help="Share of cells that are to lie within their interval.")] = 0.9,
    as_json: JsonFlag = False,
) -> None:
    """Fill empty cells (transparent pixels), and those that a mask names, from all others; with intervals."""
    from ae_plugin import config
    from ae_plugin.jobs.latent.complete import complete as job
    from ae_plugin.jobs.latent.complete import due_completions
    from ae_plugin.jobs.summary import complete_lines

    loaded = config.load(pipeline)
    one = partition is not None or source is not None
    named = [partition] if one else list[str | None](due_completions(loaded, mask, coverage))
    done = [job(loaded, name or None, source=source, output=output, mask=mask, coverage=coverage) for name in named]
    whole = done[0] if one else {"pipeline": loaded.name, "completed": [each.model_dump(mode="json") for each in done]}
    unit = "pixel" if loaded.source.format == "images" else "cell"
    lines = [line for each in done for line in complete_lines(each, unit)]
    show(whole, as_json, lines or ["nothing to do: all that was scored is completed"])


@app.command()
def generate(
    pipeline: PipelineArg,
    rows: Annotated[int, typer.Argument(metavar="N", help="How many rows.")],
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="What all rows are to hold; once for each column. Empty: null."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 0,
    output: Annotated[str | None, typer.Option("--output", help="Write there instead.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write new rows like those of history, in the source's schema, marked as synthetic."""
    from ae_plugin import config
    from ae_plugin.errors import ConfigError
    from ae_plugin.jobs.latent.generate import generate as job
    from ae_plugin.jobs.summary import generate_lines

    wanted = {}
    for one in where or []:
        column, mark, value = one.partition("=")
        if not mark or not column or column in wanted:
            raise ConfigError(f"{one!r} is not COLUMN=VALUE, each column once", where="--where")
        wanted[column] = value
    record = job(config.load(pipeline), rows, where=wanted, seed=seed, output=output)
    show(record, as_json, generate_lines(record))


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


@app.command()
def traverse(
    pipeline: PipelineArg,
    latents: Annotated[int, typer.Option(help="How many latent variables, those that carry most first.")] = 8,
    steps: Annotated[int, typer.Option(help="Values that each takes.")] = 7,
    partition: Annotated[str | None, typer.Option(help="That the row is in; absent: the newest trained on.")] = None,
    row: Annotated[int | None, typer.Option(help="Place of the row that is held; absent: the most usual one.")] = None,
    key: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Its keys instead.")] = None,
    output: Annotated[str | None, typer.Option("--output", help="Write there instead.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change one latent variable, hold the others: decoded rows or pictures, and a contact sheet."""
    from ae_plugin import config
    from ae_plugin.jobs.feedback import keys_of
    from ae_plugin.jobs.latent.traverse import traverse as job
    from ae_plugin.jobs.summary import traverse_lines

    loaded = config.load(pipeline)
    done = job(loaded, partition, latents=latents, steps=steps, row=row, keys=keys_of(key or []), output=output)
    show(done, as_json, traverse_lines(done))
