"""The shipped pictures' DAGs: the same file and scheduler as for tables, over a folder of PNG files."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from tests.e2e.conftest import BOARDS_SCORED, House
from tests.running import ROOT
from tools.truth import compare_pictures, read_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tasks(house: House) -> list[dict[str, Any]]:
    """The task instances of the score run that the new champion's asset started."""
    return house.first_score("boards")


def test_each_late_day_is_a_mapped_task_named_after_it(tasks: list[dict[str, Any]]) -> None:
    states = {task["rendered_map_index"]: task["state"] for task in tasks if task["task_id"] == "score"}
    assert states == dict.fromkeys(BOARDS_SCORED, "success")


@pytest.mark.usefixtures("tasks")
def test_every_picture_is_scored_and_each_flagged_one_has_a_heatmap(house: House) -> None:
    output = house.root / "out/boards"
    scores, heatmaps = read_dataset(output / "scores"), read_dataset(output / "heatmaps")
    source = house.root / "sample_data/boards"
    for name, own in scores.groupby("date"):
        assert list(own["file"]) == sorted(path.name for path in (source / f"date={name}").iterdir())
    assert scores["date"].nunique() == len(BOARDS_SCORED) and scores["p_value"].notna().all()
    flagged = scores[scores["is_anomaly"]]
    assert list(heatmaps["file"]) == list(flagged["file"]) and len(flagged)


@pytest.mark.usefixtures("tasks")
def test_defective_boards_are_flagged_far_more_often_than_good_ones(house: House) -> None:
    """However short the training: what a long one finds is measured, not tested."""
    truth = pd.read_csv(ROOT / "sample_data/boards_truth.csv")
    days = [name.removeprefix("date=") for name in BOARDS_SCORED]
    found = compare_pictures(truth[truth["date"].isin(days)], house.root / "out/boards")
    assert (found.bad, found.good) == (12, 48)
    assert found.bad_flagged / found.bad > 4 * found.good_flagged / found.good
