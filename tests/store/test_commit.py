"""Several files appear as one: killed at any step, the next one finishes it or nothing happened."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ae_plugin.errors import StoreError
from ae_plugin.store.commit import JOURNALS, STAGING, Commit, recover, sweep
from ae_plugin.store.files import Folder
from tests.running import tree

OLD = {"scores/day=1/part-0.parquet": b"old scores", "cells/day=1/part-0.parquet": b"old cells", "other": b"other"}
NEW = {"scores/day=1/part-0.parquet": b"new scores", "cells/day=1/part-0.parquet": b"new cells", "_runs/1.json": b"{}"}
GONE = "quarantine/day=1/part-0.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(str(tmp_path / "out"))
    for name, content in {**OLD, GONE: b"rows"}.items():
        folder.write(name, content)
    return folder


def stage(folder: Folder) -> Commit:
    commit = Commit(folder, "day=1")
    for name, content in NEW.items():
        folder.write(commit.staged(name), content)
    commit.removals = [GONE]
    return commit


def contents(folder: Folder) -> dict[str, bytes]:
    """Every file, what is staged and journalled included."""
    root = Path(folder.path)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


AFTER = {"other": b"other", **NEW}
BEFORE = {**OLD, GONE: b"rows"}


def test_files_appear_and_vanish_together(folder: Folder) -> None:
    commit = stage(folder)
    assert {name: contents(folder)[name] for name in BEFORE} == BEFORE, "nothing is seen before"
    commit.apply()
    assert contents(folder) == AFTER
    assert not folder.exists(STAGING) and not folder.exists(JOURNALS), "no empty folder is left behind"


def test_what_is_abandoned_never_was(folder: Folder, tmp_path: Path) -> None:
    before = tree(tmp_path)
    stage(folder).abandon()
    assert tree(tmp_path) == before


def test_two_commits_do_not_mix(folder: Folder) -> None:
    first, second = stage(folder), stage(folder)
    folder.write(second.moves["scores/day=1/part-0.parquet"], b"second scores")
    assert first.stage != second.stage
    first.apply()
    assert contents(folder)["scores/day=1/part-0.parquet"] == b"new scores"
    second.apply()
    assert contents(folder) == {**AFTER, "scores/day=1/part-0.parquet": b"second scores"}


def outcome_of(work: Callable[[], None]) -> bool:
    """Do it in a process of its own; whether it came to its end, or was killed."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:  # noqa: BLE001 - neither killed nor done
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0
    return not killed


class Dying(Folder):
    """A folder whose process is killed before the n-th change to it."""

    left = 10**9

    def _change(self) -> None:
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def write(self, name: str, data: bytes) -> None:
        self._change()
        super().write(name, data)

    def move(self, old: str, new: str) -> None:
        self._change()
        super().move(old, new)

    def remove(self, name: str) -> None:
        self._change()
        super().remove(name)


def commit_killed_before(change: int, folder: Folder) -> bool:
    """Stage and commit in a process that is killed before its n-th change; whether it was faster."""

    def work() -> None:
        commit = stage(Dying(folder.uri))
        commit.folder.left = change  # type: ignore[attr-defined]
        commit.apply()

    return outcome_of(work)


def start_anew(folder: Folder) -> None:
    folder.remove("")
    for name, content in BEFORE.items():
        folder.write(name, content)


def test_a_commit_that_is_killed_anywhere_is_finished_by_the_next_or_never_was(folder: Folder) -> None:
    """Before each of its changes in turn: first it never was, from the journal on it is finished."""
    ends = []
    for change in range(100):
        start_anew(folder)
        done = commit_killed_before(change, folder)
        for name, content in contents(folder).items():
            if name in AFTER or name in BEFORE:
                assert content in (BEFORE.get(name), AFTER.get(name)), "each file is old or new, whole"
        recover(folder)
        sweep(folder)
        found = contents(folder)
        assert found in (BEFORE, AFTER), "and nothing else is left"
        recover(folder)
        assert contents(folder) == found, "once is enough"
        assert not folder.exists(STAGING) and not folder.exists(JOURNALS)
        ends.append(found == AFTER)
        if done:
            break
    assert done and ends[-1]
    assert ends == sorted(ends), "once it is journalled, it will be"
    assert not ends[0] and ends.count(True) > len(NEW) + 1


def test_a_recovery_that_is_killed_anywhere_is_finished_by_the_next(folder: Folder) -> None:
    started = next(change for change in range(100) if not begun_by(change, folder))
    for change in range(100):
        start_anew(folder)
        commit_killed_before(started + 1, folder)
        assert contents(folder) not in (BEFORE, AFTER)

        def work(change: int = change) -> None:
            dying = Dying(folder.uri)
            dying.left = change
            recover(dying)

        done = outcome_of(work)
        recover(folder)
        assert contents(folder) == AFTER
        if done:
            break
    assert done and change > 0


def begun_by(change: int, folder: Folder) -> bool:
    """Whether a commit that is killed before this change never was."""
    start_anew(folder)
    commit_killed_before(change, folder)
    recover(folder)
    sweep(folder)
    return contents(folder) == BEFORE


def test_what_the_living_staged_is_not_swept(folder: Folder) -> None:
    commit = stage(folder)
    sweep(folder)
    commit.apply()
    assert contents(folder) == AFTER


def test_what_another_machine_staged_is_not_swept(folder: Folder) -> None:
    folder.write(f"{STAGING}/day=1.elsewhere.{2**22 + 1}.abcdef/000", b"x")
    sweep(folder)
    assert folder.names(STAGING)


@pytest.mark.parametrize("host", ["box", "box.example.org"])
@pytest.mark.parametrize("slug", ["day=1", "at=2024.01.02"])
def test_what_the_dead_staged_is_swept_on_any_host(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, host: str, slug: str
) -> None:
    """Host names and partitions may have dots."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    child = os.fork()
    if not child:
        Path(folder.at("pid")).write_text(Commit(folder, slug).id)
        os._exit(0)
    os.waitpid(child, 0)
    folder.write(f"{STAGING}/{folder.read('pid').decode()}/000", b"x")
    sweep(folder)
    assert folder.names(STAGING) == []


# Journals that somebody else wrote.

STEPS = {"moves": {"scores/x": "_staging/1/000"}, "removals": [], "stage": "_staging/1"}
OUTSIDE = {
    "moves to a parent": {"moves": {"../x": "_staging/1/000"}},
    "moves to the root": {"moves": {"/tmp/x": "_staging/1/000"}},
    "moves from outside": {"moves": {"scores/x": "../../secret"}},
    "moves from the root": {"moves": {"scores/x": "/etc/hostname"}},
    "climbs inside": {"moves": {"scores/../../x": "_staging/1/000"}},
    "removes a parent": {"removals": [".."]},
    "removes the root": {"removals": ["/"]},
    "removes another": {"removals": ["scores/../../neighbour"]},
    "stages outside": {"stage": "../neighbour"},
    "stages at the root": {"stage": "/tmp"},
    "removes everything": {"removals": [""]},
    "removes everything, by a dot": {"removals": ["."]},
    "stages everywhere": {"stage": ""},
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_a_journal_that_names_files_outside_the_output_is_refused(folder: Folder, tmp_path: Path, case: str) -> None:
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "secret").write_text("secret")
    folder.write("_staging/1/000", b"x")
    folder.write(f"{JOURNALS}/1.json", json.dumps({**STEPS, **OUTSIDE[case]}).encode())
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="1.json"):
        recover(folder)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b'{"moves": []}',
        b'{"moves": {}, "removals": 7, "stage": "s"}',
    ],
)
def test_a_journal_that_is_none_is_named_and_nothing_moves(folder: Folder, tmp_path: Path, content: bytes) -> None:
    folder.write(f"{JOURNALS}/1.json", content)
    before = tree(tmp_path)
    with pytest.raises(StoreError, match=r"1\.json: is not a journal"):
        recover(folder)
    assert tree(tmp_path) == before


def test_what_is_no_journal_by_its_name_is_left_alone(folder: Folder) -> None:
    folder.write(f"{JOURNALS}/1.json.abc.partial", b"half")
    recover(folder)
    assert folder.read(f"{JOURNALS}/1.json.abc.partial") == b"half"


def test_commits_on_an_object_store() -> None:
    folder = Folder("memory://commit/out")
    folder.write("scores/x", b"old")
    commit = Commit(folder, "whole")
    folder.write(commit.staged("scores/x"), b"new")
    commit.removals = ["quarantine/x"]
    commit.apply()
    assert folder.read("scores/x") == b"new"
    assert folder.names(STAGING) == folder.names(JOURNALS) == []
    folder.fs.rm("/commit", recursive=True)
