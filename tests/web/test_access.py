"""Who may look and who may decide: every route, without a token and with everybody's."""

from __future__ import annotations

import re

import pytest

from ae_plugin.store.staging import JOURNALS
from tests.running import tree
from tests.shop import FRESH, day
from tests.web.conftest import Served
from tests.web.site import ORDER

NEEDED = {"dag_id": "shop__score", "partition": f"date={day(FRESH)}", "row": 0, "one": "v0001", "other": "v0001"}
NEEDED |= {"latent": 0, "step": 0}
PAGE = {"/ae/", "/ae/assets/{name}", "/ae/api/openapi.json"}
ODD = ["nothing", "..", "%2e%2e", "..%2f..%2fsecret", "shop.yaml", "SHOP", "shop%00", "a" * 300]


def filled(path: str) -> str:
    path = path.replace("/pipelines/{name}", "/pipelines/shop").replace("{version}", "v0001")
    return re.sub(r"\{\w+\}", "none", path)


def test_what_is_served(web: Served) -> None:
    routes = set(web.site.routes)
    assert len(routes) == len(web.site.routes) >= 17
    outside = {path for _, path in routes if not path.startswith("/ae/api/")}
    assert outside == {"/ae/", "/ae/assets/{name}"}
    assert {method for method, _ in routes} == {"GET", "POST"}


def test_nobody_sees_or_does_anything_without_a_token(web: Served) -> None:
    for method, path in web.site.routes:
        answer = web.site.ask(None, filled(path), method, params=NEEDED, headers=ORDER, json={})
        assert answer.status_code == 401, (method, path)
        assert set(answer.json()) == {"detail"}


def test_who_opens_the_page_without_a_session_is_asked_to_sign_in(web: Served) -> None:
    answer = web.site.ask(None, "/ae/", headers={"Accept": "text/html"})
    assert answer.status_code == 307 and "/auth/login" in answer.headers["location"]
    assert "next=" in answer.headers["location"]


@pytest.mark.parametrize(("who", "status"), [("forged", 403), ("expired", 401)])
def test_a_token_that_is_none(web: Served, who: str, status: int) -> None:
    for method, path in web.site.routes:
        answer = web.site.ask(who, filled(path), method, params=NEEDED, headers=ORDER, json={})
        assert answer.status_code == status, (method, path)


def test_who_may_not_read_the_dag_sees_nothing_of_its_pipeline(web: Served) -> None:
    for method, path in web.site.routes:
        if path in PAGE:
            continue
        answer = web.site.ask("nobody", filled(path), method, params=NEEDED, headers=ORDER, json={})
        if path == "/ae/api/pipelines":
            assert answer.json()["pipelines"] == [] and answer.json()["counts"] == {}
        else:
            assert answer.status_code == 403, (method, path)


def test_who_may_read_the_dag_may_look_at_all_and_decide_nothing(web: Served) -> None:
    before = tree(web.shop.output)
    for method, path in web.site.routes:
        answer = web.site.ask("viewer", filled(path), method, params=NEEDED, headers=ORDER, json={})
        if method == "POST":
            assert answer.status_code == 403, path
        else:
            assert answer.status_code in (200, 404), (path, answer.text)
            assert answer.status_code != 404 or path == "/ae/assets/{name}" or path.endswith("/picture")
    assert tree(web.shop.output) == before
    assert web.site.get("pipelines/shop")["may_decide"] is False
    assert web.site.get("pipelines/shop", "admin")["may_decide"] is True


def test_who_looks_changes_nothing(web: Served) -> None:
    """Not even what a killed run has left to finish."""
    before = tree(web.root)
    for path in ("pipelines", "pipelines/shop/timeline", "pipelines/shop/runs", "pipelines/shop/models"):
        web.site.get(path)
    after = tree(web.root)
    own = {name for name in {*before, *after} if name.startswith(("airflow", "server.log"))}
    assert {n: v for n, v in before.items() if n not in own} == {n: v for n, v in after.items() if n not in own}
    assert any(JOURNALS in name for name in after)


def test_the_browser_s_cookie_opens_what_the_token_opens(web: Served) -> None:
    for path in ("/ae/api/pipelines", "/ae/api/pipelines/shop/models"):
        assert web.site.ask("viewer", path, cookie=True).json() == web.site.ask("viewer", path).json()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Requested-By": "another"},
        {**ORDER, "Origin": "https://evil.example"},
        {**ORDER, "Origin": "null"},
        {"Content-Type": "text/plain"},
    ],
)
def test_other_sites_cannot_decide_with_the_browser_s_cookie(web: Served, headers: dict[str, str]) -> None:
    before = tree(web.shop.output)
    for path in ("feedback", "promote", "rollback", "decide"):
        answer = web.site.ask("admin", f"/ae/api/pipelines/shop/{path}", "POST", cookie=True, json={}, headers=headers)
        assert answer.status_code == 403, (path, answer.text)
    assert tree(web.shop.output) == before


def test_the_page_itself_may(web: Served) -> None:
    for headers in (
        ORDER,
        {**ORDER, "Origin": web.site.url},
        {**ORDER, "Origin": "https://a.b", "X-Forwarded-Host": "a.b"},
    ):
        answer = web.site.ask("admin", "/ae/api/pipelines/shop/feedback", "POST", cookie=True, json={}, headers=headers)
        assert answer.status_code == 422, "understood, and found incomplete"


@pytest.mark.parametrize("what", ["runs", "models", "rows?partition=x", "values?row=1"])
@pytest.mark.parametrize("name", ODD)
def test_names_and_paths_come_from_the_yamls_only(web: Served, name: str, what: str) -> None:
    path = f"/ae/api/pipelines/{name}/{what}"
    assert web.site.ask("viewer", path).status_code in (403, 404)
    assert web.site.ask(None, path).status_code in (401, 404)


@pytest.mark.parametrize("partition", ["../../../etc", "date=..", "date=2024-03-11/../..", "a" * 5000, "\x00", "%", ""])
def test_partitions_come_from_the_records_only(web: Served, partition: str) -> None:
    for what in ("partition", "rows", "values", "download"):
        answer = web.site.ask("viewer", f"/ae/api/pipelines/shop/{what}", params={"partition": partition, "row": 1})
        assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("name", ["../plugin.py", "..%2fplugin.py", "%2e%2e/plugin.py", "x.js", ""])
def test_files_come_from_the_build_only(web: Served, name: str) -> None:
    assert web.site.ask("viewer", f"/ae/assets/{name}").status_code == 404


@pytest.mark.parametrize("page", ["docs", "redoc", "openapi.json", "static/index.html"])
def test_no_page_is_open_to_all(web: Served, page: str) -> None:
    assert web.site.ask(None, f"/ae/{page}").status_code == 404


def test_the_plugin_loads_no_network(web: Served) -> None:
    """Law 6, for what answers requests."""
    assert "tensorflow" not in web.site.heavy and "keras" not in web.site.heavy


def test_where_airflow_shows_the_page(web: Served) -> None:
    views = {view["destination"]: view for view in web.site.views}
    assert set(views) == {"nav", "dag", "dag_run", "task_instance"}
    assert len({view["url_route"] for view in web.site.views}) == 4
    assert {view["name"] for view in web.site.views} == {"Anomalies"}
    assert views["dag_run"]["href"] == "/ae/?dag_id={DAG_ID}&run_id={RUN_ID}"
