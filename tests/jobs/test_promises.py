"""Odd tables train, score, and say what they cannot promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.core.calibration import p_values
from ae_plugin.core.features import Encoded
from ae_plugin.errors import DataError
from ae_plugin.jobs import promises
from ae_plugin.jobs.report import report as write_report
from ae_plugin.jobs.score import score
from ae_plugin.schemas import TrainReport
from benchmarks.quality.odd import CASES, factors
from tests.shop import Shop, train_and_promote


def trained(frame: pd.DataFrame, root: Path, alert_rate: float = 0.01) -> tuple[Shop, TrainReport]:
    """Train on a table, a little, and score it."""
    source = root / "table.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), source)
    settings: dict[str, Any] = {
        "name": "odd",
        "source": {"uri": "table.parquet"},
        "train": {"contamination": 0, "steps": 30},
        "score": {"alert_rate": alert_rate, "on_unfamiliar": "score"},
        "output": "out",
    }
    shop = Shop(root, settings).write()
    report = train_and_promote(shop)
    assert score(shop.pipeline).rows == len(frame)
    return shop, report


def made(name: str, rows: int) -> pd.DataFrame:
    return CASES[name].make(rows, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("case", "rows", "rate", "said"),
    [
        ("80 rows", 80, 0.01, "no row can be flagged until there is more history"),
        ("80 rows", 80, 0.1, "alert_rate 0.1 rests on 18 calibration rows"),
        ("90% duplicate rows", 3000, 0.01, "copies of rows trained on: alert_rate 0.01 holds as long as rows repeat"),
        ("one column", 500, 0.01, "value is the only column that is learned"),
        ("another word in each row", 500, 0.01, "another word in nearly every row: name"),
    ],
)
def test_it_trains_and_scores_and_says_so(tmp_path: Path, case: str, rows: int, rate: float, said: str) -> None:
    shop, report = trained(made(case, rows), tmp_path, rate)
    assert any(said in note for note in report.notes), report.notes
    page = Path(write_report(shop.pipeline)).read_text(encoding="utf-8")
    assert "What this model cannot promise" in page and said[:20] in page


def test_wide_tables_say_what_chance_does_to_their_cells(tmp_path: Path) -> None:
    _, report = trained(factors(150)(300, np.random.default_rng(0)), tmp_path)
    assert any("150 columns are learned from" in note for note in report.notes)
    assert any("times in a normal row, by chance" in note for note in report.notes), report.notes


def test_so_do_tables_where_that_happens_now_and_then(tmp_path: Path) -> None:
    _, report = trained(factors(40)(600, np.random.default_rng(0)), tmp_path)
    assert any(re.search(r"that happens in \d\d% of normal rows, by chance", note) for note in report.notes), (
        report.notes
    )


def test_equal_rows_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column can be learned: all are null, constant"):
        trained(made("all rows equal", 500), tmp_path)


def test_plain_tables_say_nothing(tmp_path: Path) -> None:
    _, report = trained(made("500,000 rows", 12_000), tmp_path)
    assert report.notes == []


def test_ties_keep_fewer_rows_from_being_flagged() -> None:
    rng = np.random.default_rng(0)
    loose = np.sort(rng.random(1000).astype(np.float32))
    assert promises._ties(loose, p_values(loose, loose), 0.05) == []
    tied = np.sort(rng.choice(np.array([1, 2, 3], np.float32), 1000, p=[0.5, 0.4, 0.1]))
    (said,) = promises._ties(tied, p_values(tied, tied), 0.05)
    assert "3 different scores" in said and "only 0.00% of normal rows" in said
    assert promises._ties(tied, p_values(tied, tied), 0.15) == [], "a tenth may fire, of fifteen in a hundred"


def test_digests_are_equal_for_equal_rows_alone() -> None:
    x = np.random.default_rng(0).normal(size=(5000, 7)).astype(np.float32)
    x[10], x[4000] = x[20], x[30]
    x[50], x[51] = 0.0, -0.0
    found = promises._digests(Encoded(x, np.zeros(x.shape, np.uint8), np.zeros((7, 5000), np.int16)), np.arange(5000))
    assert len(np.unique(found)) == 4997
    assert found[10] == found[20] and found[4000] == found[30] and found[50] == found[51]


@pytest.mark.parametrize("partitions", [28, 365])
def test_partitions_that_differ_by_chance_are_not_told_of(partitions: int) -> None:
    """Of a year of days, the worst lies farther out by chance than the worst of a month."""
    names = [str(number) for number in np.repeat(np.arange(partitions), 60)]
    told = 0
    for seed in range(40):
        draws = np.random.default_rng(seed).random(len(names))
        p_value = ((draws.argsort().argsort() + 1) / (len(names) + 1)).astype(np.float32)
        told += bool(promises._uneven(names, p_value, 0.01))
    assert told <= 2
    p_value[:60] = np.repeat([0.001, 1], [9, 51])
    assert promises._uneven(names, p_value, 0.01) == [
        "partitions differ: at alert_rate 0.01, which holds for all of them together, 0.0% to 15.0% of a partition's "
        "held-out rows are flagged"
    ]
