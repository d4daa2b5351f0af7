"""Where bytes are kept: URIs through fsspec, partitions of a source, and writes that are all or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ae_plugin.errors import ConfigError, DataError, EmptySourceError, StoreError, is_io, is_transient
from ae_plugin.masks import shown
from ae_plugin.places import (
    MAGIC,
    OBJECT_STORES,
    check_place,
    fixed_part,
    local_path,
    split_connection,
    with_connection,
)
from ae_plugin.sections import Source
from ae_plugin.store.connections import connected
from ae_plugin.store.owner import hold, mark
from ae_plugin.store.partitions import in_order
from ae_plugin.store.walk import hidden, walk

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_TABLES = (".parquet", ".pq")
SUFFIXES = {"parquet": _TABLES, "csv": (".csv", ".csv.gz"), "images": (*PICTURES, *_TABLES)}


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: its URI, the partition it belongs to, and what tells whether it changed.

    `name` is its path below the partition's folder, with `/` between the parts.
    """

    uri: str
    partition: str
    size: int
    stamp: str
    name: str


def open_fs(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a URI and the path on it.

    Raises:
        ConfigError: no filesystem speaks that scheme here, it cannot be reached, or it names an Airflow connection
            that there is not, or not here.
    """
    path = local_path(uri)
    if path is not None:  # as it is: fsspec would cut it at `::`
        return fsspec.filesystem("file"), path
    try:
        return connected(check_place(uri))
    except ConfigError:
        raise
    except Exception as error:
        known = isinstance(error, (ValueError, ImportError))
        what = "connection" if split_connection(uri)[0] else "address"
        mend = "Install the package that speaks this scheme" if known else f"Check the {what}"
        reason = str(error) or type(error).__name__
        raise ConfigError(
            f"cannot be opened ({reason})", where=shown(uri), mend=mend, transient=is_transient(error)
        ) from error


def list_source(source: Source) -> list[SourceFile]:
    """List a source's files in partition and name order.

    Raises:
        DataError: there is nothing there, a file lies outside the partitions, or pictures lie beside Parquet files.
    """
    fs, _ = open_fs(source.uri)
    connection, _ = split_connection(source.uri)
    suffixes = SUFFIXES[source.format]
    base, found = list_files(source.uri)
    files = []
    for name, info in found.items():
        if not name.lower().endswith(suffixes):
            continue
        partition = _partition_of(name, source.partition_by)
        if partition is None:
            keys = "/".join(f"{key}=..." for key in source.partition_by)
            raise DataError(f"not under a {keys} folder", where=name, mend="Move it there, or mend source.partition_by")
        below = _below(name, base, source.partition_by)
        uri = with_connection(connection, fs.unstrip_protocol(name))
        files.append(SourceFile(uri, partition, int(info.get("size") or 0), _stamp(info), below))
    if not files:
        what = f"no {' or '.join(suffixes)} files here" if found or is_there(source.uri) else "does not exist"
        raise EmptySourceError(what, where=source.uri, mend="Check source.uri and source.format")
    if source.format == "images" and len({file.name.lower().endswith(PICTURES) for file in files}) > 1:
        raise DataError(
            "holds pictures and Parquet files", where=source.uri, mend="Keep them apart, or name one sort by a glob"
        )
    return sorted(files, key=lambda file: (in_order(file.partition), file.uri))


def is_there(uri: str) -> bool:
    """Whether a file, a folder, or what a glob names begins with, exists; True where the filesystem cannot tell."""
    fs, path = open_fs(uri)
    try:
        return bool(fs.exists(path) or (MAGIC.search(path) is not None and fs.exists(fixed_part(path))))
    except Exception:  # noqa: BLE001 - each filesystem's package raises what it likes
        return True


def list_files(uri: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """List a file, all files below a folder, or those that a glob names: the folder they lie in, and path -> info.

    What is there under the very name that was given is no glob, whatever characters it holds. Names that start with
    `_` or `.` are left out, as Hive and Spark do. Links on this machine are followed.

    Raises:
        DataError: the filesystem cannot tell.
    """
    fs, path = open_fs(uri)
    try:
        fs.invalidate_cache()  # all of it: a folder's own entry says nothing of the folders below
        if fs.isfile(path):
            return path.rpartition("/")[0], {path: fs.info(path)}
        glob = MAGIC.search(path) is not None and not fs.exists(path)
        base = fixed_part(path) if glob else path
        if isinstance(fs, LocalFileSystem):
            listed = dict(walk(base or "/", path if glob else None))
        else:
            listed = fs.glob(path, detail=True) if glob else fs.find(path, detail=True)
    except Exception as error:  # each filesystem's package raises what it likes
        reason = str(error) or type(error).__name__
        raise DataError(f"cannot be listed ({reason})", where=uri, transient=is_transient(error)) from error
    return base, {
        name: info
        for name, info in listed.items()
        if info.get("type") != "directory" and not hidden(name[len(base) :] if name.startswith(base) else name)
    }


def _partition_of(name: str, keys: list[str]) -> str | None:
    values = dict(part.split("=", 1) for part in name.split("/")[:-1] if "=" in part)
    if any(key not in values for key in keys):
        return None
    return "/".join(f"{key}={values[key]}" for key in keys)


def _below(name: str, base: str, keys: list[str]) -> str:
    parts = name[len(base) :].strip("/").split("/") if name.startswith(base) else [name.rpartition("/")[2]]
    return "/".join(part for part in parts if part.partition("=")[0] not in keys or "=" not in part)


def _stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated"):
        if info.get(key):
            return str(info[key])
    return ""


def partitions_of(files: list[SourceFile]) -> dict[str, list[SourceFile]]:
    """Group a listing by partition, in order."""
    grouped: dict[str, list[SourceFile]] = {}
    for file in files:
        grouped.setdefault(file.partition, []).append(file)
    return grouped


def fingerprint(files: list[SourceFile]) -> str:
    """sha256 of a partition's listing: paths below the partition, sizes and change stamps."""
    listing = [[file.name, file.size, file.stamp] for file in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


class Folder:
    """A folder at a URI: small reads, atomic writes, and commits of several files as one.

    Args:
        uri: local path or fsspec URI; it need not exist yet.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"
        self.fs, path = open_fs(uri)
        self.path = path.rstrip("/") or path
        self.local = isinstance(self.fs, LocalFileSystem)
        protocols = (self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol
        self.flat = not OBJECT_STORES.isdisjoint(protocols)

    def at(self, name: str) -> str:
        """Path of `name` on the folder's filesystem."""
        return f"{self.path}/{name}" if name else self.path

    def size(self, name: str) -> int:
        """Bytes of a file; FileNotFoundError when it is not there."""
        with _looking(f"{self.uri}/{name}"):
            return int(self.fs.info(self.at(name))["size"])

    def read(self, name: str) -> bytes:
        """Read a small file whole; FileNotFoundError when it is not there, StoreError when it cannot be read."""
        with _looking(f"{self.uri}/{name}"):
            return Path(self.at(name)).read_bytes() if self.local else bytes(self.fs.cat_file(self.at(name)))

    def read_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """Read small files whole, on object stores many at a time; those that are not there (any more) are left out.

        Raises:
            StoreError: one cannot be read.
        """
        if not self.local:
            with _looking(self.uri):
                found = self.fs.cat([self.at(name) for name in names], on_error="return") if names else {}
                for content in found.values():
                    if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                        raise content
            yield from (bytes(content) for content in found.values() if not isinstance(content, Exception))
            return
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield self.read(name)

    def exists(self, name: str) -> bool:
        """Whether a file or folder is there: a file's own name is asked for, whatever listings say or said."""
        with _looking(f"{self.uri}/{name}"):
            self.fs.invalidate_cache(self.at(name))
            return bool(self.fs.exists(self.at(name)))

    def names(self, name: str = "") -> list[str]:
        """Names in a folder, sorted; empty when it is not there, StoreError when it cannot be listed."""
        self.fs.invalidate_cache()
        listed: list[str] = []
        with _looking(f"{self.uri}/{name}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            listed = os.listdir(self.at(name)) if self.local else self.fs.ls(self.at(name), detail=False)  # noqa: PTH208
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in listed)

    def stamps(self, name: str = "") -> dict[str, str]:
        """Names in a folder, and what tells whether each changed; empty when it is not there."""
        self.fs.invalidate_cache()
        with _looking(f"{self.uri}/{name}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if self.local:
                with os.scandir(self.at(name)) as found:
                    return {entry.name: str(entry.stat().st_mtime_ns) for entry in found}
            listed = self.fs.ls(self.at(name), detail=True)
            return {str(info["name"]).rstrip("/").rsplit("/", 1)[-1]: _stamp(info) for info in listed}
        return {}

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file whole.

        Raises:
            StoreError: it cannot be written.
        """
        partial = self.at(f"{name}.partial.{mark()}")
        with writing(self.uri):
            self.makedirs(name.rpartition("/")[0])
            if not self.local:
                self.fs.pipe_file(self.at(name), data)
                return
            try:
                with open(hold(partial), "wb") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
                    os.replace(partial, self.at(name))
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise

    def makedirs(self, name: str = "") -> None:
        """Make a folder and its parents; StoreError when that is impossible. Object stores need none."""
        if self.flat:
            return  # s3fs would make a bucket, also where it only failed to see the one that is there
        with writing(self.uri):
            self.fs.makedirs(self.at(name), exist_ok=True)

    def missing(self) -> list[str]:
        """Paths of the folder itself and the parents that do not exist yet, deepest first."""
        found, path = [], self.path
        while self.local and path and not self.fs.exists(path):
            found.append(path)
            path = path.rpartition("/")[0]
        return found

    def remove_empty(self, paths: list[str]) -> None:
        """Remove folders (see `missing`) as long as they are empty."""
        with contextlib.suppress(OSError):
            for path in paths:
                Path(path).rmdir()

    def prepare(self, name: str) -> str:
        """Make the folder that a file will be in; returns the file's path."""
        self.makedirs(name.rpartition("/")[0])
        return self.at(name)

    def open_write(self, name: str) -> IO[bytes]:
        """Open a file for writing; StoreError when that is impossible."""
        with writing(self.uri):
            self.makedirs(name.rpartition("/")[0])
            handle: IO[bytes] = self.fs.open(self.at(name), "wb")
        return handle

    def move(self, old: str, new: str) -> None:
        """Move one file over another: atomic on local disks, copy then delete on object stores."""
        self.makedirs(new.rpartition("/")[0])
        if self.local:
            os.replace(self.at(old), self.at(new))
        elif self.flat:  # by their very names: `mv` takes a `[` in one for a pattern
            self.fs.cp_file(self.at(old), self.at(new))
            self.fs.rm_file(self.at(old))
        else:
            self.fs.mv(self.at(old), self.at(new))

    def copy(self, names: dict[str, str]) -> None:
        """Copy files, old name -> new name: on object stores several at a time."""
        if names:
            self.fs.copy([self.at(old) for old in names], [self.at(new) for new in names.values()])

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it; nothing happens when it is not there."""
        if self.flat:
            self.drop([self.at(name), *self.below(name)])
        elif self.exists(name):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                self.fs.rm(self.at(name), recursive=True)

    def remove_file(self, name: str) -> None:
        """Remove a file, whether it is listed or not; nothing happens when it is not there."""
        self.drop([self.at(name)])

    def drop(self, paths: list[str]) -> None:
        """Remove files by their paths, each exactly as it is named; those that are not there are passed over."""
        plain = [path for path in paths if not MAGIC.search(path)]
        several = self.flat and len(plain) > 1
        with contextlib.suppress(FileNotFoundError):
            if several:
                self.fs.rm(plain)
        for path in [path for path in paths if not several or MAGIC.search(path)]:
            with contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(path)

    def below(self, name: str) -> list[str]:
        """Paths of all files in a folder, as far as the store lists them."""
        self.fs.invalidate_cache()
        return [str(path) for path in self.fs.find(self.at(name))]

    def age(self, name: str) -> float:
        """Seconds since a file was last changed."""
        self.fs.invalidate_cache(self.at(name))
        changed: datetime = self.fs.modified(self.at(name))
        return (datetime.now(timezone.utc) - changed.astimezone(timezone.utc)).total_seconds()

    def sweep_partials(self, name: str) -> None:
        """Remove what killed writers left half-written in a folder; object stores write whole files only."""
        for entry in self.names(name) if self.local else []:
            if ".partial." in entry:
                path = self.at(f"{name}/{entry}")
                with contextlib.suppress(BlockingIOError), open(hold(path, wait=False), "rb"):  # else its writer lives
                    Path(path).unlink()


@contextmanager
def _looking(where: str) -> Iterator[None]:
    """Turn what keeps a filesystem from reading into one clear line; what is not there stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if not is_io(error):
            raise
        reason, transient = getattr(error, "strerror", None) or str(error) or type(error).__name__, is_transient(error)
        raise StoreError(f"cannot be read ({reason})", where=where, transient=transient) from error


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Turn the filesystem's refusals into one clear line."""
    try:
        yield
    except Exception as error:
        if not is_io(error):
            raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        transient = is_transient(error)
        mend = "Make room, or try again" if transient else "Check the path and its rights"
        raise StoreError(f"cannot be written ({reason})", where=where, mend=mend, transient=transient) from error
