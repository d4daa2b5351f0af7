"""A real Spark cluster, whose executors can import neither Airflow nor Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.running import ROOT
from tools.local_spark import LocalSpark

NOT_THERE = ("airflow", "keras", "tensorflow")
# Every Python of the cluster runs this at its start.
SITE = f"""
import logging, os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_THERE!r}:
            raise ImportError(f"{{name}} is blocked")
        return None

sys.meta_path.insert(0, Blocked())
log = logging.getLogger("ae_plugin")
log.setLevel(logging.INFO)
log.addHandler(logging.FileHandler(os.environ["AE_TEST_LOGS"] + "/opened.log", delay=True))
log.handlers[0].setFormatter(logging.Formatter("%(process)d %(message)s"))
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and the environment of whoever submits to it."""

    spark: LocalSpark
    root: Path

    @property
    def url(self) -> str:
        return self.spark.url

    @property
    def conf(self) -> dict[str, str]:
        """Settings of an application: small, on loopback, in another time zone than the data."""
        return {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executor.memory": "1g",
            "spark.executor.cores": "1",
            "spark.cores.max": "2",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.task.maxFailures": "2",
            "spark.sql.session.timeZone": "America/New_York",
            "spark.sql.shuffle.partitions": "4",
        }

    @property
    def python(self) -> str:
        """The Python of drivers and executors."""
        return self.spark.environment()["PYSPARK_PYTHON"]

    def opened(self) -> list[str]:
        """Ids of the processes that opened a model so far, one for each time."""
        path = self.root / "opened.log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line.split()[0] for line in lines if "opened model" in line]


@contextmanager
def running(root: Path) -> Iterator[Cluster]:
    """A master and two workers, with room for two applications that take a core of each."""
    (root / "site").mkdir()
    (root / "site/sitecustomize.py").write_text(SITE, encoding="utf-8")
    env = {"PYTHONPATH": f"{root / 'site'}{os.pathsep}{ROOT}", "AE_TEST_LOGS": str(root)}
    with LocalSpark(root / "spark", cores=2, env=env) as spark:
        yield Cluster(spark, root)
