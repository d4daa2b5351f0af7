"""What the page is told: pipelines, partitions, rows, pictures and models, as they lie in the outputs."""

from __future__ import annotations

import hashlib
import io
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ae_plugin.jobs.due import runs
from ae_plugin.jobs.latent.traverse import traverse
from ae_plugin.jobs.models import models
from ae_plugin.schemas import AirflowTask, ModelEntry, RunRecord
from tests.shop import FRESH, day
from tests.web.conftest import EVIL, REFUSED, Served

DAY, OTHER, BAD = (f"date={day(number)}" for number in (FRESH, FRESH + 1, REFUSED))


def scores(web: Served, partition: str = DAY) -> dict[str, list[object]]:
    return dict(pq.read_table(web.shop.output / f"scores/{partition}/part-0.parquet").to_pydict())


def test_pipelines_at_a_glance(web: Served) -> None:
    body = web.site.get("pipelines")
    found = {entry["name"]: entry for entry in body["pipelines"]}
    assert set(found) == {"shop", "boards", "fresh", "tampered", "pointless", "broken"}
    assert body["total"] == 6 and sum(body["counts"].values()) == 6
    assert found["broken"]["state"] == "unreadable" and "colour: unknown key" in found["broken"]["problem"]
    shop = found["shop"]
    assert (shop["champion"], shop["partitions_scored"], shop["last_partition"]) == ("v0001", 3, BAD)
    assert (shop["state"], shop["waiting"], shop["last_verdict"]) == ("refused", 1, "unfamiliar")
    newest = runs(web.shop.pipeline)[-1]
    assert shop["observed_alert_rate"] == newest.observed_alert_rate and shop["rows"] == 200
    assert [point["partition"] for point in shop["recent"]] == [DAY, OTHER, BAD]
    assert found["fresh"]["state"] == "no_model" and found["fresh"]["champion"] is None
    assert found["tampered"]["state"] == "nothing_scored"
    assert found["pointless"]["state"] == "unreadable"
    assert "champion.json: is not a pointer file" in found["pointless"]["problem"]
    assert found["boards"]["pictures"] is True


def test_what_needs_a_look_comes_first(web: Served) -> None:
    order = [entry["name"] for entry in web.site.get("pipelines")["pipelines"]]
    assert order[:3] == ["broken", "pointless", "shop"]
    assert [e["name"] for e in web.site.get("pipelines", sort="name", descending=True)["pipelines"]] == [
        "tampered", "shop", "pointless", "fresh", "broken", "boards",
    ]  # fmt: skip


@pytest.mark.parametrize("sort", ["state", "name", "rate", "age", "last"])
@pytest.mark.parametrize("descending", [False, True])
def test_every_order_holds_all_of_them(web: Served, sort: str, descending: bool) -> None:
    assert len(web.site.get("pipelines", sort=sort, descending=descending)["pipelines"]) == 6


def test_search_state_and_paging(web: Served) -> None:
    body = web.site.get("pipelines", search="SHO")
    assert [entry["name"] for entry in body["pipelines"]] == ["shop"]
    body = web.site.get("pipelines", state="refused")
    assert [entry["name"] for entry in body["pipelines"]] == ["shop"] and body["counts"]["no_model"] == 1
    pages = [web.site.get("pipelines", offset=offset, limit=2)["pipelines"] for offset in (0, 2, 4)]
    assert [len(page) for page in pages] == [2, 2, 2]
    assert len({entry["name"] for page in pages for entry in page}) == 6


def test_a_pipeline_and_what_is_set_for_it(web: Served) -> None:
    body = web.site.get("pipelines/shop")
    assert (body["train_dag"], body["score_dag"]) == ("shop__train", "shop__score")
    assert body["keys"] == ["order_id"] and body["partition_by"] == ["date"]


def test_the_newest_run_of_each_partition(web: Served) -> None:
    body = web.site.get("pipelines/shop/runs")
    assert [RunRecord.model_validate(run) for run in body["runs"]] == runs(web.shop.pipeline)


def test_the_timeline(web: Served) -> None:
    body = web.site.get("pipelines/shop/timeline")
    assert body["total"] == 3
    assert [(point["partition"], point["outcome"]) for point in body["points"]] == [
        (DAY, "scored"), (OTHER, "scored"), (BAD, "quarantined"),
    ]  # fmt: skip
    for point in body["points"]:
        low, high = point["expected"]
        assert 0 <= low <= 0.01 <= high < 0.1
        assert set(point["score_quantiles"]) == {"0.5", "0.9", "0.99"}
    assert body["points"][0]["observed_alert_rate"] > body["points"][0]["expected"][1], "a tenth of it is spoilt"
    assert [p["partition"] for p in web.site.get("pipelines/shop/timeline", last=1)["points"]] == [BAD]


def test_a_new_run_is_seen_at_once(web: Served) -> None:
    latest = web.shop.output / f"_runs/_latest/{DAY}.json"
    text = latest.read_text()
    record = RunRecord.model_validate_json(text)
    task = AirflowTask(dag_id="shop__score", run_id="manual__1", task_id="score", map_index=2)
    changed = record.model_copy(update={"anomalies": 77, "airflow": task})
    try:
        swapped = latest.with_name("new")
        swapped.write_text(changed.model_dump_json())
        swapped.replace(latest)
        points = web.site.get("pipelines/shop/timeline")["points"]
        assert points[0]["anomalies"] == 77
        for params, wanted in (
            ({"run_id": "manual__1"}, [DAY]),
            ({"run_id": "manual__1", "task_id": "score", "map_index": 2}, [DAY]),
            ({"run_id": "manual__1", "task_id": "score", "map_index": 1}, []),
            ({"run_id": "manual__1", "task_id": "summary", "map_index": -1}, []),
            ({"run_id": "manual__2"}, []),
            ({}, []),
        ):
            body = web.site.get("context", dag_id="shop__score", **params)
            assert (body["pipeline"], body["verb"]) == ("shop", "score")
            assert [point["partition"] for point in body["points"]] == wanted
    finally:
        swapped.write_text(text)
        swapped.replace(latest)
    assert web.site.get("pipelines/shop/timeline")["points"][0]["anomalies"] == record.anomalies


def test_a_dag_that_is_none_of_ours(web: Served) -> None:
    for dag in ("other", "shop__other", "nothing__score", "__score", "shop"):
        assert web.site.get("context", dag_id=dag) == {
            "pipeline": None, "verb": None, "points": [], "version": None, "problem": None,
        }  # fmt: skip


def test_a_yaml_that_does_not_load_says_why_wherever_it_is_looked_for(web: Served) -> None:
    answer = web.site.ask("viewer", "/ae/api/pipelines/broken")
    assert answer.status_code == 409 and "colour: unknown key" in answer.json()["detail"]
    body = web.site.get("context", dag_id="broken__broken")
    assert body["pipeline"] is None and "colour: unknown key" in body["problem"]


def test_a_training_that_airflow_did_not_run(web: Served) -> None:
    body = web.site.get("context", dag_id="shop__train", run_id="manual__1")
    assert (body["pipeline"], body["verb"], body["version"]) == ("shop", "train", None)


def test_a_partition(web: Served) -> None:
    body = web.site.get("pipelines/shop/partition", partition=OTHER)
    assert (body["previous"], body["next"], body["decision"]) == (DAY, BAD, None)
    assert RunRecord.model_validate(body["run"]) == runs(web.shop.pipeline)[1]
    assert body["profile"]["scores"]["threshold"] is not None
    source = pq.read_schema(web.shop.source / f"{OTHER}/part-0.parquet")
    assert body["columns"] == source.names


def test_a_refused_partition_says_why(web: Served) -> None:
    body = web.site.get("pipelines/shop/partition", partition=BAD)
    assert body["run"]["outcome"] == "quarantined" and body["run"]["guard"]["reasons"]
    product = next(column for column in body["profile"]["columns"] if column["column"] == "product")
    assert product["now"][product["parts"].index("never seen")] == pytest.approx(1)
    page = web.site.get("pipelines/shop/rows", partition=BAD)
    assert (page["total"], page["flagged"], page["rows"]) == (0, 0, [])


def test_flagged_rows_worst_first(web: Served) -> None:
    told, body = scores(web), web.site.get("pipelines/shop/rows", partition=DAY, limit=200)
    flagged = [row for row, odd in enumerate(told["is_anomaly"]) if odd]
    order = sorted(flagged, key=lambda row: (told["p_value"][row], -told["anomaly_score"][row], row))  # type: ignore[operator]
    assert [row["row"] for row in body["rows"]] == order
    assert body["total"] == body["flagged"] == len(flagged) > 10
    for row in body["rows"]:
        assert row["keys"] == {"order_id": str(told["order_id"][row["row"]])}
        assert row["top_column"] == told["top_column"][row["row"]]
    pages = [web.site.get("pipelines/shop/rows", partition=DAY, offset=n, limit=7)["rows"] for n in (0, 7)]
    assert [row["row"] for page in pages for row in page] == order[:14]


def test_wrong_cells_of_a_row(web: Served) -> None:
    cells = pq.read_table(web.shop.output / f"cells/{DAY}/part-0.parquet").to_pylist()
    for row in web.site.get("pipelines/shop/rows", partition=DAY, limit=200)["rows"]:
        own = [cell for cell in cells if cell["row"] == row["row"]]
        assert {(c["column"], c["observed"], c["expected"]) for c in row["cells"]} == {
            (c["column"], c["observed"], c["expected"]) for c in own
        }
        assert [c["p_value"] for c in row["cells"]] == sorted(c["p_value"] for c in row["cells"])


def test_rows_by_column_by_value_and_by_selection(web: Served) -> None:
    def rows(**filters: object) -> list[dict[str, object]]:
        return list(web.site.get("pipelines/shop/rows", partition=DAY, limit=200, **filters)["rows"])

    everything = rows()
    by_column = rows(column="quantity")
    assert by_column and all(
        row["top_column"] == "quantity" or "quantity" in {cell["column"] for cell in row["cells"]}  # type: ignore[attr-defined]
        for row in by_column
    )
    assert {row["row"] for row in rows(value="CHESE")} == {
        row["row"]
        for row in everything
        if any(cell["observed"] == "chese" for cell in row["cells"])  # type: ignore[attr-defined]
    }
    assert rows(column="product", value="-9999") == [] and rows(column="no such column") == []
    chosen = [row["row"] for row in everything[3:6]]
    assert [row["row"] for row in rows(row=chosen)] == chosen


def test_whole_rows(web: Served) -> None:
    first = web.site.get("pipelines/shop/rows", partition=DAY, value="chese")["rows"][0]
    body = web.site.get("pipelines/shop/values", partition=DAY, row=[first["row"], 0])
    assert [row["row"] for row in body["rows"]] == [first["row"], 0]
    values = {value["column"]: value for value in body["rows"][0]["values"]}
    assert list(values) == web.site.get("pipelines/shop/partition", partition=DAY)["columns"]
    assert (values["product"]["observed"], values["product"]["denoised"]) == ("chese", "cheese")
    assert values["product"]["changed"] and not values["order_id"]["changed"]
    assert web.site.get("pipelines/shop/values", partition=DAY, row=[10**9])["rows"] == []


def test_whole_rows_of_a_partition_that_changed_since(web: Served) -> None:
    path = web.shop.source / f"{OTHER}/part-0.parquet"
    kept = path.with_name(".kept")
    shutil.copy2(path, kept)
    try:
        path.write_bytes(kept.read_bytes())
        answer = web.site.ask("viewer", "/ae/api/pipelines/shop/values", params={"partition": OTHER, "row": 0})
        assert answer.status_code == 409 and "changed since it was scored" in answer.json()["detail"]
    finally:
        kept.replace(path)


def test_values_are_told_as_they_are(web: Served) -> None:
    """What a value looks like is for the page, which writes text and never markup."""
    answer = web.site.ask("viewer", "/ae/api/pipelines/shop/values", params={"partition": OTHER, "row": 0})
    assert answer.headers["content-type"] == "application/json"
    values = {value["column"]: value["observed"] for value in answer.json()["rows"][0]["values"]}
    assert values["product"] == EVIL


@pytest.mark.parametrize("dataset", ["rows", "cells"])
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_downloads(web: Served, dataset: str, format: str) -> None:
    params = {"partition": DAY, "dataset": dataset, "format": format}
    answer = web.site.ask("viewer", "/ae/api/pipelines/shop/download", params=params)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="shop-date-{day(FRESH)}-{dataset}.{format}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    name = "scores" if dataset == "rows" else "cells"
    whole = pq.read_table(web.shop.output / f"{name}/{DAY}/part-0.parquet")
    wanted = whole.filter(whole.column("is_anomaly")) if dataset == "rows" else whole
    if format == "parquet":
        assert pq.read_table(io.BytesIO(answer.content)).equals(wanted)
    else:
        found = pcsv.read_csv(io.BytesIO(answer.content))
        assert found.column_names == wanted.column_names and found.num_rows == wanted.num_rows > 0


def test_pictures(web: Served) -> None:
    partition = web.site.get("pipelines/boards")["summary"]["last_partition"]
    newest = [p["partition"] for p in web.site.get("pipelines/boards/timeline")["points"] if p["outcome"] == "scored"]
    partition = newest[-1] if newest else partition
    page = web.site.get("pipelines/boards/rows", partition=partition)
    assert page["flagged"] > 0
    row = page["rows"][0]
    assert row["cells"] == [] and list(row["keys"]) == ["file"]
    original = (web.boards.source / partition / row["keys"]["file"]).read_bytes()
    for what in ("original", "denoised", "heatmap", "mask"):
        params = {"partition": partition, "row": row["row"], "what": what}
        answer = web.site.ask("viewer", "/ae/api/pipelines/boards/picture", params=params)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/png", what
        assert Image.open(io.BytesIO(answer.content)).size == Image.open(io.BytesIO(original)).size
        if what == "original":
            assert answer.content == original
    for row_asked, what in ((10**6, "original"), (10**6, "denoised"), (10**6, "heatmap")):
        params = {"partition": partition, "row": row_asked, "what": what}
        assert web.site.ask("viewer", "/ae/api/pipelines/boards/picture", params=params).status_code == 404
    assert web.site.get("pipelines/boards/values", partition=partition, row=0) == {"rows": []}
    assert web.site.ask("viewer", "/ae/api/pipelines/shop/picture", params={"row": 0}).status_code == 404


def test_the_model_versions(web: Served) -> None:
    body = web.site.get("pipelines/shop/models")
    assert [ModelEntry.model_validate(entry) for entry in body["models"]] == models(web.shop.pipeline)
    assert body["models"][0]["pointers"] == ["champion", "challenger"] and body["may_decide"] is False


def test_one_version(web: Served) -> None:
    body = web.site.get("pipelines/shop/models/v0001")
    assert body["report"]["rows_train"] == body["entry"]["rows_train"] > 0
    rates = {line["alert_rate"]: line for line in body["calibration"]}
    assert rates[0.1]["threshold"] < rates[0.01]["threshold"] and rates[0.1]["by_chance"] > rates[0.01]["by_chance"]
    assert [move["by"] for move in body["moves"]] == ["cli"]
    assert web.site.ask("viewer", "/ae/api/pipelines/shop/models/v9999").status_code == 404
    assert web.site.ask("viewer", "/ae/api/pipelines/shop/models/..%2f..").status_code == 404


def test_two_versions(web: Served) -> None:
    assert web.site.get("pipelines/shop/compare", one="v0001", other="v0001")["differences"] == []
    answer = web.site.ask("viewer", "/ae/api/pipelines/shop/compare", params={"one": "v0001", "other": "v0002"})
    assert answer.status_code == 409 and "no version 'v0002'" in answer.json()["detail"]


def test_a_pipeline_that_has_nothing_yet(web: Served) -> None:
    assert web.site.get("pipelines/fresh/runs") == {"runs": []}
    assert web.site.get("pipelines/fresh/models") == {"models": [], "may_decide": False, "former": []}
    assert web.site.get("pipelines/fresh/timeline")["points"] == []


def test_a_version_that_was_tampered_with_says_so(web: Served) -> None:
    body = web.site.get("pipelines/tampered/models")
    assert [entry["version"] for entry in body["models"]] == ["v0001"]
    assert "v0001/model.json: was changed" in body["models"][0]["problem"]
    assert "was changed" in web.site.get("pipelines/tampered/models/v0001")["entry"]["problem"]


def test_a_pointer_that_was_tampered_with_is_one_line(web: Served) -> None:
    answer = web.site.ask("admin", "/ae/api/pipelines/pointless/models")
    assert answer.status_code == 409
    assert set(answer.json()) == {"detail"} and "\n" not in answer.json()["detail"]
    assert "champion.json: is not a pointer file" in answer.json()["detail"]


def test_what_is_written_of_a_partition_is_gone(web: Served) -> None:
    path = web.shop.output / f"scores/{OTHER}/part-0.parquet"
    hidden = path.with_name(".hidden")
    path.rename(hidden)
    try:
        answer = web.site.ask("viewer", "/ae/api/pipelines/shop/rows", params={"partition": OTHER})
        assert answer.status_code == 409 and "cannot be read" in answer.json()["detail"]
    finally:
        hidden.rename(path)


def test_the_api_is_documented(web: Served) -> None:
    body = web.site.ask("viewer", "/ae/api/openapi.json").json()
    documented = {(method.upper(), f"/ae{path}") for path, known in body["paths"].items() for method in known}
    assert documented == {
        (m, path) for m, path in web.site.routes if path.startswith("/ae/api/") and "openapi" not in path
    }
    for known in body["paths"].values():
        for operation in known.values():
            assert operation["description"]


def test_many_flagged_rows_are_paged_from_the_worst(web: Served) -> None:
    """More than are kept: the worst are, and all are counted."""
    import ae_plugin.web.rows as module
    from ae_plugin.store.files import Folder

    folder = Folder(str(web.shop.output))
    run = runs(web.shop.pipeline)[0]
    whole = module._read_flagged(folder, run)
    before = module.MOST
    try:
        module.MOST = 5
        few = module._read_flagged(folder, run)
    finally:
        module.MOST = before
    assert few.total == whole.total > 5 and few.rows.tolist() == whole.rows[:5].tolist()
    assert isinstance(pa.array(few.rows), pa.Array)


def test_the_newest_traversal(web: Served) -> None:
    assert web.site.get("pipelines/shop/traversal") == {"record": None, "latents": []}
    record = traverse(web.shop.pipeline, latents=2, steps=3)
    body = web.site.get("pipelines/shop/traversal")
    assert body["record"] == record.model_dump(mode="json")
    frames = pq.read_table(web.shop.output / "traversal/frames.parquet", partitioning=None)
    for latent, note in zip(body["latents"], record.latents, strict=True):
        own = frames.filter(pc.equal(frames["latent"], note.latent))
        assert latent["values"] == pytest.approx(own["value"].to_pylist())
        first = latent["columns"][0]
        assert first["column"] == note.moves[0].what and len(set(first["values"])) > 1
        assert first["values"][0] == note.moves[0].first and len(first["values"]) == 3
    assert web.site.ask("viewer", "/ae/api/pipelines/shop/traversal/picture?latent=0&step=0").status_code == 404
    assert web.site.ask("nobody", "/ae/api/pipelines/shop/traversal").status_code in (401, 403)
    (web.shop.output / "traversal/frames.parquet").write_bytes(b"x")
    assert web.site.ask("viewer", "/ae/api/pipelines/shop/traversal").status_code == 409


def test_pictures_of_a_traversal(web: Served) -> None:
    """Frames as a model of whole pictures leaves them; which needs none here."""
    frames = web.boards.output / "traversal/frames.parquet"
    frames.parent.mkdir()
    own = {"latent": pa.array([4, 4], pa.int32()), "step": pa.array([0, 1], pa.int32()), "value": [-1.0, 1.0]}
    pq.write_table(pa.table({**own, "image": pa.array([b"one", b"two"])}), frames)
    made = traverse(web.shop.pipeline, latents=1, steps=2, output=str(web.root / "aside"))
    note = made.latents[0].model_copy(update={"latent": 4})
    outputs = {"traversal/frames.parquet": hashlib.sha256(frames.read_bytes()).hexdigest()}
    record = made.model_copy(update={"latents": [note], "outputs": outputs})
    path = web.boards.output / "_runs/_traversal/newest.json"
    path.parent.mkdir(parents=True)
    path.write_text(record.model_dump_json())
    assert web.site.get("pipelines/boards/traversal")["latents"][0]["columns"] == []
    address = "/ae/api/pipelines/boards/traversal/picture"
    found = web.site.ask("viewer", address, params={"latent": 4, "step": 1})
    assert found.content == b"two" and found.headers["content-type"] == "image/png"
    for wrong in ({"latent": 4, "step": 2}, {"latent": 5, "step": 0}):
        assert web.site.ask("viewer", address, params=wrong).status_code == 404
