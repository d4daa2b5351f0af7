"""Pages of figures: each benchmark rewrites its own section, between two comments, and leaves the words around it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/quality.md"


def rewrite(section: str, command: str, lines: Sequence[str], path: Path = PAGE) -> None:
    """Replace a section's tables by new ones, dated, under the command that gives them.

    Raises:
        ValueError: the page has no such section.
    """
    start, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(start)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{path} has no section {start} ... {end}")
    body = "\n".join(["", f"`{command}`, {date.today()}.", "", *lines, ""])
    path.write_text(before + start + body + end + after, encoding="utf-8")
