"""Pictures with `model.kind: variational`: scored as without, and embedded, traversed and generated as whole ones."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ae_plugin
from ae_plugin.core.variational import closest, side_and_shape
from ae_plugin.errors import ConfigError
from ae_plugin.jobs.latent.embed import embed
from ae_plugin.jobs.latent.generate import generate
from ae_plugin.jobs.latent.generated_pictures import generate_pictures, generated_schema
from ae_plugin.jobs.latent.traverse import traverse
from ae_plugin.jobs.pictures.variational import (
    KNOWN,
    WEIGHTS,
    SmallHistory,
    fit_variational,
    independent,
    known_pictures,
    open_variational,
)
from ae_plugin.jobs.pictures.versions import PictureVersion, load_picture_version
from ae_plugin.jobs.score import champion_of, score
from ae_plugin.store.registry import Registry
from tests.boards import board, png, write_boards
from tests.conftest import Trained
from tests.running import run_ae
from tests.shop import FRESH, LAST_TRAINED, Shop, day, train_and_promote

STEPS = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Boards, and a model of whole ones, trained on a little; copy it before it is changed."""
    shop = write_boards(tmp_path_factory.mktemp("whole"), history=24, steps=STEPS).set(model={"kind": "variational"})
    return Trained(shop, train_and_promote(shop), "variational")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The same without."""
    shop = write_boards(tmp_path_factory.mktemp("plain"), history=24, steps=STEPS)
    train_and_promote(shop)
    return shop


@pytest.fixture
def shop(whole: Trained, tmp_path: Path) -> Shop:
    return whole.shop.copy(tmp_path / "shop")


def version_of(shop: Shop) -> PictureVersion:
    found = champion_of(shop.pipeline)
    assert isinstance(found, PictureVersion)
    return found


def test_scores_are_those_of_auto(shop: Shop, plain: Shop) -> None:
    """The network that scores is the same to the bit."""
    theirs, ours = (load_picture_version(Registry(str(one.output)), "v0001", 0.05) for one in (plain, shop))
    assert theirs.variational is None and ours.variational is not None
    pictures = [ae_plugin.core.pictures.decode(png(board(seed))) for seed in range(3)]
    for one, other in zip(theirs.scorer.score(pictures), ours.scorer.score(pictures), strict=True):
        assert one.score == other.score and np.array_equal(one.heat, other.heat)


def test_embeddings_are_of_whole_pictures(shop: Shop) -> None:
    record = embed(shop.pipeline, day(FRESH))
    assert record.latent_dim == 10
    table = pq.read_table(shop.output / f"embeddings/date={day(FRESH)}/part-0.parquet", partitioning=None)
    ours = np.stack(table.column("embedding").to_numpy())
    files = sorted((shop.source / f"date={day(FRESH)}").iterdir())
    theirs = ae_plugin.load(str(shop.output)).embed(files)  # type: ignore[union-attr]
    assert np.abs(ours - theirs).max() <= 2**-12
    assert ours.std(axis=0).max() > 0.1


def test_pictures_are_traversed(shop: Shop) -> None:
    record = traverse(shop.pipeline, latents=4, steps=5)
    assert record.carried_by == "kl" and not record.axes and record.latent_dim == 10
    carries = [note.carries for note in record.latents]
    assert carries == sorted(carries, reverse=True) and carries[0] > 0
    table = pq.read_table(shop.output / "traversal/frames.parquet", partitioning=None)
    assert table.column_names == ["latent", "step", "value", "image"] and table.num_rows == 20
    pictures = [np.asarray(Image.open(io.BytesIO(data))) for data in table.column("image").to_pylist()]
    assert {picture.shape for picture in pictures} == {(24, 24)}
    assert not np.array_equal(pictures[0], pictures[4]), "the first latent variable changes the picture"
    by_name = traverse(shop.pipeline, day(LAST_TRAINED), keys={"file": "0003.png"})
    assert by_name.row == 3 and by_name.outputs != record.outputs
    assert traverse(shop.pipeline, latents=4, steps=5).outputs == record.outputs


def test_pictures_are_generated(shop: Shop) -> None:
    version, registry = version_of(shop), Registry(str(shop.output))
    table = pa.Table.from_batches(generate_pictures(registry, version, 70, seed=3))
    assert table.schema.equals(generated_schema(version), check_metadata=True)
    assert table.num_rows == 70 and set(table.column("synthetic").to_pylist()) == {True}
    assert len(set(table.column("file").to_pylist())) == 70
    assert len(set(table.column("image").to_pylist())) > 60
    again = pa.Table.from_batches(generate_pictures(registry, version, 20, seed=3))
    assert again.equals(table.slice(0, 20)), "the first of them, whatever the count"
    other = pa.Table.from_batches(generate_pictures(registry, version, 20, seed=4))
    assert other.column("image") != again.column("image")


def test_generated_pictures_are_a_file_with_a_record(shop: Shop) -> None:
    record = generate(shop.pipeline, 70, seed=3)
    table = pq.read_table(shop.output / "generated/v0001-70-seed3.parquet")
    assert record.rows == table.num_rows == 70 and record.outputs.keys() == {"generated/v0001-70-seed3.parquet"}
    assert table.schema.metadata[b"ae_plugin.synthetic"]
    apart = np.array(table.column("closest_distance").to_pylist())
    assert record.synthetic.quantiles["0.5"] == pytest.approx(np.quantile(apart, 0.5), abs=1e-4)
    assert record.held_out.quantiles["0.5"] > 0 and (shop.output / "_runs/_generated/v0001-70-seed3.json").is_file()
    with pytest.raises(ConfigError, match="without conditions"):
        generate(shop.pipeline, 2, where={"file": "x"})


def test_the_distance_is_to_the_closest_of_all_it_was_trained_on(shop: Shop) -> None:
    version, registry = version_of(shop), Registry(str(shop.output))
    card = version.card.variational
    assert card is not None and version.variational is not None
    known = known_pictures(registry, version.version, card, 1)
    assert len(known) == card.pictures == version.card.variational.pictures and known.shape[1:] == (32, 32, 1)
    assert np.array_equal(closest(known[:5], known), np.zeros(5, np.float32))
    moved = known[:1].astype(int) + np.where(known[:1] > 127, -51, 51)
    wanted = np.sqrt(np.square((known.astype(float) - moved) / 255).mean(axis=(1, 2, 3))).min()
    assert closest(moved.astype(np.uint8), known)[0] == pytest.approx(wanted, abs=1e-6)
    distances = [d for batch in generate_pictures(registry, version, 30, seed=0) for d in batch[-1].to_pylist()]
    assert min(distances) > 0 and card.held_out[0] <= card.held_out[1] <= card.held_out[2]


def test_of_parquet_the_schema_is_kept(shop: Shop) -> None:
    """Whatever type the pictures have there, and what else there is."""
    version, registry = version_of(shop), Registry(str(shop.output))
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([pa.field("number", pa.int64(), nullable=False), ("scan", struct)])
    other = replace(version, schema=schema, card=version.card.model_copy(update={"image": "scan"}))
    table = pa.Table.from_batches(generate_pictures(registry, other, 3, seed=0))
    assert table.column_names == ["number", "scan", "synthetic", "closest_distance"]
    assert table.schema.field("scan").type == struct and table.column("number").null_count == 3
    assert Image.open(io.BytesIO(table.column("scan")[0].as_py()["bytes"])).size == (24, 24)


def test_without_it_one_line_says_what_to_do(plain: Shop) -> None:
    with pytest.raises(ConfigError, match=r"tiles of pictures, not whole ones.*variational"):
        traverse(plain.pipeline)
    done = run_ae("traverse", plain.yaml)
    assert done.code == 2 and "train anew" in done.err and len(done.err.strip().splitlines()) == 1


def test_it_scores_from_the_files_that_scoring_is_sent(shop: Shop) -> None:
    from ae_plugin.jobs.pictures.versions import PICTURE_SCORING, open_picture_version

    stored = Registry(str(shop.output)).fetch("v0001").only(PICTURE_SCORING)
    assert open_picture_version(stored, 0.05).variational is None
    assert score(shop.pipeline, day(FRESH)).rows == 35


def test_sides_and_shapes() -> None:
    assert side_and_shape([(28, 28)]) == (32, (28, 28))
    assert side_and_shape([(24, 40)] * 3) == (32, (19, 32))
    assert side_and_shape([(600, 1200), (600, 1200), (10, 10)]) == (64, (32, 64))


def test_codes_are_turned_towards_independent_ones() -> None:
    """Two causes, mixed as training leaves them, and a latent variable that carries nothing."""
    rng = np.random.default_rng(0)
    causes = rng.uniform(-1.7, 1.7, (3_000, 2))
    mixed = causes @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    means = np.c_[mixed[:, 0], np.zeros(3_000), mixed[:, 1]]
    told = np.c_[means, np.tile([-4.0, 0.0, -4.0], (3_000, 1))].astype(np.float32)
    turn = independent(told, 0)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-5) and turn[1, 1] == 1
    apart = np.abs(np.corrcoef((means @ turn)[:, [0, 2]].T, causes.T)[:2, 2:])
    assert apart.max(axis=1).min() > 0.99 and apart.min(axis=1).max() < 0.1


def test_the_same_model_again() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3)).astype(np.uint8)
    small = SmallHistory(pictures[10:], pictures[:10], 64, (64, 48))
    one, other = (fit_variational(small, 3, steps=4) for _ in range(2))
    assert one.card == other.card
    assert one.files[WEIGHTS] == other.files[WEIGHTS] and one.files[KNOWN] == other.files[KNOWN]
    model, again = (open_variational(found.card, 3, None, found.files) for found in (one, other))
    assert model is not None and again is not None
    codes = model.encode(pictures)
    assert np.array_equal(codes, again.encode(pictures))
    assert np.array_equal(model.decode(codes), again.decode(codes))
    assert model.image(model.decode(codes[:1])[0]).size == (48, 64)
