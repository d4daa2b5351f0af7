"""On a real S3 server: a commit is finished or never was, wherever it stops and however late listings are."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable

import pyarrow as pa
import pytest

from ae_plugin.engines.local import Writer
from ae_plugin.errors import StoreError
from ae_plugin.store.commit import Commit, recover
from ae_plugin.store.files import Folder
from ae_plugin.store.registry import Registry
from ae_plugin.store.staging import JOURNALS, STAGING, sweep
from ae_plugin.store.tree import Tree
from tests.store.test_commit import AFTER, BEFORE, NEW, OLD_PICTURES, pictures_of, stage
from tests.stores import Asked, Bucket

SCORES = "scores/day=1/part-0.parquet"


@pytest.fixture
def folder(bucket: Bucket) -> Folder:
    found = Folder(f"{bucket.uri}/out")
    for name, content in BEFORE.items():
        found.write(name, content)
    return found


def seen(bucket: Bucket) -> dict[str, bytes]:
    """What readers look at."""
    hidden = (STAGING, JOURNALS)
    return {name: content for name, content in bucket.contents("out").items() if not name.startswith(hidden)}


def start_anew(bucket: Bucket, folder: Folder) -> None:
    bucket.proxy.anew()
    for name in bucket.contents("out").keys() - BEFORE.keys():
        folder.remove_file(name)
    for name, content in BEFORE.items():
        folder.write(name, content)


def dead_after(writes: int, bucket: Bucket, how: str = "501") -> Callable[[Asked], str | int | None]:
    """From the n-th write on the store does nothing more: what it holds is what a killed process leaves.

    501 is what nobody tries again, which would take long.
    """
    begun = len(bucket.proxy.asked)

    def fate(_: Asked) -> str | int | None:
        done = sum(one.write for one in bucket.proxy.asked[begun:])
        return (int(how) if how.isdecimal() else how) if done > writes else None

    return fate


def test_files_appear_and_vanish_together(bucket: Bucket, folder: Folder) -> None:
    commit = stage(folder)
    assert seen(bucket) == BEFORE
    commit.apply()
    assert bucket.contents("out") == AFTER, "and nothing else is left"


def test_a_commit_that_is_killed_at_any_write_is_finished_by_the_next_or_never_was(
    bucket: Bucket, folder: Folder
) -> None:
    """The next run of the partition need not see in a listing what the killed one wrote."""
    ends = []
    for writes in range(60):
        start_anew(bucket, folder)
        bucket.proxy.late = True
        commit = stage(folder)
        bucket.proxy.fate = dead_after(writes, bucket)
        with contextlib.suppress(StoreError):
            commit.apply()
        done = bucket.proxy.fate(Asked("GET", "")) is None
        bucket.proxy.fate = lambda _: None
        found = seen(bucket)
        assert all(content in (BEFORE.get(name), AFTER.get(name)) for name, content in found.items()), "whole files"
        assert "_runs/1.json" not in found or found == AFTER, "the record comes last"
        following = Commit(folder, "day=1")
        folder.write(following.staged("_runs/2.json"), b"{}")
        following.apply()
        ends.append(seen(bucket) == {**AFTER, "_runs/2.json": b"{}"})
        assert ends[-1] or seen(bucket) == {**BEFORE, "_runs/2.json": b"{}"}, "never half of it"
        if done:
            break
    assert done and ends == sorted(ends) and not ends[0] and ends.count(True) > len(NEW) + 1


def test_a_killed_commit_does_not_undo_the_next_one(
    bucket: Bucket, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is listed only after the next run of the partition is done."""
    bucket.proxy.late = True
    commit = stage(folder)
    bucket.proxy.fate = dead_after(4, bucket)
    with pytest.raises(StoreError):
        commit.apply()
    bucket.proxy.fate = lambda _: None
    second = stage(folder)
    folder.write(second.moves[SCORES], b"newer scores")
    second.apply()
    bucket.proxy.late = False
    monkeypatch.setattr("ae_plugin.store.commit.YOUNG_SECONDS", -1.0)
    recover(folder)
    assert seen(bucket) == {**AFTER, SCORES: b"newer scores"}


def test_a_commit_that_fails_keeps_what_it_journalled_though_nobody_lists_it(bucket: Bucket, folder: Folder) -> None:
    bucket.proxy.late = True
    commit = stage(folder)
    bucket.proxy.fate = dead_after(5, bucket, "503")
    with pytest.raises(StoreError) as caught:
        commit.apply()
    assert caught.value.transient and "\n" not in str(caught.value)
    bucket.proxy.fate = lambda _: None
    commit.abandon()
    assert Commit(folder, "day=1").folder.names(JOURNALS) == [], "it is not listed"
    again = Commit(folder, "day=1")
    folder.write(again.staged("_runs/2.json"), b"{}")
    again.apply()
    assert seen(bucket) == {**AFTER, "_runs/2.json": b"{}"}


def test_what_is_journalled_but_not_listed_is_not_swept(
    bucket: Bucket, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = stage(folder)
    bucket.proxy.late = True
    bucket.proxy.fate = dead_after(3, bucket)
    with pytest.raises(StoreError):
        commit.apply()
    bucket.proxy.fate = lambda _: None
    monkeypatch.setattr("ae_plugin.store.staging.LEFT_SECONDS", -1.0)
    monkeypatch.setattr("ae_plugin.store.commit.YOUNG_SECONDS", -1.0)
    assert folder.names(STAGING), "staged before listings were late"
    sweep(folder)
    bucket.proxy.late = False
    recover(folder)
    assert seen(bucket) == AFTER


def test_pictures_that_are_not_listed_yet_are_committed(bucket: Bucket, folder: Folder) -> None:
    bucket.proxy.late = True
    stage(folder).apply()
    bucket.proxy.late = False
    assert seen(bucket) == AFTER


def test_many_pictures_are_looked_for_by_one_listing(bucket: Bucket, folder: Folder) -> None:
    listings = []
    for pictures in (1, 20):
        commit = Commit(folder, f"day={pictures}")
        staged = Tree(folder, commit.staged(f"denoised/day={pictures}/"))
        for number in range(pictures):
            staged.write(f"{number}.png", [b"x"])
        staged.close()
        bucket.proxy.anew()
        commit.apply()
        listings.append(bucket.proxy.counts["LIST"])
    assert listings[0] == listings[1]


def test_pictures_that_are_gone_stop_the_commit(bucket: Bucket, folder: Folder) -> None:
    commit = stage(folder)
    folder.remove_file(f"{commit.moves['denoised/day=1/']}/b/d.png")
    with pytest.raises(StoreError, match="was removed while the run went on"):
        commit.apply()
    commit.abandon()
    assert seen(bucket) == BEFORE


def test_names_with_patterns_in_them_remove_only_themselves(bucket: Bucket, folder: Folder) -> None:
    """A stale `b[1].png` is a pattern for s3fs, and matches the new `b1.png`."""
    for name in ("denoised/day=1/b[1].png", "denoised/day=1/*.png"):
        folder.write(name, b"old")
    commit = Commit(folder, "day=1")
    pictures = Tree(folder, commit.staged("denoised/day=1/"))
    for name in ("b1.png", "b[2].png"):
        pictures.write(name, [b"new"])
    pictures.close()
    commit.apply()
    assert pictures_of(folder) == {f"denoised/day=1/{name}": b"new" for name in ("b1.png", "b[2].png")}
    assert not OLD_PICTURES.keys() & pictures_of(folder).keys()


def test_a_version_is_never_overwritten_though_it_is_not_listed(bucket: Bucket) -> None:
    bucket.proxy.late = True
    found = [Registry(f"{bucket.uri}/out").register({"w": bytes([n])}, {"kind": "dense"}) for n in range(3)]
    assert found == ["v0001", "v0002", "v0003"]
    assert [Registry(f"{bucket.uri}/out").read(name)[1]["w"] for name in found] == [b"\0", b"\1", b"\2"]
    pointer = Registry(f"{bucket.uri}/out").pointer("challenger")
    assert pointer is not None and pointer.version == "v0003"


def test_no_bucket_is_made(bucket: Bucket) -> None:
    """One that is misspelt, or only was not seen: s3fs makes one for a folder in it."""
    with pytest.raises(StoreError, match=r"cannot be written \(The specified bucket does not exist\)") as caught:
        Folder(f"s3://no-{bucket.name}/out").write("a", b"a")
    assert not caught.value.transient
    assert not [
        one for one in bucket.proxy.asked if one.method == "PUT" and "/" not in one.key and one.key != bucket.name
    ]


def test_a_listing_that_was_remembered_hides_nothing(bucket: Bucket) -> None:
    here, there = Folder(f"{bucket.uri}/out"), f"{bucket.name}/out/_runs/1.json"
    here.write("_runs/0.json", b"{}")
    assert here.names("_runs") == ["0.json"]
    bucket.proxy.old.add(there)
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).pipe_file(there, b"{}")
    assert here.exists("_runs/1.json")


def test_a_file_that_is_let_go_of_is_never_sent(bucket: Bucket) -> None:
    """Neither then nor when it is collected: the store may be down, and each try takes long."""
    writer = Writer(Folder(f"{bucket.uri}/out"), "scores/x.parquet", pa.schema([("a", pa.int64())]))
    writer.write(pa.record_batch({"a": range(1000)}))
    bucket.proxy.anew()
    writer.abort()
    del writer
    gc.collect()
    assert not bucket.proxy.asked
