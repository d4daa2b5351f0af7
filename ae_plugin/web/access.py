"""Who may look, and who may decide: as Airflow's auth manager says of the pipeline's DAGs."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag, requires_authenticated
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from ae_plugin.config import Pipeline
from ae_plugin.web.catalog import broken, pipelines

PAGE = "ae_plugin"
"""What a request that changes something carries as `X-Requested-By`: no form of another site can send it."""
Authenticated = Depends(requires_authenticated())


def score_dag(name: str) -> str:
    """The DAG that stands for a pipeline: who may read it may look, who may edit it may decide."""
    return f"{name}__score"


def readable_of(names: set[str], user: Any) -> set[str]:
    """Those pipelines that a user may read, asked of the auth manager at once."""
    dags = {score_dag(name): name for name in names}
    teams: dict[str, str | None] = {}
    if conf.getboolean("core", "multi_team", fallback=False):
        teams = DagModel.get_dag_id_to_team_name_mapping(list(dags))
    allowed: set[str] = set()
    for team in {None, *teams.values()}:
        own = {dag for dag in dags if teams.get(dag) == team}
        allowed |= get_auth_manager().filter_authorized_dag_ids(dag_ids=own, user=user, method="GET", team_name=team)
    return {dags[dag] for dag in allowed}


def may_decide(name: str, request: Request, user: Any) -> bool:
    """Whether a user may edit a pipeline's DAG."""
    try:
        requires_access_dag("PUT", param_dag_id=score_dag(name))(request, user)
    except HTTPException:
        return False
    return True


def _readable(name: str, request: Request, user: GetUserDep) -> Pipeline:
    requires_access_dag("GET", param_dag_id=score_dag(name))(request, user)
    return _known(name)


def _editable(name: str, request: Request, user: GetUserDep) -> Pipeline:
    _asked_by_the_page(request)
    requires_access_dag("GET", param_dag_id=score_dag(name))(request, user)
    requires_access_dag("PUT", param_dag_id=score_dag(name))(request, user)
    return _known(name)


def _known(name: str) -> Pipeline:
    found = pipelines().get(name)
    if found is None and name in broken():
        raise HTTPException(409, broken()[name])
    if found is None:
        raise HTTPException(404, "no such pipeline")
    return found


def _asked_by_the_page(request: Request) -> None:
    """A browser sends the cookie along with whatever other sites make it ask, but no header of theirs, unasked."""
    if request.headers.get("x-requested-by") != PAGE:
        raise HTTPException(403, f"the header X-Requested-By: {PAGE} is missing")
    origin = request.headers.get("origin")
    # Proxies pass the name on that the browser knows, one after the other; or `[api] base_url` is it.
    told = f"{request.headers.get('host', '')},{request.headers.get('x-forwarded-host', '')}".split(",")
    hosts = {host.strip() for host in told if host.strip()}
    hosts.add(urlsplit(conf.get("api", "base_url", fallback="") or "").netloc)
    if origin and _host_of(origin) not in hosts - {""}:
        raise HTTPException(403, "asked by another site")


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return "none"


ReadablePipeline = Annotated[Pipeline, Depends(_readable)]
EditablePipeline = Annotated[Pipeline, Depends(_editable)]
EDITABLE = Depends(_editable)


def name_of(user: Any) -> str:
    """What a user is called in what is recorded."""
    return str(user.get_name())
