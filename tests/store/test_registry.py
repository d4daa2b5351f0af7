"""Model versions: immutable, numbered without a gap or a double, and checked whenever they are read."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ae_plugin.errors import ConfigError, NoChampionError, StoreError
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
    assert sorted(path.name for path in models(registry).iterdir()) == ["challenger.json", "v0001"]
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
    (models(registry) / "v0001").rename(models(registry) / "v9999")
    assert registry.register(FILES, CARD_CONTENT) == "v10000"
    assert registry.register(FILES, CARD_CONTENT) == "v10001"
    assert registry.versions() == ["v9999", "v10000", "v10001"]


def test_what_is_no_version_is_not_listed(registry: Registry) -> None:
    registry.register(FILES, CARD_CONTENT)
    for name in ("v2", "vx", "v0002x", "old", ".stage-1", "v0007"):
        (models(registry) / name).mkdir()
    (models(registry) / "old" / CARD).write_text("{}")
    assert registry.versions() == ["v0001"], "v0007 has no model.json: it is not whole"
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
    assert not [path for path in models(registry).iterdir() if path.name.startswith(".stage")]


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
    with pytest.raises((StoreError, ConfigError)) as caught:
        registry.read("v0002")
    if name == CARD and harm is Path.unlink:
        assert isinstance(caught.value, ConfigError), "without its card it is no version"
    else:
        assert f"_models/v0002/{name}" in str(caught.value) and "sha256" in str(caught.value)
    assert registry.read("v0001")[1] == FILES, "the other one is whole"


def test_a_card_with_matching_files_but_another_content_is_refused(registry: Registry) -> None:
    """The pointer holds the card's own sha256."""
    registry.register(FILES, CARD_CONTENT)
    path = models(registry) / "v0001" / CARD
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "seed": 1}))
    with pytest.raises(StoreError, match="sha256"):
        registry.read("v0001")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/x", ".."])
def test_a_card_that_lists_files_elsewhere_is_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    """Even when their sha256 is right, and no pointer guards the card."""
    registry.register(FILES, CARD_CONTENT)
    registry.register(FILES, CARD_CONTENT)
    models(registry).joinpath("secret").write_bytes(b"s")
    path = models(registry) / "v0001" / CARD
    card = json.loads(path.read_text())
    card["files"][name] = hashlib.sha256(b"s").hexdigest()
    path.write_text(json.dumps(card))
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
    assert pointer.card_sha256 == hashlib.sha256((models(registry) / "v0001" / CARD).read_bytes()).hexdigest()
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
    [b"", b"{}", b"[]", b"v0001", b"\xff", b'{"version": 1}', b'{"version": "v1", "card_sha256": "", "x": 1}'],
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
