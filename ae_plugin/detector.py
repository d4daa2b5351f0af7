"""A model in Python: `ae_plugin.load(uri)` gives a detector for pandas and Arrow tables, or for pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
import pyarrow as pa

from ae_plugin.core.alarms import flag_limit
from ae_plugin.core.explain import Options, ScoredBatch, score_batches
from ae_plugin.core.features import partition_time
from ae_plugin.engines.local import batch_rows
from ae_plugin.engines.threads import BLAS
from ae_plugin.errors import ConfigError, DataError
from ae_plugin.schemas import AlertRateOf
from ae_plugin.versions import ModelVersion, check_rate, load_version, locate

if TYPE_CHECKING:
    import pandas as pd

    from ae_plugin.picture_detector import PictureDetector

    Table: TypeAlias = pd.DataFrame | pa.Table | pa.RecordBatch


class Detector:
    """One model version, ready to score tables in memory. Results come as what was given: pandas or Arrow.

    With `alert_rate_of="alarms"` each table that is given counts as a partition: its rows are judged together.
    A partition's date (`partition="date=2013-01-29"`) is wanted only by columns whose age counts from it.
    """

    def __init__(self, version: ModelVersion, alert_rate_of: AlertRateOf = "rows") -> None:
        self._version, self._alert_rate_of = version, alert_rate_of

    @property
    def version(self) -> str:
        """The model version's name."""
        return self._version.version

    @property
    def columns(self) -> list[str]:
        """The learned columns."""
        return list(self._version.scorer.encoder.names)

    @BLAS.single()
    def score(self, table: Table, *, partition: str = "") -> Any:
        """Score rows.

        Args:
            table: n rows with at least the learned columns.
            partition: hive path of the partition they come from.

        Returns:
            n rows in order: anomaly_score float32 (higher = more anomalous), p_value float32, is_anomaly bool,
            top_column string (null when normal).

        Raises:
            DataError: a learned column is missing or of another type.
        """
        parts = [
            pa.table(
                {
                    "anomaly_score": pa.array(batch.rows.anomaly_score),
                    "p_value": pa.array(batch.rows.p_value),
                    "is_anomaly": pa.array(batch.rows.is_anomaly),
                    "top_column": batch.top_column,
                }
            )
            for batch in self._scored(table, partition, explain=False)
        ]
        return as_given(table, pa.concat_tables(parts), types=False)

    @BLAS.single()
    def explain(self, table: Table, *, partition: str = "") -> Any:
        """Name the wrong cells of anomalous rows.

        Returns:
            One row per wrong cell: row int64 (position in the table), column, observed, expected string, cell_error
            float32 (scaled units²), p_value float32.

        Raises:
            DataError: a learned column is missing or of another type.
        """
        parts, first = [], 0
        for batch in self._scored(table, partition):
            rows = pa.array(batch.cells.column("row").to_numpy() + first, pa.int64())
            parts.append(batch.cells.set_column(0, "row", rows))
            first += batch.source.num_rows
        return as_given(table, pa.concat_tables(parts), index=False)

    @BLAS.single()
    def denoise(self, table: Table, *, partition: str = "", full: bool = False) -> Any:
        """Return the table with wrong cells repaired and nulls filled, in the same schema and order.

        Args:
            table: n rows with at least the learned columns.
            partition: hive path of the partition they come from.
            full: return the whole reconstruction of the learned columns instead.

        Raises:
            DataError: a learned column is missing or of another type.
        """
        fixed = [batch.denoised for batch in self._scored(table, partition, full=full)]
        return as_given(table, pa.Table.from_batches(fixed))

    @BLAS.single()
    def embed(self, table: Table, *, partition: str = "") -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Return each row's latent code, float32 [n, latent_dim]: the same numbers as in `embeddings/`.

        Raises:
            DataError: a learned column is missing or of another type.
        """
        scorer = self._version.scorer
        parts = []
        for batch in self._batches(table):
            encoded = scorer.encode(batch, partition_time(partition))
            parts.append(self._version.embed(encoded))
        return np.concatenate(parts)

    @BLAS.single()
    def inputs(self, table: Table, *, partition: str = "") -> list[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
        """Return what the network sees of rows, to feed to `ae_plugin.encoder`.

        Returns:
            x float32 [n, F], the encoded rows, and visible float32 [n, C]; cells that cannot be read are 0 in both.

        Raises:
            DataError: a learned column is missing or of another type.
        """
        encoder, at = self._version.scorer.encoder, partition_time(partition)
        parts = [encoder.inputs(encoder.encode(batch, at)) for batch in self._batches(table)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _scored(
        self, table: Table, partition: str, *, full: bool = False, explain: bool = True
    ) -> Iterator[ScoredBatch]:
        scorer, batches, at = self._version.scorer, self._batches(table), partition_time(partition)
        first_look = (scorer.p_values(batch, at) for batch in batches)
        limit = flag_limit(self._alert_rate_of, scorer.alert_rate, scorer.calibration_rows, first_look)
        return score_batches(batches, scorer, Options(full, at, explain, limit))

    def _batches(self, table: Table) -> list[pa.RecordBatch]:
        """The table in record batches: what is worked on at a time stays small however many rows there are."""
        whole = as_arrow(table)
        if not isinstance(table, (pa.Table, pa.RecordBatch)):
            whole = _widened(whole, self._version.schema)
        # Small chunks in one piece; a column of more than 2 GB of text stays in several.
        batches = whole.combine_chunks().to_batches(batch_rows(self._version.scorer.encoder.features))
        return batches or [pa.RecordBatch.from_pylist([], schema=whole.schema)]


def _widened(table: pa.Table, learned: pa.Schema) -> pa.Table:
    """Give pandas' decimals, which have the digits that happen to be there, the digits that training had."""
    for place, field in enumerate(table.schema):
        known = learned.get_field_index(field.name)
        wide = learned.field(known).type if known >= 0 else field.type
        if (
            pa.types.is_decimal(field.type)
            and pa.types.is_decimal(wide)
            and wide.precision > field.type.precision
            and wide.scale >= field.type.scale
        ):
            table = table.set_column(place, field.with_type(wide), table.column(place).cast(wide))
    return table


def as_arrow(table: Table) -> pa.Table:
    """A pandas or Arrow table as an Arrow table.

    Raises:
        DataError: it is no table, or Arrow has no type for a column.
    """
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        return table
    if not hasattr(table, "columns"):
        raise DataError(f"a {type(table).__name__} is no table", mend="Give a pandas or Arrow table")
    try:
        return pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = "; ".join(map(str, error.args))
        raise DataError(f"not a table that Arrow can hold ({reason})", mend="Give each column one type") from error


def as_given(given: Table, result: pa.Table, *, index: bool = True, types: bool = True) -> Any:
    """Give back pandas for pandas (with its index), Arrow for Arrow."""
    if isinstance(given, (pa.Table, pa.RecordBatch)):
        return result
    frame = result.to_pandas()
    if index and len(frame) == len(given):
        frame.index = given.index
        for name in frame.columns.intersection(given.columns) if types else ():
            if frame[name].dtype != given[name].dtype:
                frame[name] = frame[name].astype(_with_values_of(frame[name], given[name].dtype))
    return frame


def _with_values_of(column: pd.Series, dtype: Any) -> Any:
    """A category's type must have room for repaired values that the table itself did not hold."""
    if getattr(dtype, "categories", None) is None:
        return dtype
    new = column.dropna().unique()
    return type(dtype)([*dtype.categories, *(value for value in new if value not in dtype.categories)], dtype.ordered)


def load(
    uri: str | os.PathLike[str], *, alert_rate: float = 0.01, alert_rate_of: AlertRateOf = "rows"
) -> Detector | PictureDetector:
    """Load a model: a `Detector` for a table's, a `PictureDetector` for one of pictures.

    Args:
        uri: a pipeline's output (its champion is loaded), or one version's folder in its `_models/`.
        alert_rate: share of normal rows that may be flagged.
        alert_rate_of: `alarms`: share of a table's flagged rows that may be normal; not for pictures.

    Raises:
        NoChampionError: the output holds no champion.
        StoreError: the model was tampered with.
        ConfigError: there is no such version, `alert_rate` is not a share, or it is of neither rows nor alarms.
    """
    rate = check_rate(alert_rate)
    if alert_rate_of not in get_args(AlertRateOf):
        raise ConfigError(f"alert_rate_of {alert_rate_of!r} is neither rows nor alarms")
    registry, name = locate(uri)
    if registry.card(name).get("kind") == "conv":
        if alert_rate_of != "rows":
            raise ConfigError(f"alert_rate_of {alert_rate_of!r} is for tables; pictures know only 'rows'")
        # Only now: what reads pictures is slow to import.
        from ae_plugin.jobs.pictures.versions import load_picture_version
        from ae_plugin.picture_detector import PictureDetector

        return PictureDetector(load_picture_version(registry, name, rate))
    return Detector(load_version(registry, name, rate), alert_rate_of)
