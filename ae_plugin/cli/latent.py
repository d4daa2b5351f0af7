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
