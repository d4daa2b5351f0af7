"""Real listeners for what Airflow sends: a StatsD server (UDP), and an OpenLineage endpoint (HTTP)."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Heard:
    """What came in so far, and where it is to be sent to."""

    statsd_port: int = 0
    lineage_port: int = 0
    packets: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def statsd(self) -> dict[str, str]:
        """How Airflow is told of StatsD: with tags, and plain names beside them."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "true",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.statsd_port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "true",
        }

    @property
    def lineage(self) -> dict[str, str]:
        """How Airflow is told of the endpoint."""
        transport = {"type": "http", "url": f"http://127.0.0.1:{self.lineage_port}", "endpoint": "api/v1/lineage"}
        return {
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
        }

    def values(self, name: str) -> list[float]:
        """The values that were sent under a name, tags included, in order."""
        found = [packet.removeprefix("airflow.").rpartition(":") for packet in list(self.packets)]
        return [float(value.partition("|")[0]) for key, _, value in found if key == name]

    def of(self, job: str, kind: str) -> list[dict[str, Any]]:
        """Events of one kind (START, COMPLETE, FAIL) of a job, `dag.task`."""
        return [event for event in list(self.events) if (event["job"]["name"], event["eventType"]) == (job, kind)]


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Listen on ports of one's own until the end."""
    heard = Heard()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/v1/lineage":
                heard.events.append(json.loads(body))
            self.send_response(201 if self.path == "/api/v1/lineage" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    def receive() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                heard.packets.extend(statsd.recv(65535).decode().splitlines())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    statsd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    statsd.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    statsd.bind(("127.0.0.1", 0))
    statsd.settimeout(600)
    heard.statsd_port, heard.lineage_port = statsd.getsockname()[1], server.server_port
    for target in (receive, server.serve_forever):
        threading.Thread(target=target, daemon=True).start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        statsd.close()
