"""Where a traversal lies in an output, and its record: for whoever shows it, without what makes one."""

from __future__ import annotations

from ae_plugin.latent_schemas import TraverseRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import TRAVERSAL

FRAMES, SHEET = "traversal/frames.parquet", "traversal/sheet.png"


def read_traversal(folder: Folder) -> TraverseRecord | None:
    """The newest traversal's record; None where there is none that can be read."""
    try:
        return TraverseRecord.model_validate_json(folder.read(TRAVERSAL))
    except (FileNotFoundError, ValueError):
        return None
