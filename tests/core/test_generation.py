"""Drawing cells: what depends on one another does so in new rows, and every type comes back as itself."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from ae_plugin.core.features import Encoded, TableEncoder, partition_time
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.generation import Generator, Past, _follows, _Leaves
from ae_plugin.core.synthetic import Known, Origin, Table, distances, fills, fresh
from ae_plugin.core.values import Floats

ROWS = 1_000
DAYS = ["date=2024-03-01", "date=2024-03-05"]


def silent(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
    """A network that says nothing but means."""
    return np.zeros_like(x), np.zeros((len(visible), 1), np.float32)


def history() -> tuple[Origin, TableEncoder]:
    rng = np.random.default_rng(0)
    kind, day = rng.integers(0, 3, ROWS), np.sort(rng.integers(0, 2, ROWS))
    size = rng.normal(10 * kind, 1)
    stamps = np.array([f"2024-03-0{1 + 4 * d}" for d in day], "datetime64[us]") + rng.integers(0, 86_400, ROWS).astype(
        "m8[s]"
    )
    table = pa.table(
        {
            "id": pa.array(np.arange(ROWS)),
            "kind": pa.array([["ant", "bee", None][k] for k in kind]).dictionary_encode(),
            "size": pa.array(size),
            "price": pa.array([Decimal(f"{3 * k}.50") for k in kind], pa.decimal128(8, 2)),
            "at": pa.array(stamps, pa.timestamp("us", "UTC")),
            "due": pa.array([dt.date(2024, 3, 2 + 4 * int(d)) for d in day], pa.date32()),
            "day": pa.array(day),
            "tags": pa.array([[int(k)] for k in kind]),
        }
    )
    partitions = [DAYS[d] for d in day]
    specs, _ = learn_columns(table, partitions, keys=["id"])
    encoder, times = TableEncoder(specs), {name: partition_time(name) for name in DAYS}
    cut = int((day == 0).sum())
    parts = [encoder.encode(part, times[name]) for part, name in zip((table[:cut], table[cut:]), DAYS, strict=True)]
    return Origin.of(table, Encoded.concat(parts), partitions, times), encoder


@pytest.fixture(scope="module")
def known() -> tuple[Origin, TableEncoder, Past]:
    origin, encoder = history()
    return origin, encoder, origin.past(encoder)


def rows_of(
    known: tuple[Origin, TableEncoder, Past], rows: int = 500, given: dict[int, np.ndarray] | None = None
) -> pa.RecordBatch:
    origin, encoder, past = known
    drawn = Generator(encoder, silent, past, given).draw(rows, np.random.default_rng(1))
    table = Table(origin, encoder.specs, fills(origin, encoder, ["id"], []), origin.table.schema, {})
    return table.rows(drawn, 0)


def test_cells_follow_from_one_another_and_from_their_partition(known: tuple[Origin, TableEncoder, Past]) -> None:
    rows = rows_of(known)
    assert rows.schema.equals(known[0].table.schema)
    found = rows.to_pylist()
    places = {"ant": 0, "bee": 1, None: 2}
    assert np.mean([abs(row["size"] - 10 * places[row["kind"]]) < 4 for row in found]) > 0.97
    assert np.mean([row["price"] == Decimal(f"{3 * places[row['kind']]}.50") for row in found]) > 0.97
    for row in found:
        assert row["at"].date() == dt.date(2024, 3, 1 + 4 * row["day"]), "an age counts from the row's own partition"
        assert row["due"] == dt.date(2024, 3, 2 + 4 * row["day"])
    shares = [np.mean([row["kind"] == kind for row in found]) for kind in places]
    assert max(abs(share - 1 / 3) for share in shares) < 0.05


def test_numbers_lie_between_those_of_history_and_decimals_are_some_of_them(
    known: tuple[Origin, TableEncoder, Past],
) -> None:
    origin, _, past = known
    rows, there = rows_of(known), set(origin.table.column("size").to_pylist())
    sizes = rows.column("size").to_pylist()
    assert np.mean([size in there for size in sizes]) < 0.1 and min(there) <= min(sizes) <= max(sizes) <= max(there)
    assert set(rows.column("price").to_pylist()) <= set(origin.table.column("price").to_pylist())
    assert len(past.places) == 2, "of size and at"


def test_what_is_given_comes_first(known: tuple[Origin, TableEncoder, Past]) -> None:
    index = known[1].names.index("kind")
    bees = np.flatnonzero([kind == "bee" for kind in known[0].table.column("kind").to_pylist()])
    found = rows_of(known, given={index: bees}).to_pylist()
    assert {row["kind"] for row in found} == {"bee"}
    assert np.mean([abs(row["size"] - 10) < 4 for row in found]) > 0.97


def test_where_the_network_alone_knows() -> None:
    """A sign that hangs on many columns at once: no tree finds it, and what the network says of it is followed."""
    rng = np.random.default_rng(0)
    many = rng.standard_normal((3_000, 12))
    table = pa.table({f"c{i:02d}": column for i, column in enumerate(many.T)} | {"over": many.sum(axis=1) > 0})
    specs, _ = learn_columns(table, [""] * 3_000)
    encoder = TableEncoder(specs)
    origin = Origin.of(table, encoder.encode(table), [""] * 3_000, {"": None})
    place = encoder.slices[encoder.names.index("over")]

    def knows(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        out, _ = silent(x, visible)
        sign = np.clip(x[:, :12].sum(axis=1) / 2, -1, 1)
        out[:, place] = np.stack([sign, -sign], axis=1) * (1 if specs[-1].values[0] == "true" else -1)  # type: ignore[union-attr]
        return out, _

    right = []
    for network in (silent, knows):
        generator = Generator(encoder, network, origin.past(encoder))
        # Asked for last, so that it hangs on all others.
        generator = _last(generator, origin, encoder, network)
        drawn = generator.draw(1_000, np.random.default_rng(1))
        x = generator.encoded(drawn)
        over = np.array(table.column("over").to_pylist())[drawn.first[:, -1]]
        right.append(np.mean((x[:, :12].sum(axis=1) > 0) == over))
    assert right[0] < 0.8 < right[1]


def _last(generator: Generator, origin: Origin, encoder: TableEncoder, network: object) -> Generator:
    past = origin.past(encoder)
    given = {index: np.arange(len(past.encoded)) for index in range(12)}
    return Generator(encoder, network, past, given)  # type: ignore[arg-type]


def test_the_same_chance_gives_the_same_rows(known: tuple[Origin, TableEncoder, Past]) -> None:
    assert rows_of(known).equals(rows_of(known))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (pa.int64(), [-3, -4]),
        (pa.string(), ["synthetic-3", "synthetic-4"]),
        (pa.float64(), [-3.0, -4.0]),
        (pa.uint32(), [None, None]),
        (pa.date32(), [None, None]),
    ],
)
def test_keys_that_nobody_takes_for_real(kind: pa.DataType, keys: list[object]) -> None:
    assert fresh(kind, 2, 2).to_pylist() == keys and fresh(kind, 2, 2).type == kind


def test_keys_end_where_their_type_does() -> None:
    assert fresh(pa.int8(), 120, 8).to_pylist() == [-121, -122, -123, -124, -125, -126, -127, -128]
    assert fresh(pa.int8(), 121, 8).null_count == 8


def test_copies_are_known(known: tuple[Origin, TableEncoder, Past]) -> None:
    origin, encoder, _ = known
    rows = Known(origin, encoder.names)
    assert rows.copies(origin.table).all()
    assert rows.copies(rows_of(known)).mean() < 0.05
    exact = Known(origin, encoder.names, beside=False)
    assert exact.copies(origin.table).all() and not exact.copies(rows_of(known)).any()
    other = origin.table.set_column(2, "size", pa.array(np.full(ROWS, 1.5)))
    assert rows.copies(other).sum() <= 1, "but for the one whose size is next to it"
    beside = origin.table.set_column(2, "size", pa.array(np.asarray(origin.table.column("size")) + 1e-9))
    assert rows.copies(beside).all(), "a number just beside makes no other row"
    assert not exact.copies(beside).any()


def test_distances_are_those_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((700, 5)).astype(np.float32), rng.standard_normal((300, 5)).astype(np.float32)
    plain = np.sqrt(((rows[:, None] - others[None]) ** 2).sum(axis=2)).min(axis=1)
    assert np.allclose(distances(rows, others), plain, atol=1e-3)
    assert distances(others, others).max() < 2e-3


def test_a_column_follows_from_others_and_not_from_rows_beside_it_in_time() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        walks = np.cumsum(rng.normal(size=(2_000, 5)), axis=0).astype(np.float32)
        walks /= walks.std(axis=0)
        assert not _follows(walks[:, :4], walks[:, 4:], 0), "each goes its own way"
        free = rng.normal(size=(2_000, 3)).astype(np.float32)
        assert _follows(free, free[:, :1] + 2 * (free[:, 1:2] > 0), 0)
        assert not _follows(free, rng.normal(size=(2_000, 1)).astype(np.float32), 0)
    assert not _follows(free[:50], free[:50, :1], 0), "too few to tell"


@pytest.mark.parametrize("ordered", [True, False])
def test_a_column_that_follows_is_drawn_from_rows_like_it(ordered: bool) -> None:
    rng = np.random.default_rng(1)
    seen = rng.permutation(2_000)[:, None].astype(np.float32)
    places = 3.0 * seen[:, 0] if ordered else None
    leaves = _Leaves.fit(seen, seen, None if places is None else places.astype(np.float64), 0)
    assert leaves.counts[leaves.counts > 0].min() == 2
    asked = rng.integers(0, 2_000, (500, 1)).astype(np.float32)
    first, second, share = leaves.draw(asked, rng)
    told = seen[first, 0] + share * (seen[second, 0] - seen[first, 0])
    assert np.abs(told - asked[:, 0]).max() <= 3
    assert (share == 0).all() or ordered


def test_leaves_of_one_row_hold_it() -> None:
    seen = np.array([[0.0], [0.0], [5.0]], np.float32)
    tree = _Leaves.fit(np.repeat(seen, 50, axis=0), np.repeat(seen, 50, axis=0), None, 0)
    alone = _Leaves(tree.tree, np.array([7]), np.zeros_like(tree.starts), np.ones_like(tree.counts), np.arange(8.0))
    first, second, share = alone.draw(seen, np.random.default_rng(0))
    assert first.tolist() == second.tolist() == [7, 7, 7] and not share.any()
