"""Promote and roll back: move the champion pointer, when the gate allows it or a person insists."""

from __future__ import annotations

import logging

from ae_plugin.config import Pipeline
from ae_plugin.errors import ConfigError, StoreError
from ae_plugin.schemas import PromoteRecord
from ae_plugin.store.registry import Pointer, PointerMovedError, Registry
from ae_plugin.versions import read_report

log = logging.getLogger(__name__)


def promote(pipeline: Pipeline, version: str | None = None, *, force: bool = False, by: str = "cli") -> PromoteRecord:
    """Make a version champion when its gate passed.

    Args:
        pipeline: from `config.load`.
        version: the challenger when absent.
        force: promote whatever the gate says; recorded as forced.
        by: who moves the pointer, for the record.

    Returns:
        What happened; `promoted` is false, with reasons, when the gate says no.

    Raises:
        ConfigError: there is no such version, or nothing was trained yet.
        StoreError: it was changed since it was registered.
    """
    registry = Registry(pipeline.output)
    pointer = registry.pointer("challenger") if version is None else None
    if version is None and pointer is None:
        raise ConfigError("nothing to promote", where=pipeline.output, mend="Run `ae train` first")
    chosen = version if version is not None else pointer.version if pointer else ""
    registry.read(chosen)
    gate = read_report(registry, chosen).gate
    champion = _champion(registry)
    before = champion.version if champion else None
    if before == chosen:
        return _record(pipeline, before, before, False, [f"{chosen} is the champion already"])
    reasons = list(gate.reasons)
    allowed = gate.passed
    if allowed and before and before != gate.champion:
        allowed = False
        reasons.append(f"the champion is {before} now, but {chosen} was compared with {gate.champion or 'none'}")
    if not allowed and not force:
        log.warning("%s is not promoted: %s", chosen, "; ".join(reasons))
        return _record(pipeline, before, before, False, reasons)
    why = "forced: " + "; ".join(reasons) if not allowed else "; ".join(reasons)
    try:
        registry.point("champion", chosen, by=by, why=why, before="any" if force else before)
    except PointerMovedError as moved:
        reasons.append(f"the champion became {moved.what} just now, but {chosen} was compared with {before or 'none'}")
        log.warning("%s is not promoted: %s", chosen, reasons[-1])
        return _record(pipeline, moved.what, moved.what, False, reasons)
    log.info("champion is %s now (before: %s)", chosen, before or "none")
    return _record(pipeline, chosen, before, True, reasons, forced=not allowed)


def _champion(registry: Registry) -> Pointer | None:
    """The champion's pointer; a broken one counts as none, so that promoting sets it anew."""
    try:
        return registry.pointer("champion")
    except StoreError as error:
        log.warning("%s", error)
        return None


def former_champions(pipeline: Pipeline) -> list[str]:
    """Versions that were champion before the one that is now, newest first.

    Raises:
        StoreError: the pointer is broken.
    """
    champion = Registry(pipeline.output).pointer("champion")
    moves = [move.version for move in champion.history] if champion else []
    return [version for version in dict.fromkeys(reversed(moves)) if champion and version != champion.version]


def rollback(pipeline: Pipeline, version: str | None = None, *, by: str = "cli") -> PromoteRecord:
    """Point champion back at the version before it, or at `version`.

    Raises:
        ConfigError: there is nothing to go back to, or the version was never champion.
    """
    registry = Registry(pipeline.output)
    champion = registry.pointer("champion")
    if champion is None:
        raise ConfigError("no champion to roll back", where=pipeline.output, mend="Run `ae train` first")
    if version is None:
        version = _before(
            champion.version, [move.version for move in champion.history], [m.why for m in champion.history]
        )
    if version is None:
        raise ConfigError(
            f"{champion.version} is the first champion: nothing to roll back to",
            where=pipeline.output,
            mend="Name a version, see `ae models`",
        )
    registry.read(version)
    if version not in {move.version for move in champion.history}:
        raise ConfigError(
            f"{version} was never champion", where=pipeline.output, mend="Promote it: the gate has a word in that"
        )
    registry.point("champion", version, by=by, why=f"rolled back from {champion.version}")
    return _record(pipeline, version, champion.version, True, [f"rolled back from {champion.version}"])


def _before(current: str, versions: list[str], whys: list[str]) -> str | None:
    """The champion before `current`: roll-backs are undone like any other move, so walk the stack they left."""
    stack: list[str] = []
    for version, why in zip(versions, whys, strict=True):
        if why.startswith("rolled back from") and version in stack:
            del stack[stack.index(version) + 1 :]
        else:
            stack.append(version)
    return stack[-2] if len(stack) > 1 and stack[-1] == current else None


def _record(
    pipeline: Pipeline, champion: str | None, before: str | None, done: bool, reasons: list[str], forced: bool = False
) -> PromoteRecord:
    return PromoteRecord(
        pipeline=pipeline.name, champion=champion, previous=before, promoted=done, forced=forced, reasons=reasons
    )
