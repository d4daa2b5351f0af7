"""A realistic table of orders, faults to plant in it, and a pipeline on disk."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from ae_plugin import config

LAST_TRAINED, FRESH = 9, 10
FIRST_DAY = dt.date(2024, 3, 1)
PRODUCTS = ["apple", "bread", "cheese", "dates", "eggs", "flour", "grapes", "honey"]
STORES = ["Aachen", "Berlin", "Celle", "Dresden"]
CITIES = ["north", "south", "east", "west"]


def day(number: int) -> str:
    """Name of the n-th day, from 0."""
    return (FIRST_DAY + dt.timedelta(days=number)).isoformat()


def make_orders(rows: int, date: str = day(0), seed: int = 0, *, first_id: int = 0) -> pa.Table:
    """One day of orders: every type there is, and columns that depend on one another.

    The product says weight and price; the store says the customers' city; express orders ship sooner, and only they
    have a courier.
    """
    rng = np.random.default_rng([seed, dt.date.fromisoformat(date).toordinal()])
    midnight = np.datetime64(date, "us")
    product = rng.choice(len(PRODUCTS), rows, p=np.arange(len(PRODUCTS), 0, -1) / 36)
    store = rng.choice(len(STORES), rows, p=[0.4, 0.3, 0.2, 0.1])
    quantity = 1 + rng.poisson(3, rows)
    weight = quantity * (0.2 + 0.3 * product) * rng.normal(1, 0.03, rows)
    cents = np.rint(quantity * (150 + 200 * product) * rng.normal(1, 0.02, rows)).astype(int)
    ordered = midnight + np.rint(np.clip(rng.normal(50_000, 12_000, rows), 0, 86_399)).astype("timedelta64[s]")
    express = rng.random(rows) < 0.3
    hours = np.where(express, rng.gamma(8, 0.5, rows), 24 + rng.gamma(10, 2.4, rows))
    shipped = ordered + np.rint(hours * 3600).astype("timedelta64[s]")
    rating = np.clip(5 - hours / 20 + rng.normal(0, 0.3, rows), 1, 5).astype(np.float32)
    customer = [f"{CITIES[s]}-{rng.integers(400):04d}" for s in store]
    return pa.table(
        {
            "order_id": pa.array(first_id + np.arange(rows), pa.int64()),
            "product": pa.array([PRODUCTS[i] for i in product], pa.string()),
            "store": pa.array([STORES[i] for i in store]).dictionary_encode(),
            "customer": pa.array(customer, pa.string()),
            "quantity": pa.array(quantity, pa.int32()),
            "weight": pa.array(weight, pa.float64()),
            "price": pa.array([Decimal(int(c)).scaleb(-2) for c in cents], pa.decimal128(10, 2)),
            "express": pa.array(express, pa.bool_()),
            "courier": pa.array(np.where(express, rng.integers(1, 9, rows), 0), pa.int16(), mask=~express),
            "rating": pa.array(rating, pa.float32(), mask=rng.random(rows) < 0.1),
            "ordered_at": pa.array(ordered, pa.timestamp("us", "UTC")),
            "shipped_at": pa.array(shipped, pa.timestamp("us")),
            "due": pa.array((shipped + np.timedelta64(1, "D")).astype("datetime64[D]"), pa.date32()),
            "currency": pa.array(["EUR"] * rows, pa.string()),
            "comment": pa.nulls(rows, pa.float64()),
            "lines": pa.array([list(range(q)) for q in quantity], pa.list_(pa.int64())),
            "receipt": pa.array([bytes([q, p]) for q, p in zip(quantity, product, strict=True)], pa.binary()),
        },
        metadata={"made by": "tests"},
    )


def spoil(table: pa.Table, seed: int = 0) -> pa.Table:
    """Plant faults in a tenth of the rows: a sentinel, an infinity, a misspelling, a new value, a null, a swap."""
    rng = np.random.default_rng([seed, 99])
    rows = table.num_rows
    hit = np.where(rng.random(rows) < 0.1, rng.integers(0, 6, rows), -1)

    def put(name: str, fault: int, value: Any) -> None:
        nonlocal table
        place = table.schema.get_field_index(name)
        kind = table.schema.field(place).type
        column = table.column(place).combine_chunks()
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        changed = pc.if_else(pa.array(hit == fault), pa.scalar(value, column.type), column)
        changed = changed.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else changed
        table = table.set_column(place, table.schema.field(place), changed)

    put("quantity", 0, -9999)
    put("weight", 1, float("inf"))
    put("product", 2, "chese")
    put("store", 3, "Zwickau")
    put("express", 4, None)
    put("price", 5, Decimal("99999.99"))
    return table


def plain(table: pa.Table) -> pa.Table:
    """The table in one chunk, dictionaries spelt out: two such tables are equal when they hold the same values."""
    columns = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(dict(zip(table.column_names, columns, strict=True))).combine_chunks()


def write_days(source: Path, days: int, rows: int, *, first: int = 0, seed: int = 0) -> None:
    """Write orders, one Hive partition a day."""
    for number in range(first, first + days):
        write_day(source, number, make_orders(rows, day(number), seed, first_id=number * 100_000))


def write_day(source: Path, number: int, table: pa.Table, name: str = "part-0.parquet", **options: Any) -> Path:
    """Write one day's partition (or one file of it)."""
    path = source / f"date={day(number)}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


@dataclass(frozen=True)
class Shop:
    """A pipeline on disk: its YAML, its source and its output."""

    root: Path
    settings: dict[str, Any]

    @property
    def yaml(self) -> Path:
        return self.root / "shop.yaml"

    @property
    def source(self) -> Path:
        return self.root / self.settings["source"]["uri"]

    @property
    def output(self) -> Path:
        return self.root / self.settings["output"]

    @property
    def pipeline(self) -> config.Pipeline:
        return config.load(self.yaml)

    def write(self) -> Shop:
        self.root.mkdir(parents=True, exist_ok=True)
        self.yaml.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        return self

    def set(self, **sections: Any) -> Shop:
        """Change settings (`score={"alert_rate": 0.1}`) and write the YAML anew."""
        settings = {**self.settings}
        for name, value in sections.items():
            settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) else value
        return replace(self, settings=settings).write()

    def copy(self, root: Path, *, models_only: bool = True) -> Shop:
        """The same pipeline elsewhere: source and models (change times kept), not what was scored."""
        shutil.copytree(self.source, root / self.settings["source"]["uri"])
        kept = self.output / "_models" if models_only else self.output
        shutil.copytree(kept, root / kept.relative_to(self.root))
        return replace(self, root=root).write()

    def read(self, dataset: str, number: int | None = 0) -> pa.Table:
        """One day of an output dataset (or, with None, of a source without partitions)."""
        folder = self.output / dataset
        path = folder if number is None else folder / f"date={day(number)}"
        return pq.ParquetFile(path / "part-0.parquet").read()


ORDERS: dict[str, Any] = {
    "name": "shop",
    "source": {"uri": "orders", "partition_by": "date", "keys": ["order_id"]},
    "model": {"kind": "auto", "seed": 0},
    "train": {"contamination": 0, "steps": 300},
    "output": "out",
}


def train_and_promote(shop: Shop) -> Any:
    """Train in this process, and promote whatever the gate says; return the report."""
    from ae_plugin.jobs.promote import promote
    from ae_plugin.jobs.train import train

    report = train(shop.pipeline)
    promote(shop.pipeline, force=True)
    return report
