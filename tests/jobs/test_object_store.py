"""Scoring a partition that lies on a real S3 server, on good days and on bad ones."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from ae_plugin.errors import DataError, StoreError, UnfamiliarError
from ae_plugin.jobs.decide import decide, decisions
from ae_plugin.jobs.due import due
from ae_plugin.jobs.score import score
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import read_latest
from tests.conftest import Trained
from tests.jobs.test_score import alien
from tests.running import ae_process, run_ae
from tests.shop import FRESH, Shop, day, make_orders, write_day
from tests.stores import Asked, Bucket

PARTITION = f"date={day(FRESH)}"
DATASETS = [f"{name}/{PARTITION}/part-0.parquet" for name in ("scores", "cells", "denoised")]


@pytest.fixture
def lake(shop: Shop, bucket: Bucket) -> Shop:
    """The trained pipeline, its source and its model in a bucket; nothing scored yet."""
    bucket.put(shop.source, "orders")
    bucket.put(shop.output, "out")
    bucket.proxy.anew()
    return shop.set(source={"uri": f"{bucket.uri}/orders"}, output=f"{bucket.uri}/out")


def outputs(bucket: Bucket) -> dict[str, bytes]:
    return {name: content for name, content in bucket.contents("out").items() if name in DATASETS}


def unfinished(bucket: Bucket) -> list[str]:
    return [name for name in bucket.contents("out") if name.startswith(("_staging", "_runs/_journal"))]


@pytest.fixture
def wanted(trained: Trained, tmp_path: Path) -> dict[str, bytes]:
    """What scoring on this machine writes."""
    local = trained.shop.copy(tmp_path / "local")
    score(local.pipeline, PARTITION)
    return {name: (local.output / name).read_bytes() for name in DATASETS}


def test_a_partition_in_a_bucket_gives_the_bytes_that_it_gives_on_a_disk(
    lake: Shop, bucket: Bucket, wanted: dict[str, bytes]
) -> None:
    record = score(lake.pipeline, PARTITION)
    assert outputs(bucket) == wanted and record.outcome == "scored"
    assert not unfinished(bucket)
    assert PARTITION not in due(lake.pipeline)
    # Requests cost money and time: more than these are a slip.
    assert bucket.proxy.counts.total() < 120, bucket.proxy.counts


def test_decisions_are_kept_in_the_bucket(lake: Shop, shop: Shop, bucket: Bucket) -> None:
    write_day(shop.source, FRESH, alien())
    bucket.put(shop.source / PARTITION, f"orders/{PARTITION}")
    with pytest.raises(UnfamiliarError):
        score(lake.pipeline, PARTITION)
    kept = f"quarantine/{PARTITION}/part-0.parquet"
    assert kept in bucket.contents("out")
    made = decide(lake.pipeline, PARTITION, "discard")
    assert kept not in bucket.contents("out") and not unfinished(bucket)
    assert decisions(lake.pipeline) == {PARTITION: made} and PARTITION not in due(lake.pipeline)
    decide(lake.pipeline, PARTITION, "release", who="ann")
    assert PARTITION in due(lake.pipeline)
    assert "released by ann" in score(lake.pipeline, PARTITION).notes[0]
    assert sorted(outputs(bucket)) == sorted(DATASETS) and PARTITION not in due(lake.pipeline)


def test_answers_of_5xx_are_tried_again(lake: Shop, bucket: Bucket, wanted: dict[str, bytes]) -> None:
    """Each request fails the first time that it is made."""
    seen: set[Asked] = set()

    def fate(asked: Asked) -> int | None:
        if asked in seen or len(seen) > 12:
            return None
        seen.add(asked)
        return 503 if len(seen) % 2 else 500

    bucket.proxy.fate = fate
    score(lake.pipeline, PARTITION)
    assert len(seen) > 12 and outputs(bucket) == wanted and not unfinished(bucket)


@pytest.mark.parametrize("broken", ["LIST", "GET", "PUT", "COPY"])
def test_a_store_that_stays_down_is_one_line_and_nothing_is_half_written(
    lake: Shop, bucket: Bucket, broken: str
) -> None:
    bucket.proxy.fate = lambda asked: 503 if asked.kind == broken else None
    done = run_ae("--quiet", "score", lake.yaml, "--partition", day(FRESH))
    assert done.code == 2 and done.out == "" and len(done.err.splitlines()) == 1, done.err
    assert "cannot be" in done.complaint and "s3-secret" not in done.err
    bucket.proxy.fate = lambda _: None
    assert not outputs(bucket), "no dataset without its record"
    # What was journalled is finished by the next run, as after a kill.
    assert run_ae("--quiet", "score", lake.yaml, "--partition", day(FRESH)).code == 0
    assert len(outputs(bucket)) == 3 and not unfinished(bucket)


def test_a_store_that_does_not_answer_in_time_may_be_tried_again(
    lake: Shop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"config_kwargs": {"read_timeout": 0.2, "retries": {"total_max_attempts": 1}}}
    monkeypatch.setitem(fsspec.config.conf, "s3", settings)
    s3fs.S3FileSystem.clear_instance_cache()
    pipeline = lake.pipeline
    bucket.proxy.fate = lambda asked: 1.0 if asked.kind == "GET" else None
    with pytest.raises((DataError, StoreError), match="cannot be read .*imeout") as caught:
        score(pipeline, PARTITION)
    assert caught.value.transient and "\n" not in str(caught.value)
    bucket.proxy.fate = lambda _: None
    assert not outputs(bucket)


def test_slow_answers_are_waited_for(lake: Shop, bucket: Bucket, wanted: dict[str, bytes]) -> None:
    bucket.proxy.fate = lambda asked: 0.3 if len(bucket.proxy.asked) % 10 == 0 else None
    score(lake.pipeline, PARTITION)
    assert outputs(bucket) == wanted


def test_wrong_credentials_are_not_tried_again(lake: Shop, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises((DataError, StoreError), match="redentials") as caught:
        score(lake.pipeline, PARTITION)
    assert not caught.value.transient


# Killed in mid-commit.


@pytest.mark.parametrize("copy", [1, 2, 5])
def test_a_run_that_is_killed_in_mid_commit_is_finished_by_the_next(
    lake: Shop, bucket: Bucket, wanted: dict[str, bytes], copy: int
) -> None:
    """A real process, killed by SIGKILL before the n-th file is moved into place."""
    process: list[subprocess.Popen[str]] = []

    def fate(asked: Asked) -> str | None:
        if asked.kind == "COPY" and process and bucket.proxy.counts["COPY"] == copy:
            process[0].send_signal(signal.SIGKILL)
            return "drop"
        return None

    bucket.proxy.fate = fate
    process.append(ae_process("-q", "score", lake.yaml, "--partition", day(FRESH)))
    assert process[0].wait(timeout=120) == -signal.SIGKILL
    for stream in (process[0].stdout, process[0].stderr):
        if stream is not None:
            stream.close()
    bucket.proxy.anew()
    bucket.proxy.late = True
    assert unfinished(bucket) and read_latest(Folder(f"{bucket.uri}/out"), PARTITION) is None
    assert run_ae("--quiet", "score", lake.yaml, "--partition", day(FRESH)).code == 0
    bucket.proxy.late = False
    assert outputs(bucket) == wanted
    journals = [name for name in unfinished(bucket) if "_journal" in name]
    assert journals == []


# Listings that are late.


def test_a_partition_whose_files_are_listed_late_is_due_again(lake: Shop, bucket: Bucket, tmp_path: Path) -> None:
    """Nobody can know of a file that is not listed; once it is, the partition is scored anew, whole."""
    assert score(lake.pipeline, PARTITION).rows == 300
    more = make_orders(120, day(FRESH), seed=7, first_id=10**7)
    path = write_day(tmp_path / "more", FRESH, more, "part-1.parquet")
    bucket.proxy.late = True
    s3fs.S3FileSystem().pipe_file(f"{bucket.name}/orders/{PARTITION}/part-1.parquet", path.read_bytes())
    assert PARTITION not in due(lake.pipeline) and score(lake.pipeline, PARTITION).rows == 300
    bucket.proxy.late = False
    assert PARTITION in due(lake.pipeline)
    assert score(lake.pipeline, PARTITION).rows == 420
    assert PARTITION not in due(lake.pipeline)
    assert pq.read_table(pa.BufferReader(outputs(bucket)[DATASETS[0]])).num_rows == 420


def test_a_file_that_is_listed_but_gone_fails_the_run(lake: Shop, bucket: Bucket) -> None:
    gone = f"{bucket.name}/orders/{PARTITION}/part-0.parquet"
    bucket.proxy.fate = lambda asked: 404 if asked.key == gone and not asked.listing else None
    with pytest.raises(DataError, match=r"part-0\.parquet: cannot be read") as caught:
        score(lake.pipeline, PARTITION)
    assert "\n" not in str(caught.value) and not outputs(bucket)


def test_a_record_that_is_not_listed_yet_means_once_more_and_not_never(lake: Shop, bucket: Bucket) -> None:
    bucket.proxy.late = True
    score(lake.pipeline, PARTITION)
    before = outputs(bucket)
    assert PARTITION in due(lake.pipeline)
    score(lake.pipeline, PARTITION)
    bucket.proxy.late = False
    assert outputs(bucket) == before and PARTITION not in due(lake.pipeline)


# Connections, outside of Airflow.


def test_a_connection_outside_of_airflow_is_one_line_that_says_what_to_do(
    lake: Shop, bucket: Bucket, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = bucket.uri.replace("s3://", "s3://my_conn@")
    lake = lake.set(source={"uri": f"{named}/orders"}, output=f"{named}/out")
    words = ["-q", "score", lake.yaml, "--partition", day(FRESH)]
    # A process of its own: others of these tests run inside Airflow.
    with ae_process(*words) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2 and err.count("\n") == 1
    assert f"{named}/" in err and "names the Airflow connection 'my_conn'" in err
    assert f"or set AE_IGNORE_CONNECTIONS=1 to open {bucket.uri}/" in err
    assert not outputs(bucket)
    monkeypatch.setenv("AE_IGNORE_CONNECTIONS", "1")
    with ae_process(*words) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert outputs(bucket) == wanted and os.environ["AWS_ENDPOINT_URL"] == bucket.proxy.url
