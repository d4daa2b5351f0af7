"""Model kinds by name. To add one: write its module, and add a line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

KINDS = {
    "dense": "ae_plugin.models.dense:build",
    "variational": "ae_plugin.models.variational:build",
}
LESSONS = {
    "dense": "ae_plugin.models.masking:HiddenCells",
    "variational": "ae_plugin.models.variational:DrawnCells",
}
"""What each kind is taught: (rows, validation, second, latent_dim) -> a lesson."""


def resolve(kind: str) -> str:
    """Return the kind that is meant; `auto` is the best kind for tables."""
    return "dense" if kind == "auto" else kind


def builder(kind: str) -> Any:
    """Return the function that builds a kind's Keras model."""
    return _named(KINDS[kind])


def lesson_of(kind: str) -> Any:
    """Return what makes a kind's lessons."""
    return _named(LESSONS[kind])


def _named(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)


def size_of(features: int) -> tuple[int, int]:
    """Width and latent_dim for F features; latent_dim never equals F, so that the two outputs differ in width."""
    width = 64 if features <= 48 else 128 if features <= 256 else 256
    latent = 64 if features != 64 else 63
    return width, latent
