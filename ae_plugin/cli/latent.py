"""The verbs of what the bottleneck is good for besides scoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from ae_plugin.cli.app import JsonFlag, PipelineArg, app, complain, show

if TYPE_CHECKING:
    from ae_plugin.config import Pipeline
    from ae_plugin.latent_schemas import CompleteRecord

Done = TypeVar("Done", bound=BaseModel)
Answer = tuple["Pipeline", bool, Callable[[Any], list[str]], str]


def _each(named: list[str | None], one: bool, word: str, job: Callable[[str | None], Done], answer: Answer) -> None:
    """Do a job with each partition, and go on after one that is refused or fails; with one alone the error is all.

    Args:
        named: the partitions.
        one: one was asked for.
        word: what became of them, in the answer.
        job: what to do.
        answer: the pipeline, whether as JSON, what says a record in lines, and what all that was scored is, when
            nothing is due.
    """
    from ae_plugin.jobs.latent.output import nothing_due
    from ae_plugin.jobs.several import Several

    pipeline, as_json, lines_of, all_are = answer
    if one:
        record = job(named[0])
        show(record, as_json, lines_of(record))
        return
    several, done = Several(), list[Done]()
    for partition in named:
        with several.noted(partition or "", complain):
            done.append(job(partition))
    whole: dict[str, Any] = {"pipeline": pipeline.name, word: [record.model_dump(mode="json") for record in done]}
    if several.exit_code:
        told = several.as_json(pipeline.name)
        whole |= {key: value for key, value in told.items() if key not in ("pipeline", "runs")}
    lines = [line for record in done for line in lines_of(record)]
    show(whole, as_json, lines if named else [nothing_due(pipeline, all_are)])
    if several.exit_code:
        raise typer.Exit(several.exit_code)


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
    named = [partition] if one else list[str | None](due_embeddings(loaded, output))
    answer = loaded, as_json, lambda each: [embed_line(each)], "has embeddings"
    _each(named, one, "embedded", lambda name: job(loaded, name or None, source=source, output=output), answer)


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
    masks: dict[str | None, str | None] = {partition: mask}
    if not one:
        masks = dict(due_completions(loaded, mask, coverage, output).items())
    unit = "pixel" if loaded.source.format == "images" else "cell"

    def run(name: str | None) -> CompleteRecord:
        return job(loaded, name or None, source=source, output=output, mask=masks[name], coverage=coverage)

    _each([*masks], one, "completed", run, (loaded, as_json, lambda each: complete_lines(each, unit), "is completed"))


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
    loaded = config.load(pipeline)
    record = job(loaded, rows, where=wanted, seed=seed, output=output)
    show(record, as_json, generate_lines(record, "picture" if loaded.source.format == "images" else "row"))


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
    named = [partition] if one else list[str | None](due_classes(loaded, output))
    answer = loaded, as_json, lambda each: [classify_line(each)], "has classes"
    _each(named, one, "classified", lambda name: job(loaded, name or None, source=source, output=output), answer)


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
