"""`docs/latent.md`: each benchmark rewrites its own section, as those of `docs/quality.md` do."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.quality import page

ROOT = page.ROOT
PAGE = ROOT / "docs/latent.md"


def rewrite(section: str, command: str, lines: Sequence[str]) -> None:
    """Replace a section's tables by new ones; see `benchmarks.quality.page.rewrite`.

    Raises:
        ValueError: the page has no such section.
    """
    page.rewrite(section, command, lines, PAGE)
