"""What comes out: the outputs' columns, and records whose JSON is JSON."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ae_plugin import schemas
from ae_plugin.config import OUTPUT_COLUMNS
from ae_plugin.schemas import ColumnReason, Gate, GateResult, GuardVerdict, ModelEntry, RunRecord, TrainReport
from tests.conftest import Trained
from tests.store.test_runs import record

QUICK = settings(max_examples=40, deadline=None, derandomize=True)
KEYS = [pa.field("order_id", pa.int64(), nullable=False), pa.field("shop", pa.string())]


def test_columns_of_scores() -> None:
    """As DESIGN.md fixes them."""
    assert schemas.scores_schema(KEYS).equals(
        pa.schema(
            [
                *KEYS,
                pa.field("row", pa.int64(), nullable=False),
                ("anomaly_score", pa.float32()),
                ("p_value", pa.float32()),
                ("is_anomaly", pa.bool_()),
                ("top_column", pa.string()),
                ("error", pa.string()),
                pa.field("model_version", pa.string(), nullable=False),
            ]
        )
    )


def test_columns_of_cells() -> None:
    assert schemas.cells_schema(KEYS).equals(
        pa.schema(
            [
                *KEYS,
                pa.field("row", pa.int64(), nullable=False),
                pa.field("column", pa.string(), nullable=False),
                ("observed", pa.string()),
                ("expected", pa.string()),
                ("cell_error", pa.float32()),
                ("p_value", pa.float32()),
            ]
        )
    )


def test_the_names_that_keys_must_not_have_are_those_of_the_outputs() -> None:
    assert OUTPUT_COLUMNS == {*schemas.scores_schema([]).names, *schemas.cells_schema([]).names}


@QUICK
@given(number=st.floats())
def test_a_record_s_json_is_json_whatever_its_numbers(number: float) -> None:
    """Both ways that it is written: to files, and by `--json`."""
    run = record("date=1", observed_alert_rate=number, seconds=number)
    run.guard = GuardVerdict(
        verdict="drifted",
        reasons=["x"],
        columns=[ColumnReason(column="x", reason="y", effect=number, limit=number)],
    )

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    json.loads(run.model_dump_json(), parse_constant=refuse)
    json.loads(json.dumps(run.model_dump(mode="json")), parse_constant=refuse)


def test_a_run_record_is_read_as_it_was_written() -> None:
    run = record("date=1", notes=["a\nb", "é"], outputs={"scores/x": "0" * 64})
    assert RunRecord.model_validate_json(run.model_dump_json()) == run


def test_a_training_report_is_read_as_it_was_written(trained: Trained) -> None:
    report = trained.report
    again = TrainReport.model_validate_json(report.model_dump_json())
    assert again == report
    assert again.loss_curve and all(len(point) == 3 for point in again.loss_curve)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"outcome": "lost"},
        {"rows": "many"},
        {"rows": None},
        {"guard": {"verdict": "fine", "reasons": [], "columns": []}},
        {"method": "pca"},
    ],
)
def test_a_run_record_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    good = record("date=1").model_dump(mode="json")
    RunRecord.model_validate(good)
    with pytest.raises(ValidationError):
        RunRecord.model_validate({**good, **change})


@pytest.mark.parametrize("verdict", ["familiar", "drifted", "unfamiliar"])
def test_verdicts(verdict: Any) -> None:
    assert GuardVerdict(verdict=verdict, reasons=[], columns=[]).verdict == verdict


def test_the_gate_knows_four_scorers() -> None:
    for scorer in ("challenger", "untrained", "pca", "champion"):
        GateResult(scorer=scorer, auroc={"nulls": 0.9}, mean=0.9)
    with pytest.raises(ValidationError):
        GateResult(scorer="isolation forest", auroc={}, mean=0.5)  # type: ignore[arg-type]
    assert Gate(passed=True, reasons=[], results=[], champion=None).champion is None


RECORDS = [kind for kind in vars(schemas).values() if isinstance(kind, type) and kind.__base__ is schemas.Record]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_no_record_takes_a_field_it_does_not_know(kind: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate({"surprise": 1})
    assert ("extra_forbidden", ("surprise",)) in [(error["type"], error["loc"]) for error in caught.value.errors()]


def test_a_model_entry_survives_json() -> None:
    entry = ModelEntry(
        version="v0001", pointers=["champion"], created_at="2024-01-01T00:00:00+00:00", rows_train=5,
        partitions=["date=1"], gate_passed=True, validation_loss=0.5,
    )  # fmt: skip
    assert ModelEntry.model_validate_json(entry.model_dump_json()) == entry
