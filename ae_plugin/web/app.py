"""The FastAPI app that Airflow mounts."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse

from ae_plugin import __version__
from ae_plugin.airflow_stores import use_connections
from ae_plugin.errors import AeError
from ae_plugin.web import files, orders, routes
from ae_plugin.web.access import Authenticated


def create_app() -> FastAPI:
    """Build the app; a plugin's app is mounted unprotected, so every route asks for rights itself."""
    use_connections()
    app = FastAPI(
        title="ae_plugin",
        version=__version__,
        description="Pipelines, partitions and models: look, understand, decide.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(routes.router, prefix="/api")
    app.include_router(orders.router, prefix="/api")
    app.include_router(files.router)

    @app.get("/api/openapi.json", dependencies=[Authenticated], include_in_schema=False)
    def openapi() -> dict[str, Any]:
        """What the API takes and answers."""
        return app.openapi()

    @app.exception_handler(AeError)
    async def _one_line(_: Request, error: AeError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=409)

    @app.exception_handler(HTTPException)
    async def _said(request: Request, error: HTTPException) -> Response:
        # Who opens the page's address is a person, who can sign in.
        if error.status_code == 401 and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), status_code=307)
        return await http_exception_handler(request, error)

    @app.exception_handler(RequestValidationError)
    async def _not_understood(_: Request, error: RequestValidationError) -> JSONResponse:
        # What was sent is not said again: it may be no text at all.
        said = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
        line = "; ".join(said).encode("ascii", "backslashreplace").decode()
        return JSONResponse({"detail": line[:1000]}, status_code=422)

    return app
