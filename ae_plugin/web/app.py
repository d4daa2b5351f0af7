"""The FastAPI app that Airflow mounts."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ae_plugin import __version__
from ae_plugin.airflow_stores import use_connections
from ae_plugin.errors import AeError
from ae_plugin.web.routes import router


def create_app() -> FastAPI:
    """Build the app; a plugin's app is mounted unprotected, so every route asks for rights itself."""
    use_connections()
    app = FastAPI(
        title="ae_plugin",
        version=__version__,
        description="Pipelines, runs and models, read-only.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.include_router(router, prefix="/api")

    @app.exception_handler(AeError)
    async def _one_line(_: Request, error: AeError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=409)

    return app
