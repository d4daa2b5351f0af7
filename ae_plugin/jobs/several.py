"""Score several partitions one after the other: what is wrong with one does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ae_plugin.config import Pipeline
from ae_plugin.errors import AeError, UnfamiliarError, UserError
from ae_plugin.jobs.score import champion_of, score
from ae_plugin.jobs.summary import run_line
from ae_plugin.schemas import RunRecord
from ae_plugin.store.files import SourceFile, list_source, partitions_of


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

    @property
    def exit_code(self) -> int:
        """What a program ends with: 2 when one failed, else 3 when one was refused, else 0."""
        return UserError.exit_code if self.failed else UnfamiliarError.exit_code if self.refused else 0

    @property
    def lines(self) -> list[str]:
        """What was scored, for people."""
        return [run_line(record) for record in self.scored.values()]

    def as_json(self, pipeline: str) -> dict[str, Any]:
        """What became of all, as one object."""
        refused, failed = ([str(error) for error in errors.values()] for errors in (self.refused, self.failed))
        runs = [record.model_dump(mode="json") for record in self.scored.values()]
        whole: dict[str, Any] = {"pipeline": pipeline, "runs": runs, "refused": refused, "failed": failed}
        if self.exit_code:
            first = [*failed, *refused][0]
            told = f"{len(failed)} partitions failed, {len(refused)} were refused; the first: {first}"
            whole |= {"error": told if len(failed + refused) > 1 else first, "exit_code": self.exit_code}
        return whole


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
    listed: dict[str, list[SourceFile]] = {}
    for partition in partitions:
        name = partition or ""
        version = version or champion_of(pipeline)
        with done.noted(name, tell):
            # Once for all: what changes meanwhile is due again, by the fingerprint of this listing.
            listed = listed or partitions_of(list_source(pipeline.source))
            files = listed.get(name)
            done.scored[name] = score(pipeline, partition or None, output=output, version=version, files=files)
    return done
