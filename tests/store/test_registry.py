"""Model versions: immutable, numbered without a gap or a double, and checked whenever they are read."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from ae_plugin.errors import ConfigError, NoChampionError, StoreError
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import CARD, MODELS, Registry
from tests.running import ROOT, tree

FILES = {"network.tflite": b"network", "weights.safetensors": b"weights"}
CARD_CONTENT: dict[str, Any] = {"kind": "dense", "seed": 0}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "out"))


@pytest.fixture(params=["local", "memory"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """On this disk, and as on an object store."""
    if request.param == "local":
        yield Registry(str(tmp_path / "out"))
        return
    found = Registry(f"memory://{uuid.uuid4().hex}/out")
    yield found
    found.folder.fs.rm(found.folder.path, recursive=True)


def models(registry: Registry) -> Path:
    return Path(registry.folder.path) / MODELS


# Versions.


def test_what_was_registered_is_read(anywhere: Registry) -> None:
    version = anywhere.register(FILES, CARD_CONTENT)
    card, files = anywhere.read(version)
    assert version == "v0001"
    assert files == FILES
    assert {**CARD_CONTENT, "files": {n: hashlib.sha256(c).hexdigest() for n, c in FILES.items()}} == card
    assert "files" not in CARD_CONTENT


def test_versions_are_numbered_in_order(anywhere: Registry) -> None:
    assert anywhere.versions() == []
    assert [anywhere.register(FILES, CARD_CONTENT) for _ in range(3)] == ["v0001", "v0002", "v0003"]
    assert anywhere.versions() == ["v0001", "v0002", "v0003"]


def test_a_registration_leaves_nothing_staged(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    assert sorted(path.name for path in models(registry).iterdir()) == ["challenger.json", "v0001", "v0001.sha256"]
    assert [path.name for path in models(registry).parent.iterdir()] == [MODELS]
    assert sorted(path.name for path in (models(registry) / "v0001").iterdir()) == sorted([*FILES, CARD])


def test_a_version_never_changes(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    before = tree(models(registry) / "v0001")
    registry.register({**FILES, "more": b"x"}, {"kind": "other"})
    registry.point("champion", "v0001", by="test", why="test")
    registry.read("v0001")
    assert tree(models(registry) / "v0001") == before


def test_beyond_four_digits(registry: Registry) -> None:
    """Sorted by number, not by name."""
    registry.register(FILES, CARD_CONTENT)
    for suffix in ("", ".sha256"):
        (models(registry) / f"v0001{suffix}").rename(models(registry) / f"v9999{suffix}")
    assert registry.register(FILES, CARD_CONTENT) == "v10000"
    assert registry.register(FILES, CARD_CONTENT) == "v10001"
    assert registry.versions() == ["v9999", "v10000", "v10001"]


def test_what_is_no_version_is_not_listed(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    for name in ("v2", "vx", "v0002x", "old", ".stage-1", "v0007"):
        (models(registry) / name).mkdir()
    (models(registry) / "old" / CARD).write_text("{}")
    assert registry.versions() == ["v0001"], "v0007 has no seal: it was never finished"
    assert registry.register(FILES, CARD_CONTENT) == "v0008", "a name is never taken twice"


RACER = """
import sys
from ae_plugin.store.registry import Registry
registry = Registry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(5):
    print(registry.register({"who": f"{sys.argv[2]} {turn}".encode()}, {"who": sys.argv[2], "turn": turn}))
"""


def test_processes_that_race_take_different_versions(registry: Registry) -> None:
    options = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, registry.folder.uri, str(who)], **options) for who in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    taken = {who: racer.communicate(timeout=60)[0].split() for who, racer in enumerate(racers)}
    assert [racer.returncode for racer in racers] == [0] * 4
    assert sorted(sum(taken.values(), [])) == [f"v{number:04d}" for number in range(1, 21)]
    for who, versions in taken.items():
        for turn, version in enumerate(versions):
            card, files = registry.read(version)
            assert files == {"who": f"{who} {turn}".encode()}, "nobody's files got into another's version"
            assert (card["who"], card["turn"]) == (str(who), turn)
    pointer = registry.pointer("challenger")
    assert pointer is not None and pointer.version in registry.versions()
    assert [path.name for path in models(registry).parent.iterdir()] == [MODELS]


class Between(Folder):
    """A folder before whose n-th use something else is done."""

    left = 0

    def meanwhile(self) -> None:
        """What is done."""

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.meanwhile()

    def names(self, name: str = "") -> list[str]:
        self._step()
        return super().names(name)

    def write(self, name: str, data: bytes) -> None:
        self._step()
        super().write(name, data)

    def remove(self, name: str) -> None:
        self._step()
        super().remove(name)


def test_a_training_within_another_one_takes_another_version(anywhere: Registry) -> None:
    """Before each step of it in turn, on an object store too, where nothing can be locked."""
    for step in range(1, 100):
        taken: list[str] = []
        other = Thread(
            target=lambda taken=taken: taken.append(
                Registry(anywhere.folder.uri).register({"who": b"other"}, {"who": "other"})
            )
        )

        class Meanwhile(Between):
            def meanwhile(self, other: Thread = other) -> None:
                other.start()
                other.join(0.2 if self.local else 10)  # on a disk it waits for who is alone

        one = Registry(anywhere.folder.uri)
        one.folder = between = Meanwhile(anywhere.folder.uri)
        between.left = step
        mine = one.register({"who": b"one"}, {"who": "one"})
        if between.left > 0:
            break
        other.join(10)
        assert mine != taken[0] and {mine, *taken} <= set(anywhere.versions())
        for version, who in ((mine, "one"), (taken[0], "other")):
            card, files = anywhere.read(version)
            assert (card["who"], files) == (who, {"who": who.encode()})
    assert 5 < step < 99 and len(anywhere.versions()) == 2 * step - 1
    assert not [name for name in anywhere.folder.fs.find(anywhere.folder.path) if ".claim" in name]


def test_trainings_that_claim_a_number_at_once_let_it_go(anywhere: Registry) -> None:
    """All claim before any of them looks."""
    met = Barrier(3)

    class Meeting(Folder):
        met_once = False

        def names(self, name: str = "") -> list[str]:
            if not self.local and not self.met_once and re.search(r"v\d+$", name):
                self.met_once = True
                met.wait(10)
            return super().names(name)

    def train(who: int) -> str:
        registry = Registry(anywhere.folder.uri)
        registry.folder = Meeting(anywhere.folder.uri)
        return registry.register({"who": f"{who}".encode()}, {"who": who})

    with ThreadPoolExecutor() as pool:
        taken = list(pool.map(train, range(3)))
    assert sorted(taken) == anywhere.versions() and len(set(taken)) == 3
    assert [anywhere.read(version)[0]["who"] for version in taken] == [0, 1, 2]


def test_a_registration_that_was_stopped_is_no_version(anywhere: Registry) -> None:
    class Full(Folder):
        def write(self, name: str, data: bytes) -> None:
            if name.endswith(CARD):
                raise StoreError("cannot be written", where=name)
            super().write(name, data)

    stopped = Registry(anywhere.folder.uri)
    stopped.folder = Full(anywhere.folder.uri)
    with pytest.raises(StoreError, match="cannot be written"):
        stopped.register(FILES, CARD_CONTENT)
    assert anywhere.versions() == [] and anywhere.pointer("challenger") is None
    version = anywhere.register(FILES, CARD_CONTENT)
    assert anywhere.versions() == [version] and anywhere.read(version)[1] == FILES


# What was changed since.


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [flip, Path.unlink, lambda path: path.write_bytes(b"")], ids=["bit", "gone", "empty"])
@pytest.mark.parametrize("name", [*FILES, CARD])
def test_a_changed_file_is_named(registry: Registry, name: str, harm: Callable[[Path], Any]) -> None:
    registry.register(FILES, CARD_CONTENT)
    registry.register(FILES, CARD_CONTENT)
    harm(models(registry) / "v0002" / name)
    with pytest.raises(StoreError, match="sha256") as caught:
        registry.read("v0002")
    assert f"_models/v0002/{name}" in str(caught.value)
    assert registry.read("v0001")[1] == FILES, "the other one is whole"


@pytest.mark.parametrize("version", ["v0001", "v0002"])
def test_a_card_with_matching_files_but_another_content_is_refused(registry: Registry, version: str) -> None:
    """Its seal holds its own sha256, whether a pointer names it or not; no pointer can be set to it."""
    registry.register(FILES, CARD_CONTENT)
    registry.register(FILES, CARD_CONTENT)
    path = models(registry) / version / CARD
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "seed": 1}))
    with pytest.raises(StoreError, match="sha256"):
        registry.read(version)
    with pytest.raises(StoreError, match="sha256"):
        registry.point("champion", version, by="test", why="test")
    assert registry.pointer("champion") is None


def test_a_seal_is_what_sha256sum_reads(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    checked = subprocess.run(["sha256sum", "--check", "v0001.sha256"], cwd=models(registry), capture_output=True)
    assert (checked.returncode, checked.stdout) == (0, b"v0001/model.json: OK\n")


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"0" * 64])
def test_a_seal_that_was_changed_or_lost_is_named(registry: Registry, content: bytes | None) -> None:
    registry.register(FILES, CARD_CONTENT)
    seal = models(registry) / "v0001.sha256"
    seal.unlink() if content is None else seal.write_bytes(content)
    with pytest.raises(StoreError, match=r"v0001(\.sha256|/model\.json): was changed"):
        registry.read("v0001")


def test_one_file_is_read_without_the_others(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    (models(registry) / "v0001/network.tflite").unlink()
    assert registry.read_file("v0001", "weights.safetensors") == b"weights"
    for name in ("network.tflite", "nothing", CARD):
        with pytest.raises(StoreError, match=f"v0001/{name}: was changed"):
            registry.read_file("v0001", name)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/x", ".."])
def test_a_card_that_lists_files_elsewhere_is_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    """Even when every sha256 is right."""
    registry.register(FILES, CARD_CONTENT)
    registry.register(FILES, CARD_CONTENT)
    models(registry).joinpath("secret").write_bytes(b"s")
    path = models(registry) / "v0001" / CARD
    card = json.loads(path.read_text())
    card["files"][name] = hashlib.sha256(b"s").hexdigest()
    path.write_text(json.dumps(card))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (models(registry) / "v0001.sha256").write_text(f"{digest}  v0001/{CARD}\n")
    with pytest.raises(StoreError):
        registry.read("v0001")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": 3}', b"\xff", b"null"])
def test_a_card_that_is_none_is_refused(registry: Registry, content: bytes) -> None:
    registry.register(FILES, CARD_CONTENT)
    registry.register(FILES, CARD_CONTENT)
    (models(registry) / "v0001" / CARD).write_bytes(content)
    with pytest.raises(StoreError, match="v0001"):
        registry.read("v0001")


@pytest.mark.parametrize("version", ["", "v0002", "v1", "../v0001", "v0001/", "v0001/../v0001", "/etc", "champion"])
def test_versions_that_are_not_there(registry: Registry, version: str) -> None:
    registry.register(FILES, CARD_CONTENT)
    with pytest.raises(ConfigError, match="no version"):
        registry.read(version)


# Pointers.


def test_training_moves_the_challenger_and_nothing_else(anywhere: Registry) -> None:
    assert anywhere.pointer("challenger") is None
    anywhere.register(FILES, CARD_CONTENT)
    anywhere.register(FILES, CARD_CONTENT)
    challenger = anywhere.pointer("challenger")
    assert challenger is not None
    assert (challenger.version, [move.version for move in challenger.history]) == ("v0002", ["v0001", "v0002"])
    assert anywhere.pointer("champion") is None


def test_a_pointer_remembers_when_by_whom_and_why(registry: Registry) -> None:
    for _ in range(3):
        registry.register(FILES, CARD_CONTENT)
    for version, who in (("v0001", "ann"), ("v0003", "bob"), ("v0001", "cy")):
        registry.point("champion", version, by=who, why=f"{who} said so")
    pointer = registry.pointer("champion")
    assert pointer is not None
    assert registry.champion() == pointer.version == "v0001"
    assert [(move.version, move.by, move.why) for move in pointer.history] == [
        ("v0001", "ann", "ann said so"),
        ("v0003", "bob", "bob said so"),
        ("v0001", "cy", "cy said so"),
    ]
    assert all("T" in move.at and move.at.endswith("+00:00") for move in pointer.history)


def test_a_pointer_s_history_is_bounded(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    for turn in range(120):
        registry.point("champion", "v0001", by="test", why=str(turn))
    pointer = registry.pointer("champion")
    assert pointer is not None
    assert [move.why for move in pointer.history] == ["0", *(str(turn) for turn in range(21, 120))]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"v0001", b"\xff", b'{"version": 1}', b'{"version": "v1", "x": 1}'],
)
def test_a_pointer_that_is_none_says_so_and_can_be_set_anew(registry: Registry, content: bytes) -> None:
    registry.register(FILES, CARD_CONTENT)
    (models(registry) / "champion.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"champion\.json: is not a pointer file"):
        registry.champion()
    registry.point("champion", "v0001", by="test", why="mended")
    assert registry.champion() == "v0001"


def test_no_champion_says_what_to_do_next(registry: Registry) -> None:
    with pytest.raises(NoChampionError, match="ae train") as caught:
        registry.champion()
    assert caught.value.exit_code == 4
    registry.register(FILES, CARD_CONTENT)
    with pytest.raises(NoChampionError, match="ae promote"):
        registry.champion()
