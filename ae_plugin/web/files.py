"""The page itself: the files that the build of `page/` left in `static/`, and nothing else."""

from __future__ import annotations

import mimetypes
from functools import cache
from pathlib import Path

from fastapi import APIRouter, BackgroundTasks, HTTPException, Response

from ae_plugin.web.access import Authenticated
from ae_plugin.web.catalog import pipelines

STATIC = Path(__file__).parent / "static"
HEADERS = {
    # Shown inside Airflow's page, which is of the same origin; nothing from elsewhere is loaded or run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
router = APIRouter(dependencies=[Authenticated], include_in_schema=False)


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Path below `static/` -> content and type, read once."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            found[path.relative_to(STATIC).as_posix()] = path.read_bytes(), kind
    return found


def _answer(name: str, caching: str) -> Response:
    if name not in _files():
        raise HTTPException(404, "no such file")
    content, kind = _files()[name]
    return Response(content, media_type=kind, headers={**HEADERS, "Cache-Control": caching})


@router.get("/")
def page(later: BackgroundTasks) -> Response:
    """The page; while it is fetched, the YAMLs that it will ask for are read."""
    later.add_task(pipelines)
    return _answer("index.html", "no-cache")


@router.get("/assets/{name}")
def asset(name: str) -> Response:
    """One of its files, whose name changes with its content."""
    return _answer(f"assets/{name}", "private, max-age=31536000, immutable")
