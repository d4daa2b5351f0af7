"""Promotion and rollback: the gate decides, a person may insist, and every move can be undone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ae_plugin import api
from ae_plugin.errors import ConfigError, StoreError
from ae_plugin.jobs.models import models, report_of
from ae_plugin.jobs.promote import former_champions, promote, rollback
from ae_plugin.store.registry import Registry
from tests.running import ROOT, run_ae, tree
from tests.shop import Shop


@pytest.fixture
def registry(shop: Shop) -> Registry:
    return Registry(str(shop.output))


def another(registry: Registry, *, passed: bool = True, compared_with: str | None = "v0001") -> str:
    """A further version: the first one's files, and a gate that says this."""
    card, files = registry.read("v0001")
    report = json.loads(files["report.json"])
    report["gate"] = {
        **report["gate"],
        "passed": passed,
        "champion": compared_with,
        "reasons": ["beats PCA" if passed else "does not beat PCA"],
    }
    return registry.register({**files, "report.json": json.dumps(report).encode()}, card)


def champion(registry: Registry) -> str:
    return registry.champion()


# The gate.


def test_a_challenger_that_passed_becomes_champion(shop: Shop, registry: Registry) -> None:
    version = another(registry)
    done = promote(shop.pipeline)
    assert (done.champion, done.previous, done.promoted, done.forced) == (version, "v0001", True, False)
    assert done.reasons == ["beats PCA"]
    assert champion(registry) == version
    pointer = registry.pointer("champion")
    assert pointer is not None
    assert (pointer.history[-1].by, pointer.history[-1].why) == ("cli", "beats PCA")


def test_a_challenger_that_failed_does_not(shop: Shop, registry: Registry) -> None:
    another(registry, passed=False)
    before = tree(shop.output)
    done = promote(shop.pipeline)
    assert (done.champion, done.promoted, done.reasons) == ("v0001", False, ["does not beat PCA"])
    assert tree(shop.output) == before


def test_a_person_may_insist_and_it_is_recorded(shop: Shop, registry: Registry) -> None:
    version = another(registry, passed=False)
    done = promote(shop.pipeline, force=True, by="ann")
    assert (done.champion, done.promoted, done.forced) == (version, True, True)
    pointer = registry.pointer("champion")
    assert pointer is not None
    assert (pointer.history[-1].by, pointer.history[-1].why) == ("ann", "forced: does not beat PCA")


def test_insisting_on_what_passed_is_not_forced(shop: Shop, registry: Registry) -> None:
    another(registry)
    assert promote(shop.pipeline, force=True).forced is False


def test_a_challenger_that_was_compared_with_another_champion_waits(shop: Shop, registry: Registry) -> None:
    """Two trainings, both of which beat v0001: the second was never compared with the first."""
    first, second = another(registry), another(registry)
    assert promote(shop.pipeline, first).promoted
    for version in (None, second):
        done = promote(shop.pipeline, version)
        assert (done.champion, done.promoted) == (first, False)
        assert any(f"champion is {first} now" in reason and second in reason for reason in done.reasons)
    done = promote(shop.pipeline, second, force=True)
    assert (done.champion, done.promoted, done.forced) == (second, True, True), "unless a person insists"


def test_trainings_promote_what_they_trained(shop: Shop, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what another training has registered since, from Python and on the command line."""
    trained, newest = another(registry), another(registry)
    report = report_of(shop.pipeline, trained)
    monkeypatch.setattr("ae_plugin.jobs.train.train", lambda *_, **__: report)
    shop.set(promote="auto")
    api.train(shop.yaml)
    assert champion(registry) == trained != newest
    rollback(shop.pipeline)
    assert run_ae("--quiet", "train", shop.yaml, "--json").json["promotion"]["champion"] == trained


def test_a_training_does_not_promote_over_a_champion_it_never_met(
    shop: Shop, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, other = another(registry), another(registry)
    report = report_of(shop.pipeline, trained)
    monkeypatch.setattr("ae_plugin.jobs.train.train", lambda *_, **__: report)
    shop.set(promote="auto")
    promote(shop.pipeline, other)
    api.train(shop.yaml)
    assert champion(registry) == other


def test_the_champion_cannot_be_promoted(shop: Shop, registry: Registry) -> None:
    before = tree(shop.output)
    for force in (False, True):
        done = promote(shop.pipeline, force=force)
        assert (done.promoted, done.champion, done.reasons) == (False, "v0001", ["v0001 is the champion already"])
    assert tree(shop.output) == before


def test_the_first_version_needs_no_champion_to_beat(shop: Shop, registry: Registry) -> None:
    (shop.output / "_models/champion.json").unlink()
    version = another(registry, compared_with=None)
    done = promote(shop.pipeline)
    assert (done.champion, done.previous, done.promoted) == (version, None, True)


@pytest.mark.parametrize("version", ["v0099", "v1", "../v0001", ""])
def test_no_such_version(shop: Shop, version: str) -> None:
    before = tree(shop.output)
    for force in (False, True):
        if version:
            with pytest.raises(ConfigError, match="no version"):
                promote(shop.pipeline, version, force=force)
    with pytest.raises(ConfigError, match="no version"):
        rollback(shop.pipeline, version or "x")
    assert tree(shop.output) == before


def test_nothing_was_trained_yet(shop: Shop, tmp_path: Path) -> None:
    empty = shop.set(output="nothing")
    with pytest.raises(ConfigError, match="ae train"):
        promote(empty.pipeline)
    with pytest.raises(ConfigError, match="ae train"):
        rollback(empty.pipeline)
    assert not empty.output.exists()


def test_a_version_that_was_tampered_with_is_not_promoted(shop: Shop, registry: Registry) -> None:
    version = another(registry)
    (shop.output / f"_models/{version}/network.tflite").write_bytes(b"x")
    with pytest.raises(StoreError, match="sha256"):
        promote(shop.pipeline, force=True)
    with pytest.raises(StoreError, match="sha256"):
        rollback(shop.pipeline, version)
    assert champion(registry) == "v0001"


# Back again.


def moves(shop: Shop, registry: Registry, steps: list[str]) -> list[str | None]:
    """Promote versions by name, roll back on '<'; the champion after each step, None where that was refused."""
    out: list[str | None] = []
    for step in steps:
        try:
            found = rollback(shop.pipeline) if step == "<" else promote(shop.pipeline, step, force=True)
            out.append(found.champion)
            assert champion(registry) == found.champion
        except ConfigError:
            out.append(None)
    return out


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (["<"], [None]),
        (["v0002", "<"], ["v0002", "v0001"]),
        (["v0002", "<", "<"], ["v0002", "v0001", None]),
        (["v0002", "v0003", "<", "<", "<"], ["v0002", "v0003", "v0002", "v0001", None]),
        (["v0002", "<", "v0003", "<", "<"], ["v0002", "v0001", "v0003", "v0001", None]),
        (["v0002", "<", "v0002", "<"], ["v0002", "v0001", "v0002", "v0001"]),
        (["v0002", "v0001", "<", "<"], ["v0002", "v0001", "v0002", "v0001"]),
    ],
)
def test_each_rollback_goes_one_champion_further_back(
    shop: Shop, registry: Registry, steps: list[str], wanted: list[Any]
) -> None:
    another(registry)
    another(registry)
    assert moves(shop, registry, steps) == wanted


def test_rolling_back_to_a_version_by_name(shop: Shop, registry: Registry) -> None:
    for _ in range(2):
        another(registry)
    moves(shop, registry, ["v0002", "v0003"])
    done = rollback(shop.pipeline, "v0001", by="ann")
    assert (done.champion, done.previous, done.promoted) == ("v0001", "v0003", True)
    assert done.reasons == ["rolled back from v0003"]
    pointer = registry.pointer("champion")
    assert pointer is not None
    assert (pointer.history[-1].version, pointer.history[-1].by) == ("v0001", "ann")
    with pytest.raises(ConfigError, match="first champion"):
        rollback(shop.pipeline)


def test_a_champion_that_was_tampered_with_can_be_rolled_back(shop: Shop, registry: Registry) -> None:
    """As its own error message advises."""
    another(registry)
    moves(shop, registry, ["v0002"])
    (shop.output / "_models/v0002/network.tflite").write_bytes(b"x")
    assert rollback(shop.pipeline).champion == "v0001"


def test_rolling_back_changes_no_version(shop: Shop, registry: Registry) -> None:
    another(registry)
    before = {name: digest for name, digest in tree(shop.output).items() if "/v0" in name}
    moves(shop, registry, ["v0002", "<"])
    assert {name: digest for name, digest in tree(shop.output).items() if "/v0" in name} == before


# What there is.


def test_a_version_that_is_damaged_is_listed_with_what_is_wrong(shop: Shop, registry: Registry) -> None:
    another(registry)
    another(registry)
    (shop.output / "_models/v0001/report.json").write_bytes(b"x")
    (shop.output / "_models/v0002/model.json").unlink()
    first, second, third = models(shop.pipeline)
    assert (first.version, first.pointers, first.rows_train) == ("v0001", ["champion"], None)
    assert "v0001/report.json: was changed" in str(first.problem)
    assert "v0002/model.json: was changed" in str(second.problem)
    assert (third.version, third.pointers, third.problem) == ("v0003", ["challenger"], None)
    shown = run_ae("models", shop.yaml)
    assert shown.code == 0 and len(shown.out.splitlines()) == 3
    assert shown.out.startswith(f"v0001  {first.problem}  champion")


def test_listing_models_reads_no_weights(shop: Shop) -> None:
    for path in (shop.output / "_models/v0001").iterdir():
        if path.name not in ("model.json", "report.json"):
            path.unlink()
    assert [entry.problem for entry in models(shop.pipeline)] == [None]


def test_models_are_listed_with_their_pointers(shop: Shop, registry: Registry) -> None:
    another(registry, passed=False)
    first, second = models(shop.pipeline)
    assert (first.version, first.pointers, second.version, second.pointers) == (
        "v0001",
        ["champion"],
        "v0002",
        ["challenger"],
    )
    assert second.gate_passed is False
    assert first.rows_train == report_of(shop.pipeline).rows_train > 0
    assert report_of(shop.pipeline, "v0002").gate.reasons == ["does not beat PCA"]
    assert report_of(shop.pipeline, "v0002").model_version == "v0002"
    assert models(shop.set(output="nothing").pipeline) == []


# In Airflow.

PROMOTES = """
import sys
from collections import defaultdict
from types import SimpleNamespace
from ae_plugin import config
from ae_plugin.provider.dag_factory import train_dag

dag = train_dag(config.load(sys.argv[1]), sys.argv[1])
reports = {"train": {"model_version": sys.argv[2]}}
task = dag.get_task("promote")
ti = SimpleNamespace(xcom_pull=lambda task_ids: reports.get(task_ids))
task.render_template_fields({"ti": ti})
events = defaultdict(lambda: SimpleNamespace(extra={}))
print(task.execute({"outlet_events": events, "ti": ti})["champion"])
(event,) = events.values()
assert event.extra["model_version"] == sys.argv[2] and event.extra["forced"] is False, event
"""


@pytest.mark.parametrize("how", ["auto", "approval"])
def test_the_train_dag_promotes_what_it_trained(shop: Shop, registry: Registry, tmp_path: Path, how: str) -> None:
    """A person may take days to approve it, and another version may be the challenger by then."""
    shop.set(promote=how)
    approved = another(registry)
    another(registry)
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", PROMOTES, str(shop.yaml), approved]
    ran = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines()[-1] == champion(registry) == approved


def test_of_two_who_promote_at_once_one_wins(shop: Shop, registry: Registry) -> None:
    """Both versions were compared with the same champion: the second one no longer beats what scores now."""
    names = [another(registry), another(registry)]
    for _ in range(10):
        registry.point("champion", "v0001", by="test", why="anew")
        with ThreadPoolExecutor(2) as pool:
            won = [record.promoted for record in pool.map(lambda name: promote(shop.pipeline, name), names)]
        assert sorted(won) == [False, True]


def test_nobody_rolls_back_to_what_was_never_champion(shop: Shop, registry: Registry) -> None:
    """That would walk around the gate."""
    version = another(registry, passed=False)
    with pytest.raises(ConfigError, match=f"{version} was never champion"):
        rollback(shop.pipeline, version)
    assert former_champions(shop.pipeline) == []
    promote(shop.pipeline, version, force=True)
    assert former_champions(shop.pipeline) == ["v0001"]
    rollback(shop.pipeline)
    assert former_champions(shop.pipeline) == [version]
    assert rollback(shop.pipeline, version).champion == version
