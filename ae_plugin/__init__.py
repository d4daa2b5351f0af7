"""Autoencoders for tables, inside Airflow: anomalies, wrong cells, repaired Parquet.

import ae_plugin

ae_plugin.train("dags/pipelines/flights.yaml")
detector = ae_plugin.load("out/flights")
detector.score(frame)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ae_plugin.api import encoder, promote, score, train
    from ae_plugin.config import Pipeline
    from ae_plugin.detector import Detector, load
    from ae_plugin.errors import AeError
    from ae_plugin.picture_detector import PictureDetector

__version__ = "0.1.0"
_HOMES = {
    "AeError": "ae_plugin.errors",
    "Detector": "ae_plugin.detector",
    "PictureDetector": "ae_plugin.picture_detector",
    "Pipeline": "ae_plugin.config",
    "encoder": "ae_plugin.api",
    "load": "ae_plugin.detector",
    "promote": "ae_plugin.api",
    "score": "ae_plugin.api",
    "train": "ae_plugin.api",
}
__all__ = [
    "AeError",
    "Detector",
    "PictureDetector",
    "Pipeline",
    "__version__",
    "encoder",
    "load",
    "promote",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ae_plugin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
