"""Rules: which cells break them, in any row, and what is put instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.config import Pipeline
from ae_plugin.core.columns import ColumnSpec
from ae_plugin.core.explain import Options, ScoredBatch, score_batch
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.rules import ROWS, Rules, learn_rules
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.store.registry import Registry
from ae_plugin.versions import ModelVersion, load_version

CITIES = ["Rome", "Oslo", "Bern", "Riga", "Kyiv", "Lima", "Quito", "Paris"]
SHARE_OF_NORMAL = 0.002


def make(rows: int = 800, seed: int = 0) -> pa.Table:
    """Visits to cities: what a city says of its code and country, a duration with its unit, and two linked numbers."""
    rng = np.random.default_rng(seed)
    city = rng.integers(0, len(CITIES), rows)
    wait = rng.normal(50, 10, rows)
    return pa.table(
        {
            "code": pa.array([f"{10 + c}" for c in city]),
            "city": pa.array([CITIES[c] for c in city]),
            "size": pa.array([f"{n} oz." for n in rng.integers(8, 32, rows)]),
            "wait": pa.array(wait),
            "cost": pa.array(2 * wait + rng.normal(0, 1, rows)),
        }
    )


def put(table: pa.Table, name: str, changes: dict[int, object]) -> pa.Table:
    values = table.column(name).to_pylist()
    for row, value in changes.items():
        values[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


def other_unit(table: pa.Table, rows: range) -> dict[int, object]:
    return {row: table.column("size")[row].as_py().replace("oz.", "OZ.") for row in rows}


def dirty() -> pa.Table:
    """Rows 0 and 1 are misspelt, 2 and 3 of another shape, 10 to 19 of another unit form; 8 and 9 have gaps."""
    table = put(make(), "city", {0: "Rpme", 1: "Osxo"})
    table = put(table, "code", {2: "1x", 3: "x3"})
    table = put(table, "size", other_unit(table, range(10, 20)))
    return put(table, "city", {8: None, 9: None})


def specs(table: pa.Table) -> list[ColumnSpec]:
    return learn_columns(table, [""] * table.num_rows)[0]


def test_rules_are_learned_from_the_dirty_table_itself() -> None:
    table = dirty()
    found = learn_rules(table, specs(table)).find(table)
    assert {name: broken.rows.tolist() for name, broken in found.items()} == {
        "city": [0, 1],
        "code": [2, 3],
        "size": list(range(10, 20)),
    }
    truth = make()
    for name in ("city", "code"):
        rows = found[name].rows
        assert found[name].expected.to_pylist() == truth.column(name).take(pa.array(rows)).to_pylist()
    assert found["size"].expected.equals(truth.column("size").slice(10, 10).combine_chunks())
    assert found["city"].p_value == pytest.approx(3 / 801)


def test_a_rare_word_that_other_columns_confirm_is_right() -> None:
    """`Romed` is a city of its own, with a code of its own, however near to Rome."""
    table = put(make(), "city", dict.fromkeys(range(4), "Romed"))
    table = put(table, "code", dict.fromkeys(range(4), "99"))
    rules = learn_rules(table, specs(table))
    assert "city" not in rules.find(table.slice(0, 4))
    lone = table.slice(0, 1).set_column(0, "code", pa.array(["12"]))
    assert rules.find(lone)["city"].rows.tolist() == [0]


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_table_breaks_no_rule(seed: int) -> None:
    table = make(seed=seed)
    rules = learn_rules(table, specs(table))
    assert not rules.find(table)
    fresh = rules.find(make(5000, seed=seed + 100))
    assert sum(len(broken.rows) for broken in fresh.values()) <= SHARE_OF_NORMAL * 5000


def test_rows_are_judged_one_by_one() -> None:
    table = dirty()
    rules = learn_rules(table, specs(table))
    whole = rules.find(table)
    for start in (0, 7, 13):
        part = rules.find(table.slice(start, 7))
        for name, broken in whole.items():
            own = [int(row) for row in broken.rows if start <= row < start + 7]
            assert [start + int(row) for row in part[name].rows] == own if name in part else not own


def test_a_table_of_numbers_has_no_rules() -> None:
    table = make().select(["wait", "cost"])
    assert learn_rules(table, specs(table)) == Rules()


def test_long_history_is_looked_at_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ae_plugin.core.rules.ROWS", 400)
    late = make(600, seed=1)
    table = pa.concat_tables([make(600), put(late, "size", other_unit(late, range(0, 600, 5)))])
    (size,) = (p for p in learn_rules(table, specs(table)).patterns if p.column == "size")
    assert size.rows == 400 and size.forms == {" OZ.": " oz."}
    assert ROWS == 20_000


# In the product: trained on the dirty table.


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("rules")
    # One cost in twelve does not belong to its row.
    table = dirty()
    costs = table.column("cost").to_pylist()
    table = put(table, "cost", {row: costs[(row + 400) % 800] for row in range(4, 800, 12)})
    pq.write_table(table, folder / "visits.parquet")
    made = Pipeline.model_validate(
        {
            "name": "visits",
            "source": {"uri": str(folder / "visits.parquet")},
            "train": {"steps": 600},
            "score": {"on_unfamiliar": "score"},
            "output": str(folder / "out"),
        }
    )
    promote(made, train(made).model_version, force=True)
    return made


@pytest.fixture(scope="module")
def version(pipeline: Pipeline) -> ModelVersion:
    registry = Registry(pipeline.output)
    return load_version(registry, registry.champion(), 0.01)


@pytest.fixture(scope="module")
def looked_at(pipeline: Pipeline, version: ModelVersion) -> Callable[[bool], ScoredBatch]:
    batch = pq.read_table(pipeline.source.uri).combine_chunks().to_batches()[0]
    return lambda every: score_batch(batch, version.scorer, Options(every_row=every))


def cells_of(batch: ScoredBatch, column: str) -> dict[int, str]:
    return {cell["row"]: cell["expected"] for cell in batch.cells.to_pylist() if cell["column"] == column}


def test_rules_are_part_of_the_version(version: ModelVersion) -> None:
    table = dirty()
    learned = learn_rules(table, specs(table))
    assert version.scorer.rules.patterns == learned.patterns
    assert version.scorer.rules.dependencies == learned.dependencies


def test_broken_cells_are_named_and_repaired_in_any_row(looked_at: Callable[[bool], ScoredBatch]) -> None:
    found, truth = looked_at(False), make()
    assert not found.rows.is_anomaly[:20].all()
    assert cells_of(found, "city") == {row: truth.column("city")[row].as_py() for row in (0, 1)}
    assert cells_of(found, "code") == {row: truth.column("code")[row].as_py() for row in (2, 3)}
    assert list(cells_of(found, "size")) == list(range(10, 20))
    for name in ("city", "code", "size"):
        assert found.denoised.column(found.denoised.schema.get_field_index(name)).equals(
            truth.column(name).combine_chunks()
        ), "gaps are filled by what follows from the other columns, too"


def test_rules_leave_the_rows_scores_alone(looked_at: Callable[[bool], ScoredBatch], version: ModelVersion) -> None:
    encoded = version.scorer.encode(looked_at(False).source)
    assert np.array_equal(version.scorer.score(encoded)[0].anomaly_score, looked_at(False).rows.anomaly_score)


def test_every_row_s_numbers_can_be_judged_though_history_is_as_wrong(
    looked_at: Callable[[bool], ScoredBatch],
) -> None:
    some, every = looked_at(False), looked_at(True)
    costs = make().column("cost").to_numpy()
    swapped = np.arange(4, 800, 12)
    far = {int(row) for row in swapped if abs(costs[row] - costs[(row + 400) % 800]) > 20}
    named = set(cells_of(every, "cost")) | set(cells_of(every, "wait"))
    assert len(far & named) > 0.6 * len(far)
    assert len(far & (set(cells_of(some, "cost")) | set(cells_of(some, "wait")))) < 0.5 * len(far)
    assert len(named - set(swapped.tolist())) <= 0.02 * 2 * 800
    assert np.array_equal(some.rows.anomaly_score, every.rows.anomaly_score)


def test_the_pipeline_says_whose_cells_are_judged(pipeline: Pipeline, tmp_path: Path) -> None:
    def found(cells: str) -> int:
        asked = pipeline.model_copy(update={"score": pipeline.score.model_copy(update={"cells": cells})})
        record = score(asked, source=pipeline.source.uri, output=str(tmp_path / cells))
        return record.cells_flagged

    assert found("all") > found("flagged") >= 14
