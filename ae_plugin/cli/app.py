"""The program `ae`: what every verb shares, how it answers, how it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from typing import Annotated, Any, TextIO

import typer
from pydantic import BaseModel

from ae_plugin import __version__
from ae_plugin.errors import AeError, StoreError
from ae_plugin.logs import tell_on_stderr

app = typer.Typer(
    name="ae", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
PipelineArg = Annotated[str, typer.Argument(metavar="PIPELINE", help="A YAML's path, or its name in dags/pipelines/.")]
_INTERRUPTED = "interrupted; nothing was changed that was not finished"
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def main() -> None:
    """Run `ae`; exit codes: 0 done, 1 our bug, 2 your config or data, 3 refused as unfamiliar, 4 no champion."""
    logging.captureWarnings(True)
    try:
        app()
    except AeError as error:
        sys.exit(_fail(str(error), error.exit_code))
    except SystemExit as stop:
        sys.exit(_stopped(stop))
    except KeyboardInterrupt:
        sys.exit(_fail(_INTERRUPTED, 130))
    except OSError as error:
        if not _stdout_is_gone():
            raise
        sys.exit(_fail(f"stdout: cannot be written ({error.strerror})", StoreError.exit_code))
    except Exception as error:
        _tell_json(f"our bug: {type(error).__name__}: {error}", AeError.exit_code)
        raise


def _stopped(stop: SystemExit) -> Any:
    """The exit code for what typer has caught already: Ctrl-C, a wrong option, a reader that went away."""
    why = stop.__context__
    if stop.code == 130:
        return _fail(_INTERRUPTED, 130)
    if isinstance(why, BrokenPipeError) and _stdout_is_gone():
        return 128 + signal.SIGPIPE
    told = getattr(why, "format_message", None)
    if told is not None:
        _tell_json(told(), int(stop.code or 0))
    return stop.code


def _fail(text: str, code: int) -> int:
    _tell_json(text, code)
    complain(text)
    return code


def _tell_json(error: str, code: int) -> None:
    """What every failure prints on stdout where `--json` asks for an object."""
    if "--json" in sys.argv:
        try:
            print(json.dumps({"error": error, "exit_code": code}), flush=True)
        except OSError:
            _stdout_is_gone()


def complain(text: object) -> None:
    """Say one line on stderr, if anybody listens there."""
    try:
        print(f"ae: {text}", file=sys.stderr, flush=True)
    except OSError:  # nobody listens
        _let_go(sys.__stderr__)


def _stdout_is_gone() -> bool:
    """Whether nothing can be written on stdout; if so it is let go."""
    try:
        print(file=sys.__stdout__, flush=True)
    except OSError:
        _let_go(sys.__stdout__)
        return True
    return False


def _let_go(stream: TextIO | None) -> None:
    """Write no more to a stream that fails, or Python would complain of it once more at its end."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__, flush=True)
        raise typer.Exit


@app.callback()
def _setup(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")] = False,
    _version_flag: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Autoencoders for tables: train, score, explain, repair."""
    tell_on_stderr(logging.WARNING if quiet else logging.INFO)


def show(record: BaseModel | dict[str, Any], as_json: bool, lines: list[str]) -> None:
    """Print a job's answer: one JSON object, or lines."""
    if as_json:
        data = record.model_dump(mode="json") if isinstance(record, BaseModel) else record
        print(json.dumps(data), flush=True)
    elif lines:
        print("\n".join(lines), flush=True)
