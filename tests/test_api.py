"""The Python names: few, lazy, and the same for pandas and Arrow."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ae_plugin
from ae_plugin.core.features import TableEncoder
from ae_plugin.errors import AeError, ConfigError, DataError, NoChampionError, StoreError
from tests.conftest import Trained
from tests.running import ROOT
from tests.shop import FRESH, Shop, day, make_orders, plain, spoil

NAMES = ["AeError", "Detector", "PictureDetector", "Pipeline", "__version__"]
NAMES += ["encoder", "load", "promote", "score", "train"]
AT = f"date={day(FRESH)}"


@pytest.fixture(scope="module")
def detector(trained: Trained) -> ae_plugin.Detector:
    return ae_plugin.load(str(trained.shop.output), alert_rate=0.05)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return spoil(make_orders(250, day(FRESH), seed=4), seed=4)


def same(found: pd.DataFrame, wanted: pa.Table) -> None:
    """pandas holds what Arrow does."""
    left, right = pa.Table.from_pandas(found, preserve_index=False), plain(wanted)
    assert left.column_names == right.column_names
    for name in left.column_names:
        ours, theirs = (
            [None if v != v else v for v in column.to_pylist()]
            for column in (plain(left.select([name])).column(0), right[name])
        )
        assert ours == theirs, name


# Names.


def test_the_public_names() -> None:
    assert ae_plugin.__all__ == NAMES
    assert len(NAMES) <= 10
    assert set(NAMES) <= set(dir(ae_plugin))
    for name in NAMES:
        assert getattr(ae_plugin, name) is not None
    with pytest.raises(AttributeError, match="fit"):
        ae_plugin.fit  # noqa: B018


def test_the_names_are_documented() -> None:
    page = (ROOT / "docs/guide/python.md").read_text(encoding="utf-8")
    missing = [name for name in NAMES if name != "__version__" and not re.search(rf"\b{name}\b", page)]
    assert missing == []
    assert "ae_plugin.train(" in (ae_plugin.__doc__ or "") and "ae_plugin.load(" in (ae_plugin.__doc__ or "")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import ae_plugin", ["pandas", "pyarrow", "numpy", "tensorflow", "keras", "airflow", "pydantic", "yaml"]),
        ("from ae_plugin import AeError", ["pandas", "pyarrow", "numpy", "tensorflow", "keras", "airflow"]),
        ("from ae_plugin import load, Detector", ["pandas", "tensorflow", "keras", "airflow"]),
        ("from ae_plugin import train, score, promote, Pipeline", ["pandas", "tensorflow", "keras", "airflow"]),
    ],
)
def test_importing_is_lazy(statement: str, heavy: list[str]) -> None:
    code = f"{statement}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# Detectors.


def test_scores_have_the_promised_columns(detector: ae_plugin.Detector, table: pa.Table) -> None:
    found = detector.score(table, partition=AT)
    assert found.schema.equals(
        pa.schema(
            [
                ("anomaly_score", pa.float32()),
                ("p_value", pa.float32()),
                ("is_anomaly", pa.bool_()),
                ("top_column", pa.string()),
            ]
        )
    )
    assert found.num_rows == 250
    flagged = np.array(found["is_anomaly"].to_pylist())
    assert 0 < flagged.sum() < 125
    assert np.array_equal(flagged, np.array(found["p_value"]) <= np.float32(0.05))
    assert np.array_equal(flagged, np.array(found["top_column"].is_valid()))


@pytest.mark.parametrize("verb", ["score", "explain", "denoise"])
def test_pandas_and_arrow_give_the_same(detector: ae_plugin.Detector, table: pa.Table, verb: str) -> None:
    call: Callable[..., Any] = getattr(detector, verb)
    arrow, frame = call(table, partition=AT), call(table.to_pandas(), partition=AT)
    assert isinstance(arrow, pa.Table) and isinstance(frame, pd.DataFrame)
    assert arrow.num_rows > 10
    same(frame, arrow)
    batch = call(table.combine_chunks().to_batches()[0], partition=AT)
    assert isinstance(batch, pa.Table)
    assert plain(batch).equals(plain(arrow))


def test_embeddings_are_the_same_too(detector: ae_plugin.Detector, table: pa.Table) -> None:
    arrow, frame = detector.embed(table, partition=AT), detector.embed(table.to_pandas(), partition=AT)
    assert arrow.dtype == np.float32 and arrow.shape[0] == 250 and arrow.shape[1] > 1
    assert np.array_equal(arrow, frame)
    assert len(np.unique(arrow.round(3), axis=0)) > 200, "rows differ"


def test_denoised_tables_keep_their_types(detector: ae_plugin.Detector, table: pa.Table) -> None:
    for full in (False, True):
        arrow = detector.denoise(table, partition=AT, full=full)
        assert arrow.schema.equals(table.schema, check_metadata=True)
    frame = table.to_pandas()
    frame["store"] = frame["store"].astype("category")
    frame.index = pd.Index(range(1000, 1250), name="line")
    before = frame.copy(deep=True)
    found = detector.denoise(frame, partition=AT)
    assert found.dtypes.equals(frame.dtypes)
    assert found.index.equals(frame.index) and found.index.name == "line"
    assert list(found.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(frame, before)
    assert not found["quantity"].equals(frame["quantity"]), "something was repaired"


@pytest.mark.parametrize(
    "index", [range(7, 257), [f"r{i}" for i in range(250)], [1] * 250], ids=["shifted", "text", "same"]
)
def test_scores_have_the_frame_s_index(detector: ae_plugin.Detector, table: pa.Table, index: Any) -> None:
    frame = table.to_pandas()
    frame.index = pd.Index(index)
    found = detector.score(frame, partition=AT)
    assert found.index.equals(frame.index)
    assert found["anomaly_score"].dtype == np.float32 and found["is_anomaly"].dtype == bool
    assert detector.explain(frame, partition=AT)["row"].isin(range(250)).all(), "positions, not labels"


def test_columns_of_the_frame_that_are_named_like_scores_do_not_change_them(
    detector: ae_plugin.Detector, table: pa.Table
) -> None:
    """A label column called is_anomaly is common."""
    frame = table.to_pandas().assign(is_anomaly=0, p_value=7, top_column=1.5, anomaly_score="x")
    found = detector.score(frame, partition=AT)
    assert found.dtypes.astype(str).to_dict() | {"top_column": ""} == {
        "anomaly_score": "float32",
        "p_value": "float32",
        "is_anomaly": "bool",
        "top_column": "",
    }
    pd.testing.assert_frame_equal(found, detector.score(table.to_pandas(), partition=AT))


def test_a_frame_of_small_numbers_is_repaired_too(detector: ae_plugin.Detector) -> None:
    """pandas' decimals have the digits that happen to be there: repairs may need more."""
    frame = make_orders(20, day(FRESH), seed=4).to_pandas()
    frame["price"] = Decimal("1.00")
    found = detector.denoise(frame, partition=AT, full=True)
    assert (found["price"].astype(float) > 1).mean() > 0.9


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(detector: ae_plugin.Detector, table: pa.Table, rows: int) -> None:
    some = table.slice(0, rows)
    for given in [some, some.to_pandas()] if rows else [some]:  # a frame without rows has no types
        assert len(detector.score(given, partition=AT)) == rows
        assert len(detector.denoise(given, partition=AT)) == rows
        assert len(detector.embed(given, partition=AT)) == rows
        assert set(pa.table(detector.explain(some, partition=AT))["row"].to_pylist()) <= set(range(rows))
    assert detector.score(table, partition=AT).slice(0, rows).equals(detector.score(some, partition=AT))


def test_chunks_do_not_matter(detector: ae_plugin.Detector, table: pa.Table) -> None:
    chunked = pa.concat_tables([table.slice(0, 100), table.slice(100)])
    assert detector.score(chunked, partition=AT).equals(detector.score(table, partition=AT))
    assert plain(detector.denoise(chunked, partition=AT)).equals(plain(detector.denoise(table, partition=AT)))


@pytest.mark.parametrize("as_given", [lambda table: table, lambda table: table.to_pandas()], ids=["Arrow", "pandas"])
def test_a_long_table_is_worked_on_in_pieces(
    detector: ae_plugin.Detector, table: pa.Table, as_given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = as_given(table)
    verbs = [lambda: detector.score(given, partition=AT), lambda: detector.explain(given, partition=AT)]
    verbs += [lambda: detector.denoise(given, partition=AT), lambda: detector.denoise(given, partition=AT, full=True)]
    whole = [verb() for verb in verbs]
    embedded = detector.embed(given, partition=AT)
    sizes: list[int] = []
    encode = TableEncoder.encode

    def spy(self: TableEncoder, batch: Any, reference: float | None = None) -> Any:
        sizes.append(batch.num_rows)
        return encode(self, batch, reference)

    monkeypatch.setattr(TableEncoder, "encode", spy)
    monkeypatch.setattr("ae_plugin.detector.batch_rows", lambda features: 64)
    for verb, want in zip(verbs, whole, strict=True):
        found = verb()
        if isinstance(want, pd.DataFrame):
            pd.testing.assert_frame_equal(found, want)
        else:
            assert plain(found).equals(plain(want))
    assert np.array_equal(detector.embed(given, partition=AT), embedded)
    assert max(sizes) == 64 and len(sizes) == 5 * 4


@pytest.mark.parametrize("name", ["quantity", "weight", "price", "express", "courier", "ordered_at", "due", "product"])
def test_a_category_of_any_values_is_judged_by_its_values(
    detector: ae_plugin.Detector, table: pa.Table, name: str
) -> None:
    """Arrow's dictionaries and pandas' categories, come back as such."""
    column = table[name].combine_chunks().dictionary_encode()
    coded = table.set_column(table.column_names.index(name), name, column)
    assert detector.score(coded, partition=AT).equals(detector.score(table, partition=AT))
    assert detector.explain(coded, partition=AT).equals(detector.explain(table, partition=AT))
    found, want = (detector.denoise(given, partition=AT) for given in (coded, table))
    assert found.schema.field(name).type == column.type
    assert plain(found).equals(plain(want))
    if pa.types.is_decimal(column.type.value_type):
        return  # pandas keeps decimals as objects
    frame = coded.to_pandas()
    assert isinstance(frame[name].dtype, pd.CategoricalDtype)
    pd.testing.assert_frame_equal(
        detector.score(frame, partition=AT), detector.score(table, partition=AT).to_pandas(types_mapper=None)
    )
    fixed = detector.denoise(frame, partition=AT)
    assert isinstance(fixed[name].dtype, pd.CategoricalDtype)
    assert list(fixed[name].cat.categories[: len(frame[name].cat.categories)]) == list(frame[name].cat.categories)
    assert fixed[name].isna().sum() == want[name].null_count, "a repaired value is none of the frame's, and not lost"


def test_a_category_without_room_for_more_values_stays_as_it_is(detector: ae_plugin.Detector) -> None:
    """120 weights are counted by an int8; their whole reconstruction has more values than that."""
    table = make_orders(300, day(FRESH), seed=4)
    column = table["weight"].combine_chunks().take(pa.array(np.arange(300) % 120)).dictionary_encode()
    column = column.cast(pa.dictionary(pa.int8(), pa.float64()))
    given = table.set_column(table.column_names.index("weight"), "weight", column)
    found = detector.denoise(given, partition=AT, full=True)
    assert found["weight"].combine_chunks().equals(column)
    assert not found["quantity"].equals(given["quantity"])


def test_ages_are_judged_only_with_a_partition_s_date(detector: ae_plugin.Detector) -> None:
    """Without one they are left out; they must not make every row an anomaly."""
    normal = make_orders(400, day(FRESH), seed=9)
    place = normal.column_names.index("due")
    late = normal.set_column(place, normal.schema.field("due"), pa.array([dt.date(2031, 1, 1)] * 400))

    def alarms(table: pa.Table, partition: str) -> float:
        return float(np.mean(np.array(detector.score(table, partition=partition)["is_anomaly"])))

    assert alarms(normal, AT) < 0.15
    assert alarms(late, AT) > 0.9
    assert alarms(late, "") == alarms(normal, "")
    assert alarms(normal, "") < 0.3


def test_a_detector_says_what_it_is(detector: ae_plugin.Detector, trained: Trained) -> None:
    assert detector.version == trained.report.model_version == "v0001"
    assert "quantity" in detector.columns
    assert not {"order_id", "lines", "receipt", "comment", "currency"} & set(detector.columns)


@pytest.mark.parametrize("verb", ["score", "explain", "denoise", "embed"])
def test_a_table_without_a_learned_column_is_refused(detector: ae_plugin.Detector, table: pa.Table, verb: str) -> None:
    with pytest.raises(DataError, match="'price' is missing"):
        getattr(detector, verb)(table.drop_columns("price"))
    with pytest.raises(DataError, match="quantity"):
        getattr(detector, verb)(table.to_pandas().assign(quantity="many"))


# Loading.


def test_a_version_s_own_folder_can_be_loaded(trained: Trained, table: pa.Table, detector: ae_plugin.Detector) -> None:
    for uri in (f"{trained.shop.output}/_models/v0001", f"{trained.shop.output}/_models/v0001/"):
        found = ae_plugin.load(uri, alert_rate=0.05)
        assert found.score(table, partition=AT).equals(detector.score(table, partition=AT))


@pytest.mark.parametrize("rate", [0.001, 0.3])
def test_the_alert_rate_moves_the_alarm_and_not_the_score(
    trained: Trained, table: pa.Table, detector: ae_plugin.Detector, rate: float
) -> None:
    found = ae_plugin.load(str(trained.shop.output), alert_rate=rate).score(table, partition=AT)
    usual = detector.score(table, partition=AT)
    assert found["anomaly_score"].equals(usual["anomaly_score"])
    assert np.array_equal(np.array(found["is_anomaly"]), np.array(usual["p_value"]) <= np.float32(rate))


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, float("nan")])
def test_an_alert_rate_that_is_none(trained: Trained, rate: float) -> None:
    with pytest.raises(ConfigError, match="alert_rate"):
        ae_plugin.load(str(trained.shop.output), alert_rate=rate)


def test_what_cannot_be_loaded(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(NoChampionError):
        ae_plugin.load(str(tmp_path))
    with pytest.raises(ConfigError, match="v0099"):
        ae_plugin.load(f"{trained.shop.output}/_models/v0099")
    shutil.copytree(trained.shop.output / "_models", tmp_path / "_models")
    path = tmp_path / "_models/v0001/network.tflite"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="sha256"):
        ae_plugin.load(str(tmp_path))


# Jobs.


def test_scoring_by_path_by_pipeline_and_to_elsewhere(shop: Shop, tmp_path: Path) -> None:
    record = ae_plugin.score(shop.yaml, day(FRESH))
    assert record.outcome == "scored" and record.rows == 300
    elsewhere = tmp_path / "elsewhere"
    again = ae_plugin.score(shop.pipeline, AT, output=str(elsewhere))
    assert (again.rows, again.anomalies) == (record.rows, record.anomalies)
    assert again.outputs == record.outputs, "the same bytes"
    assert (elsewhere / f"scores/{AT}/part-0.parquet").exists()
    source = next((shop.source / AT).iterdir())
    third = ae_plugin.score(shop.pipeline, AT, source=str(source), output=str(tmp_path / "third"))
    assert third.outputs == record.outputs and third.partition == AT


def test_promoting_by_force(shop: Shop) -> None:
    (shop.output / "_models/champion.json").unlink()
    with pytest.raises(NoChampionError):
        ae_plugin.score(shop.yaml, day(FRESH))
    done = ae_plugin.promote(shop.yaml, force=True)
    assert (done.champion, done.promoted) == ("v0001", True)
    assert ae_plugin.load(str(shop.output)).version == "v0001"


def test_every_error_is_an_ae_error(tmp_path: Path) -> None:
    for call in (ae_plugin.train, ae_plugin.score, ae_plugin.promote):
        with pytest.raises(AeError, match="no such pipeline"):
            call(tmp_path / "nothing.yaml")
