"""Operators of the bottleneck's jobs, over several partitions: one that fails does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ae_plugin.jobs.score import score
from ae_plugin.provider.latent import CompletePartitionOperator, EmbedPartitionOperator
from tests.shop import FRESH, Shop, day, make_orders, write_day

GOOD, BAD, LATER = (f"date={day(FRESH + number)}" for number in range(3))


@pytest.fixture
def yaml_of(shop: Shop) -> str:
    """A pipeline of which three partitions were scored, and the middle one has lost a learned column since."""
    for number, name in enumerate((GOOD, BAD, LATER)):
        write_day(shop.source, FRESH + number, make_orders(300, day(FRESH + number), seed=number))
        score(shop.pipeline, name)
    path = shop.source / BAD / "part-0.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns(["weight"]), path)
    return str(shop.yaml)


@pytest.mark.parametrize(
    ("operator", "dataset"), [(EmbedPartitionOperator, "embeddings"), (CompletePartitionOperator, "completed")]
)
def test_a_partition_that_fails_does_not_stop_the_others(
    operator: type[EmbedPartitionOperator], dataset: str, shop: Shop, yaml_of: str
) -> None:
    task = operator(task_id="work", pipeline=yaml_of, partition=[GOOD, BAD, LATER])
    with pytest.raises(AirflowFailException, match="'weight' is missing, but the model learned it"):
        task.execute({})
    written = sorted(path.name for path in (shop.output / dataset).iterdir())
    assert written == [GOOD, LATER]


def test_what_is_done_is_told_and_no_partition_is_no_work(shop: Shop, yaml_of: str) -> None:
    told = EmbedPartitionOperator(task_id="work", pipeline=yaml_of, partition=[LATER, GOOD]).execute({})
    assert [(record["partition"], record["rows"]) for record in told] == [(LATER, 300), (GOOD, 300)]
    with pytest.raises(AirflowSkipException):
        EmbedPartitionOperator(task_id="none", pipeline=yaml_of, partition=[]).execute({})


def test_a_mask_is_for_the_partitions_that_it_names(shop: Shop, yaml_of: str, tmp_path: Path) -> None:
    mask = tmp_path / "mask.csv"
    mask.write_text(f"partition,row,column\n{LATER},5,weight\n", encoding="utf-8")
    write_day(shop.source, FRESH + 1, make_orders(300, day(FRESH + 1), seed=1))
    score(shop.pipeline, BAD)
    told = CompletePartitionOperator(task_id="work", pipeline=yaml_of, mask=str(mask)).execute({})
    assert {record["partition"]: record["mask"] is not None for record in told} == {
        GOOD: False,
        BAD: False,
        LATER: True,
    }
    with pytest.raises(AirflowSkipException):
        CompletePartitionOperator(task_id="again", pipeline=yaml_of, mask=str(mask)).execute({})
