"""Model versions: immutable folders, and two pointers.

_models/v0001/...            what training registered; never changed again
_models/v0001.sha256         the seal: the sha256 of its model.json, which holds those of the other files
_models/champion.json        the version that scores, and what came before it
_models/challenger.json      the newest version trained
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ae_plugin.errors import ConfigError, NoChampionError, StoreError
from ae_plugin.store.files import Folder, writing
from ae_plugin.store.owner import mark
from ae_plugin.store.staging import Stage, alone, sweep

MODELS = "_models"
CARD = "model.json"
SEAL = ".sha256"
_VERSION = re.compile(r"v\d{4,}\Z")
PointerName = Literal["champion", "challenger"]


class PointerMovedError(StoreError):
    """Somebody else moved a pointer meanwhile; `what` is where it points now."""


class Move(BaseModel):
    """One move of a pointer, with its reason."""

    model_config = ConfigDict(extra="forbid")

    version: str
    at: str
    by: str
    why: str


class Pointer(BaseModel):
    """A pointer file: where it points, and where it pointed before (newest last): the first move, and the last 99."""

    model_config = ConfigDict(extra="forbid")

    version: str
    history: list[Move] = Field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """A version as it is kept, every file checked: it can be sent to another machine as it is.

    Attributes:
        name: of the version.
        where: URI of its folder.
        card: `model.json`.
        files: file name -> content.
    """

    name: str
    where: str
    card: dict[str, Any]
    files: dict[str, bytes]

    def only(self, names: Iterable[str]) -> Stored:
        """The same with fewer files: those of `names` that it has."""
        return replace(self, files={name: self.files[name] for name in names if name in self.files})


class Registry:
    """The model versions under one pipeline's output."""

    def __init__(self, output: str) -> None:
        self.folder = Folder(output)

    def versions(self) -> list[str]:
        """Registered versions, oldest first."""
        names = set(self.folder.names(MODELS))
        return sorted((n for n in names if _VERSION.match(n) and f"{n}{SEAL}" in names), key=_number)

    def register(self, files: dict[str, bytes], card: dict[str, Any]) -> str:
        """Store a version and point `challenger` at it; two trainings that race get two versions.

        Args:
            files: file name -> content.
            card: `model.json`; the files' sha256 are added to it.

        Returns:
            The version's name.
        """
        card = {**card, "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
        whole = {**files, CARD: json.dumps(card, indent=1, sort_keys=True).encode()}
        with writing(self.folder.uri):
            sweep(self.folder)
            self.folder.sweep_partials(MODELS)
            version = self._put_local(whole) if self.folder.local else self._put_remote(whole)
        self.point("challenger", version, by="train", why="trained")
        return version

    def _put_local(self, files: dict[str, bytes]) -> str:
        """Stage the files; the folder's rename makes them a version."""
        stage = Stage(self.folder, "version")
        stage.open()
        try:
            for name, data in files.items():
                self.folder.write(f"{stage.name}/{name}", data)
            with alone(self.folder):
                version = self._next()
                self.folder.write(f"{MODELS}/{version}{SEAL}", _seal(version, files[CARD]))
                Path(self.folder.at(stage.name)).rename(self.folder.at(f"{MODELS}/{version}"))
        finally:
            stage.close()
        return version

    def _put_remote(self, files: dict[str, bytes]) -> str:
        """Claim a number and write the files; the seal, written last, makes them a version.

        Not every store can create a file only where there is none. So each training puts a claim of its own, then
        looks: who sees another's lets go. Both may, but never does neither.
        """
        while True:
            version = self._next()
            where, claim = f"{MODELS}/{version}", f".claim.{mark()}"
            self.folder.write(f"{where}/{claim}", b"claim")
            if not set(self.folder.names(where)) - {claim}:  # one's own may not be listed yet
                break
            self.folder.remove_file(f"{where}/{claim}")
            time.sleep(secrets.randbelow(1000) / 1000)
        for name, data in files.items():
            self.folder.write(f"{where}/{name}", data)
        self.folder.write(f"{where}{SEAL}", _seal(version, files[CARD]))
        self.folder.remove_file(f"{where}/{claim}")
        return version

    def _next(self) -> str:
        taken = [_number(name) for name in self.folder.names(MODELS) if _VERSION.match(name)]
        number = max(taken, default=0) + 1
        # On an object store a version may not be listed yet. On a disk a seal alone is what a killed training left.
        while not self.folder.local and self.folder.exists(f"{MODELS}/v{number:04d}{SEAL}"):
            number += 1
        return f"v{number:04d}"

    def read(self, version: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Read a version, every file checked against its sha256.

        Raises:
            ConfigError: there is no such version.
            StoreError: a file was changed or lost since it was registered.
        """
        card, digests = self._card(version)
        return card, {name: self._file(version, name, digest) for name, digest in digests.items()}

    def fetch(self, version: str) -> Stored:
        """Read a version to score with; raises as `read` does."""
        card, files = self.read(version)
        return Stored(version, f"{self.folder.uri}/{MODELS}/{version}", card, files)

    def card(self, version: str) -> dict[str, Any]:
        """Read a version's `model.json`, checked; raises as `read` does."""
        return self._card(version)[0]

    def read_file(self, version: str, name: str) -> bytes:
        """Read one file of a version, checked against its sha256; raises as `read` does."""
        _, digests = self._card(version)
        return self._file(version, name, digests.get(name, ""))

    def _card(self, version: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The checked `model.json`, and the sha256 of each file that it names."""
        card_name, seal_name = f"{MODELS}/{version}/{CARD}", f"{MODELS}/{version}{SEAL}"
        missing = ConfigError(f"no version {version!r}", where=self.folder.uri, mend="See `ae models`")
        if not _VERSION.match(version):
            raise missing
        try:
            seal = self.folder.read(seal_name)
        except FileNotFoundError:
            if self.folder.exists(card_name):
                raise self._tampered(seal_name) from None
            raise missing from None
        try:
            content = self.folder.read(card_name)
            card = json.loads(content)
            digests = {str(name): str(digest) for name, digest in card["files"].items()}
        except (OSError, StoreError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._tampered(card_name) from error
        if seal != _seal(version, content) or any("/" in name for name in digests):
            raise self._tampered(card_name)
        return card, digests

    def _file(self, version: str, name: str, digest: str) -> bytes:
        where = f"{MODELS}/{version}/{name}"
        try:
            content = self.folder.read(where)
        except (OSError, StoreError) as error:
            raise self._tampered(where) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise self._tampered(where)
        return content

    def _tampered(self, name: str) -> StoreError:
        return StoreError(
            "was changed since it was registered (sha256 differs)",
            where=f"{self.folder.uri}/{name}",
            mend="Roll back to another version with `ae rollback`, or train anew",
        )

    def pointer(self, name: PointerName) -> Pointer | None:
        """Read a pointer; None when it was never set.

        Raises:
            StoreError: it is not a pointer file.
        """
        try:
            return Pointer.model_validate_json(self.folder.read(f"{MODELS}/{name}.json"))
        except FileNotFoundError:
            return None
        except (ValidationError, ValueError) as error:
            where = f"{self.folder.uri}/{MODELS}/{name}.json"
            mend = "Set it anew: `ae promote PIPELINE VERSION`"
            raise StoreError("is not a pointer file", where=where, mend=mend) from error

    def champion(self) -> str:
        """The version that scores.

        Raises:
            NoChampionError: none was promoted yet.
        """
        pointer = self.pointer("champion")
        if pointer is None:
            trained = self.versions()
            look = "See in `ae models` what the gate said, then `ae promote`, with `--force` if it said no"
            mend = look if trained else "Run `ae train` first"
            raise NoChampionError("no champion to score with", where=self.folder.uri, mend=mend)
        return pointer.version

    def point(
        self, name: PointerName, version: str, *, by: str, why: str, before: str | Literal["any"] | None = "any"
    ) -> Pointer:
        """Move a pointer, and remember when, by whom and why; only if it still points at `before`, where that is given.

        Raises:
            PointerMovedError: it does not.
            ConfigError: there is no such version.
            StoreError: its `model.json` was changed since it was registered.
        """
        self._card(version)
        move = Move(version=version, at=datetime.now(timezone.utc).isoformat(timespec="seconds"), by=by, why=why)
        with alone(self.folder):
            try:
                now = self.pointer(name)
            except StoreError:
                now = None
            if before not in ("any", now.version if now else None):
                raise PointerMovedError(now.version if now else "none", where=self.folder.uri)
            past = now.history if now else []
            history = [*past[:1], *past[1:][-98:]]  # the first says where scoring began
            pointer = Pointer(version=version, history=[*history, move])
            self.folder.write(f"{MODELS}/{name}.json", pointer.model_dump_json(indent=1).encode())
        return pointer


def _number(version: str) -> int:
    return int(version[1:])


def _seal(version: str, card: bytes) -> bytes:
    """What `sha256sum --check` reads."""
    return f"{hashlib.sha256(card).hexdigest()}  {version}/{CARD}\n".encode()
