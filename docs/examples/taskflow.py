"""TaskFlow: land a day, score it in the same task, stop when too much of it is odd, and use the repaired table."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

PIPELINE = "flights"
LANDING, SOURCE = Path("landing/flights"), Path("sample_data/flights")


@dag(schedule="@daily", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), catchup=False)
def flights_in_taskflow() -> None:
    """Three functions; the first is a task of this provider."""

    @task.autoencoder_score(pipeline=PIPELINE)
    def land() -> list[str]:
        """Move what has landed to where the pipeline reads, and name its partitions."""
        days = sorted(path.name for path in LANDING.glob("date=*"))
        for day in days:
            shutil.move(LANDING / day, SOURCE / day)
        return days

    @task
    def check(runs: list[dict[str, Any]]) -> list[str]:
        """Fail when more than a fifth of a day is odd."""
        odd = [run["partition"] for run in runs if run["observed_alert_rate"] > 0.2]
        if odd:
            raise ValueError(f"look at {', '.join(odd)} first")
        return [run["partition"] for run in runs]

    @task
    def load(days: list[str]) -> None:
        """Use the repaired table: it has the source's schema."""
        for day in days:
            print("loading", f"out/flights/denoised/{day}")

    load(check(land()))


flights_in_taskflow()
