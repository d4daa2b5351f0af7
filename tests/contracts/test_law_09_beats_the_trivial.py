"""Law 9: a challenger that does not beat PCA and an untrained copy of itself on injected faults is not promoted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ae_plugin.core.picture_scoring import PictureScorer, Repairer, fit_and_judge
from ae_plugin.core.values import Floats
from ae_plugin.jobs.pictures.gate import run_picture_gate
from ae_plugin.jobs.pictures.history import PictureHistory, learn_picture_history
from ae_plugin.jobs.pictures.versions import load_picture_version
from ae_plugin.models import conv
from ae_plugin.models.mending import mending_loss
from ae_plugin.schemas import Gate
from ae_plugin.store.registry import Pointer, Registry
from ae_plugin.versions import read_report
from tests.boards import BOARDS, SIDE, png, put_day, write_boards
from tests.conftest import Trained
from tests.running import Outcome, run_ae
from tests.shop import FRESH, LAST_TRAINED, ORDERS, Shop, day, write_day, write_days


def champion(shop: Shop) -> Pointer | None:
    return Registry(str(shop.output)).pointer("champion")


def ae(verb: str, shop: Shop, *words: object) -> Any:
    outcome = run_ae("--quiet", verb, shop.yaml, *words, "--json")
    assert outcome.code == 0, outcome
    return outcome.json


def refusal(reasons: list[str]) -> list[str]:
    return [reason for reason in reasons if reason.startswith("does not beat")]


def means(report: Any) -> dict[str, float]:
    return {result["scorer"]: result["mean"] for result in report["gate"]["results"]}


def plane(rows: int, seed: int) -> pa.Table:
    """Eight numbers that are sums of two: PCA knows all about them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 2)) @ np.random.default_rng(99).normal(size=(2, 8)) + rng.normal(0, 0.05, (rows, 8))
    ids = pa.array(seed * rows + np.arange(rows))
    return pa.table({"order_id": ids, **{f"x{i}": values[:, i] for i in range(8)}})


@pytest.fixture
def linear(tmp_path: Path) -> Shop:
    """A pipeline whose network learns nothing, where PCA learns everything."""
    shop = Shop(tmp_path / "linear", ORDERS).write().set(train={"steps": 1, "until": day(3)})
    for number in range(5):
        write_day(shop.source, number, plane(300, number))
    return shop


@pytest.fixture
def own(trained: Trained, tmp_path: Path) -> Shop:
    """A pipeline of its own whose champion is v0001."""
    return trained.shop.copy(tmp_path / "shop")


def test_what_does_not_beat_pca_is_not_promoted(linear: Shop) -> None:
    trained = ae("train", linear)
    assert means(trained)["challenger"] <= means(trained)["pca"], "PCA should win here"
    assert trained["gate"]["passed"] is False
    assert trained["promotion"]["promoted"] is False and trained["promotion"]["champion"] is None
    assert any("PCA" in reason for reason in refusal(trained["promotion"]["reasons"]))
    assert champion(linear) is None
    by_hand = ae("promote", linear)
    assert by_hand["promoted"] is False and any("PCA" in reason for reason in refusal(by_hand["reasons"]))
    named = ae("promote", linear, "v0001")
    assert named["promoted"] is False
    assert champion(linear) is None
    outcome = run_ae("--quiet", "score", linear.yaml)
    assert outcome.code == 4


def test_the_reason_is_recorded(linear: Shop) -> None:
    trained = ae("train", linear)
    stored = read_report(Registry(str(linear.output)), "v0001").gate
    assert stored.model_dump(mode="json") == trained["gate"]
    assert any("PCA" in reason for reason in refusal(stored.reasons))
    entry = ae("models", linear)["models"][0]
    assert (entry["gate_passed"], entry["pointers"]) == (False, ["challenger"])


def test_what_hardly_learned_anything_is_not_promoted(tmp_path: Path) -> None:
    """One step of one mini-batch: it is its untrained self, give or take the noise."""
    shop = Shop(tmp_path / "shop", ORDERS).write().set(train={"steps": 1})
    write_days(shop.source, 4, 400)
    trained = ae("train", shop)
    assert means(trained)["challenger"] - means(trained)["untrained"] < 0.005, "it did learn something"
    assert trained["promotion"]["promoted"] is False
    assert any("untrained" in reason for reason in refusal(trained["promotion"]["reasons"]))
    assert champion(shop) is None


def test_what_beats_the_trivial_is_promoted(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", ORDERS).write()
    write_days(shop.source, 4, 400)
    trained = ae("train", shop)
    found = means(trained)
    assert found["challenger"] > max(found["pca"], found["untrained"]) + 0.02
    assert set(found) == {"challenger", "untrained", "pca"}
    assert trained["gate"]["passed"] and trained["promotion"]["promoted"] and not trained["promotion"]["forced"]
    pointer = champion(shop)
    assert pointer is not None and pointer.version == "v0001"
    assert "beats PCA" in pointer.history[-1].why and "forced" not in pointer.history[-1].why


@pytest.mark.parametrize("policy", ["never", "approval"])
def test_what_beats_the_trivial_waits_where_a_person_promotes(tmp_path: Path, policy: str) -> None:
    shop = Shop(tmp_path / "shop", ORDERS).write().set(promote=policy)
    write_days(shop.source, 4, 400)
    trained = ae("train", shop)
    assert trained["gate"]["passed"] and trained["promotion"] is None
    assert champion(shop) is None
    assert ae("promote", shop)["promoted"] is True


@pytest.mark.parametrize("steps", [20, 300], ids=["a worse one", "an equal one"])
def test_what_does_not_beat_the_champion_is_not_promoted(own: Shop, steps: int) -> None:
    trained = ae("train", own.set(train={"steps": steps}))
    found = means(trained)
    assert trained["gate"]["champion"] == "v0001" and found["challenger"] <= found["champion"]
    assert found["champion"] > max(found["pca"], found["untrained"]), "the champion does beat the trivial"
    assert trained["promotion"]["promoted"] is False
    assert any("the champion v0001" in reason for reason in refusal(trained["promotion"]["reasons"]))
    pointer = champion(own)
    assert pointer is not None and pointer.version == "v0001" and len(pointer.history) == 1


def test_what_beats_the_champion_is_promoted(own: Shop) -> None:
    """A champion that hardly learned anything is beaten by one that did."""
    ae("train", own.set(train={"steps": 10}))
    ae("promote", own, "v0002", "--force")
    trained = ae("train", own.set(train={"steps": 300}))
    found = means(trained)
    assert trained["gate"]["champion"] == "v0002" and found["challenger"] > found["champion"]
    assert trained["promotion"]["promoted"] is True
    pointer = champion(own)
    assert pointer is not None and pointer.version == "v0003"


def test_force_promotes_and_is_recorded_as_forced(linear: Shop) -> None:
    ae("train", linear)
    done = ae("promote", linear, "--force")
    assert (done["promoted"], done["forced"], done["champion"], done["previous"]) == (True, True, "v0001", None)
    pointer = champion(linear)
    assert pointer is not None and pointer.version == "v0001"
    move = pointer.history[-1]
    assert move.why.startswith("forced: ") and "does not beat PCA" in move.why and move.by == "cli"
    assert run_ae("--quiet", "score", linear.yaml, "--partition", day(4)).code == 0


def test_force_where_none_is_needed_is_not_recorded_as_forced(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", ORDERS).write().set(promote="never")
    write_days(shop.source, 4, 400)
    ae("train", shop)
    assert ae("promote", shop, "--force")["forced"] is False


def test_rollback_returns_to_the_champion_before(own: Shop) -> None:
    ae("train", own.set(train={"steps": 20}))
    assert ae("promote", own, "--force")["champion"] == "v0002"
    assert scored_by(own) == "v0002"
    back = ae("rollback", own)
    assert (back["champion"], back["previous"], back["promoted"]) == ("v0001", "v0002", True)
    assert scored_by(own) == "v0001"
    pointer = champion(own)
    assert pointer is not None and [move.version for move in pointer.history] == ["v0001", "v0002", "v0001"]
    assert "v0002" in pointer.history[-1].why
    nothing_left(run_ae("--quiet", "rollback", own.yaml))
    assert ae("promote", own)["promoted"] is False, "a rollback does not open the gate"
    assert ae("rollback", own, "v0002")["champion"] == "v0002"


def nothing_left(outcome: Outcome) -> None:
    assert outcome.code == 2 and "roll back" in outcome.complaint


def scored_by(shop: Shop) -> str:
    version: str = ae("score", shop, "--partition", day(FRESH))["model_version"]
    assert set(shop.read("scores", FRESH)["model_version"].to_pylist()) == {version}
    return version


def test_a_challenger_compared_with_another_champion_is_not_promoted(tmp_path: Path) -> None:
    """Two trainings without a champion; the first is promoted: the second was never compared with it."""
    shop = Shop(tmp_path / "shop", ORDERS).write().set(promote="never", train={"steps": 300})
    write_days(shop.source, 4, 400)
    for _ in range(2):
        assert ae("train", shop)["gate"]["passed"]
    assert ae("promote", shop, "v0001")["promoted"] is True
    second = ae("promote", shop)
    assert second["promoted"] is False and any("compared with none" in reason for reason in second["reasons"])
    assert ae("promote", shop, "--force")["forced"] is True


@pytest.mark.parametrize("harm", ["weights", "card"])
def test_a_champion_that_cannot_be_loaded_need_not_be_beaten(own: Shop, harm: str) -> None:
    """As the complaint about it says: train anew. The new version takes its place without a person."""
    name = {"weights": "network.tflite", "card": "model.json"}[harm]
    (own.output / f"_models/v0001/{name}").write_bytes(b"gone")
    outcome = run_ae("--quiet", "score", own.yaml, "--partition", day(FRESH))
    assert outcome.code == 2 and "train anew" in outcome.complaint
    trained = ae("train", own)
    assert trained["gate"]["passed"] is True
    assert any("cannot be loaded" in reason for reason in trained["gate"]["reasons"])
    assert trained["promotion"]["promoted"] is True, trained["promotion"]["reasons"]
    assert scored_by(own) == "v0002"


def test_a_champion_that_cannot_score_todays_history_need_not_be_beaten(own: Shop) -> None:
    """The source lost a column that the champion learned."""
    for number in range(LAST_TRAINED + 1):
        path = own.source / f"date={day(number)}/part-0.parquet"
        pq.write_table(pq.ParquetFile(path).read().drop_columns("rating"), path)
    trained = ae("train", own)
    assert any("cannot score today's history" in reason for reason in trained["gate"]["reasons"])
    assert "champion" not in means(trained)
    assert trained["promotion"]["promoted"] is True, trained["promotion"]["reasons"]


def test_a_report_that_says_otherwise_does_not_open_the_gate(linear: Shop) -> None:
    """The gate's result is signed with the version."""
    ae("train", linear)
    path = linear.output / "_models/v0001/report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps({**report, "gate": {**report["gate"], "passed": True}}))
    outcome = run_ae("--quiet", "promote", linear.yaml)
    assert outcome.code == 2 and "report.json" in outcome.complaint
    assert champion(linear) is None


# Pictures.


def plaid(seed: int) -> np.ndarray:
    """Rows and columns of two sorts each, as woven: 48 choices, and PCA sees a pixel in each of 576."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.choice([-1, 1], (2, SIDE))
    return (128 + 80 * np.outer(rows, columns) + rng.normal(0, 2, (SIDE, SIDE))).astype(np.uint8)


def weaver(tiles: Floats) -> tuple[Floats, Floats]:
    """What a network would have to learn: what is not woven of rows and columns is wrong."""
    apart = tiles[..., 0] - np.float32(0.5)
    left, size, right = np.linalg.svd(apart)
    woven = (np.sign(left[:, :, :1]) * np.sign(right[:, :1]) * np.float32(80 / 255)).astype(np.float32)
    wrong = 1 / (1 + np.exp(-60 * (np.abs(apart - woven) - np.float32(0.1))))
    return np.stack([woven + np.float32(0.5), wrong.astype(np.float32)], axis=-1), size[:, :24].astype(np.float32)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> PictureHistory:
    """Of pictures that are hard for PCA, and easy for who knows how they are made."""
    shop = Shop(tmp_path_factory.mktemp("plaids"), BOARDS).write()
    for number in range(3):
        put_day(shop.source, number, {f"{i:02d}.png": png(plaid(number * 100 + i)) for i in range(60)})
    return learn_picture_history(shop.pipeline)


@pytest.fixture(scope="module")
def untrained(history: PictureHistory) -> Repairer:
    model = conv.build_pair(history.side, history.channels, 0)[1]
    return lambda tiles: tuple(np.asarray(part) for part in model(tiles, training=False))  # type: ignore[return-value]


def gate_of(network: Repairer, untrained: Repairer, history: PictureHistory, output: Path, reported: float) -> Gate:
    """What the gate says of any network in the challenger's place."""
    calibration, day = history.calibration, np.zeros(len(history.calibration), np.int64)
    reference, _ = fit_and_judge(
        network, history.train, history.validation, calibration, day, history.channels, contaminated=False
    )
    scorer = PictureScorer(network, reference, history.side, history.channels, 0.05, contaminated=False)
    return run_picture_gate(scorer, untrained, history, Registry(str(output)), seed=0, reported=reported)


def test_a_network_that_knows_its_pictures_passes_the_gate(
    untrained: Repairer, history: PictureHistory, tmp_path: Path
) -> None:
    gate = gate_of(weaver, untrained, history, tmp_path, mending_loss(weaver, history.validation, 0))
    assert gate.passed and [result.scorer for result in gate.results] == ["challenger", "untrained", "pca"], gate


def test_an_untrained_network_of_pictures_does_not_pass(
    untrained: Repairer, history: PictureHistory, tmp_path: Path
) -> None:
    gate = gate_of(untrained, untrained, history, tmp_path, mending_loss(untrained, history.validation, 0))
    assert not gate.passed
    assert gate.reasons[0].startswith("learned nothing: ")
    assert any("untrained" in reason for reason in refusal(gate.reasons))


def test_the_exported_network_has_the_loss_that_training_reported(
    boards: Trained,
) -> None:
    """To the last digits: only then is it compared at all."""
    history = learn_picture_history(boards.shop.pipeline)
    known = load_picture_version(Registry(str(boards.shop.output)), "v0001", 0.05).scorer
    loss = read_report(Registry(str(boards.shop.output)), "v0001").validation_loss
    assert mending_loss(known.network, history.validation, 0) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("harm", ["shifted", "darker", "no numbers"])
def test_another_network_than_the_one_that_was_trained_does_not_pass(
    untrained: Repairer, history: PictureHistory, tmp_path: Path, harm: str
) -> None:
    """Whatever it finds: pixels in another place, in another range, or NaN."""

    def broken(tiles: Floats) -> tuple[Floats, Floats]:
        maps, code = weaver(tiles)
        if harm == "shifted":
            return np.roll(maps, 1, axis=1), code
        return maps * np.float32(np.nan if harm == "no numbers" else 0.8), code

    gate = gate_of(broken, untrained, history, tmp_path, mending_loss(weaver, history.validation, 0))
    assert not gate.passed and gate.reasons[0].startswith("is not the network that was trained: ")
    assert (gate.results == []) is (harm == "no numbers")


@pytest.mark.parametrize("name", ["network.tflite", "model.json"])
def test_a_champion_of_pictures_that_cannot_be_loaded_is_named(
    boards: Trained, untrained: Repairer, history: PictureHistory, tmp_path: Path, name: str
) -> None:
    """And need not be beaten: the new version takes its place without a person."""
    shop = boards.shop.copy(tmp_path / "shop")
    (shop.output / f"_models/v0001/{name}").write_bytes(b"gone")
    gate = gate_of(weaver, untrained, history, shop.output, mending_loss(weaver, history.validation, 0))
    assert gate.passed and gate.champion == "v0001"
    reason = next(reason for reason in gate.reasons if "cannot be loaded" in reason)
    assert "_models/v0001" in reason and "need not beat it" in reason


def test_what_hardly_learned_anything_of_pictures_is_not_promoted(tmp_path: Path) -> None:
    shop = write_boards(tmp_path / "shop", history=10, steps=1)
    trained = ae("train", shop)
    assert trained["gate"]["passed"] is False and trained["promotion"]["promoted"] is False
    assert any("learned nothing" in reason for reason in trained["promotion"]["reasons"])
    assert champion(shop) is None
    assert run_ae("--quiet", "score", shop.yaml).code == 4
