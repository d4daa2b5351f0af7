"""Stores behind Airflow's connections: `s3://my_conn@bucket/path`, as ObjectStoragePath reads it."""

from __future__ import annotations

from functools import cache
from typing import Any

from ae_plugin.store.connections import use


def use_connections() -> None:
    """Let this process open stores with Airflow's connections."""
    use(connect)


@cache
def connect(scheme: str, connection: str) -> Any:
    """Give the filesystem of a scheme, with the credentials of a connection; looked up once a process.

    Raises:
        AirflowNotFoundException: there is no such connection.
        ValueError: no provider that is installed knows connections of this scheme.
    """
    from airflow.sdk import Connection, ObjectStoragePath
    from airflow.sdk.io import has_fs

    if not has_fs(scheme):
        raise ValueError(f"no Airflow provider that is installed knows {scheme}://")
    Connection.get(connection)  # where it is missing, the Amazon provider would take what credentials it finds
    return ObjectStoragePath(f"{scheme}://", conn_id=connection).fs
