"""What the page costs with a thousand pipelines: `python -m benchmarks.scale.page [--pipelines N] [--partitions N]`.

A real Airflow API server serves the plugin; the pipelines' partitions are run records, as scoring writes them. Chromium
opens the list just after the server started, and again; users ask at once; then ten thousand requests follow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
from playwright.sync_api import sync_playwright

from ae_plugin.schemas import GuardVerdict, RunRecord
from benchmarks.quality.page import ROOT
from tools.local_airflow import LocalAirflow

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
USERS, SECONDS, REQUESTS = 20, 20.0, 10_000
ASKED = [
    "pipelines",
    "pipelines?search=p001&sort=rate&descending=true",
    "pipelines/p0003",
    "pipelines/p0003/timeline",
    "pipelines/p0003/partition?partition=date%3D2025-06-01",
    "pipelines/p0007/models",
]


def write(root: Path, pipelines: int, partitions: int) -> None:
    """Pipelines whose runs are the same files, linked: what is read is read a thousand times all the same."""
    days = [f"date={date(2025, 1, 1) + timedelta(days=number)}" for number in range(partitions)]
    first = root / "runs"
    first.mkdir(parents=True)
    for number, day in enumerate(days):
        (first / f"{day}.json").write_text(_record(number, day).model_dump_json(indent=1))
    (root / "dags/pipelines").mkdir(parents=True)
    for number in range(pipelines):
        name = f"p{number:04d}"
        settings = {"name": name, "source": {"uri": f"lake/{name}", "partition_by": "date"}, "output": f"out/{name}"}
        (root / f"dags/pipelines/{name}.yaml").write_text(json.dumps(settings))
        folder = root / f"out/{name}/_runs/_latest"
        folder.mkdir(parents=True)
        for day in days:
            os.link(first / f"{day}.json", folder / f"{day}.json")


def _record(number: int, day: str) -> RunRecord:
    odd = number % 90 == 89
    verdict = GuardVerdict(verdict="drifted" if odd else "familiar", reasons=["a: moved"] if odd else [], columns=[])
    rows, anomalies = 10_000, 400 if odd else 90 + number % 20
    return RunRecord(
        run_id=f"2025-{number:04d}", pipeline="p", model_version="v0001", partition=day, outcome="scored", rows=rows,
        anomalies=anomalies, alert_rate=0.01, observed_alert_rate=anomalies / rows, p_value_drift=0.01,
        score_quantiles={"0.5": 1.0, "0.9": 4.0, "0.99": 9.0}, top_columns={f"column {k}": 9 - k for k in range(9)},
        unreadable_rows=0, cells_flagged=100, cells_repaired=100, cells_imputed=5, guard=verdict, notes=[], seconds=1.5,
        rows_per_second=7000.0, peak_memory_mb=300.0, started_at=f"{day.removeprefix('date=')}T06:00:00+00:00",
        calibration_rows=5_000, input_fingerprint="0" * 64,
        outputs={f"{name}/{day}/part-0.parquet": "0" * 64 for name in ("scores", "cells", "denoised")},
    )  # fmt: skip


class Server:
    """An API server of Airflow's alone: nothing is scheduled."""

    def __init__(self, root: Path) -> None:
        self.airflow = LocalAirflow(root)
        self.airflow.port = 18_080
        _ = self.airflow.password
        self._run("db", "migrate").wait()
        self.process = self._run("api-server", "--port", str(self.airflow.port), "--workers", "1")
        while True:
            try:
                if httpx.get(f"{self.airflow.url}/api/v2/monitor/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        body = {"username": "admin", "password": self.airflow.password}
        self.token = str(httpx.post(f"{self.airflow.url}/auth/token", json=body).json()["access_token"])

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        log = (self.airflow.home / f"{words[0]}.log").open("wb")
        command = [sys.executable, "-m", "airflow", *words]
        return subprocess.Popen(command, env=self.airflow.environment(), cwd=self.airflow.root, stdout=log, stderr=log)

    def client(self) -> httpx.Client:
        """What a signed-in user asks with."""
        return httpx.Client(base_url=f"{self.airflow.url}/ae/api/", cookies={"_token": self.token}, timeout=120)

    def memory(self) -> float:
        """Resident memory of its processes, in MB."""
        whole = psutil.Process(self.process.pid)
        return float(sum(one.memory_info().rss for one in [whole, *whole.children(recursive=True)]) / 2**20)

    def stop(self) -> None:
        """End it."""
        whole = psutil.Process(self.process.pid)
        for one in [*whole.children(recursive=True), whole]:
            one.kill()


def first_views(server: Server, turns: int) -> list[float]:
    """Seconds from asking for the page to a list of pipelines on the screen, each in a new browser profile."""
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        for _ in range(turns):
            context = browser.new_context()
            context.add_cookies([{"name": "_token", "value": server.token, "url": server.airflow.url}])
            page = context.new_page()
            began = time.perf_counter()
            page.goto(f"{server.airflow.url}/ae/", wait_until="commit")
            page.get_by_role("link", name="p0000").or_(page.get_by_role("link", name="p0001")).first.wait_for()
            found.append(time.perf_counter() - began)
            context.close()
        browser.close()
    return found


def together(server: Server, users: int, seconds: float, pause: float) -> tuple[list[float], int]:
    """Latencies in ms of users who each ask again after a pause, and how many requests failed."""
    latencies: list[float] = []
    failed: list[str] = []
    until = time.monotonic() + seconds

    def use(number: int) -> None:
        with server.client() as client:
            time.sleep(pause * number / users)
            turn = number
            while time.monotonic() < until:
                began = time.perf_counter()
                answer = client.get(ASKED[turn % len(ASKED)])
                latencies.append((time.perf_counter() - began) * 1000)
                if answer.status_code not in (200,):
                    failed.append(answer.text)
                turn += 1
                time.sleep(pause)

    _all([lambda number=number: use(number) for number in range(users)])  # type: ignore[misc]
    return latencies, len(failed)


def _all(work: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def told(latencies: list[float]) -> str:
    """Median and 95th percentile."""
    ordered = sorted(latencies)
    return f"median {statistics.median(ordered):.0f} ms, p95 {ordered[int(len(ordered) * 0.95)]:.0f} ms"


def memory_over(server: Server, requests: int) -> list[float]:
    """Resident memory before, and after each tenth of so many requests."""
    found = [server.memory()]
    for _ in range(10):

        def ask(count: int = requests // 40) -> None:
            with server.client() as client:
                for turn in range(count):
                    client.get(ASKED[turn % len(ASKED)])

        _all([ask] * 4)
        found.append(server.memory())
    return found


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pipelines", type=int, default=1_000)
    parser.add_argument("--partitions", type=int, default=365)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT.parent) as folder:
        root = Path(folder)
        write(root, args.pipelines, args.partitions)
        server = Server(root)
        try:
            first, *again = first_views(server, 6)
            later = ", ".join(f"{one:.2f}" for one in again)
            print(f"first view: {first:.2f} s just after the server's start, then {later} s")
            for pause, what in ((1.0, "each once a second"), (0.0, "each without a pause")):
                latencies, failed = together(server, USERS, SECONDS, pause)
                print(f"{USERS} users, {what}: {len(latencies)} requests, {failed} failed, {told(latencies)}")
            memory = memory_over(server, REQUESTS)
            print(f"memory over {REQUESTS:,} requests, MB: {', '.join(f'{one:.0f}' for one in memory)}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
