"""Columns of every Arrow type, and values at the end of what their types hold: learned, or passed through and named."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import ae_plugin
from ae_plugin.core.fit import learn_columns
from ae_plugin.core.numbers import decode_numbers, encode_numbers
from ae_plugin.core.values import plain_type
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.jobs.evaluate import truths_of
from tests.running import run_ae, unchanged
from tests.shop import Shop, make_orders

ROWS = 300
X = np.random.default_rng(0).normal(0, 1, ROWS)
GAPS = np.random.default_rng(1).random(ROWS) < 0.05
WORDS = [f"w{int(abs(x) * 3)}" for x in X]


def odd(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.array([None if gap else value for gap, value in zip(GAPS, values, strict=True)], kind)


def extension(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, odd(values, kind.storage_type))


LEARNED: dict[str, pa.Array] = {
    "text view": odd(WORDS, pa.string_view()),
    "long text": odd(WORDS, pa.large_string()),
    "decimal32": odd([Decimal(int(x * 100)) / 100 for x in X], pa.decimal32(6, 2)),
    "decimal64": odd([Decimal(int(x * 100)) / 100 for x in X], pa.decimal64(14, 2)),
    "decimal256": odd([Decimal(int(x * 100)) / 100 for x in X], pa.decimal256(60, 2)),
    "duration": odd([int(2**60 + x * 2**50) + 1 for x in X], pa.duration("ns")),
    "unsigned": odd([int(2**63 + x * 2**40) for x in X], pa.uint64()),
    "half": odd(X.astype(np.float16), pa.float16()),
    "time of day": odd([int(abs(x) * 1e12) for x in X], pa.time64("ns")),
    "x": pa.array(X),
    "y": pa.array(2 * X),
}
PASSED: dict[str, pa.Array] = {
    "key": pa.array([f"k{row}" for row in range(ROWS)], pa.string_view()),
    "excluded": odd([word.encode() for word in WORDS], pa.binary_view()),
    "bytes view": odd([word.encode() for word in WORDS], pa.binary_view()),
    "list": odd([[word] for word in WORDS], pa.list_(pa.string_view())),
    "list of two": odd([[word, word] for word in WORDS], pa.list_(pa.string_view(), 2)),
    "long list": odd([[word] for word in WORDS], pa.large_list(pa.string_view())),
    "struct": odd([{"w": word} for word in WORDS], pa.struct([("w", pa.string_view())])),
    "map": odd([[("w", word)] for word in WORDS], pa.map_(pa.string(), pa.string_view())),
    "list view": odd([[1] for _ in WORDS], pa.list_view(pa.int64())),
    "uuid": extension([word.encode().ljust(16) for word in WORDS], pa.uuid()),
    "json": extension(WORDS, pa.json_()),
    "bool8": extension((X > 0).astype(np.int8), pa.bool8()),
}


def pipeline(root: Path, table: pa.Table, **source: Any) -> Path:
    settings = {
        "name": "p",
        "source": {"uri": "src", **source},
        "train": {"steps": 20},
        "score": {"on_unfamiliar": "score", "alert_rate": 0.2},
        "output": "out",
    }
    (root / "src").mkdir(parents=True)
    pq.write_table(table, root / "src/part-0.parquet")
    (root / "p.yaml").write_text(yaml.safe_dump(settings))
    return root / "p.yaml"


def trained_on(root: Path, table: pa.Table, **source: Any) -> Any:
    """Train, promote and score; the training report."""
    path = pipeline(root, table, **source)
    report = run_ae("--quiet", "train", path, "--json")
    assert report.code == 0, report.err
    assert run_ae("--quiet", "promote", path, "--force").code == 0
    done = run_ae("--quiet", "score", path)
    assert done.code == 0, done.err
    return report.json


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    root = tmp_path_factory.mktemp("types")
    return root, trained_on(root, pa.table({**PASSED, **LEARNED}), keys="key", exclude="excluded")


def test_what_can_be_learned_is_and_the_rest_is_named(types: tuple[Path, Any]) -> None:
    roles = {note["column"]: note["role"] for note in types[1]["columns"]}
    assert {name for name, role in roles.items() if role == "learned"} == set(LEARNED)
    wanted = {**dict.fromkeys(PASSED, "passed through"), "key": "key", "excluded": "excluded"}
    assert {name: roles[name] for name in PASSED} == wanted


@pytest.mark.parametrize("denoise", ["repair", "full"])
def test_denoised_has_the_source_s_types_and_what_was_passed_through(types: tuple[Path, Any], denoise: str) -> None:
    root, _ = types
    settings = yaml.safe_load((root / "p.yaml").read_text())
    settings["score"]["denoise"] = denoise
    (root / "full.yaml").write_text(yaml.safe_dump(settings))
    assert run_ae("--quiet", "score", root / "full.yaml", "--partition", "", "--output", root / denoise).code == 0
    given = pq.read_table(root / "src/part-0.parquet")
    denoised = pq.read_table(root / denoise / "denoised/part-0.parquet")
    assert denoised.schema.equals(given.schema)
    for name in PASSED:
        assert denoised[name].to_pylist() == given[name].to_pylist(), name
    for name in set(LEARNED) - {"text view", "long text"}:
        assert denoised[name].null_count == 0, name


def test_new_rows_have_the_source_s_types_too(types: tuple[Path, Any]) -> None:
    root, _ = types
    given = pq.read_table(root / "src/part-0.parquet")

    def made_by(*words: str) -> pa.Table:
        done = run_ae("--quiet", "generate", root / "p.yaml", 400, *words, "--json")
        assert done.code == 0, done.err
        made = pq.read_table(root / "out" / next(iter(done.json["outputs"])))
        assert made.schema.remove(len(given.schema)).equals(given.schema)
        return made

    made = made_by()
    assert made["key"][0].as_py() == "synthetic-1"
    for name in LEARNED:
        assert set(made[name].to_pylist()) - {None}, name
        assert (made[name].null_count > 0) == (given[name].null_count > 0), name
    assert set(made_by("--where", "long text=w1")["long text"].to_pylist()) == {"w1"}
    assert made_by("--where", "half=0.25")["half"].to_pylist() == [0.25] * 400
    for name in PASSED.keys() - {"key"}:
        assert made[name].null_count == 400, name
    there = given["decimal256"].drop_null().to_pylist()
    assert all(min(there) <= value <= max(there) for value in made["decimal256"].drop_null().to_pylist())


def test_what_reads_the_outputs_takes_every_type_too(types: tuple[Path, Any]) -> None:
    root, _ = types
    cells = pq.read_table(root / "out/cells/part-0.parquet")
    assert cells.schema.field("key").type == pa.string_view() and cells.num_rows
    for verb in (["check"], ["report"], ["evaluate", "--label", "excluded"]):
        done = run_ae("--quiet", verb[0], root / "p.yaml", *verb[1:])
        assert done.code == 0 and "Traceback" not in done.err, done.err
    detector, given = ae_plugin.load(root / "out", alert_rate=0.2), pq.read_table(root / "src/part-0.parquet")
    assert detector.denoise(given).schema.equals(given.schema)
    assert len(detector.embed(given)) == len(detector.score(given)) == ROWS
    assert detector.explain(given).num_rows


@pytest.mark.parametrize("kind", [array.type for array in {**LEARNED, **PASSED}.values()], ids=str)
def test_a_plain_type_is_plain_and_holds_the_same_values(kind: pa.DataType) -> None:
    plain = plain_type(kind)
    assert plain_type(plain) == plain
    assert "view" not in str(plain) or kind == pa.list_view(pa.int64())
    column = next(array for array in {**LEARNED, **PASSED}.values() if array.type == kind)
    assert column.cast(plain).take(pa.array([0, 1])).to_pylist() == column.to_pylist()[:2]


# Numbers at the end of what a float holds.

EXTREMES: dict[str, Callable[[float, float], np.ndarray]] = {
    "a sentinel": lambda top, _: np.where(GAPS, top, X),
    "a sentinel in a third": lambda top, _: np.where(np.arange(ROWS) % 3 == 0, top, X),
    "both ends": lambda top, _: np.where(np.arange(ROWS) % 3 == 0, -top, top),
    "nothing else": lambda top, _: top * (1 - np.abs(X) / 10),
    "the smallest": lambda _, tiny: X * tiny,
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.filterwarnings("error")
def test_finite_numbers_stay_finite(name: str, dtype: type) -> None:
    top, tiny = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
    values = EXTREMES[name](top, tiny).astype(dtype)
    [spec], _ = learn_columns(pa.table({"v": values}), [""] * ROWS)
    assert spec.kind == "number"
    assert np.isfinite([spec.mean, spec.std, spec.low, spec.high]).all()
    ends = [values, np.full(ROWS, top, dtype), np.full(ROWS, -top, dtype)]
    encoded = encode_numbers(ends, [spec] * 3)
    assert np.isfinite(encoded).all()
    decoded = decode_numbers(encoded, [spec] * 3, dtype)
    assert np.isfinite(decoded).all()
    assert (decoded >= dtype(spec.low)).all() and (decoded <= dtype(spec.high)).all()


def test_ordinary_numbers_are_learned_to_the_bit_as_before() -> None:
    [spec], _ = learn_columns(pa.table({"v": X}), [""] * ROWS)
    assert spec.kind == "number"
    assert (spec.mean, spec.std, spec.low, spec.high) == (X.mean(), X.std(), X.min(), X.max())


def test_a_sentinel_in_a_third_of_the_rows_trains_and_scores(tmp_path: Path) -> None:
    table = pa.table({"v": EXTREMES["a sentinel in a third"](1.797e308, 0), "x": X, "y": 2 * X})
    report = trained_on(tmp_path, table)
    assert np.isfinite(report["validation_loss"]) and report["export_difference"] < 1e-3
    scores = pq.read_table(tmp_path / "out/scores/part-0.parquet")
    assert np.isfinite(scores["anomaly_score"].to_numpy()).all()


# Text that is none.


def not_utf8(table: pa.Table, name: str) -> pa.Table:
    """Bytes that are no UTF-8 in one cell; Parquet does not mind."""
    words = [word.encode() for word in table[name].to_pylist()]
    words[len(words) // 2] = b"caf\xe9"
    return table.set_column(table.schema.get_field_index(name), name, pa.array(words).view(pa.string()))


@pytest.mark.parametrize("verb", ["train", "score"])
def test_text_that_is_not_utf8_is_one_line(shop: Shop, verb: str, tmp_path: Path) -> None:
    path = tmp_path / "odd/part-0.parquet"
    path.parent.mkdir()
    pq.write_table(not_utf8(make_orders(ROWS), "product"), path)
    if verb == "train":
        shop.set(source={"uri": str(path.parent), "partition_by": []}, train={"until": None})
    with unchanged(shop.root):
        done = run_ae("--quiet", verb, shop.yaml, *(["--input", path] if verb == "score" else []))
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert "'product' holds text that is not UTF-8" in done.complaint and str(path.parent) in done.complaint


def test_text_that_is_not_utf8_passes_where_nobody_learns_it(tmp_path: Path) -> None:
    orders = make_orders(ROWS).select(["customer", "product", "quantity", "weight"])
    table = not_utf8(not_utf8(orders, "customer"), "product")
    trained_on(tmp_path, table, keys="customer", exclude="product")
    assert (
        pq.read_table(tmp_path / "out/denoised/part-0.parquet")["product"]
        .cast(pa.binary())
        .equals(table["product"].cast(pa.binary()))
    )
    assert run_ae("--quiet", "report", tmp_path / "p.yaml").code == 0


def test_a_file_without_nulls_and_one_with(tmp_path: Path) -> None:
    """The first says that there can be none."""
    table = make_orders(ROWS).select(["quantity", "weight", "rating"])
    whole = table.set_column(2, pa.field("rating", pa.float32(), nullable=False), table["rating"].fill_null(3.0))
    path = pipeline(tmp_path, whole)
    pq.write_table(table, tmp_path / "src/part-1.parquet")
    assert run_ae("--quiet", "train", path).code == 0
    run_ae("--quiet", "promote", path, "--force")
    done = run_ae("--quiet", "score", path, "--json")
    assert done.code == 0 and done.json["runs"][0]["rows"] == 2 * ROWS


# Labels.


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([[1], [0]]),
        pa.array([{"fraud": True}]),
        pa.array([b"\xe9", b"0"]),
        pa.array([b"\xe9"]).view(pa.string()),
    ],
    ids=["list", "struct", "bytes", "no text"],
)
def test_labels_that_say_neither_yes_nor_no(labels: pa.Array) -> None:
    with pytest.raises(DataError, match=r"^--label: labels cannot be "):
        truths_of(labels)


def test_evaluate_by_a_list_is_one_line(shop: Shop) -> None:
    with unchanged(shop.root):
        done = run_ae("--quiet", "evaluate", shop.yaml, "--label", "lines")
    assert done.code == 2 and done.complaint.startswith("ae: --label: labels cannot be list<")


# Tables in memory.


def test_a_path_names_a_model_as_text_does(shop: Shop) -> None:
    assert ae_plugin.load(shop.output).version == ae_plugin.load(f"{shop.output}/").version
    for rate in ("0.1", None, [0.1], 2, float("nan")):
        with pytest.raises(ConfigError, match="not a number between 0 and 1"):
            ae_plugin.load(shop.output, alert_rate=rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"quantity": [1, "x", 2.5]}),
        pd.DataFrame({"quantity": np.array([1j, 2])}),
        pd.DataFrame([[1, 2]], columns=["quantity", "quantity"]),
        pd.DataFrame({"quantity": [object()]}),
    ],
    ids=["mixed", "complex", "twice", "objects"],
)
def test_a_frame_that_arrow_cannot_hold_is_one_line(shop: Shop, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="not a table that Arrow can hold"):
        ae_plugin.load(shop.output).score(frame)


@pytest.mark.parametrize("given", [["a.png", "b.png"], "orders.parquet", {"quantity": [1]}])
def test_what_is_no_table_is_one_line(shop: Shop, given: object) -> None:
    with pytest.raises(DataError, match=f"a {type(given).__name__} is no table"):
        ae_plugin.load(shop.output).score(given)  # type: ignore[arg-type]
