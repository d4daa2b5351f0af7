"""Where bytes are kept: sources and their partitions, folders, and writes that are all or nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ae_plugin.errors import ConfigError, DataError, StoreError
from ae_plugin.places import check_uri
from ae_plugin.sections import Source
from ae_plugin.store.files import Folder, SourceFile, fingerprint, list_source, open_fs, partitions_of, writing
from ae_plugin.store.owner import hold
from ae_plugin.store.partitions import partition_id
from tests.running import ROOT, tree

QUICK = settings(max_examples=80, deadline=None, derandomize=True)


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """An output on this disk, and one in fsspec's memory, which is handled as an object store is."""
    if request.param == "local":
        yield Folder(str(tmp_path / "out"))
        return
    found = Folder(f"memory://{uuid.uuid4().hex}/out")
    yield found
    if found.fs.exists(found.path.rpartition("/")[0]):
        found.fs.rm(found.path.rpartition("/")[0], recursive=True)


def put(root: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names_of(root: Path, files: list[SourceFile]) -> list[str]:
    return [file.uri.removeprefix("file://").removeprefix(f"{root}/") for file in files]


# Folders.


def test_what_was_written_is_read(folder: Folder) -> None:
    assert not folder.exists("a/b.json")
    assert folder.names() == [] and folder.names("a") == []
    folder.write("a/b.json", b"one")
    folder.write("a/b.json", b"two")
    folder.write("a/a.json", b"")
    assert folder.read("a/b.json") == b"two"
    assert folder.names("a") == ["a.json", "b.json"]
    assert folder.names() == ["a"]
    assert folder.exists("a/b.json") and folder.exists("a")


def test_reading_what_is_not_there(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("nothing.json")
    folder.remove("nothing.json")
    folder.remove("nowhere/at/all")


def test_moving_and_removing(folder: Folder) -> None:
    folder.write("from/x", b"new")
    folder.write("to/deep/x", b"old")
    folder.move("from/x", "to/deep/x")
    assert folder.read("to/deep/x") == b"new"
    assert not folder.exists("from/x")
    folder.move("to/deep/x", "elsewhere/x")
    folder.write("elsewhere/y/z", b"")
    folder.remove("elsewhere")
    assert not folder.exists("elsewhere/x")
    assert not folder.exists("elsewhere/y/z")


def test_a_trailing_slash_makes_no_difference(tmp_path: Path) -> None:
    Folder(f"{tmp_path}/out/").write("x", b"1")
    assert Folder(f"{tmp_path}/out").read("x") == b"1"


@pytest.mark.parametrize("name", ["x", "x/y.json"])
def test_a_write_that_fails_changes_nothing(tmp_path: Path, name: str) -> None:
    """A folder where the file should be, and a file where the folder should be."""
    put(tmp_path, "out/x/inside" if name == "x" else "out/x", content=b"old")
    before = tree(tmp_path)
    with pytest.raises(StoreError) as caught:
        Folder(str(tmp_path / "out")).write(name, b"new")
    assert str(tmp_path / "out") in str(caught.value) and "cannot be written" in str(caught.value)
    assert tree(tmp_path) == before


def test_writing_turns_refusals_into_one_line() -> None:
    with pytest.raises(StoreError, match=r"^here: cannot be written \(Is a directory\)\. ") as caught, writing("here"):
        open("/", "wb")
    assert caught.value.exit_code == 2
    with pytest.raises(KeyError), writing("here"):
        raise KeyError("not about the disk")


WRITER = """
import sys
from ae_plugin.store.files import Folder
folder = Folder(sys.argv[1])
for turn in range(400):
    folder.write("pointer.json", bytes([turn % 251]) * 200_000)
"""


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """While another process writes it over and over."""
    folder = Folder(str(tmp_path))
    folder.write("pointer.json", bytes(200_000))
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT) as writer:
        seen = set()
        while writer.poll() is None:
            content = folder.read("pointer.json")
            assert len(content) == 200_000
            assert len(set(content)) == 1
            seen.add(content[0])
    assert writer.returncode == 0
    assert len(seen) > 5, "it was read meanwhile"
    assert [path.name for path in tmp_path.iterdir()] == ["pointer.json"]


@pytest.mark.parametrize("uri", ["gopher://x/y", "nosuch://x"])
def test_a_scheme_that_nobody_speaks(uri: str) -> None:
    with pytest.raises(ConfigError, match="Install the package"):
        open_fs(uri)


# Sources.


def test_files_come_in_the_order_of_partitions_and_names(tmp_path: Path) -> None:
    put(tmp_path, "day=10/b.parquet", "day=10/a.parquet", "day=09/z.parquet", "day=2/a.PARQUET", "day=2/sub/c.pq")
    files = list_source(Source(uri=str(tmp_path), partition_by=["day"]))
    assert names_of(tmp_path, files) == [
        "day=2/a.PARQUET",
        "day=2/sub/c.pq",
        "day=09/z.parquet",
        "day=10/a.parquet",
        "day=10/b.parquet",
    ]
    grouped = partitions_of(files)
    assert list(grouped) == ["day=2", "day=09", "day=10"]
    assert [len(group) for group in grouped.values()] == [2, 1, 2]


@pytest.mark.parametrize("hidden", ["_SUCCESS.parquet", ".tmp.parquet", "_temporary/0/a.parquet", ".git/a.parquet"])
def test_names_that_hive_and_spark_leave_out(tmp_path: Path, hidden: str) -> None:
    put(tmp_path, "a.parquet", hidden)
    assert names_of(tmp_path, list_source(Source(uri=str(tmp_path)))) == ["a.parquet"]


@pytest.mark.parametrize("below", [".cache/data", "_work"])
@pytest.mark.parametrize("glob", ["", "/*.parquet", "/*/*.parquet", "/day-?/*.parquet", "/day-[12]/a.parquet"])
def test_the_source_s_own_folder_may_have_any_name(tmp_path: Path, below: str, glob: str) -> None:
    """Only what lies inside it may be hidden."""
    inside = "" if glob in ("", "/*.parquet") else "day-1/"
    put(tmp_path, f"{below}/{inside}a.parquet")
    assert len(list_source(Source(uri=f"{tmp_path}/{below}{glob}"))) == 1


@pytest.mark.parametrize(
    ("format", "taken"),
    [("parquet", ["a.parquet", "b.pq"]), ("csv", ["c.csv", "d.csv.gz"]), ("images", ["a.parquet", "b.pq"])],
)
def test_only_files_of_the_format_are_taken(tmp_path: Path, format: str, taken: list[str]) -> None:
    put(tmp_path, "a.parquet", "b.pq", "c.csv", "d.csv.gz", "e.txt", "parquet", "f.parquet.crc")
    assert names_of(tmp_path, list_source(Source(uri=str(tmp_path), format=format))) == taken


def test_pictures_are_taken_by_their_suffix(tmp_path: Path) -> None:
    pictures = ["a.BMP", "b.jpeg", "c.jpg", "d.png", "e.tif", "f.tiff", "g.WebP"]
    put(tmp_path, *pictures, "h.gif", "i.txt", ".hidden.png")
    assert names_of(tmp_path, list_source(Source(uri=str(tmp_path), format="images"))) == pictures


def test_pictures_lie_beside_no_parquet_files(tmp_path: Path) -> None:
    put(tmp_path, "date=1/a.png", "date=2/b.parquet")
    source = Source(uri=str(tmp_path), format="images", partition_by=["date"])
    with pytest.raises(DataError, match="holds pictures and Parquet files"):
        list_source(source)
    assert len(list_source(source.model_copy(update={"uri": f"{tmp_path}/**/*.png"}))) == 1


@pytest.mark.parametrize(
    ("below", "keys", "uri", "name"),
    [
        ("a.parquet", [], "", "a.parquet"),
        ("deep/er/a.parquet", [], "", "deep/er/a.parquet"),
        ("deep/er/a.parquet", [], "/deep", "er/a.parquet"),
        ("deep/er/a.parquet", [], "/*/*/a*", "deep/er/a.parquet"),
        ("deep/er/a.parquet", [], "/deep/er/a.parquet", "a.parquet"),
        ("y=1/m=2/a.parquet", ["y", "m"], "", "a.parquet"),
        ("y=1/m=2/a.parquet", ["m"], "/y=1", "a.parquet"),
        ("y=1/m=2/a.parquet", ["y"], "", "m=2/a.parquet"),
        ("y=1/deep/y/a=b.parquet", ["y"], "/", "deep/y/a=b.parquet"),
        ("left/y=1/a.parquet", ["y"], "", "left/a.parquet"),
    ],
)
def test_a_file_s_name_is_its_path_below_the_partition(
    tmp_path: Path, below: str, keys: list[str], uri: str, name: str
) -> None:
    put(tmp_path, below)
    (file,) = list_source(Source(uri=f"{tmp_path}{uri}", partition_by=keys))
    assert file.name == name


def test_a_file_s_name_in_a_store(folder: Folder) -> None:
    folder.write("day=1/deep/a.parquet", b"x")
    (file,) = list_source(Source(uri=folder.uri, partition_by=["day"]))
    assert (file.partition, file.name) == ("day=1", "deep/a.parquet")


def test_a_file_and_a_glob(tmp_path: Path) -> None:
    put(tmp_path, "a1.parquet", "a2.parquet", "b1.parquet", "day=1/c.parquet", "day=2/c.parquet")
    assert names_of(tmp_path, list_source(Source(uri=f"{tmp_path}/a1.parquet"))) == ["a1.parquet"]
    assert names_of(tmp_path, list_source(Source(uri=f"{tmp_path}/a*.parquet"))) == ["a1.parquet", "a2.parquet"]
    found = list_source(Source(uri=f"{tmp_path}/day=*/*.parquet", partition_by=["day"]))
    assert [file.partition for file in found] == ["day=1", "day=2"]


def test_two_keys_in_the_order_of_the_yaml(tmp_path: Path) -> None:
    put(tmp_path, "region=eu/year=2024/a.parquet")
    source = Source(uri=str(tmp_path), partition_by=["year", "region"])
    assert list_source(source)[0].partition == "year=2024/region=eu"


@pytest.mark.parametrize("uri", ["", "/nothing", "/none*.parquet", "/empty"])
def test_nothing_to_list(tmp_path: Path, uri: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        list_source(Source(uri=f"{tmp_path}{uri}"))
    assert str(tmp_path) in str(caught.value)


def test_a_file_outside_the_partitions_is_named(tmp_path: Path) -> None:
    put(tmp_path, "day=1/a.parquet", "stray.parquet")
    with pytest.raises(DataError, match=r"stray\.parquet: not under a day=\.\.\. folder"):
        list_source(Source(uri=str(tmp_path), partition_by=["day"]))


def test_a_source_in_memory() -> None:
    """fsspec's memory stands for any URI."""
    root = f"memory://{uuid.uuid4().hex}"
    folder = Folder(root)
    folder.write("day=1/a.parquet", b"1")
    files = list_source(Source(uri=root, partition_by=["day"]))
    assert [(file.partition, file.size) for file in files] == [("day=1", 1)]
    fs, path = open_fs(files[0].uri)
    assert fs.cat_file(path) == b"1"
    folder.fs.rm(folder.path, recursive=True)


class Caching(MemoryFileSystem):
    """A store that remembers listings, as s3fs and gcsfs do."""

    protocol = "caching"
    find = AbstractFileSystem.find

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True, **options)
        return self.dircache[path] if detail else [entry["name"] for entry in self.dircache[path]]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("caching://")))

    def invalidate_cache(self, path: str | None = None) -> None:
        if path is None:
            self.dircache.clear()
        while path:
            self.dircache.pop(path, None)
            path = self._parent(path).rstrip("/")


@pytest.mark.parametrize("glob", ["", "/*/*.parquet"])
def test_files_that_others_put_there_meanwhile_are_listed(glob: str) -> None:
    """By a process that goes on for days: a notebook, a triggerer."""
    fsspec.register_implementation("caching", Caching, clobber=True)
    root = uuid.uuid4().hex
    other = Folder(f"memory://{root}")
    source = Source(uri=f"caching://{root}{glob}", partition_by=["day"])
    other.write("day=1/a.parquet", b"1")
    assert len(list_source(source)) == 1
    other.write("day=1/b.parquet", b"2")
    other.write("day=2/a.parquet", b"3")
    assert len(list_source(source)) == 3
    other.fs.rm(other.path, recursive=True)


# Fingerprints.


def test_a_fingerprint_follows_names_sizes_and_change_times(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", "b.parquet")
    source = Source(uri=str(tmp_path))
    seen = [fingerprint(list_source(source))]
    assert fingerprint(list_source(source)) == seen[0], "reading changes nothing"
    os.utime(tmp_path / "a.parquet", (1, 1))
    seen.append(fingerprint(list_source(source)))
    (tmp_path / "b.parquet").write_bytes(b"longer")
    os.utime(tmp_path / "b.parquet", (1, 1))
    seen.append(fingerprint(list_source(source)))
    (tmp_path / "b.parquet").rename(tmp_path / "c.parquet")
    seen.append(fingerprint(list_source(source)))
    put(tmp_path, "d.parquet")
    seen.append(fingerprint(list_source(source)))
    (tmp_path / "d.parquet").unlink()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "c.parquet").rename(tmp_path / "deeper/c.parquet")
    seen.append(fingerprint(list_source(source)))
    (tmp_path / "deeper/c.parquet").rename(tmp_path / "c.parquet")
    assert len(set(seen)) == 6
    assert fingerprint(list_source(source)) == seen[3]


def test_a_fingerprint_does_not_depend_on_where_the_source_lies(tmp_path: Path) -> None:
    """A copy that keeps change times is the same data."""
    for root in ("one", "two"):
        put(tmp_path, f"{root}/a.parquet")
        os.utime(tmp_path / root / "a.parquet", (5, 5))
    one, two = (fingerprint(list_source(Source(uri=str(tmp_path / root)))) for root in ("one", "two"))
    assert one == two


def test_a_fingerprint_of_a_flat_partition_is_that_of_the_first_release(tmp_path: Path) -> None:
    """Or everything would be scored anew."""
    put(tmp_path, "day=1/a.parquet")
    os.utime(tmp_path / "day=1/a.parquet", (5, 5))
    found = list_source(Source(uri=str(tmp_path), partition_by=["day"]))
    listing = f'[["a.parquet", {found[0].size}, "5.0"]]'
    assert fingerprint(found) == hashlib.sha256(listing.encode()).hexdigest()


# What a user types for a partition.


@pytest.mark.parametrize(
    ("text", "keys", "partition"),
    [
        ("2013-01-29", ["date"], "date=2013-01-29"),
        ("date=2013-01-29", ["date"], "date=2013-01-29"),
        ("date=2013-01-29/", ["date"], "date=2013-01-29"),
        ("2013/01", ["year", "month"], "year=2013/month=01"),
        ("year=2013/01", ["year", "month"], "year=2013/month=01"),
        ("", [], ""),
    ],
)
def test_partitions_by_name_or_value(text: str, keys: list[str], partition: str) -> None:
    assert partition_id(text, keys) == partition


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("2013/01", ["date"]),
        ("2013", ["year", "month"]),
        ("month=1/year=2013", ["year", "month"]),
        ("day=1", ["date"]),
        ("2013-01-29", []),
        ("../x/y", ["a", "b"]),
        ("..=1", ["a"]),
    ],
)
def test_texts_that_name_no_partition(text: str, keys: list[str]) -> None:
    with pytest.raises(ConfigError, match="--partition"):
        partition_id(text, keys)


PARTS = st.sampled_from(["..", ".", "a", "b=1", "...", "..a", "", " .. "])


@QUICK
@given(parts=st.lists(PARTS, min_size=1, max_size=5), slash=st.sampled_from(["/", "\\"]), scheme=st.booleans())
def test_no_path_climbs_out(parts: list[str], slash: str, scheme: bool) -> None:
    uri = ("s3://bucket/" if scheme else "") + slash.join(parts)
    assume(uri.strip())
    if ".." in parts:
        with pytest.raises(ValueError, match="climbs out"):
            check_uri(uri)
    else:
        assert check_uri(uri) == uri


@QUICK
@given(text=st.text("./\\ab=", max_size=12), keys=st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True))
def test_no_partition_climbs_out(text: str, keys: list[str]) -> None:
    """Whatever is typed is refused, or stays below the dataset's folder."""
    try:
        found = partition_id(text, keys)
    except ConfigError:
        return
    assert Path(os.path.normpath(f"/out/scores/{found}")).is_relative_to("/out/scores")
    assert [part.split("=", 1)[0] for part in found.split("/") if part] == keys


# What killed writers leave.


def test_a_half_written_file_is_swept_unless_its_writer_lives(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    put(tmp_path, "a.json", "a.json.partial.1700000000.aa", "b.json.partial.1700000000.bb")
    writer = hold(folder.at("b.json.partial.1700000000.bb"))
    folder.sweep_partials("")
    assert folder.names() == ["a.json", "b.json.partial.1700000000.bb"]
    os.close(writer)
    folder.sweep_partials("")
    assert folder.names() == ["a.json"]
