"""Few labels: a file names rows and says what they are; every row of a partition gets a class, or none."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.errors import AeError, ConfigError, DataError, NoChampionError, StoreError, UnfamiliarError
from ae_plugin.jobs.decide import decide
from ae_plugin.jobs.latent.classify import classify, due_classes
from ae_plugin.jobs.latent.heads import label_fit
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.jobs.train import train
from ae_plugin.latent_schemas import LabelFitRecord
from ae_plugin.store.commit import Commit
from tests.conftest import Trained
from tests.running import run_ae, tree
from tests.shop import FRESH, Shop, day, make_orders, spoil, write_day
from tests.web.conftest import foreign

DAY, NEXT = f"date={day(FRESH)}", f"date={day(FRESH + 1)}"


def source_of(shop: Shop, partition: str = NEXT) -> pa.Table:
    return pq.read_table(shop.source / f"{partition}/part-0.parquet", partitioning=None)


def kinds_of(table: pa.Table) -> list[str]:
    """What people would say of orders, which no column says: parcels that one person can carry, and others."""
    return ["heavy" if weight > 5 else "light" for weight in table.column("weight").to_pylist()]


def some(shop: Shop, each: int, partition: str = NEXT) -> list[tuple[int, int, str]]:
    """The first rows of each kind: place, key, kind."""
    table = source_of(shop, partition)
    kinds, ids = kinds_of(table), table.column("order_id").to_pylist()
    return [
        (row, ids[row], kind)
        for kind in ("heavy", "light")
        for row in [row for row, own in enumerate(kinds) if own == kind][:each]
    ]


def write(path: Path, columns: dict[str, Any]) -> str:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return str(path)


def labels(shop: Shop, each: int = 5, name: str = "labels.csv") -> str:
    rows, ids, kinds = zip(*some(shop, each), strict=True)
    return write(shop.root / name, {"order_id": ids, "label": kinds})


def classes(shop: Shop, partition: str = DAY) -> pa.Table:
    return pq.read_table(shop.output / f"classes/{partition}/part-0.parquet", partitioning=None)


def right(shop: Shop, table: pa.Table, column: str) -> float:
    """Share right of the rows that have a class."""
    pairs = zip(table.column(column).to_pylist(), kinds_of(source_of(shop, DAY)), strict=True)
    said = [a == b for a, b in pairs if a is not None]
    return sum(said) / len(said)


def test_each_row_gets_its_class_in_order(each: Trained, tmp_path: Path) -> None:
    shop = each.shop.copy(tmp_path / "shop")
    fitted = label_fit(shop.pipeline, labels(shop, 10))
    assert fitted.classes == {"heavy": 10, "light": 10} and fitted.held_out and fitted.held_out > 0.7
    record = classify(shop.pipeline, DAY)
    table, source = classes(shop), source_of(shop, DAY)
    assert table.column_names == ["order_id", "row", "class", "probability", "likeliest", "model_version"]
    assert table.column("order_id").equals(source.column("order_id"))
    assert table.column("row").to_pylist() == list(range(source.num_rows)) and record.rows == source.num_rows
    assert right(shop, table, "likeliest") > 0.8
    assert right(shop, table, "class") >= right(shop, table, "likeliest"), "what it does not know it leaves out"
    assert record.classes == {name: table.column("class").to_pylist().count(name) for name in ("heavy", "light")}
    assert record.unknown_rows == table.column("class").null_count


def test_one_label_a_class_is_enough(shop: Shop) -> None:
    assert label_fit(shop.pipeline, labels(shop, 1)).held_out is None
    classify(shop.pipeline, DAY)
    assert set(classes(shop).column("likeliest").to_pylist()) == {"heavy", "light"}


def test_what_it_does_not_know_has_no_class(shop: Shop) -> None:
    fitted = label_fit(shop.pipeline, labels(shop))
    write_day(shop.source, FRESH, spoil(make_orders(600, day(FRESH))))
    scored = score(shop.pipeline, DAY)
    classify(shop.pipeline, DAY)
    table = classes(shop)
    odd = pq.read_table(shop.output / f"scores/{DAY}/part-0.parquet", partitioning=None).column("is_anomaly")
    assert scored.anomalies > 20
    for kind, share, anomalous in zip(
        table.column("class").to_pylist(), table.column("probability").to_pylist(), odd.to_pylist(), strict=True
    ):
        assert 0 < share <= 1
        assert kind is None or (share >= fitted.sure and not anomalous)


def test_rows_that_are_odd_can_be_a_class_of_their_own(shop: Shop) -> None:
    write_day(shop.source, FRESH + 1, spoil(make_orders(600, day(FRESH + 1))))
    score(shop.pipeline, NEXT)
    p = pq.read_table(shop.output / f"scores/{NEXT}/part-0.parquet", partitioning=None).column("p_value").to_numpy()
    order = np.argsort(p)
    rows = [*order[:10], *order[-10:]]
    path = write(
        shop.root / "odd.csv", {"date": [day(FRESH + 1)] * 20, "row": rows, "kind": ["broken"] * 10 + ["fine"] * 10}
    )
    label_fit(shop.pipeline, path)
    classify(shop.pipeline, NEXT)
    found = classes(shop, NEXT).column("class").to_pylist()
    assert [found[row] for row in order[:5]].count("broken") >= 3, "an anomaly is no riddle to who was shown some"


def test_rows_are_named_by_place_or_keys_in_csv_or_parquet(shop: Shop) -> None:
    rows, ids, kinds = zip(*some(shop, 3), strict=True)
    where = [day(FRESH + 1)] * len(rows)
    given: dict[str, dict[str, Any]] = {
        "place": {"partition": where, "row": rows, "kind": kinds},
        "hive": {"date": where, "row": rows, "kind": kinds, "note": [""] * len(rows)},
        "keys": {"order_id": ids, "kind": kinds},
        "both": {"partition": [NEXT] * len(rows), "row": rows, "order_id": ids, "kind": kinds},
    }
    found = []
    for name, columns in given.items():
        found.append(label_fit(shop.pipeline, write(shop.root / f"{name}.csv", columns), "kind"))
    pq.write_table(pa.table({key: list(values) for key, values in given["both"].items()}), shop.root / "all.parquet")
    found.append(label_fit(shop.pipeline, str(shop.root / "all.parquet"), "kind"))
    assert len({(one.least_p, one.held_out, one.counts) for one in found}) == 1
    assert all(one.classes == {"heavy": 3, "light": 3} for one in found)


def test_numbers_are_classes_too(shop: Shop) -> None:
    rows, ids, _ = zip(*some(shop, 2), strict=True)
    table = pa.table({"order_id": [*ids, 1], "label": pa.array([0.0, 0.0, 1.0, 1.0, None])})
    pq.write_table(table, shop.root / "numbers.parquet")
    assert label_fit(shop.pipeline, str(shop.root / "numbers.parquet")).classes == {"0": 2, "1": 2}


def test_classes_do_not_hang_on_where_files_are_cut(shop: Shop) -> None:
    label_fit(shop.pipeline, labels(shop))
    table = make_orders(3_000, day(FRESH))
    write_day(shop.source, FRESH, table)
    classify(shop.pipeline, DAY)
    whole = classes(shop)
    shutil.rmtree(shop.source / DAY)
    for number, start in enumerate(range(0, 3_000, 700)):
        write_day(shop.source, FRESH, table.slice(start, 700), f"part-{number}.parquet", row_group_size=111)
    classify(shop.pipeline, DAY)
    apart = np.abs(classes(shop).column("probability").to_numpy() - whole.column("probability").to_numpy())
    assert apart.max() <= 2**-10 and (apart > 0).mean() < 0.01


def test_the_same_bytes_again(shop: Shop) -> None:
    path = labels(shop)
    label_fit(shop.pipeline, path)
    first = classify(shop.pipeline, DAY)
    (shop.output / "_heads/v0001.safetensors").unlink()
    assert classify(shop.pipeline, DAY).outputs == first.outputs, "a head that is lost is fitted again"


def test_a_new_champion_gets_a_head_from_the_labels_kept(shop: Shop) -> None:
    label_fit(shop.pipeline, labels(shop))
    score(shop.pipeline, DAY)
    classify(shop.pipeline, DAY)
    assert due_classes(shop.pipeline) == []
    other = shop.set(model={"seed": 1}, train={"steps": 60})
    train(other.pipeline)
    promote(other.pipeline, force=True)
    score(other.pipeline, DAY)
    assert due_classes(other.pipeline) == [DAY]
    # The partition was written anew in another order meanwhile: rows are found by their keys.
    write_day(shop.source, FRESH + 1, source_of(shop).take(pa.array(range(299, -1, -1))))
    record = classify(other.pipeline, DAY)
    assert record.model_version == "v0002" and right(other, classes(other), "likeliest") > 0.7
    assert due_classes(other.pipeline) == [] and (shop.output / "_heads/v0001.safetensors").is_file()


def test_a_head_is_its_models_whatever_that_is_called(shop: Shop) -> None:
    label_fit(shop.pipeline, labels(shop))
    before = (shop.output / "_heads/v0001.safetensors").read_bytes()
    shutil.rmtree(shop.output / "_models")
    other = shop.set(model={"seed": 1}, train={"steps": 60})
    train(other.pipeline)
    promote(other.pipeline, force=True)
    record = classify(other.pipeline, DAY)
    assert record.model_version == "v0001" and (shop.output / "_heads/v0001.safetensors").read_bytes() != before
    assert right(other, classes(other), "likeliest") > 0.7


def test_labels_that_are_numbers_are_told_as_they_are_written(shop: Shop, tmp_path: Path) -> None:
    ids = [key for _, key, _ in some(shop, 2)]
    for values, wanted in (
        ([1.0, 2.0, None, float("nan")], ["1", "2"]),
        ([0.5, float("inf"), 0.5, float("inf")], ["0.5", "inf"]),
        ([1, 2, 1, 2], ["1", "2"]),
    ):
        path = tmp_path / "labels.parquet"
        pq.write_table(pa.table({"order_id": ids, "label": pa.array(values)}), path)
        assert list(label_fit(shop.pipeline, str(path)).classes) == wanted


def test_labelled_rows_that_are_gone_are_left_out_and_a_class_without_any_is_said(shop: Shop) -> None:
    label_fit(shop.pipeline, labels(shop))
    (shop.output / "_heads/v0001.safetensors").unlink()
    table, gone = source_of(shop), [key for _, key, kind in some(shop, 5) if kind == "light"]
    fewer = table.filter(pa.compute.invert(pa.compute.is_in(table.column("order_id"), pa.array(gone[:3]))))
    write_day(shop.source, FRESH + 1, fewer)
    classify(shop.pipeline, DAY)
    (shop.output / "_heads/v0001.safetensors").unlink()
    shutil.rmtree(shop.source / NEXT)
    with pytest.raises(DataError, match="no labelled row of class 'heavy' is left"):
        classify(shop.pipeline, DAY)


def test_what_is_due(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="no rows are labelled yet"):
        due_classes(shop.pipeline)
    label_fit(shop.pipeline, labels(shop))
    assert due_classes(shop.pipeline) == [], "nothing was scored yet"
    score(shop.pipeline, DAY)
    assert due_classes(shop.pipeline) == [DAY]
    classify(shop.pipeline, DAY)
    assert due_classes(shop.pipeline) == []
    label_fit(shop.pipeline, labels(shop, 4))
    assert due_classes(shop.pipeline) == [DAY], "there are other labels"


def test_the_same_labels_again_make_nothing_due(shop: Shop) -> None:
    score(shop.pipeline, DAY)
    first = label_fit(shop.pipeline, labels(shop))
    classify(shop.pipeline, DAY)
    before = tree(shop.output)
    assert label_fit(shop.pipeline, labels(shop)) == first
    assert due_classes(shop.pipeline) == [] and tree(shop.output) == before


def test_pictures_have_classes_too(boards: Trained, tmp_path: Path) -> None:
    shop = boards.shop.copy(tmp_path / "boards")
    partition = sorted(path.name for path in shop.source.iterdir() if path.is_dir())[-1]
    names = sorted(path.name for path in (shop.source / partition).iterdir())
    (shop.source / partition / "zz_broken.png").write_bytes(b"no picture")
    columns = {"partition": [partition] * 4, "file": names[:4], "kind": ["left", "right"] * 2}
    path = write(tmp_path / "kinds.csv", columns)
    label_fit(shop.pipeline, path, "kind")
    record = classify(shop.pipeline, partition)
    table = classes(shop, partition)
    assert record.unreadable_rows >= 1 and table.num_rows == record.rows
    lost = table.filter(pa.compute.equal(table.column("file"), "zz_broken.png"))
    assert [lost.column(name).to_pylist() for name in ("class", "probability", "likeliest")] == [[None]] * 3
    assert sum(record.classes.values()) + record.unknown_rows + record.unreadable_rows == record.rows


def test_what_the_guard_refused_is_not_classified_until_it_is_released(shop: Shop) -> None:
    label_fit(shop.pipeline, labels(shop))
    write_day(shop.source, FRESH, foreign(make_orders(200, day(FRESH))))
    with pytest.raises(UnfamiliarError):
        score(shop.pipeline, DAY)
    with pytest.raises(UnfamiliarError, match="refused as unfamiliar"):
        classify(shop.pipeline, DAY)
    decide(shop.pipeline, DAY, "release")
    assert classify(shop.pipeline, DAY).rows == 200


def test_wrong_labels_change_nothing(shop: Shop, tmp_path: Path) -> None:
    label_fit(shop.pipeline, labels(shop))
    before = tree(shop.output)
    ids = [key for _, key, _ in some(shop, 1)]
    wrong: list[tuple[dict[str, Any], str | None, type[AeError], str]] = [
        ({"order_id": ids, "label": ["a", "a"]}, None, DataError, "two classes at least"),
        ({"order_id": ids, "label": ["", ""]}, None, DataError, "labels no row"),
        ({"order_id": [ids[0], -5], "label": ["a", "b"]}, None, ConfigError, "no row with order_id=-5"),
        ({"order_id": [ids[0], ids[0]], "label": ["a", "b"]}, None, ConfigError, "is both 'a' and 'b'"),
        ({"row": [0, 1], "label": ["a", "b"]}, None, ConfigError, "neither the partition nor keys"),
        ({"date": ["1999-01-01"] * 2, "row": [0, 1], "label": ["a", "b"]}, None, ConfigError, "no partition date=1999"),
        ({"date": [day(FRESH)] * 2, "row": [0, 9_999], "label": ["a", "b"]}, None, ConfigError, "no row 9999"),
        ({"date": [day(FRESH)] * 2, "row": [0, "x"], "label": ["a", "b"]}, None, ConfigError, "no whole number"),
        ({"order_id": ids, "a": ["a", "b"], "b": ["a", "b"]}, None, ConfigError, "Give --label"),
        ({"ordr_id": ids, "label": ["a", "b"]}, None, ConfigError, r"which rows \(its columns are ordr_id, label\)"),
        ({"order_id": ids, "a": ["a", "b"]}, "kind", ConfigError, "no column 'kind'"),
    ]
    for number, (columns, label, kind, said) in enumerate(wrong):
        with pytest.raises(kind, match=said):
            label_fit(shop.pipeline, write(tmp_path / f"{number}.csv", columns), label)
    with pytest.raises(DataError):
        label_fit(shop.pipeline, str(tmp_path / "nothing.csv"))
    untrained = shop.pipeline.model_copy(update={"output": str(tmp_path / "nothing")})
    with pytest.raises(NoChampionError):
        label_fit(untrained, labels(shop))
    assert tree(shop.output) == before


def test_a_failed_commit_changes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    label_fit(shop.pipeline, labels(shop))
    classify(shop.pipeline, DAY)
    before = tree(shop.output)

    def fail(_: Commit) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Commit, "apply", fail)
    with pytest.raises(OSError, match="gone"):
        classify(shop.pipeline, DAY)
    with pytest.raises(OSError, match="gone"):
        label_fit(shop.pipeline, labels(shop, 3))
    assert tree(shop.output) == before


def test_a_head_that_was_changed_is_not_used(shop: Shop) -> None:
    label_fit(shop.pipeline, labels(shop))
    path = shop.output / "_heads/v0001.safetensors"
    whole = path.read_bytes()
    for content in (
        whole[:-1] + bytes([whole[-1] ^ 1]),
        whole[:100],
        b"",
        whole.replace(b'\\"light\\":5', b'\\"light\\":6'),
    ):
        assert content != whole
        path.write_bytes(content)
        with pytest.raises(StoreError, match="sha256 differs"):
            classify(shop.pipeline, DAY)
    (shop.output / "_heads/labels.json").write_text("{}")
    with pytest.raises(StoreError, match="no file of labels"):
        classify(shop.pipeline, DAY)


def test_from_the_command_line(shop: Shop, tmp_path: Path) -> None:
    score(shop.pipeline, DAY)
    nothing = run_ae("classify", shop.yaml)
    assert nothing.code == 2 and "ae label-fit" in nothing.err
    fitted = run_ae("label-fit", shop.yaml, "--labels", labels(shop), "--json")
    assert fitted.code == 0 and LabelFitRecord.model_validate(fitted.json).classes == {"heavy": 5, "light": 5}
    said = run_ae("label-fit", shop.yaml, "--labels", labels(shop))
    assert said.code == 0 and "10 labels (heavy 5, light 5)" in said.out
    done = run_ae("classify", shop.yaml, "--json")
    assert done.code == 0 and [one["partition"] for one in done.json["classified"]] == [DAY]
    assert "nothing to do" in run_ae("classify", shop.yaml).out
    other = run_ae("classify", shop.yaml, "--input", shop.source / DAY, "--output", tmp_path / "elsewhere")
    assert other.code == 0 and (tmp_path / "elsewhere/classes/part-0.parquet").is_file()
