"""The shipped pictures' DAGs: the same file and scheduler as for tables, over a folder of PNG files."""

from __future__ import annotations

from typing import Any

import pytest

from ae_plugin import config
from ae_plugin.jobs.promote import promote
from tests.e2e.conftest import BOARDS_SCORED, House
from tools.truth import read_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tasks(house: House) -> list[dict[str, Any]]:
    """The task instances of a score run, after a short training whose version a person promotes."""
    assert house.first_training("boards") == {"train": ["success"]}
    promote(config.load(house.root / "dags/pipelines/boards.yaml"), "v0001", force=True)
    state, tasks, _ = house.run("boards__score")
    assert state == "success"
    return tasks


def test_each_late_day_is_a_mapped_task_named_after_it(tasks: list[dict[str, Any]]) -> None:
    states = {task["rendered_map_index"]: task["state"] for task in tasks if task["task_id"] == "score"}
    assert states == dict.fromkeys(BOARDS_SCORED, "success")


@pytest.mark.usefixtures("tasks")
def test_every_picture_is_scored_and_each_flagged_one_has_a_heatmap(house: House) -> None:
    output, source = house.root / "out/boards", house.root / "sample_data/boards"
    scores, heatmaps = read_dataset(output / "scores"), read_dataset(output / "heatmaps")
    assert [f"date={name}" for name in scores["date"].unique()] == BOARDS_SCORED
    for name, own in scores.groupby("date"):
        assert list(own["file"]) == sorted(path.name for path in (source / f"date={name}").iterdir())
    assert scores["p_value"].notna().all() and set(scores["model_version"]) == {"v0001"}
    assert list(heatmaps["file"]) == list(scores["file"][scores["is_anomaly"]])
