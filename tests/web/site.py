"""The plugin's app in a server of its own, mounted as Airflow mounts it, with Airflow's own tokens.

Airflow reads its home and its DAGs' folder when it is imported: hence the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.running import ROOT

SERVER = """
import json, sys

import uvicorn
from airflow import settings
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import import_all_models
from airflow.models.base import Base
from fastapi import FastAPI

from ae_plugin.web.plugin import AnomaliesPlugin

settings.initialize()
import_all_models()
Base.metadata.create_all(settings.get_engine())
host = FastAPI()
for mounted in AnomaliesPlugin.fastapi_apps:
    host.mount(mounted["url_prefix"], mounted["app"])
manager = init_auth_manager(host)


def token(role, **more):
    return manager.generate_jwt(SimpleAuthManagerUser(username="ann", role=role), **more)


def routes(app, path=""):
    for route in app.routes:
        if getattr(route, "methods", None):
            yield from ([method, path + route.path] for method in sorted(route.methods - {"HEAD"}))


tokens = {
    "viewer": token("VIEWER"),
    "user": token("USER"),
    "admin": token("ADMIN"),
    "nobody": token(None),
    "forged": token("ADMIN")[:-3] + "abc",
    "expired": token("ADMIN", expiration_time_in_seconds=-3600),
}
heavy = [name for name in ("tensorflow", "keras", "pandas") if name in sys.modules]
known = [one for mounted in AnomaliesPlugin.fastapi_apps for one in routes(mounted["app"], mounted["url_prefix"])]
told = {"tokens": tokens, "routes": known, "heavy": heavy, "views": AnomaliesPlugin.external_views}
print(json.dumps(told), flush=True)
uvicorn.run(host, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""
ORDER = {"X-Requested-By": "ae_plugin"}


@dataclass
class Site:
    """A server that answers.

    Attributes:
        url: where.
        tokens: by who has it.
        routes: (method, path) of all that is served.
        heavy: modules that the plugin loaded, and should not.
        views: what it registers in Airflow's UI.
    """

    url: str
    tokens: dict[str, str]
    routes: list[tuple[str, str]]
    heavy: list[str]
    views: list[dict[str, str]]
    client: httpx.Client

    def ask(
        self, who: str | None, path: str, method: str = "GET", *, cookie: bool = False, **more: Any
    ) -> httpx.Response:
        """What somebody gets."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            token = self.tokens[who]
            headers |= {"Cookie": f"_token={token}"} if cookie else {"Authorization": f"Bearer {token}"}
        return self.client.request(method, f"{self.url}{path}", headers=headers, **more)

    def get(self, path: str, who: str = "viewer", **params: Any) -> Any:
        """The body of an answer that must be there."""
        answer = self.ask(who, f"/ae/api/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(
        self, path: str, who: str | None = "admin", headers: dict[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """What an order gets."""
        return self.ask(who, f"/ae/api/{path}", "POST", json=body, headers=ORDER if headers is None else headers)


@contextlib.contextmanager
def served(root: Path, dags: Path) -> Iterator[Site]:
    """Serve the pipelines in `dags/pipelines/` and in `root/dags/pipelines/`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "AE_", "PYTHONDONTWRITEBYTECODE"))},
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AE_ROOT": str(root),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of tests that is long enough to sign with, " * 2,
        "PYTHONPATH": str(ROOT),
    }
    log = root / "server.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port)],
            env=env,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith('{"tokens"')), "")
            assert line, log.read_text()[-3000:]
            told = json.loads(line)
            routes = [(method, path) for method, path in told.pop("routes")]
            with httpx.Client(timeout=60) as client:
                site = Site(f"http://127.0.0.1:{port}", routes=routes, client=client, **told)
                _wait(site)
                yield site
        finally:
            process.kill()


def _wait(site: Site) -> None:
    for _ in range(300):
        with contextlib.suppress(httpx.TransportError):
            site.client.get(site.url)
            return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")
