"""Bad input: one clear line, the documented exit code, no traceback, and nothing changed on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.running import Outcome, ae_process, run_ae, unchanged
from tests.shop import FRESH, LAST_TRAINED, ORDERS, Shop, day, make_orders, plain, write_day

VERBS = ("train", "score")
ODD_ROWS = 300


def run(verb: str, shop: Shop) -> Outcome:
    """`ae train` over history that holds the fresh day, or `ae score` of the fresh day."""
    if verb == "train":
        shop.set(train={"until": day(FRESH), "steps": 20})
        return run_ae("--quiet", "train", shop.yaml)
    return run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))


def refused(outcome: Outcome, code: int, *words: str, warnings: str = r"(?!)") -> None:
    """The exit code, and one line that holds these words, whatever their case; nothing else, but for `warnings`."""
    assert outcome.code == code, outcome
    assert outcome.out == "", outcome
    assert "Traceback" not in outcome.err
    lines = [line for line in outcome.err.splitlines() if not re.match(warnings, line)]
    assert lines == [outcome.complaint], outcome.err
    assert outcome.complaint.startswith("ae: ") and outcome.err.endswith("\n")
    for word in words:
        assert word.lower() in outcome.complaint.lower(), (word, outcome.complaint)


def file_of(shop: Shop, number: int = FRESH) -> Path:
    return shop.source / f"date={day(number)}" / "part-0.parquet"


def fresh(shop: Shop) -> pa.Table:
    return pq.ParquetFile(file_of(shop)).read()


def replace_column(table: pa.Table, name: str, column: pa.Array, new_name: str | None = None) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), new_name or name, column)


def test_a_complaint_as_json(shop: Shop) -> None:
    """One JSON object on stdout whatever happens; the line on stderr stays."""
    path = shop.output / "_models/champion.json"
    path.unlink()
    with unchanged(shop.root):
        for code, words in ((4, ["score", shop.yaml]), (2, ["train", "nowhere"]), (2, ["models", shop.root])):
            outcome = run_ae("--quiet", *words, "--json")
            assert outcome.json == {"error": outcome.complaint.removeprefix("ae: "), "exit_code": code}
            assert outcome.code == code and len(outcome.err.splitlines()) == 1


# Files of a partition that cannot be read, or hold something else than the model learned.


def garbage(path: Path, table: pa.Table) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def truncated(path: Path, table: pa.Table) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_its_last_byte(path: Path, table: pa.Table) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def no_bytes(path: Path, table: pa.Table) -> None:
    path.write_bytes(b"")


def zeroed_pages(path: Path, table: pa.Table) -> None:
    """The footer is whole, the data is not."""
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)


def huge_footer(path: Path, table: pa.Table) -> None:
    """A footer that says that it is two gigabytes long."""
    path.write_bytes(path.read_bytes()[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1")


def a_folder(path: Path, table: pa.Table) -> None:
    path.unlink()
    path.mkdir()


def a_dangling_link(path: Path, table: pa.Table) -> None:
    path.unlink()
    path.symlink_to("nowhere.parquet")


def missing_column(path: Path, table: pa.Table) -> None:
    pq.write_table(table.drop_columns("price"), path)


def missing_key(path: Path, table: pa.Table) -> None:
    pq.write_table(table.drop_columns("order_id"), path)


def renamed_column(path: Path, table: pa.Table) -> None:
    pq.write_table(table.rename_columns([{"price": "Price"}.get(name, name) for name in table.column_names]), path)


def words_for_numbers(path: Path, table: pa.Table) -> None:
    pq.write_table(replace_column(table, "quantity", pa.array(["many"] * len(table))), path)


def lists_for_words(path: Path, table: pa.Table) -> None:
    pq.write_table(replace_column(table, "product", pa.array([["apple"]] * len(table))), path)


def numbers_for_times(path: Path, table: pa.Table) -> None:
    pq.write_table(replace_column(table, "ordered_at", pa.array(np.arange(len(table)) / 7)), path)


def structs_for_numbers(path: Path, table: pa.Table) -> None:
    pq.write_table(replace_column(table, "weight", pa.array([{"kg": 1.0}] * len(table))), path)


def a_column_twice(path: Path, table: pa.Table) -> None:
    pq.write_table(table.append_column("price", table["weight"]), path)


def a_key_twice(path: Path, table: pa.Table) -> None:
    pq.write_table(table.append_column("order_id", table["weight"]), path)


def no_columns(path: Path, table: pa.Table) -> None:
    pq.write_table(table.select([]), path)


def two_schemas(path: Path, table: pa.Table) -> None:
    pq.write_table(table.drop_columns("weight"), path.with_name("part-1.parquet"))


BAD_FILES: dict[Callable[[Path, pa.Table], None], tuple[str, ...]] = {
    garbage: ("part-0.parquet", "cannot be read"),
    truncated: ("part-0.parquet", "cannot be read"),
    without_its_last_byte: ("part-0.parquet", "cannot be read"),
    no_bytes: ("part-0.parquet", "cannot be read"),
    zeroed_pages: ("part-0.parquet", "cannot be read"),
    huge_footer: ("part-0.parquet", "cannot be read"),
    a_dangling_link: (),
    missing_column: ("price", "missing"),
    missing_key: ("order_id", "missing"),
    renamed_column: ("price", "missing"),
    words_for_numbers: ("part-0.parquet",),
    lists_for_words: ("part-0.parquet",),
    numbers_for_times: ("part-0.parquet",),
    structs_for_numbers: ("part-0.parquet",),
    a_column_twice: ("price",),
    a_key_twice: ("order_id",),
    no_columns: ("missing",),
    two_schemas: ("weight", "part-1.parquet"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("spoil", BAD_FILES, ids=lambda spoil: spoil.__name__)
def test_a_file_that_cannot_be_used(shop: Shop, spoil: Callable[[Path, pa.Table], None], verb: str) -> None:
    spoil(file_of(shop), fresh(shop))
    shop.set(train={"until": day(FRESH), "steps": 20})
    with unchanged(shop.root):
        refused(run(verb, shop), 2, *BAD_FILES[spoil])


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("spoil", [garbage, missing_column, words_for_numbers], ids=lambda spoil: spoil.__name__)
def test_a_bad_file_leaves_nothing_behind_where_there_was_nothing(
    shop: Shop, spoil: Callable[[Path, pa.Table], None], verb: str
) -> None:
    """Not even an empty folder."""
    spoil(file_of(shop), fresh(shop))
    shop = shop.set(train={"until": day(FRESH), "steps": 20}, **({"output": "anew"} if verb == "train" else {}))
    with unchanged(shop.root):
        if verb == "train":
            refused(run_ae("--quiet", "train", shop.yaml), 2)
        else:
            refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--output", shop.root / "anew"), 2)


def test_a_folder_named_like_a_file_is_no_file(shop: Shop) -> None:
    """A day without files is no partition: scoring says so, training goes by."""
    a_folder(file_of(shop), fresh(shop))
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2, "no partition", day(FRESH))


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_outside_the_partitions(shop: Shop, verb: str) -> None:
    shutil.copy(file_of(shop), shop.source / "stray.parquet")
    shop.set(train={"until": day(FRESH), "steps": 20})
    with unchanged(shop.root):
        refused(run(verb, shop), 2, "stray.parquet", "date=")


# Partitions that can be read, but hold little or nothing.


def test_no_rows_score_to_nothing_with_a_note(shop: Shop) -> None:
    pq.write_table(fresh(shop).slice(0, 0), file_of(shop))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--json")
    assert (outcome.code, outcome.err.splitlines()) == (0, ["the partition holds no rows"])
    assert outcome.json["notes"] == ["the partition holds no rows"]
    assert (outcome.json["rows"], outcome.json["observed_alert_rate"]) == (0, None)
    for dataset in ("scores", "cells", "denoised"):
        assert shop.read(dataset, FRESH).num_rows == 0
    assert shop.read("denoised", FRESH).schema.equals(fresh(shop).schema)


def test_no_row_group_at_all_scores_to_nothing(shop: Shop) -> None:
    with pq.ParquetWriter(file_of(shop), fresh(shop).schema):
        pass
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--json")
    assert (outcome.code, outcome.json["rows"]) == (0, 0)


def test_one_row_scores(shop: Shop) -> None:
    pq.write_table(fresh(shop).slice(7, 1), file_of(shop))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--json")
    assert (outcome.code, outcome.err, outcome.json["rows"]) == (0, "", 1)
    assert shop.read("scores", FRESH)["row"].to_pylist() == [0]


def small(tmp_path: Path, table: pa.Table, **sections: Any) -> Shop:
    """A pipeline of one partition, never trained."""
    shop = Shop(tmp_path / "small", ORDERS).write().set(train={"steps": 20}, **sections)
    write_day(shop.source, 0, table)
    return shop


@pytest.mark.parametrize("rows", [0, 1, 2, 49])
def test_too_few_rows_to_train_on(tmp_path: Path, rows: int) -> None:
    shop = small(tmp_path, make_orders(rows) if rows else make_orders(5).slice(0, 0))
    with unchanged(shop.root):
        refused(run_ae("--quiet", "train", shop.yaml), 2, f"{rows} rows" if rows else "rows", "")


def test_files_of_no_row_group_to_train_on(tmp_path: Path) -> None:
    shop = small(tmp_path, make_orders(5))
    with pq.ParquetWriter(file_of(shop, 0), make_orders(5).schema):
        pass
    with unchanged(shop.root):
        refused(run_ae("--quiet", "train", shop.yaml), 2, "no rows", str(shop.source))


def nothing_but_nulls(table: pa.Table) -> pa.Table:
    """Every column but the key is null in every row."""
    for name in table.column_names[1:]:
        kind = table.schema.field(name).type
        table = replace_column(table, name, pa.nulls(len(table), kind))
    return table


NOTHING_TO_LEARN: dict[str, Callable[[pa.Table], pa.Table]] = {
    "all null": nothing_but_nulls,
    "the null type": lambda t: pa.table({"order_id": t["order_id"], "nothing": pa.nulls(len(t))}),
    "keys only": lambda t: t.select(["order_id"]),
    "constants": lambda t: t.select(["order_id", "currency"]),
    "no type to learn": lambda t: t.select(["order_id", "lines", "receipt"]),
    "NaN only": lambda t: pa.table({"order_id": t["order_id"], "x": pa.array([float("nan")] * len(t))}),
    "infinity only": lambda t: pa.table({"order_id": t["order_id"], "x": pa.array([float("inf")] * len(t))}),
}


@pytest.mark.parametrize("case", NOTHING_TO_LEARN)
def test_no_column_to_learn(tmp_path: Path, case: str) -> None:
    shop = small(tmp_path, NOTHING_TO_LEARN[case](make_orders(ODD_ROWS)))
    with unchanged(shop.root):
        refused(run_ae("--quiet", "train", shop.yaml), 2, "no column can be learned", str(shop.source))


def test_no_column_left_to_learn(tmp_path: Path) -> None:
    names = make_orders(5).column_names[1:]
    shop = small(tmp_path, make_orders(ODD_ROWS), source={"exclude": names})
    with unchanged(shop.root):
        refused(run_ae("--quiet", "train", shop.yaml), 2, "no column can be learned", "source.exclude")


def test_a_day_of_nulls_is_refused_as_unfamiliar(shop: Shop) -> None:
    shop.set(score={"on_unfamiliar": "fail"})
    pq.write_table(nothing_but_nulls(fresh(shop)), file_of(shop))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))
    refused(outcome, 3, "unfamiliar", f"date={day(FRESH)}")
    assert not (shop.output / "scores").exists() and not (shop.output / "denoised").exists()


def test_a_day_of_nulls_can_be_scored_all_the_same(shop: Shop) -> None:
    shop.set(score={"on_unfamiliar": "score"})
    given = nothing_but_nulls(fresh(shop))
    pq.write_table(given, file_of(shop))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--json")
    assert (outcome.code, outcome.err, outcome.json["rows"]) == (0, "", len(given))
    denoised = shop.read("denoised", FRESH)
    assert denoised.schema.equals(given.schema)
    assert outcome.json["cells_imputed"] + outcome.json["cells_repaired"] > 0
    assert np.isfinite(shop.read("scores", FRESH)["anomaly_score"].to_numpy()).all()


def odd_numbers(table: pa.Table) -> pa.Table:
    """NaN, infinities, the largest and smallest there are, in every tenth row; and the ends of time."""
    rows = len(table)
    weight = table["weight"].to_numpy().copy()
    weight[::10] = np.resize([np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 5e-324, -0.0], len(weight[::10]))
    rating = np.nan_to_num(table["rating"].to_numpy(zero_copy_only=False)).astype(np.float32)
    rating[::10] = np.resize(np.array([np.nan, np.inf, -np.inf, 3.4e38], np.float32), len(rating[::10]))
    quantity = table["quantity"].to_numpy().copy()
    quantity[::10] = np.resize([2**31 - 1, -(2**31)], len(quantity[::10]))
    price = [Decimal("99999999.99") if i % 10 == 0 else p for i, p in enumerate(table["price"].to_pylist())]
    shipped = table["shipped_at"].to_numpy().astype("datetime64[us]").astype(np.int64)
    shipped[::10] = np.resize([2**63 - 1, -(2**63) + 1], len(shipped[::10]))
    table = replace_column(table, "weight", pa.array(weight))
    table = replace_column(table, "rating", pa.array(rating, pa.float32()))
    table = replace_column(table, "quantity", pa.array(quantity, pa.int32()))
    table = replace_column(table, "price", pa.array(price, pa.decimal128(10, 2)))
    table = replace_column(table, "shipped_at", pa.array(shipped).cast(pa.timestamp("us")))
    due = table["due"].cast(pa.int32()).to_numpy().copy()
    due[::10] = np.resize([2**31 - 1, -(2**31)], len(due[::10]))
    assert rows == len(due)
    return replace_column(table, "due", pa.array(due, pa.int32()).cast(pa.date32()))


@pytest.mark.parametrize("denoise", ["repair", "full"])
def test_numbers_that_are_none_and_the_ends_of_time_score(shop: Shop, denoise: str) -> None:
    shop.set(score={"on_unfamiliar": "score", "alert_rate": 0.1, "denoise": denoise})
    given = odd_numbers(fresh(shop))
    pq.write_table(given, file_of(shop))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--json")
    assert (outcome.code, outcome.err, outcome.json["rows"]) == (0, "", len(given))
    scores = shop.read("scores", FRESH)
    assert np.isfinite(scores["anomaly_score"].to_numpy()).all()
    assert scores["is_anomaly"].to_pylist()[:40:10] == [True] * 4
    assert shop.read("denoised", FRESH).schema.equals(given.schema)
    plain(shop.read("cells", FRESH))


def test_numbers_that_are_none_and_the_ends_of_time_train(tmp_path: Path) -> None:
    shop = small(tmp_path, odd_numbers(make_orders(ODD_ROWS)))
    outcome = run_ae("--quiet", "train", shop.yaml, "--json")
    assert outcome.code == 0, outcome
    assert np.isfinite(outcome.json["validation_loss"])
    assert all(np.isfinite(loss) for point in outcome.json["loss_curve"] for loss in point)


def test_huge_integers_train_and_score(tmp_path: Path) -> None:
    """Beyond what a double can tell apart, and beyond int64."""
    rng = np.random.default_rng(0)
    rows = 200
    big = rng.integers(2**62, 2**63, rows, dtype=np.uint64) * np.uint64(2)
    wide = [Decimal(int(v)) * 10**18 for v in rng.integers(1, 9, rows)]
    table = pa.table(
        {
            "order_id": pa.array(range(rows), pa.int64()),
            "big": pa.array(big, pa.uint64()),
            "low": pa.array(rng.integers(-(2**63), -(2**62), rows), pa.int64()),
            "wide": pa.array(wide, pa.decimal128(38, 0)),
            "x": pa.array(rng.normal(size=rows)),
        }
    )
    shop = small(tmp_path, table, score={"alert_rate": 0.1, "denoise": "full", "on_unfamiliar": "score"})
    outcome = run_ae("--quiet", "train", shop.yaml)
    assert outcome.code == 0, outcome
    run_ae("--quiet", "promote", shop.yaml, "--force")
    write_day(shop.source, 1, table)
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(1), "--json")
    assert (outcome.code, outcome.json["rows"]) == (0, rows)
    assert shop.read("denoised", 1).schema.equals(table.schema)


# The pipeline's YAML.

BAD_SETTINGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown key": ({"sauce": {"uri": "orders"}}, ("sauce", "unknown key")),
    "unknown nested key": ({"source": {"url": "orders"}}, ("source.url", "unknown key")),
    "unknown train key": ({"train": {"epochs": 3}}, ("train.epochs", "unknown key")),
    "bad cron": ({"train": {"schedule": "every monday"}}, ("train.schedule", "cron")),
    "cron out of range": ({"train": {"schedule": "61 3 * * 1"}}, ("train.schedule", "cron")),
    "cron of six fields": ({"score": {"schedule": "0 0 3 * * 1"}}, ("score.schedule", "cron")),
    "no cron but a number": ({"score": {"schedule": 7}}, ("score.schedule",)),
    "no name": ({"name": None}, ("name",)),
    "a name that is a path": ({"name": "../shop"}, ("name",)),
    "a name of two lines": ({"name": "shop\nshop"}, ("name",)),
    "a name that ends in a newline": ({"name": "shop\n"}, ("name",)),
    "unknown format": ({"source": {"format": "orc"}}, ("source.format",)),
    "unknown kind": ({"model": {"kind": "transformer"}}, ("model.kind",)),
    "kind that is a module": ({"model": {"kind": "os:system"}}, ("model.kind",)),
    "negative seed": ({"model": {"seed": -1}}, ("model.seed",)),
    "seed that is a word": ({"model": {"seed": "seven"}}, ("model.seed",)),
    "alert_rate 0": ({"score": {"alert_rate": 0}}, ("score.alert_rate",)),
    "alert_rate 1": ({"score": {"alert_rate": 1}}, ("score.alert_rate",)),
    "alert_rate NaN": ({"score": {"alert_rate": float("nan")}}, ("score.alert_rate",)),
    "contamination of half": ({"train": {"contamination": 0.5}}, ("train.contamination",)),
    "contamination NaN": ({"train": {"contamination": float("nan")}}, ("train.contamination",)),
    "no steps": ({"train": {"steps": 0}}, ("train.steps",)),
    "too many steps": ({"train": {"steps": 10**9}}, ("train.steps",)),
    "no partitions": ({"train": {"partitions": 0}}, ("train.partitions",)),
    "max_rows of nothing": ({"train": {"max_rows": 1}}, ("train.max_rows",)),
    "unknown refusal": ({"score": {"on_unfamiliar": "shrug"}}, ("score.on_unfamiliar",)),
    "promote yes": ({"promote": True}, ("promote",)),
    "output is the source": ({"output": "orders"}, ("output",)),
    "output is the source with a slash": ({"output": "orders/"}, ("output",)),
    "source climbs": ({"source": {"uri": "../orders"}}, ("source.uri", "..")),
    "source climbs inside": ({"source": {"uri": "orders/../../etc"}}, ("source.uri", "..")),
    "source climbs with a backslash": ({"source": {"uri": "orders\\..\\etc"}}, ("source.uri", "..")),
    "source climbs on s3": ({"source": {"uri": "s3://bucket/../other"}}, ("source.uri", "..")),
    "output climbs": ({"output": "../out"}, ("output", "..")),
    "output climbs inside": ({"output": "out/../../etc"}, ("output", "..")),
    "empty source": ({"source": {"uri": " "}}, ("source.uri",)),
    "empty output": ({"output": ""}, ("output",)),
    "source is a list": ({"source": ["orders"]}, ("source",)),
    "unknown scheme": ({"source": {"uri": "gopher://old/orders"}}, ("gopher",)),
    "unknown scheme of the output": ({"output": "gopher://old/out"}, ("gopher",)),
    "a NUL in the source": ({"source": {"uri": "ord\0ers"}}, ()),
    "a NUL in the output": ({"output": "o\0ut"}, ()),
    "source that is not there": ({"source": {"uri": "nowhere"}}, ("nowhere",)),
    "glob that finds nothing": ({"source": {"uri": "orders/*.orc"}}, ("orders/*.orc",)),
    "name of a file too long": ({"source": {"uri": "x" * 5000}}, ()),
    "CSV of a Parquet source": ({"source": {"format": "csv"}}, ("csv",)),
    "partition key that is not there": ({"source": {"partition_by": "month"}}, ("month",)),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_pipeline_that_is_wrong(shop: Shop, case: str, verb: str) -> None:
    sections, words = BAD_SETTINGS[case]
    shop.set(**sections)
    with unchanged(shop.root.parent):
        outcome = run_ae("--quiet", verb, shop.yaml, *(["--partition", day(FRESH)] if verb == "score" else []))
        refused(outcome, 2, *words)


BAD_HISTORY: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "until before everything": ({"train": {"until": "1999-01-01"}}, ("train.until", "1999-01-01")),
    "until of another key": ({"train": {"until": "month=2024-03"}}, ("month=2024-03",)),
    "until climbs": ({"train": {"until": "date=.."}}, ("..",)),
    "no such key": ({"source": {"keys": ["orderid"]}}, ("orderid",)),
    "no such excluded column": ({"source": {"exclude": ["colour"]}}, ("colour",)),
}


@pytest.mark.parametrize("case", BAD_HISTORY)
def test_history_that_is_not_there(shop: Shop, case: str) -> None:
    sections, words = BAD_HISTORY[case]
    shop.set(**sections)
    with unchanged(shop.root):
        refused(run_ae("--quiet", "train", shop.yaml), 2, *words)


GOOD_YAML = yaml.safe_dump(ORDERS)
BAD_YAML: dict[str, bytes] = {
    "empty": b"",
    "comments only": b"# nothing yet\n",
    "null": b"null\n",
    "a list": b"- name: shop\n- output: out\n",
    "a word": b"shop\n",
    "binary": np.random.default_rng(1).bytes(4000),
    "NULs": bytes(100),
    "UTF-16": GOOD_YAML.encode("utf-16"),
    "Latin-1": "name: größe\n".encode("latin-1"),
    "unclosed": b"name: [shop\n",
    "tabs": b"name:\n\t- shop\n",
    "two documents": GOOD_YAML.encode() + b"---\n" + GOOD_YAML.encode(),
    "a bomb of aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n".encode() for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "an alias of itself": b"name: shop\nsource: &s\n  uri: *s\noutput: out\n",
    "too deep": b"name: " + b"[" * 5000 + b"]" * 5000,
    "keys that are lists": b"? [a, b]\n: c\n",
    "keys that are numbers": b"1: a\n2: b\n",
    "keys that are numbers inside": GOOD_YAML.encode().replace(b"source:\n", b"source:\n  7: x\n"),
    "half a date": b"name: 2024-02-31\n",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", BAD_YAML)
def test_a_yaml_that_is_none(shop: Shop, case: str, verb: str) -> None:
    shop.yaml.write_bytes(BAD_YAML[case])
    with unchanged(shop.root):
        refused(run_ae("--quiet", verb, shop.yaml), 2, "shop.yaml")


@pytest.mark.parametrize("verb", ["train", "score", "check", "models", "promote", "rollback"])
@pytest.mark.parametrize(
    "name",
    [
        "nowhere",
        "nowhere.yaml",
        "/nowhere/shop.yaml",
        "",
        ".",
        "..",
        "../../etc/passwd/x",
        "x" * 300,
        "a\nb",
        "shöp'\"",
    ],
)
def test_a_pipeline_that_is_not_there(shop: Shop, name: str, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    with unchanged(shop.root):
        refused(run_ae("--quiet", verb, name), 2, "no such pipeline")


@pytest.mark.parametrize("verb", VERBS)
def test_a_pipeline_that_is_a_folder(shop: Shop, verb: str) -> None:
    with unchanged(shop.root):
        refused(run_ae("--quiet", verb, shop.root), 2, "no such pipeline")


# Partitions, inputs and outputs named on the command line.


@pytest.mark.parametrize(
    "name",
    [
        "2031-01-01",
        "",
        "date=",
        "month=2024-03",
        "2024-03-11'",
        '2024-03-11"; DROP TABLE scores; --',
        "2024-03-11/2024-03-12",
        "date=..",
        "..",
        "../2024-03-11",
        "/etc",
        "*",
        "date=*",
        "%2e%2e",
        "a\nb",
        "a\0b",
        "\N{SNOWMAN}" * 400,
        "{{ ds }}",
    ],
)
def test_a_partition_that_is_not_there(shop: Shop, name: str) -> None:
    with unchanged(shop.root.parent):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", name), 2)


def test_a_partition_must_be_named(shop: Shop) -> None:
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--output", shop.root / "x", "--partition", " "), 2)


@pytest.mark.parametrize("value", ["o'clock", 'quo"ted', "a b", "é\N{SNOWMAN}", "50%25", "a;b", "x" * 200])
def test_a_partition_may_have_an_odd_name(shop: Shop, value: str) -> None:
    shop.set(score={"on_unfamiliar": "score"})
    write_as(shop, value, fresh(shop))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", value, "--json")
    assert (outcome.code, outcome.json["partition"]) == (0, f"date={value}")
    written = shop.output / "scores" / f"date={value}" / "part-0.parquet"
    assert pq.ParquetFile(written).read().num_rows == ODD_ROWS
    again = run_ae("--quiet", "score", shop.yaml, "--json").json["runs"]
    assert f"date={value}" not in [run["partition"] for run in again], "scored already, and not changed since"


def test_a_partition_whose_name_is_no_date_is_familiar_all_the_same(shop: Shop) -> None:
    """Columns whose age counts from the partition's date are not judged then, the notes say: so they raise no alarm."""
    write_as(shop, "no-date", make_orders(ODD_ROWS, day(LAST_TRAINED), seed=0))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", "no-date", "--json")
    assert outcome.code == 0, outcome
    assert any("not judged" in note for note in outcome.json["notes"])
    assert outcome.json["observed_alert_rate"] < 0.1


def write_as(shop: Shop, value: str, table: pa.Table) -> None:
    folder = shop.source / f"date={value}"
    folder.mkdir()
    pq.write_table(table, folder / "part-0.parquet")


@pytest.mark.parametrize("verb", VERBS)
def test_names_that_are_no_text(shop: Shop, verb: str) -> None:
    """A folder and a file whose names are bytes that are no UTF-8: used, or refused in one line."""
    folder = os.fsencode(shop.source) + b"/date=2024-03-\xff"
    os.mkdir(folder)
    shutil.copy(file_of(shop), folder + b"/part-\xfe.parquet")
    shop.set(train={"until": "date=2025", "steps": 20})
    outcome = run_ae("--quiet", verb, shop.yaml, *(["--partition", "2024-03-\udcff"] if verb == "score" else []))
    assert outcome.code in (0, 2) and "Traceback" not in outcome.err
    if outcome.code:
        refused(outcome, 2)


@pytest.mark.parametrize(
    "words",
    [
        ["--input", "../orders"],
        ["--input", "orders/../../etc"],
        ["--input", ""],
        ["--input", "nowhere"],
        ["--input", "/proc/self/mem"],
        ["--input", "/dev/null"],
        ["--input", "gopher://old/orders"],
        ["--input", "a\0b"],
        ["--input", "shop.yaml"],
        ["--partition", day(FRESH), "--output", "../out"],
        ["--partition", day(FRESH), "--output", "out/../../etc"],
        ["--partition", day(FRESH), "--output", ""],
        ["--partition", day(FRESH), "--output", "gopher://old/out"],
        ["--partition", day(FRESH), "--output", "a\0b"],
    ],
    ids=lambda words: " ".join(words).replace("\0", "NUL"),
)
def test_inputs_and_outputs_that_cannot_be(shop: Shop, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    with unchanged(shop.root.parent):
        refused(run_ae("--quiet", "score", shop.yaml, *words), 2)


# CSV.


def csv_shop(shop: Shop, content: bytes, name: str = "part-0.csv") -> Shop:
    """Two good days of orders as CSV, and another one, all of them in one folder a day."""
    from pyarrow import csv

    table = plain(make_orders(ODD_ROWS)).drop_columns(["lines", "receipt"])
    for number in (0, 1):
        folder = shop.root / "texts" / f"date={day(number)}"
        folder.mkdir(parents=True)
        csv.write_csv(table, folder / "part-0.csv")
    path = shop.root / "texts" / f"date={day(FRESH)}" / name
    path.parent.mkdir()
    path.write_bytes(content)
    return shop.set(source={"uri": "texts", "format": "csv"})


HEADER = (
    b"order_id,product,store,customer,quantity,weight,price,express,"
    b"courier,rating,ordered_at,shipped_at,due,currency,comment\n"
)
ROW = b"1,apple,Celle,east-0001,2,0.5,3.21,true,4,4.5,2024-03-11 10:00:00Z,2024-03-12 10:00:00,2024-03-13,EUR,\n"
BAD_CSV: dict[str, bytes] = {
    "empty": b"",
    "not UTF-8": HEADER + ROW.replace(b"apple", "größe".encode("latin-1")) * 60,
    "header not UTF-8": HEADER.replace(b"product", "größe".encode("latin-1")) + ROW * 60,
    "UTF-16": (HEADER + ROW * 60).decode().encode("utf-16"),
    "ragged": HEADER + ROW + b"1,2\n" + ROW * 60,
    "too many cells": HEADER + ROW.replace(b"\n", b",9,9\n") * 60,
    "words for numbers": HEADER + ROW.replace(b",2,0.5,", b",two,0.5,") * 60,
    "a column too few": HEADER.replace(b"price,", b"") + ROW.replace(b"3.21,", b"") * 60,
    "a column twice": HEADER.replace(b"price", b"weight") + ROW * 60,
    "an open quote": HEADER + b'1,"apple' + ROW * 60,
    "binary": np.random.default_rng(2).bytes(20_000),
    "a separator of its own": (HEADER + ROW * 60).replace(b",", b"~"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_csv_like_the_bad_ones_but_good(shop: Shop, verb: str) -> None:
    """What is bad about the others is what their names say, and nothing else."""
    shop = csv_shop(shop, HEADER + ROW * 60).set(train={"until": day(FRESH)}, score={"on_unfamiliar": "score"})
    outcome = run(verb, shop)
    assert outcome.code == 0, outcome


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_csv_that_cannot_be_trained_on(shop: Shop, case: str) -> None:
    shop = csv_shop(shop, BAD_CSV[case]).set(train={"until": day(FRESH), "steps": 20})
    with unchanged(shop.root):
        refused(run_ae("--quiet", "train", shop.yaml), 2)


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_csv_that_cannot_be_scored(shop: Shop, case: str) -> None:
    shop = csv_shop(shop, BAD_CSV[case])
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2)


def test_a_csv_that_is_not_compressed_as_it_says(shop: Shop) -> None:
    shop = csv_shop(shop, HEADER + ROW * 60, "part-0.csv.gz")
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2, "part-0.csv.gz")


# Outputs that cannot be written.


@dataclass(frozen=True)
class Blocked:
    """An output that cannot be written, and what stands in the way."""

    output: str
    block: Callable[[Path], Any] = lambda root: None


UNWRITABLE = {
    "a file": Blocked("blocked", lambda root: (root / "blocked").write_text("in the way")),
    "below a file": Blocked("blocked/deep/down", lambda root: (root / "blocked").write_text("in the way")),
    "/proc": Blocked("/proc/ae"),
    "/dev/null": Blocked("/dev/null"),
    "a loop of links": Blocked("loop/out", lambda root: (root / "loop").symlink_to("loop")),
    "a name too long": Blocked("x" * 300),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", UNWRITABLE)
def test_a_pipeline_whose_output_cannot_be_written(shop: Shop, case: str, verb: str) -> None:
    """Scoring finds no champion there, which is as good an answer; training must say what is in the way."""
    shop.set(output=UNWRITABLE[case].output, train={"until": day(FRESH), "steps": 20})
    UNWRITABLE[case].block(shop.root)
    with unchanged(shop.root):
        outcome = run_ae("--quiet", verb, shop.yaml, *(["--partition", day(FRESH)] if verb == "score" else []))
        assert outcome.code in ((2, 4) if verb == "score" else (2,))
        refused(outcome, outcome.code)


@pytest.mark.parametrize("case", UNWRITABLE)
def test_an_output_that_cannot_be_written(shop: Shop, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.root)
    UNWRITABLE[case].block(shop.root)
    with unchanged(shop.root):
        outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH), "--output", UNWRITABLE[case].output)
        refused(outcome, 2, "cannot be written")


@pytest.mark.parametrize("place", ["scores", "_staging", "_runs", "_runs/_latest", "_runs/_journal"])
def test_a_file_where_a_folder_of_the_output_should_be(shop: Shop, place: str) -> None:
    path = shop.output / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    before = sorted(os.listdir(shop.output))
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))
    refused(outcome, 2, str(shop.output))
    assert path.read_text() == "in the way"
    for dataset in ("scores", "cells", "denoised"):
        assert not (shop.output / dataset / f"date={day(FRESH)}").exists(), "half a partition was written"
    assert sorted(os.listdir(shop.output)) == before


def test_a_folder_where_an_output_file_should_be(shop: Shop) -> None:
    (shop.output / f"denoised/date={day(FRESH)}/part-0.parquet").mkdir(parents=True)
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2, str(shop.output))


def test_a_full_disk(shop: Shop) -> None:
    """/dev/full takes no byte: the registry's stage is a link to it."""
    (shop.output / "_staging").symlink_to("/dev/full")
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2, "cannot be written")


# Models.


def test_no_champion_because_nothing_was_trained(shop: Shop) -> None:
    shutil.rmtree(shop.output)
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml), 4, "no champion", "ae train")
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 4, "no champion", "ae train")
        refused(run_ae("--quiet", "score", shop.yaml, "--input", shop.source), 4, "no champion", "ae train")
        refused(run_ae("--quiet", "evaluate", shop.yaml, "--label", "express"), 4, "no champion", "ae train")
        refused(run_ae("--quiet", "promote", shop.yaml), 2, "ae train")
        refused(run_ae("--quiet", "rollback", shop.yaml), 2, "ae train")


def test_no_champion_because_nothing_was_promoted(shop: Shop) -> None:
    (shop.output / "_models/champion.json").unlink()
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 4, "no champion", "ae promote")


@pytest.mark.parametrize(
    "version", ["v9999", "v0", "champion", "..", "../../shop.yaml", "", "v0001/..", "a\0b", "v0001\n"]
)
def test_a_version_that_is_not_there(shop: Shop, version: str) -> None:
    with unchanged(shop.root):
        refused(run_ae("--quiet", "promote", shop.yaml, version), 2)
        refused(run_ae("--quiet", "rollback", shop.yaml, version), 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def version_folder(shop: Shop) -> Path:
    return shop.output / "_models/v0001"


FILES = ["weights.safetensors", "reference.safetensors", "network.tflite", "filler.tflite", "report.json", "model.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [flip, os.unlink, os.truncate], ids=["one bit", "gone", "emptied"])
def test_a_model_that_was_tampered_with(shop: Shop, name: str, harm: Callable[..., Any]) -> None:
    path = version_folder(shop) / name
    harm(*([path, 0] if harm is os.truncate else [path]))
    with unchanged(shop.root):
        for words in (["score", "--partition", day(FRESH)], ["score"], ["evaluate", "--label", "express"]):
            verb, *rest = words
            refused(run_ae("--quiet", verb, shop.yaml, *rest), 2, "v0001")
        refused(run_ae("--quiet", "promote", shop.yaml, "v0001"), 2, "v0001")


BAD_POINTERS: dict[str, Any] = {
    "empty": b"",
    "binary": np.random.default_rng(3).bytes(300),
    "a list": b"[]",
    "an unknown key": lambda pointer: {**pointer, "hook": "os.system"},
    "of no version": lambda pointer: {**pointer, "version": "v9999"},
    "that climbs": lambda pointer: {**pointer, "version": "../../orders"},
    "that is a path": lambda pointer: {**pointer, "version": "/etc"},
    "with another sha256": lambda pointer: {**pointer, "card_sha256": "0" * 64},
    "that is a number": lambda pointer: {**pointer, "version": 1},
}


@pytest.mark.parametrize("case", BAD_POINTERS)
def test_a_champion_that_was_tampered_with(shop: Shop, case: str) -> None:
    path = shop.output / "_models/champion.json"
    bad = BAD_POINTERS[case]
    path.write_bytes(bad if isinstance(bad, bytes) else json.dumps(bad(json.loads(path.read_text()))).encode())
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2)
        refused(run_ae("--quiet", "score", shop.yaml), 2)


@pytest.mark.parametrize("case", ["binary", "of no version"])
def test_a_champion_that_was_tampered_with_can_be_mended_as_the_complaint_says(shop: Shop, case: str) -> None:
    path = shop.output / "_models/champion.json"
    bad = BAD_POINTERS[case]
    path.write_bytes(bad if isinstance(bad, bytes) else json.dumps(bad(json.loads(path.read_text()))).encode())
    outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))
    refused(outcome, 2, "ae promote" if case == "binary" else "ae models")
    mended = run_ae("--quiet", "promote", shop.yaml, "v0001", "--force")
    assert mended.code == 0, mended
    assert run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)).code == 0


def test_a_champion_that_is_a_folder(shop: Shop) -> None:
    path = shop.output / "_models/champion.json"
    path.unlink()
    path.mkdir()
    with unchanged(shop.root):
        refused(run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)), 2)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"rows": "many"}'])
def test_a_run_record_that_is_none_counts_as_never_scored(shop: Shop, content: bytes) -> None:
    """It says nothing that is true: the partition is due again, and is scored again."""
    assert run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH)).code == 0
    path = shop.output / f"_runs/_latest/date={day(FRESH)}.json"
    path.write_bytes(content)
    outcome = run_ae("--quiet", "score", shop.yaml, "--json")
    assert outcome.code == 0
    assert f"date={day(FRESH)}" in [run["partition"] for run in outcome.json["runs"]]


STAGE = "_staging/x"
BAD_JOURNALS: dict[str, Any] = {
    "empty": b"",
    "a list": [],
    "moves that climb": {"moves": {"../../evil": "shop.yaml"}, "removals": [], "stage": STAGE},
    "moves from elsewhere": {"moves": {"scores/x": "_models/v0001/model.json"}, "removals": [], "stage": STAGE},
    "moves over the champion": {"moves": {"_models/champion.json": f"{STAGE}/0"}, "removals": [], "stage": STAGE},
    "removals of everything": {"moves": {}, "removals": [""], "stage": STAGE},
    "removals of everything by a dot": {"moves": {}, "removals": ["."], "stage": STAGE},
    "removals of the models": {"moves": {}, "removals": ["_models"], "stage": STAGE},
    "removals by an absolute path": {"moves": {}, "removals": ["/etc/nothing"], "stage": STAGE},
    "a stage that is everything": {"moves": {}, "removals": [], "stage": ""},
    "a stage that is the models": {"moves": {}, "removals": [], "stage": "_models"},
}


@pytest.mark.parametrize("case", BAD_JOURNALS)
def test_a_journal_that_is_none(shop: Shop, case: str) -> None:
    """A journal says what to move and remove: only what a run writes may be in it."""
    path = shop.output / "_runs/_journal/x.json"
    path.parent.mkdir(parents=True)
    content = BAD_JOURNALS[case]
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    staged = shop.output / STAGE / "0"
    staged.parent.mkdir(parents=True)
    staged.write_text("staged")
    with unchanged(shop.root.parent):
        outcome = run_ae("--quiet", "score", shop.yaml, "--partition", day(FRESH))
        refused(outcome, 2, "_journal/x.json", warnings="finishing the commit of a killed run")


# A process of its own, as a shell sees it.


@pytest.mark.parametrize("verb", VERBS)
def test_the_shell_sees_one_line_and_the_exit_code(shop: Shop, verb: str) -> None:
    garbage(file_of(shop), fresh(shop))
    shop.set(train={"until": day(FRESH), "steps": 20})
    with unchanged(shop.root):
        words = ["--partition", day(FRESH)] if verb == "score" else []
        process = ae_process("--quiet", verb, shop.yaml, *words)
        out, err = process.communicate(timeout=60)
        # LiteRT, which is C++, has a line of its own to say.
        refused(Outcome(process.returncode, out, err), 2, "part-0.parquet", "cannot be read", warnings="INFO: ")


def test_last_trained_is_before_fresh() -> None:
    """What the cases above take for granted."""
    assert LAST_TRAINED < FRESH
