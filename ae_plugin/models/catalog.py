"""Model kinds by name. To add one: write its module, and add a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

KINDS = {
    "dense": "ae_plugin.models.dense:build",
    "variational": "ae_plugin.models.variational:build",
}


def resolve(kind: str) -> str:
    """Return the kind that is meant; `auto` is the best kind for tables."""
    return "dense" if kind == "auto" else kind


def builder(kind: str) -> Any:
    """Return the function that builds a kind's Keras model."""
    module, function = KINDS[kind].split(":")
    return getattr(import_module(module), function)


def size_of(features: int) -> tuple[int, int]:
    """Width and latent_dim for F features; latent_dim never equals F, so that the two outputs differ in width."""
    width = 64 if features <= 48 else 128 if features <= 256 else 256
    latent = 64 if features != 64 else 63
    return width, latent
