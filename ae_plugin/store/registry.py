"""Model versions: immutable folders, and two pointers.

_models/v0001/...            what training registered; never changed again
_models/champion.json        the version that scores, with the sha256 of its model.json, and what came before it
_models/challenger.json      the newest version trained
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ae_plugin.errors import ConfigError, NoChampionError, StoreError
from ae_plugin.store.files import Folder, writing
from ae_plugin.store.owner import mark

MODELS = "_models"
CARD = "model.json"
_VERSION = re.compile(r"v\d{4,}\Z")
PointerName = Literal["champion", "challenger"]


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
    card_sha256: str
    history: list[Move] = Field(default_factory=list)


class Registry:
    """The model versions under one pipeline's output."""

    def __init__(self, output: str) -> None:
        self.folder = Folder(output)

    def versions(self) -> list[str]:
        """Registered versions, oldest first."""
        found = [name for name in self.folder.names(MODELS) if _VERSION.match(name)]
        whole = [name for name in found if self.folder.exists(f"{MODELS}/{name}/{CARD}")]
        return sorted(whole, key=lambda name: int(name[1:]))

    def register(self, files: dict[str, bytes], card: dict[str, Any]) -> str:
        """Store a version and point `challenger` at it; two trainings that race get two versions.

        Args:
            files: file name -> content.
            card: `model.json`; the files' sha256 are added to it.

        Returns:
            The version's name.
        """
        card = {**card, "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
        content = json.dumps(card, indent=1, sort_keys=True).encode()
        stage = f"{MODELS}/.stage.{mark()}"
        with writing(self.folder.uri):
            self.folder.sweep_partials(MODELS)
            for name, data in files.items():
                self.folder.write(f"{stage}/{name}", data)
            version = self._claim(stage, content)
        self.point("challenger", version, by="train", why="trained")
        return version

    def _claim(self, stage: str, card: bytes) -> str:
        existing = [int(name[1:]) for name in self.folder.names(MODELS) if _VERSION.match(name)]
        number = max(existing, default=0)
        while True:
            number += 1
            version = f"v{number:04d}"
            if self._take(stage, version, card):
                return version

    def _take(self, stage: str, version: str, card: bytes) -> bool:
        """Claim a version's name; False when another training was faster."""
        target = f"{MODELS}/{version}"
        if self.folder.local:
            # A folder renamed onto a non-empty one fails: the rename itself is the claim.
            self.folder.write(f"{stage}/{CARD}", card)
            try:
                Path(self.folder.at(stage)).rename(self.folder.at(target))
            except OSError:
                if self.folder.exists(target):
                    return False
                raise
            return True
        claim = f"{target}/.claim"
        mine = uuid.uuid4().hex.encode()
        if self.folder.exists(claim):
            return False
        self.folder.write(claim, mine)
        if self.folder.read(claim) != mine:
            return False
        for name in self.folder.names(stage):
            self.folder.move(f"{stage}/{name}", f"{target}/{name}")
        self.folder.write(f"{target}/{CARD}", card)
        return True

    def read(self, version: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Read a version, every file checked against its sha256.

        Raises:
            ConfigError: there is no such version.
            StoreError: a file was changed or lost since it was registered.
        """
        if not _VERSION.match(version) or version not in self.versions():
            raise ConfigError(f"no version {version!r}", where=self.folder.uri, mend="See `ae models`")
        where = f"{MODELS}/{version}"
        content = self.folder.read(f"{where}/{CARD}")
        for name in ("champion", "challenger"):
            pointer = None
            with contextlib.suppress(StoreError):  # said where the pointer itself is asked for
                pointer = self.pointer(name)
            if pointer and pointer.version == version:
                self._check(pointer.card_sha256, content, f"{where}/{CARD}")
        try:
            card = json.loads(content)
            listed = dict(card["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._tampered(f"{where}/{CARD}") from error
        files = {}
        for name, digest in listed.items():
            if "/" in name:
                raise self._tampered(f"{where}/{CARD}")
            try:
                files[name] = self.folder.read(f"{where}/{name}")
            except (OSError, StoreError) as error:
                raise self._tampered(f"{where}/{name}") from error
            self._check(digest, files[name], f"{where}/{name}")
        return card, files

    def _check(self, digest: str, content: bytes, name: str) -> None:
        if hashlib.sha256(content).hexdigest() != digest:
            raise self._tampered(name)

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
            mend = "Look at `ae models`, then `ae promote`" if trained else "Run `ae train` first"
            raise NoChampionError("no champion to score with", where=self.folder.uri, mend=mend)
        return pointer.version

    def point(self, name: PointerName, version: str, *, by: str, why: str) -> Pointer:
        """Move a pointer, and remember when, by whom and why."""
        try:
            before = self.pointer(name)
        except StoreError:
            before = None
        digest = hashlib.sha256(self.folder.read(f"{MODELS}/{version}/{CARD}")).hexdigest()
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        past = before.history if before else []
        history = [*past[:1], *past[1:][-98:]]  # the first says where scoring began
        pointer = Pointer(
            version=version, card_sha256=digest, history=[*history, Move(version=version, at=now, by=by, why=why)]
        )
        self.folder.write(f"{MODELS}/{name}.json", pointer.model_dump_json(indent=1).encode())
        return pointer
