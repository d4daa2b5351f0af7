"""Score several partitions one after the other: what is wrong with one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ae_plugin.config import Pipeline
from ae_plugin.errors import AeError, UnfamiliarError, UserError
from ae_plugin.jobs.score import champion_of, score
from ae_plugin.schemas import RunRecord


@dataclass
class Several:
    """What became of each partition: its record, the guard's refusal, or the error that stopped it."""

    scored: dict[str, RunRecord] = field(default_factory=dict)
    refused: dict[str, UnfamiliarError] = field(default_factory=dict)
    failed: dict[str, UserError] = field(default_factory=dict)

    @property
    def records(self) -> list[RunRecord]:
        """Of all runs that came to an end, those that were refused included."""
        refused = [error.record for error in self.refused.values() if error.record is not None]
        return [*self.scored.values(), *refused]

    @property
    def error(self) -> UserError | None:
        """The failures as one: transient when one of them is, since trying again helps that one."""
        errors = list(self.failed.values())
        if len(errors) < 2:
            return errors[0] if errors else None
        transient = any(error.transient for error in errors)
        return UserError(f"{len(errors)} partitions failed; the first: {errors[0]}", transient=transient)

    @contextmanager
    def noted(self, name: str, tell: Callable[[AeError], None] = lambda _: None) -> Iterator[None]:
        """Note what keeps a partition from being scored, and tell of it, instead of raising it."""
        try:
            yield
        except UnfamiliarError as error:
            tell(error)
            self.refused[name] = error
        except UserError as error:
            tell(error)
            self.failed[name] = error


def score_several(
    pipeline: Pipeline,
    partitions: Iterable[str | None],
    *,
    output: str | None = None,
    tell: Callable[[AeError], None],
) -> Several:
    """Score partitions in order, and go on after each that is refused or fails.

    Args:
        pipeline: from `config.load`.
        partitions: as `score` takes them.
        output: where to write instead of the pipeline's output.
        tell: called with the line of each partition that was not scored.

    Raises:
        NoChampionError: there is nothing to score with.
        StoreError: the champion was tampered with, or cannot be read.
    """
    done, version = Several(), None
    for partition in partitions:
        name = partition or ""
        version = version or champion_of(pipeline)
        with done.noted(name, tell):
            done.scored[name] = score(pipeline, partition or None, output=output, version=version)
    return done
