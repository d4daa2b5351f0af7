"""What a URI that names an Airflow connection is opened with: whoever runs inside Airflow has said how.

Nothing here knows Airflow. `airflow_stores` does, and calls `use` once in each of Airflow's processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import fsspec

from ae_plugin.errors import ConfigError
from ae_plugin.places import split_connection

Connect: TypeAlias = Callable[[str, str], fsspec.AbstractFileSystem]
"""From a scheme and a connection's id to a filesystem with its credentials."""
_ways: list[Connect] = []


def use(connect: Connect) -> None:
    """Open stores with connections in this process from now on."""
    _ways[:] = [connect]


def connected(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem behind a URI, with its connection's credentials if it names one, and the path on it.

    Raises:
        ConfigError: it names a connection, and this process runs outside of Airflow.
        Exception: whatever a filesystem's package, or Airflow, says of an address or a connection.
    """
    connection, plain = split_connection(uri)
    if connection and _ways:
        fs = _ways[0](plain.partition("://")[0], connection)
        return fs, str(fs._strip_protocol(plain))
    if connection and not os.environ.get("AE_IGNORE_CONNECTIONS"):
        raise ConfigError(
            f"names the Airflow connection {connection!r}, which only Airflow's own processes can look up",
            where=uri,
            mend=f"Run it there, or set AE_IGNORE_CONNECTIONS=1 to open {plain} with this environment's credentials",
        )
    fs, path = fsspec.core.url_to_fs(plain)
    return fs, str(path)
