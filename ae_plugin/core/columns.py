"""What was learned about each column: one validated, JSON-able spec per learned column.

A spec says how many encoded features its column has, and into how many bins the guard counts it. Column kinds:

    number     ints, floats, decimals, durations: one z-score, squashed beyond 3 standard deviations
    category   bools and strings with few values: one-hot, scaled so that a column weighs as much as a number
    text       strings with many values: hashed character n-grams, so that a misspelling is near its neighbour
    time       dates, timestamps, times of day: age and cyclic parts

A column that had nulls in training has one more feature, its null flag.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

GRID = 128
"""Bins a number's z-score is counted in, over [-8, 8]."""

IMPOSSIBLE_ERROR = 36.0
"""Cell error, in scaled units², of a value that training never saw at all: six standard deviations."""


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str = Field(description="Arrow type, as text.")
    null_rate: float = Field(ge=0, le=1)

    @property
    def nullable(self) -> bool:
        """Whether training saw nulls in this column."""
        return self.null_rate > 0

    @property
    def value_width(self) -> int:
        """Encoded features, the null flag not counted."""
        raise TypeError(type(self).__name__)

    @property
    def width(self) -> int:
        """Encoded features, the null flag included."""
        return self.value_width + int(self.nullable)

    @property
    def value_bins(self) -> int:
        """Bins for values; two more count nulls and impossible values."""
        raise TypeError(type(self).__name__)

    @property
    def bins(self) -> int:
        """All bins of this column."""
        return self.value_bins + 2


class NumberSpec(_Spec):
    """A number: `(value - mean) / std`, squashed."""

    kind: Literal["number"] = "number"
    mean: float
    std: float = Field(gt=0)
    low: float = Field(description="Repaired values stay within low..high.")
    high: float
    digits: int | None = Field(None, description="Digits after the point that all training values fit in, if any.")

    @property
    def value_width(self) -> int:  # noqa: D102
        return 1

    @property
    def value_bins(self) -> int:  # noqa: D102
        return GRID


class CategorySpec(_Spec):
    """Few values, all of them known; `rates` are their shares in training."""

    kind: Literal["category"] = "category"
    values: list[str]
    rates: list[float]
    unseen_rate: float = Field(gt=0, le=1, description="Good-Turing share of rows with a value never seen.")

    @property
    def scale(self) -> float:
        """Factor that gives the one-hot group a total variance of one (at most 3)."""
        gini = 1.0 - sum(rate * rate for rate in self.rates)
        return min(3.0, float(gini**-0.5)) if gini > 0 else 3.0

    @property
    def value_width(self) -> int:  # noqa: D102
        return len(self.values)

    @property
    def value_bins(self) -> int:  # noqa: D102
        return len(self.values)


class TextSpec(_Spec):
    """Many values: hashed character n-grams. `imputable` when hidden values are recovered better than by guessing."""

    kind: Literal["text"] = "text"
    values: list[str] = Field(description="The most frequent known values; what a repair may choose from.")
    dims: int = Field(gt=0)
    means: list[float]
    scale: float = Field(gt=0)
    unseen_rate: float = Field(gt=0, le=1)
    imputable: bool = False

    @property
    def value_width(self) -> int:  # noqa: D102
        return self.dims

    @property
    def value_bins(self) -> int:  # noqa: D102
        return 18


class TimeSpec(_Spec):
    """A point in time: its age in seconds, and the cycles that the training span covers at least twice."""

    kind: Literal["time"] = "time"
    relative: bool = Field(description="Age counts from the partition's own date, else from 1970.")
    mean: float
    std: float = Field(gt=0)
    low: float
    high: float
    slack: float = Field(ge=0, description="Seconds beyond low..high that still count as the edge: time goes on.")
    step: float = Field(gt=0, description="Seconds that all training values are a multiple of.")
    cycles: list[Literal["day", "week", "year"]]

    @property
    def value_width(self) -> int:  # noqa: D102
        return 1 + 2 * len(self.cycles)

    @property
    def value_bins(self) -> int:  # noqa: D102
        return GRID


ColumnSpec = Annotated[NumberSpec | CategorySpec | TextSpec | TimeSpec, Field(discriminator="kind")]
