"""One Spark cluster, and one session on it, for all tests of the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters import Cluster, running


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def session(cluster: Cluster) -> Iterator[Any]:
    """A Spark session whose driver is this process; nothing of it stays in the environment."""
    from pyspark.sql import SparkSession

    before = dict(os.environ)
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": cluster.python}
    builder = SparkSession.builder.master(cluster.url).appName("tests")
    for name, value in cluster.conf.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()
        os.environ.clear()
        os.environ.update(before)
