"""Several files appear as one: killed at any step, the next one finishes it or nothing happened."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ae_plugin.errors import DataError, StoreError
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.files import Folder
from ae_plugin.store.owner import hold
from ae_plugin.store.staging import JOURNALS, LOCK, STAGING, sweep
from ae_plugin.store.tree import Tree
from tests.running import tree

OLD_PICTURES = {"denoised/day=1/a.png": b"old a", "denoised/day=1/b/c.png": b"old c"}
OLD = {
    "scores/day=1/part-0.parquet": b"old scores",
    "cells/day=1/part-0.parquet": b"old cells",
    "other": b"other",
    **OLD_PICTURES,
}
PICTURES = {"a.png": b"new a", "b/d.png": b"new d"}
NEW_PICTURES = {f"denoised/day=1/{name}": content for name, content in PICTURES.items()}
NEW = {"scores/day=1/part-0.parquet": b"new scores", "cells/day=1/part-0.parquet": b"new cells", "_runs/1.json": b"{}"}
GONE = "quarantine/day=1/part-0.parquet"
FOLDER_GONE = "quarantine/day=2/"
BEFORE = {**OLD, GONE: b"rows", f"{FOLDER_GONE}x/y.png": b"y", f"{FOLDER_GONE}z.png": b"z"}
AFTER = {"other": b"other", **NEW, **NEW_PICTURES}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(str(tmp_path / "out"))
    for name, content in BEFORE.items():
        folder.write(name, content)
    return folder


FOLDER = "denoised/day=1/"


def stage(folder: Folder) -> Commit:
    commit = Commit(folder, "day=1")
    for name, content in NEW.items():
        folder.write(commit.staged(name), content)
    pictures = Tree(folder, commit.staged(FOLDER))
    for name, content in PICTURES.items():
        pictures.write(name, [content[:2], content[2:]])
    pictures.close()
    commit.removals = [GONE, FOLDER_GONE]
    return commit


def contents(folder: Folder) -> dict[str, bytes]:
    """Every file, what is staged and journalled included."""
    return {path.removeprefix(f"{folder.path}/"): folder.fs.cat_file(path) for path in folder.fs.find(folder.path)}


def outputs(folder: Folder) -> dict[str, bytes]:
    """Every file that a reader looks at."""
    unfinished = (STAGING, JOURNALS, LOCK)
    return {name: content for name, content in contents(folder).items() if not name.startswith(unfinished)}


def pictures_of(folder: Folder) -> dict[str, bytes]:
    """The pictures of the partition's folder that a reader sees."""
    return {name: content for name, content in outputs(folder).items() if name.startswith("denoised/")}


def test_files_appear_and_vanish_together(anywhere: Folder) -> None:
    start_anew(anywhere)
    commit = stage(anywhere)
    assert outputs(anywhere) == BEFORE, "nothing is seen before"
    commit.apply()
    assert contents(anywhere) == AFTER


def test_no_empty_folder_is_left_behind(folder: Folder) -> None:
    stage(folder).apply()
    assert not folder.exists(STAGING) and not folder.exists(JOURNALS)


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

    def remove_file(self, name: str) -> None:
        self._change()
        super().remove_file(name)

    def copy(self, names: dict[str, str]) -> None:
        self._change()
        super().copy(names)


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
        assert pictures_of(folder) in (OLD_PICTURES, NEW_PICTURES, {}), "a folder is old, new, or about to be there"
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
        assert outputs(folder) not in (BEFORE, AFTER)

        def work(change: int = change) -> None:
            dying = Dying(folder.uri)
            dying.left = change
            recover(dying)

        done = outcome_of(work)
        recover(folder)
        sweep(folder)
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


@pytest.mark.parametrize("seen_from", ["another host", "another container of that host"])
def test_what_is_staged_is_swept_as_soon_as_its_writer_is_dead(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, seen_from: str
) -> None:
    """Neither its host's name nor its process number says whether it lives: names change, and are shared."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)
        if seen_from == "another host":
            monkeypatch.setattr(socket, "gethostname", lambda: "pod-1")
        stage(folder)
        os.write(tell, b"staged")
        signal.pause()
    assert os.read(told, 6) == b"staged"
    sweep(folder)
    assert len(folder.names(STAGING)) == 2, "a folder and its lock"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    sweep(folder)
    assert contents(folder) == BEFORE and not folder.exists(STAGING)


@pytest.mark.parametrize("slug", ["day=1", "at=2024.01.02", "whole"])
def test_what_was_staged_on_an_object_store_is_swept_after_a_day(remote: Folder, slug: str) -> None:
    """Nobody can tell whether its writer lives."""
    now = int(time.time())
    names = {hours: f"{slug}.{now - hours * 3600}.{hours:012x}" for hours in (0, 23, 25)}
    for name in [*names.values(), "strange"]:
        remote.write(f"{STAGING}/{name}/000", b"x")
    sweep(remote)
    assert remote.names(STAGING) == sorted([names[0], names[23], "strange"])


def test_what_is_journalled_is_not_swept(remote: Folder) -> None:
    """However old: it is a commit that has begun."""
    name = f"day=1.{int(time.time()) - 10**6}.abcdef"
    remote.write(f"{STAGING}/{name}/000", b"x")
    remote.write(f"{JOURNALS}/{name}.json", b"{}")
    sweep(remote)
    assert remote.exists(f"{STAGING}/{name}/000")


# Commits that are stopped while their process goes on: Ctrl-C, a task's time-out, a network that is down.


@pytest.fixture
def remote() -> Iterator[Folder]:
    """fsspec's memory stands for an object store: no locks, no renames."""
    folder = Folder(f"memory://{uuid.uuid4().hex}/out")
    folder.write("other", b"other")
    yield folder
    folder.fs.rm(folder.path, recursive=True)


@pytest.fixture(params=["local", "memory"])
def anywhere(request: pytest.FixtureRequest, folder: Folder, remote: Folder) -> Folder:
    return folder if request.param == "local" else remote


class Failing(Folder):
    """A folder whose n-th change fails, before or after it was made, or all from the n-th on."""

    left, how, error = 10**9, "", BaseException()

    def _change(self, work: Callable[[], None]) -> None:
        self.left -= 1
        if self.left == 0 and self.how == "after":
            work()
        if self.left == 0 or (self.left < 0 and self.how == "from then on"):
            raise self.error
        work()

    def write(self, name: str, data: bytes) -> None:
        self._change(lambda: super(Failing, self).write(name, data))

    def move(self, old: str, new: str) -> None:
        self._change(lambda: super(Failing, self).move(old, new))

    def remove(self, name: str) -> None:
        self._change(lambda: super(Failing, self).remove(name))

    def remove_file(self, name: str) -> None:
        self._change(lambda: super(Failing, self).remove_file(name))

    def copy(self, names: dict[str, str]) -> None:
        for name in names:  # it may stop between any two
            self._change(lambda name=name: super(Failing, self).copy({name: names[name]}))  # type: ignore[misc]


def commit_stopped_at(change: int, folder: Folder, how: str, error: BaseException) -> bool:
    """Stage and commit as a run does, with a change that fails; whether it was done before."""
    commit = stage(failing := Failing(folder.uri))
    failing.left, failing.how, failing.error = change, how, error
    try:
        commit.apply()
    except (StoreError, KeyboardInterrupt):
        with contextlib.suppress(StoreError, KeyboardInterrupt):
            commit.abandon()
        return False
    return True


STOPS = [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()]


@pytest.mark.parametrize("how", ["before", "after", "from then on"])
@pytest.mark.parametrize("error", STOPS, ids=["error", "interrupt"])
def test_a_commit_that_is_stopped_anywhere_is_finished_by_the_next_or_never_was(
    anywhere: Folder, monkeypatch: pytest.MonkeyPatch, error: BaseException, how: str
) -> None:
    ends = []
    for change in range(1, 100):
        start_anew(anywhere)
        done = commit_stopped_at(change, anywhere, how, error)
        seen, begun = outputs(anywhere), any(name.endswith(".json") for name in anywhere.names(JOURNALS))
        assert all(content in (BEFORE.get(name), AFTER.get(name)) for name, content in seen.items())
        assert begun or seen in (BEFORE, AFTER), "a mix only while there is a journal that ends it"
        assert "_runs/1.json" not in seen or seen == AFTER, "the record comes last"
        monkeypatch.setattr("ae_plugin.store.commit.YOUNG_SECONDS", -1.0)
        recover(anywhere)
        sweep(anywhere)
        found = outputs(anywhere)
        assert found == (AFTER if begun else seen)
        assert how == "from then on" or contents(anywhere) == found, "and nothing else is left"
        ends.append(found == AFTER)
        if done:
            break
    assert done and ends == sorted(ends) and not ends[0]
    assert ends.count(True) > len(NEW) + 1


def commit_again(folder: Folder) -> Commit:
    commit = stage(folder)
    for target in NEW:
        folder.write(commit.moves[target], b"newer " + NEW[target])
    return commit


NEWER = {**AFTER, **{name: b"newer " + content for name, content in NEW.items()}}


def test_a_stopped_commit_does_not_undo_the_next_one(anywhere: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run of that partition may have begun before; on an object store nobody finishes a young journal."""
    for change in range(1, 16):
        start_anew(anywhere)
        second = commit_again(anywhere)
        commit_stopped_at(change, anywhere, "before", KeyboardInterrupt())
        second.apply()
        with monkeypatch.context() as later:
            later.setattr("ae_plugin.store.commit.YOUNG_SECONDS", -1.0)
            recover(anywhere)
        sweep(anywhere)
        assert contents(anywhere) == NEWER, change


def test_a_young_journal_on_an_object_store_is_left_to_its_owner(remote: Folder) -> None:
    """But for runs of its own partition."""
    start_anew(remote)
    commit_stopped_at(4, remote, "before", KeyboardInterrupt())
    before = contents(remote)
    recover(remote)
    other = Commit(remote, "day=2")
    remote.write(other.staged("scores/day=2/part-0.parquet"), b"day 2")
    other.apply()
    assert contents(remote) == {**before, "scores/day=2/part-0.parquet": b"day 2"}


def test_a_journal_whose_files_are_gone_is_not_done(anywhere: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ae_plugin.store.commit.YOUNG_SECONDS", -1.0)
    start_anew(anywhere)
    steps = {"moves": {"scores/day=2/x": f"{STAGING}/a/000"}, "removals": [GONE], "stage": f"{STAGING}/a"}
    anywhere.write(f"{JOURNALS}/a.json", json.dumps(steps).encode())
    before = contents(anywhere)
    with pytest.raises(StoreError, match=r"a\.json: is half done, and what it has for scores/day=2/x is gone"):
        recover(anywhere)
    assert contents(anywhere) == before


@pytest.mark.parametrize("inside", [False, True])
def test_a_commit_whose_files_were_removed_changes_nothing(anywhere: Folder, inside: bool) -> None:
    start_anew(anywhere)
    commit = stage(anywhere)
    anywhere.remove(commit.moves["cells/day=1/part-0.parquet"] if not inside else f"{commit.moves[FOLDER]}/b/d.png")
    with pytest.raises(StoreError, match="was removed while the run went on"):
        commit.apply()
    commit.abandon()
    assert contents(anywhere) == BEFORE


def test_a_folder_is_there_however_few_files_it_has(folder: Folder) -> None:
    commit = Commit(folder, "day=1")
    Tree(folder, commit.staged(FOLDER)).close()
    commit.apply()
    assert pictures_of(folder) == {} and folder.exists(FOLDER)


@pytest.mark.parametrize("listing", [b'["../../other"]', b'["a//b"]', b"[", b"7"])
def test_a_listing_that_somebody_else_wrote_is_refused(anywhere: Folder, listing: bytes) -> None:
    start_anew(anywhere)
    commit = Commit(anywhere, "day=1")
    Tree(anywhere, staged := commit.staged(FOLDER)).close()
    anywhere.write(f"{staged}.json", listing)
    with pytest.raises(StoreError, match="is no listing of files"):
        commit.apply()
    commit.abandon()
    assert contents(anywhere) == BEFORE


def test_a_file_in_the_way_of_a_folder_is_named(folder: Folder) -> None:
    folder.write("denoised/day=2", b"a file")
    commit = Commit(folder, "day=2")
    Tree(folder, commit.staged("denoised/day=2/")).close()
    with pytest.raises(StoreError, match="is a file in the way of denoised/day=2/"):
        commit.apply()


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_stays(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/mine.png").write_bytes(b"mine")
    commit = Commit(folder, "day=2")
    Tree(folder, commit.staged("denoised/day=2/")).close()
    Path(folder.at("denoised/day=2")).symlink_to(tmp_path / "elsewhere")
    commit.apply()
    assert (tmp_path / "elsewhere/mine.png").read_bytes() == b"mine"
    assert Path(folder.at("denoised/day=2")).is_dir() and not folder.exists(STAGING)


def test_names_that_are_one_for_a_disk_are_refused(folder: Folder) -> None:
    """As upper and lower case are for some."""
    pictures = Tree(folder, Commit(folder, "day=1").staged(FOLDER))
    pictures.write("a.png", [b"a"])
    with pytest.raises(DataError, match="a.png: is named like another file"):
        pictures.write("a.png", [b"b"])


# Locks.


def test_what_cannot_be_locked_is_one_line(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network disk without a lock service."""

    def flock(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StoreError, match="cannot be written .No locks available."):
        Commit(folder, "day=1").staged("scores/x")
    monkeypatch.undo()
    sweep(folder)
    Path(folder.at(LOCK)).unlink()
    assert contents(folder) == BEFORE


def test_a_lock_that_cannot_be_opened_is_one_line(folder: Folder) -> None:
    Path(folder.at(LOCK)).mkdir()
    with pytest.raises(StoreError, match="cannot be written .Is a directory."):
        Commit(folder, "day=1").staged("scores/x")
    assert not folder.exists(STAGING)


def test_who_waited_for_a_lock_that_was_removed_holds_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = hold(str(path))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(hold, str(path))
        time.sleep(0.1)
        assert not waiting.done()
        path.unlink()
        os.close(first)
        second = waiting.result(timeout=10)
    with pytest.raises(BlockingIOError):
        hold(str(path), wait=False)
    os.close(second)
    os.close(hold(str(path), wait=False))


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
    "replaces all records": {"moves": {"_runs/": "_staging/1/000"}},
    "replaces all scores": {"moves": {"scores/": "_staging/1/000"}},
    "replaces what is above": {"moves": {"denoised/../": "_staging/1/000"}},
    "replaces a folder without a name": {"moves": {"denoised//": "_staging/1/000"}},
    "removes all scores": {"removals": ["scores/"]},
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
