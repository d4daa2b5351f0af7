"""What a run says in its log: the figures of its record, in a dozen lines, whatever happened."""

from __future__ import annotations

import logging

import pytest

from ae_plugin.jobs.story import lines, tell_end, tell_start
from ae_plugin.jobs.summary import bytes_in_words
from ae_plugin.schemas import GuardVerdict
from ae_plugin.store.files import SourceFile
from tests.store.test_runs import record

DAY = "date=2024-01-01"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records]


def test_the_start_says_what_is_read(caplog: pytest.LogCaptureFixture) -> None:
    files = [SourceFile(f"s3://lake/x/{DAY}/part-{n}.parquet", DAY, 700_000, "", f"part-{n}.parquet") for n in range(2)]
    with caplog.at_level(logging.INFO):
        tell_start("shop", DAY, "v0007", files)
    assert told(caplog) == [f"scoring {DAY} of shop with v0007: 2 files, 1.4 MB in s3://lake/x/{DAY}"]


def test_the_end_stays_within_a_dozen_lines(caplog: pytest.LogCaptureFixture) -> None:
    many = [f"word {number}" for number in range(30)]
    run = record(
        DAY,
        guard=GuardVerdict(verdict="drifted", reasons=many, columns=[]),
        notes=many,
        p_value_drift=0.25,
        top_columns={f"column {number}": 9 - number for number in range(9)},
        outputs={f"scores/{DAY}/part-{number}.parquet": "" for number in range(16)},
    )
    with caplog.at_level(logging.INFO):
        tell_end(run, "s3://lake/out", 1000)
    said = told(caplog)
    assert len(said) <= 11
    assert "worst in: column 0 (9), column 1 (8), column 2 (7), 6 more" in said[1]
    assert "guard: drifted; word 0; word 1; word 2; 27 more" in said
    assert f"scored; wrote scores/{DAY}/ (16 files), _runs/{run.run_id}.json in s3://lake/out" in said
    assert [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING] == [
        *many[:3],
        "27 more",
    ]


def test_a_quiet_partition_needs_few() -> None:
    assert lines(record("", rows=0, anomalies=0, observed_alert_rate=None), "out", 1000) == [
        "0 rows, 0 anomalies",
        "1 wrong cell, 1 cell repaired, 0 nulls filled",
        "guard: familiar",
        "scored; wrote _runs/20240101T000000-x-abcdef.json in out",
    ]


def test_pictures_have_no_cells() -> None:
    said = lines(record(DAY, pictures_repaired=2, outputs={f"denoised/{DAY}/": ""}), "out", 1000)
    assert said[0] == "10 pictures, 1 anomaly (10.00%, at most 1.00% of the normal pictures)"
    assert said[1] == "2 pictures repaired"
    assert f"wrote denoised/{DAY}/, " in said[-1]


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (45_200, "45.2 kB"), (3e9, "3.0 GB"), (4.5e13, "45.0 TB")]
)
def test_sizes(count: float, words: str) -> None:
    assert bytes_in_words(count) == words
