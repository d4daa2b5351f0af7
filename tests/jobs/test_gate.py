"""The gate: only what was trained is compared, and the draw of faults decides nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ae_plugin.core.pca import Pca
from ae_plugin.core.scoring import Network, Scorer
from ae_plugin.core.values import Floats
from ae_plugin.jobs import compare as compare_module
from ae_plugin.jobs import gate as gate_module
from ae_plugin.jobs.gate import run_gate
from ae_plugin.jobs.history import History, learn_history
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import load_champion
from ae_plugin.jobs.summary import train_lines
from ae_plugin.jobs.train import train
from ae_plugin.models import masking, training
from ae_plugin.models.network import KerasNetwork, build_pair
from ae_plugin.schemas import Gate
from ae_plugin.store.registry import Registry
from ae_plugin.versions import ModelVersion, read_report
from tests.conftest import Trained
from tests.shop import ORDERS, Shop, write_days


@pytest.fixture(scope="module")
def champion(trained: Trained) -> tuple[ModelVersion, History, Network, float]:
    """A version, its history, its untrained network, and the loss that its training reported."""
    pipeline = trained.shop.pipeline
    version, history = load_champion(pipeline), learn_history(pipeline)
    card = version.card
    _, blank = build_pair(
        card.kind,
        history.encoder.features,
        len(history.encoder.specs),
        card.width,
        card.latent_dim,
        pipeline.model.seed,
    )
    return version, history, KerasNetwork(blank), read_report(Registry(pipeline.output), "v0001").validation_loss


def gate_of(champion: tuple[ModelVersion, History, Network, float], network: Network, folder: Path) -> Gate:
    """What the gate says of another network in the champion's place."""
    version, history, untrained, loss = champion
    known = version.scorer
    scorer = Scorer(known.encoder, network, known.filler, known.reference, known.alert_rate, known.contaminated)
    return run_gate(scorer, untrained, history, Registry(str(folder)), seed=version.card.seed, reported=loss)


def test_the_network_that_was_trained_passes(
    champion: tuple[ModelVersion, History, Network, float], tmp_path: Path
) -> None:
    """What scoring runs has the loss that training reported, to the last digits: only then is it compared at all."""
    version, history, _, loss = champion
    rows = masking.Rows(history.encoder, history.encoded.take(history.split.validation))
    assert masking.masked_loss(version.scorer.network, rows, version.card.seed) == pytest.approx(loss, rel=1e-4)
    gate = gate_of(champion, version.scorer.network, tmp_path)
    assert gate.passed and len(gate.results) == 3


@pytest.mark.parametrize("harm", ["scaled", "shifted", "shuffled", "no numbers"])
def test_another_network_than_the_one_that_was_trained_is_refused(
    champion: tuple[ModelVersion, History, Network, float], harm: str, tmp_path: Path
) -> None:
    """Inputs scaled otherwise than in training, columns in another order, NaN: whatever it finds, it is broken."""
    good = champion[0].scorer.network

    def network(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        if harm == "shuffled":
            return good(np.ascontiguousarray(x[:, ::-1]), visible)
        factor, shift = {"scaled": (0.1, 0.0), "shifted": (1.0, 0.5), "no numbers": (np.nan, 0.0)}[harm]
        return good(x * np.float32(factor) + np.float32(shift), visible)

    gate = gate_of(champion, network, tmp_path)
    assert not gate.passed
    assert gate.reasons[0].startswith("is not the network that was trained: ")
    assert (gate.results == []) is (harm == "no numbers")


def test_a_network_that_learned_nothing_is_refused_whatever_it_finds(
    champion: tuple[ModelVersion, History, Network, float], tmp_path: Path
) -> None:
    """Noise for weights can tell faults from normal rows by luck, since the score has other views than the error."""
    version, history, untrained, _ = champion

    def noise(x: Floats, visible: Floats) -> tuple[Floats, Floats]:
        return np.sin(9 * x + 3), untrained(x, visible)[1]

    rows = masking.Rows(history.encoder, history.encoded.take(history.split.validation))
    loss = masking.masked_loss(noise, rows, version.card.seed)
    gate = gate_of((version, history, untrained, loss), noise, tmp_path)
    assert not gate.passed
    assert gate.reasons[0].startswith("learned nothing: ")


@pytest.mark.parametrize("rate", [np.nan, 1e4], ids=["no numbers", "too fast"])
def test_a_training_that_diverges_ends_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    """It ends with its best weights, a report that can be read, and no promotion."""
    monkeypatch.setattr(training, "LEARNING_RATE", rate)
    shop = Shop(tmp_path / "shop", ORDERS).write().set(train={"steps": 200})
    write_days(shop.source, 4, 400)
    report = train(shop.pipeline)
    assert np.isfinite(report.validation_loss) and np.isfinite(report.loss_curve).all()
    assert report.steps < 200 or rate == 1e4, "there is no use in going on"
    assert not report.gate.passed and train_lines(report)
    stored = read_report(Registry(str(shop.output)), report.model_version)
    assert json.loads(stored.model_dump_json()) == json.loads(report.model_dump_json())
    assert promote(shop.pipeline).promoted is False


def test_few_rows_are_copied_often_enough(
    champion: tuple[ModelVersion, History, Network, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every copy has faults of its own: the gate asks for 2% less error, and the draw of faults must not decide."""
    version, history, _, _ = champion
    seeds: list[int] = []
    inject = gate_module.faults.inject

    def counted(table: pa.Table, columns: Sequence[str], kind: str, seed: int) -> pa.Table:
        seeds.extend([seed] * table.num_rows if kind == "swaps" else [])
        return inject(table, columns, kind, seed)

    monkeypatch.setattr(gate_module.faults, "inject", counted)
    gate = gate_of(champion, version.scorer.network, tmp_path)
    rows = len(history.split.calibration)
    assert rows < gate_module.COPIES
    assert len(seeds) >= len(gate.results) * gate_module.COPIES
    assert len(set(seeds)) == len(seeds) // len(gate.results) // rows * len(set(history.sample.partitions))


def test_pca_learns_from_all_of_history(
    champion: tuple[ModelVersion, History, Network, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rival that saw the oldest days alone is beaten too easily."""
    version, history, _, _ = champion
    seen: list[Floats] = []
    fit = Pca.fit

    def watched(x: Floats, kept: int | None = None) -> Pca:
        seen.append(x)
        return fit(x, kept=kept)

    monkeypatch.setattr(Pca, "fit", staticmethod(watched))
    monkeypatch.setattr(gate_module, "FITTED", 100)
    monkeypatch.setattr(compare_module, "FITTED", 100)
    gate_of(champion, version.scorer.network, tmp_path)
    compare_module.compare(version.scorer, history, version.card.latent_dim)
    newest = history.encoded.x[history.split.train[-1]]
    assert [(len(x), bool((x[-1] == newest).all())) for x in seen] == [(100, True)] * 2
