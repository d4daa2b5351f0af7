"""The read-only API, mounted as Airflow mounts it, with Airflow's own tokens: who may see what.

Airflow reads its home and its DAGs' folder when it is imported, so all requests are made in a process of its own, and
the tests judge the answers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from ae_plugin.jobs.due import runs
from ae_plugin.jobs.models import models
from ae_plugin.jobs.score import score
from ae_plugin.schemas import ModelEntry, RunRecord
from ae_plugin.store.commit import Commit
from ae_plugin.store.files import Folder
from ae_plugin.store.staging import JOURNALS
from tests.conftest import Trained
from tests.running import ROOT, tree
from tests.shop import FRESH, Shop, day

SERVER = """
import json, sys

from airflow import settings
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import import_all_models
from airflow.models.base import Base
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ae_plugin.web.plugin import AnomaliesPlugin

settings.initialize()
import_all_models()
Base.metadata.create_all(settings.get_engine())
host = FastAPI()
for mounted in AnomaliesPlugin.fastapi_apps:
    host.mount(mounted["url_prefix"], mounted["app"])
manager = init_auth_manager()


def token(role):
    return manager.generate_jwt(SimpleAuthManagerUser(username="ann", role=role))


TOKENS = {
    "viewer": token("VIEWER"),
    "admin": token("ADMIN"),
    "nobody": token(None),
    "forged": token("ADMIN")[:-3] + "abc",
    "expired": manager.generate_jwt(
        SimpleAuthManagerUser(username="ann", role="ADMIN"), expiration_time_in_seconds=-3600
    ),
    "none": None,
}
answers = []
for who, method, path, cookie in json.load(sys.stdin):
    if method == "SPOIL":
        open(path, "w").write("no pointer")
        answers.append([0, "", ""])
        continue
    client = TestClient(host, raise_server_exceptions=False)
    if TOKENS[who] and cookie:
        client.cookies.set("_token", TOKENS[who])
    headers = {"Authorization": f"Bearer {TOKENS[who]}"} if TOKENS[who] and not cookie else {}
    answer = client.request(method, path, headers=headers)
    kind = answer.headers.get("content-type", "")
    answers.append([answer.status_code, kind, answer.json() if kind.startswith("application/json") else answer.text])
routes = sorted({route.path for m in AnomaliesPlugin.fastapi_apps for route in m["app"].routes})
heavy = [name for name in ("tensorflow", "keras", "pandas") if name in sys.modules]
json.dump({"answers": answers, "routes": routes, "heavy": heavy}, sys.stdout)
"""

PATHS = ["/ae/api/pipelines", "/ae/api/pipelines/shop/runs", "/ae/api/pipelines/shop/models"]
ODD = ["nothing", "..", "%2e%2e", "..%2f..%2fsecret", "broken", "shop.yaml", "SHOP", "shop%00", "a" * 300]
EVERYBODY = ["none", "forged", "expired", "nobody", "viewer", "admin"]
REQUESTS = [
    *((who, "GET", path, False) for who in EVERYBODY for path in PATHS),
    *(("viewer", "GET", path, True) for path in PATHS),
    *(("admin", method, path, False) for method in ("POST", "PUT", "PATCH", "DELETE") for path in PATHS),
    *((who, "GET", f"/ae/api/pipelines/{name}/{what}", False)
      for who in ("none", "viewer") for name in ODD for what in ("runs", "models")),
    *(("none", "GET", f"/ae/{page}", False) for page in ("docs", "redoc", "openapi.json", "api/openapi.json")),
    *(("viewer", "GET", f"/ae/api/pipelines/{name}/runs", False) for name in ("fresh", "tampered")),
    *(("viewer", "GET", f"/ae/api/pipelines/{name}/models", False) for name in ("fresh", "tampered")),
    ("none", "SPOIL", "tampered/_models/champion.json", False),
    ("admin", "GET", PATHS[0], True),
    ("admin", "GET", "/ae/api/pipelines/tampered/models", True),
]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What one request got."""

    status: int
    kind: str
    body: Any


@dataclass(frozen=True)
class Site:
    """All answers, and the pipeline they are about."""

    shop: Shop
    answers: dict[tuple[str, str, str, bool], Answer]
    routes: list[str]
    heavy: list[str]
    before: dict[str, str]
    after: dict[str, str]

    def get(self, who: str, path: str, method: str = "GET", *, cookie: bool = False) -> Answer:
        return self.answers[who, method, path, cookie]


@pytest.fixture(scope="module")
def site(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Two pipelines in the folder of DAGs, and one that is under AE_ROOT alone, as with a bundle from git."""
    root = tmp_path_factory.mktemp("site")
    shop = trained.shop.copy(root)
    folder, bundle = root / "elsewhere/pipelines", root / "dags/pipelines"
    for each in (folder, bundle):
        each.mkdir(parents=True)
    fresh = {**shop.settings, "name": "fresh", "output": "nothing"}
    tampered = {**shop.settings, "name": "tampered", "output": "tampered"}
    for name, content, where in (
        ("fresh", fresh, folder),
        ("tampered", tampered, folder),
        ("shop", shop.settings, bundle),
    ):
        (where / f"{name}.yaml").write_text(json.dumps(content))
    (folder / "broken.yaml").write_text("name: broken\ncolour: red\n")
    shutil.copytree(shop.output / "_models", root / "tampered/_models")
    (root / "tampered/_models/v0001/model.json").write_text("{}")
    for number in (FRESH, FRESH + 1):
        score(shop.pipeline, day(number))
    stop_a_commit(shop)
    before = tree(shop.output)
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "AE_", "PYTHONDONTWRITEBYTECODE"))},
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "elsewhere"),
        "AE_ROOT": str(root),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of tests that is long enough to sign with, " * 2,
        "PYTHONPATH": str(ROOT),
    }
    ran = subprocess.run(
        [sys.executable, "-c", SERVER], input=json.dumps(REQUESTS), env=env, cwd=root,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout[ran.stdout.index('{"answers"') :])
    answers = {tuple(request): Answer(*answer) for request, answer in zip(REQUESTS, found["answers"], strict=True)}
    return Site(shop, answers, found["routes"], found["heavy"], before, tree(shop.output))  # type: ignore[arg-type]


def stop_a_commit(shop: Shop) -> None:
    """As a run that is killed while it moves its files leaves it."""
    commit = Commit(Folder(str(shop.output)), "date=2000-01-01")
    commit.folder.write(commit.staged("scores/date=2000-01-01/part-0.parquet"), b"rows")
    steps = {"moves": commit.moves, "removals": [], "stage": commit.stage.name}
    commit.folder.write(f"{JOURNALS}/{commit.stage.id}.json", json.dumps(steps).encode())
    commit.stage.release()


# Who may see.


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_nobody_sees_anything(site: Site, path: str) -> None:
    answer = site.get("none", path)
    assert answer.status == 401
    assert answer.kind.startswith("application/json") and set(answer.body) == {"detail"}


@pytest.mark.parametrize("path", PATHS)
def test_a_token_that_is_none(site: Site, path: str) -> None:
    assert site.get("forged", path).status == 403
    assert site.get("expired", path).status == 401
    for who in ("forged", "expired"):
        assert set(site.get(who, path).body) == {"detail"}


def test_who_may_not_read_the_dag_may_not_see_its_pipeline(site: Site) -> None:
    assert site.get("nobody", PATHS[0]).body == {"pipelines": []}
    for path in PATHS[1:]:
        assert site.get("nobody", path).status == 403


@pytest.mark.parametrize("path", PATHS)
def test_who_may_read_the_dag_sees_its_pipeline(site: Site, path: str) -> None:
    answer = site.get("viewer", path)
    assert answer.status == 200 and answer.kind.startswith("application/json")
    assert answer == site.get("admin", path)
    assert answer == site.get("viewer", path, cookie=True), "as the browser asks"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_can_be_changed(site: Site, path: str, method: str) -> None:
    assert site.get("admin", path, method).status == 405


def test_who_looks_changes_nothing(site: Site) -> None:
    """Not even what a killed run has left to finish."""
    assert site.before == site.after
    assert any(name.startswith(JOURNALS) for name in site.after)


@pytest.mark.parametrize("page", ["docs", "redoc", "openapi.json", "api/openapi.json"])
def test_no_page_is_open_to_all(site: Site, page: str) -> None:
    assert site.get("none", f"/ae/{page}").status == 404


# What they see.


def test_pipelines_at_a_glance(site: Site) -> None:
    found = {entry["name"]: entry for entry in site.get("viewer", PATHS[0]).body["pipelines"]}
    assert set(found) == {"shop", "fresh", "tampered"}, "a broken YAML is shown as an import error, not here"
    newest = runs(site.shop.pipeline)[-1]
    assert found["shop"] == {
        "name": "shop",
        "champion": "v0001",
        "partitions_scored": 2,
        "last_partition": f"date={day(FRESH + 1)}",
        "last_verdict": newest.guard.verdict,
        "observed_alert_rate": newest.observed_alert_rate,
        "alert_rate": 0.01,
    }
    assert (found["fresh"]["champion"], found["fresh"]["partitions_scored"]) == (None, 0)


def test_the_newest_run_of_each_partition(site: Site) -> None:
    body = site.get("viewer", PATHS[1]).body
    assert [RunRecord.model_validate(run) for run in body["runs"]] == runs(site.shop.pipeline)
    assert len(body["runs"]) == 2


def test_the_model_versions(site: Site) -> None:
    body = site.get("viewer", PATHS[2]).body
    assert [ModelEntry.model_validate(entry) for entry in body["models"]] == models(site.shop.pipeline)
    assert body["models"][0]["pointers"] == ["champion", "challenger"]


def test_a_pipeline_that_has_nothing_yet(site: Site) -> None:
    assert site.get("viewer", "/ae/api/pipelines/fresh/runs").body == {"runs": []}
    assert site.get("viewer", "/ae/api/pipelines/fresh/models").body == {"models": []}


def test_a_version_that_was_tampered_with_says_so(site: Site) -> None:
    answer = site.get("viewer", "/ae/api/pipelines/tampered/models")
    assert answer.status == 200
    assert [entry["version"] for entry in answer.body["models"]] == ["v0001"]
    assert "v0001/model.json: was changed" in answer.body["models"][0]["problem"]


def test_a_pointer_that_was_tampered_with_is_one_line(site: Site) -> None:
    answer = site.get("admin", "/ae/api/pipelines/tampered/models", cookie=True)
    assert answer.status == 409
    assert set(answer.body) == {"detail"} and "\n" not in answer.body["detail"]
    assert "champion.json: is not a pointer file" in answer.body["detail"]


def test_one_spoilt_pipeline_does_not_hide_the_others(site: Site) -> None:
    """Its champion.json is no pointer any more."""
    answer = site.get("admin", PATHS[0], cookie=True)
    assert answer.status == 200, answer.body
    assert {"shop", "fresh"} <= {entry["name"] for entry in answer.body["pipelines"]}


@pytest.mark.parametrize("what", ["runs", "models"])
@pytest.mark.parametrize("name", ODD)
def test_names_and_paths_come_from_the_yamls_only(site: Site, name: str, what: str) -> None:
    path = f"/ae/api/pipelines/{name}/{what}"
    assert site.get("viewer", path).status in (403, 404)
    assert site.get("none", path).status in (401, 404)


# How it is made.


def test_every_route_is_under_api(site: Site) -> None:
    assert [path for path in site.routes if not path.startswith("/api/pipelines")] == []
    assert len(site.routes) >= 3


def test_the_plugin_loads_no_network(site: Site) -> None:
    """Law 6, for what answers requests."""
    assert "tensorflow" not in site.heavy and "keras" not in site.heavy
