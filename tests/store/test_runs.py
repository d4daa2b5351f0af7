"""What was scored when: file names for partitions, and the newest record of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ae_plugin.schemas import GuardVerdict, RunRecord
from ae_plugin.store.files import Folder
from ae_plugin.store.runs import LATEST, latest, slug_of

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
VALUE = st.text(st.sampled_from("ab_-=. /\\é%'\"\x00\n☃"), max_size=8) | st.text(max_size=150)
PARTITION = st.lists(VALUE, max_size=3).map(lambda values: "/".join(f"k{i}={v}" for i, v in enumerate(values)))


def record(partition: str, **changes: Any) -> RunRecord:
    empty = GuardVerdict(verdict="familiar", reasons=[], columns=[])
    fields: dict[str, Any] = {
        "run_id": "20240101T000000-x-abcdef",
        "pipeline": "shop",
        "model_version": "v0001",
        "partition": partition,
        "outcome": "scored",
        "rows": 10,
        "anomalies": 1,
        "alert_rate": 0.01,
        "observed_alert_rate": 0.1,
        "unreadable_rows": 0,
        "cells_flagged": 1,
        "cells_repaired": 1,
        "cells_imputed": 0,
        "guard": empty,
        "notes": [],
        "seconds": 0.1,
        "rows_per_second": 100.0,
        "peak_memory_mb": 50.0,
        "started_at": "2024-01-01T00:00:00+00:00",
        "input_fingerprint": "f",
        "outputs": {},
    }
    return RunRecord(**{**fields, **changes})


@QUICK
@given(partitions=st.lists(PARTITION, min_size=2, max_size=2, unique=True))
def test_no_two_partitions_share_a_file_name(partitions: list[str]) -> None:
    assert slug_of(partitions[0]) != slug_of(partitions[1])


@QUICK
@given(partition=PARTITION)
def test_a_file_name_is_one_on_any_disk(partition: str) -> None:
    slug = slug_of(partition)
    assert re.fullmatch(r"[A-Za-z0-9=._-]{1,115}", slug)
    assert slug not in (".", "..")
    assert slug_of(partition) == slug


@pytest.mark.parametrize(
    ("partition", "slug"),
    [("", "whole"), ("date=2013-01-29", "date=2013-01-29"), ("shop_id=7", "shop_id=7")],
)
def test_ordinary_names_stay_readable(partition: str, slug: str) -> None:
    assert slug_of(partition) == slug


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a=1/b=2", "a=1_b=2"),
        ("a=x y", "a=x_y"),
        ("a=x  y", "a=x y"),
        ("a=" + "x" * 200, "a=" + "x" * 201),
        ("a=é", "a=è"),
    ],
)
def test_names_that_look_alike_are_told_apart(one: str, other: str) -> None:
    assert slug_of(one) != slug_of(other)


def test_the_newest_record_of_each_partition_in_order(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert latest(folder) == {}
    for partition, rows in (("date=2", 5), ("date=1", 7), ("date=2", 9)):
        content = record(partition, rows=rows).model_dump_json().encode()
        folder.write(f"{LATEST}/{slug_of(partition)}.json", content)
    found = latest(folder)
    assert list(found) == ["date=1", "date=2"]
    assert [run.rows for run in found.values()] == [7, 9]
    assert found["date=1"] == record("date=1", rows=7)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"rows": "many"}', b"[]"])
def test_a_record_that_is_none_counts_as_never_scored(tmp_path: Path, content: bytes) -> None:
    folder = Folder(str(tmp_path))
    folder.write(f"{LATEST}/date=1.json", content)
    folder.write(f"{LATEST}/date=2.json", record("date=2").model_dump_json().encode())
    folder.write(f"{LATEST}/date=2.json.x.partial", b"half")
    assert list(latest(folder)) == ["date=2"]


def test_a_record_of_another_release_counts_as_never_scored(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    known = record("date=1").model_dump(mode="json")
    folder.write(f"{LATEST}/date=1.json", json.dumps(known).encode())
    assert list(latest(folder)) == ["date=1"]
    newer = {**known, "colour": 3}
    folder.write(f"{LATEST}/date=1.json", json.dumps(newer).encode())
    assert latest(folder) == {}
