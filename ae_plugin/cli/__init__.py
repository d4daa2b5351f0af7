"""`ae`: the jobs, typed. Answers go to stdout (`--json`: one JSON object), everything else to stderr."""

from ae_plugin.cli import pipelines
from ae_plugin.cli.app import app, main

from ae_plugin.cli import latent  # isort: skip  # its verbs come last in `ae --help`

__all__ = ["app", "latent", "main", "pipelines"]
