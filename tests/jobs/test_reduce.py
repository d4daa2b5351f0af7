"""`model.latent_dim`: a version that puts each row in as many numbers as are worth it, and says what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ae_plugin
from ae_plugin.errors import ConfigError, StoreError
from ae_plugin.jobs.latent.embed import embed
from ae_plugin.jobs.report import report
from ae_plugin.store.registry import Registry
from ae_plugin.versions import REDUCER, load_version, read_reduction
from tests.shop import Shop, train_and_promote

ROWS = 1_500


def bow(rows: int = ROWS, seed: int = 0, straight: bool = False) -> pa.Table:
    """A table of one free number, which the others follow: in a bow, or straight."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-2, 2, rows)
    bent = 2 * t if straight else t**2
    columns = {"a": t, "b": bent, "c": -t, "d": 3 * t if straight else np.cos(2 * t)}
    noise = {name: column + 0.02 * rng.normal(size=rows) for name, column in columns.items()}
    return pa.table({"key": np.arange(rows), **noise})


def shop_of(folder: Path, table: pa.Table, latent_dim: object) -> Shop:
    base = {"name": "bow", "source": {"uri": "orders", "keys": ["key"]}, "train": {"steps": 800}, "output": "out"}
    shop = Shop(folder, base).write().set(model={"latent_dim": latent_dim})
    shop.source.mkdir(exist_ok=True)
    pq.write_table(table, shop.source / "bow.parquet")
    return shop


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = shop_of(tmp_path_factory.mktemp("bent"), bow(), 1)
    train_and_promote(shop)
    return shop


def test_a_bow_takes_a_network(bent: Shop) -> None:
    found = read_reduction(Registry(str(bent.output)), "v0001")
    assert found is not None and (found.latent_dim, found.chosen, found.linear) == (1, "asked", False)
    assert found.network_left[1] < 0.7 * found.pca_left[1] and found.network_left[0] == found.pca_left[0] == 1
    (latent,) = found.latents
    assert {"a", "c"} <= {move.column for move in latent.moves}
    by = {move.column: move.by for move in latent.moves}
    assert by["a"] * by["c"] < 0
    assert latent.share == pytest.approx(1 - found.network_left[1], abs=1e-3)
    zstd = next(rate for rate in found.rates if rate.method == "zstd")
    ours = {rate.step: rate for rate in found.rates if rate.method == "network"}
    assert ours[1.0].bits < ours[0.1].bits < zstd.bits and ours[1.0].lost > ours[0.1].lost
    assert ours[0.1].lost_elsewhere > 2 * ours[0.1].lost and zstd.lost == 0


def test_embeddings_are_that_long_and_the_same_from_python(bent: Shop) -> None:
    record = embed(bent.pipeline)
    table = pq.read_table(bent.output / "embeddings/part-0.parquet")
    assert record.latent_dim == 1 and table.schema.field("embedding").type == pa.list_(pa.float32(), 1)
    ours = np.stack(table.column("embedding").to_numpy())
    theirs = ae_plugin.load(str(bent.output)).embed(bow())
    assert np.abs(ours - theirs).max() <= 2**-12
    assert abs(np.corrcoef(ours[:, 0], bow().column("a").to_numpy())[0, 1]) > 0.9


def test_the_report_says_what_the_numbers_stand_for(bent: Shop) -> None:
    page = Path(report(bent.pipeline)).read_text()
    assert "A row in 1 number" in page and "What each number stands for" in page and "Bits against what is lost" in page
    assert "Linear is enough" not in page


def test_a_line_does_not_and_that_is_said(tmp_path: Path) -> None:
    shop = shop_of(tmp_path, bow(600, straight=True), "auto")
    train_and_promote(shop)
    found = read_reduction(Registry(str(shop.output)), "v0001")
    assert found is not None and found.linear and (found.latent_dim, found.chosen) == (1, "knee")
    assert {rate.method for rate in found.rates} == {"pca", "zstd"}
    assert "Linear is enough here" in Path(report(shop.pipeline)).read_text()


def test_more_numbers_than_features_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    shop = shop_of(tmp_path, bow(600), 9)
    with pytest.raises(ConfigError, match="model.latent_dim: 9 numbers for 4 encoded features"):
        train_and_promote(shop)
    assert not Registry(str(shop.output)).versions()


def test_a_reducer_that_was_tampered_with_is_not_read(bent: Shop, tmp_path: Path) -> None:
    shop = bent.copy(tmp_path / "copy")
    path = shop.output / f"_models/v0001/{REDUCER}"
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(StoreError):
        load_version(Registry(str(shop.output)), "v0001", 0.01)
