"""What somebody decides on the page is kept as if it had been said on the command line, with the name of who did."""

from __future__ import annotations

import pytest

from ae_plugin.jobs.feedback import standing
from ae_plugin.jobs.promote import promote
from ae_plugin.jobs.score import score
from ae_plugin.store.decisions import read_decision
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from tests.running import tree
from tests.shop import FRESH, day
from tests.web.conftest import REFUSED, Served

DAY, BAD = f"date={day(FRESH)}", f"date={day(REFUSED)}"


def test_false_alarms_and_confirmed_rows(web: Served) -> None:
    rows = [row["row"] for row in web.site.get("pipelines/shop/rows", partition=DAY)["rows"][:3]]
    answer = web.site.order(
        "pipelines/shop/feedback", partition=DAY, rows=rows[:2], verdict="false_alarm", note="a new courier"
    )
    assert answer.status_code == 200, answer.text
    assert [mark["who"] for mark in answer.json()["marks"]] == ["ann", "ann"]
    answer = web.site.order(
        "pipelines/shop/feedback", partition=DAY, rows=rows[2:], verdict="confirmed", column="quantity"
    )
    assert answer.status_code == 200
    kept = {mark.row: mark for mark in standing(web.shop.pipeline).marks}
    assert [kept[row].verdict for row in rows] == ["false_alarm", "false_alarm", "confirmed"]
    assert (kept[rows[0]].note, kept[rows[2]].column) == ("a new courier", "quantity")
    shown = {row["row"]: row["feedback"] for row in web.site.get("pipelines/shop/rows", partition=DAY)["rows"]}
    assert shown[rows[2]]["verdict"] == "confirmed" and shown[rows[2]]["who"] == "ann"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"partition": DAY, "rows": [0], "verdict": "maybe"}, 422),
        ({"partition": DAY, "rows": [], "verdict": "confirmed"}, 422),
        ({"partition": DAY, "rows": [1] * 1001, "verdict": "confirmed"}, 422),
        ({"partition": DAY, "rows": [0], "verdict": "confirmed", "colour": "red"}, 422),
        ({"partition": DAY, "rows": [10**6], "verdict": "confirmed"}, 409),
        ({"partition": DAY, "rows": [-1], "verdict": "confirmed"}, 409),
        ({"partition": DAY, "rows": [0, 10**6], "verdict": "confirmed"}, 409),
        ({"partition": "date=1999-01-01", "rows": [0], "verdict": "confirmed"}, 409),
        ({"partition": "../..", "rows": [0], "verdict": "confirmed"}, 409),
        ({"partition": DAY, "rows": [0], "verdict": "confirmed", "column": "nothing"}, 409),
        ({"partition": DAY, "rows": [0], "verdict": "confirmed", "note": "x" * 2001}, 422),
    ],
)
def test_feedback_that_makes_no_sense_is_not_kept(web: Served, body: dict[str, object], status: int) -> None:
    before = tree(web.shop.output)
    answer = web.site.order("pipelines/shop/feedback", **body)
    assert answer.status_code == status, answer.text
    assert "detail" in answer.json()
    assert tree(web.shop.output) == before


def test_promote_and_roll_back(web: Served) -> None:
    registry = Registry(str(web.shop.output))
    card, files = registry.read("v0001")
    version = registry.register(files, {name: value for name, value in card.items() if name != "files"})
    models = {entry["version"]: entry for entry in web.site.get("pipelines/shop/models")["models"]}
    assert models[version]["pointers"] == ["challenger"]
    refused = web.site.order("pipelines/shop/promote", version=version)
    assert refused.status_code == 200 and refused.json()["promoted"] is False and refused.json()["reasons"]
    forced = web.site.order("pipelines/shop/promote", version=version, force=True).json()
    assert (forced["promoted"], forced["forced"], forced["champion"]) == (True, True, version)
    pointer = registry.pointer("champion")
    assert pointer is not None and pointer.history[-1].by == "ann"
    assert web.site.get("pipelines", search="shop")["pipelines"][0]["champion"] == version, "seen at once"
    back = web.site.order("pipelines/shop/rollback").json()
    assert (back["champion"], back["previous"]) == ("v0001", version)
    answer = web.site.order("pipelines/shop/promote", version="v0099")
    assert answer.status_code == 409 and "no version 'v0099'" in answer.json()["detail"]
    assert web.site.order("pipelines/shop/rollback", version="v0001").status_code == 200
    assert web.site.order("pipelines/fresh/rollback").status_code == 409
    promote(web.shop.pipeline, "v0001", force=True)


def test_release_and_discard(web: Served) -> None:
    run = web.site.get("pipelines/shop/partition", partition=BAD)["run"]
    assert web.site.get("pipelines", search="shop")["pipelines"][0]["waiting"] == 1
    changed = web.site.order("pipelines/shop/decide", partition=BAD, decision="release", seen="another listing")
    assert changed.status_code == 409 and "changed" in changed.json()["detail"]
    answer = web.site.order(
        "pipelines/shop/decide", partition=BAD, decision="release", seen=run["input_fingerprint"], note="a new shop"
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["decision"], answer.json()["who"], answer.json()["note"]) == ("release", "ann", "a new shop")
    kept = read_decision(Folder(str(web.shop.output)), BAD)
    assert kept is not None and kept.decision == "release"
    body = web.site.get("pipelines/shop/partition", partition=BAD)
    assert body["decision"]["decision"] == "release"
    points = {point["partition"]: point for point in web.site.get("pipelines/shop/timeline")["points"]}
    assert points[BAD]["decision"] == "release" and points[DAY]["decision"] is None
    assert web.site.get("pipelines", search="shop")["pipelines"][0]["waiting"] == 0
    score(web.shop.pipeline, BAD)
    body = web.site.get("pipelines/shop/partition", partition=BAD)
    assert body["run"]["outcome"] == "scored" and body["run"]["guard"]["verdict"] == "unfamiliar"
    assert any("ann" in note for note in body["run"]["notes"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"partition": DAY, "decision": "release"}, 409),
        ({"partition": "date=1999-01-01", "decision": "discard"}, 409),
        ({"partition": DAY, "decision": "burn"}, 422),
        ({"decision": "release"}, 422),
    ],
)
def test_decisions_that_make_no_sense(web: Served, body: dict[str, object], status: int) -> None:
    answer = web.site.order("pipelines/shop/decide", **body)
    assert answer.status_code == status, answer.text


def test_a_user_who_may_not_edit_cannot(web: Served) -> None:
    for who, allowed in (("viewer", False), ("user", True)):
        assert web.site.get("pipelines/shop", who)["may_decide"] is allowed
        answer = web.site.order("pipelines/shop/rollback", who, version="v0077")
        assert answer.status_code == (409 if allowed else 403)
