"""Where a path or URI points: on this machine or elsewhere, at one file or at many, and whether two overlap."""

from __future__ import annotations

import os
import posixpath
import re

from ae_plugin.errors import ConfigError

MAGIC = re.compile(r"[*?\[]")
_SCHEMES = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][\w+.-]*://")
_LOCAL = ("file://", "local://")
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
OBJECT_STORES = frozenset({"s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss", "adl", "az"})
"""Schemes of stores that know whole files under whole names: no folders, no renames, no locks."""
_IN_STORE = re.compile(rf"({'|'.join(sorted(OBJECT_STORES))})://([^/]*)@([^/@]*)(.*)", re.DOTALL)


def check_uri(uri: str) -> str:
    """Return `uri` unchanged, or raise ValueError when it names no place, or climbs out with `..`."""
    if not uri.strip():
        raise ValueError("is empty")
    if "\0" in uri:
        raise ValueError("holds a NUL character")
    if ".." in re.split(r"[/\\]", uri):
        raise ValueError(f"{uri!r} climbs out with '..'; give a path without it")
    return check_place(uri)


def check_place(uri: str) -> str:
    """Return `uri` unchanged, or raise ValueError when it is a scheme alone."""
    if re.fullmatch(_SCHEMES.pattern + "/*", uri):
        raise ValueError(f"{uri!r} names no place: nothing comes after the scheme")
    _check_connection(uri)
    return uri


def split_connection(uri: str) -> tuple[str, str]:
    """The Airflow connection that a URI names (`s3://my_conn@bucket/path`), or "", and the URI without it."""
    found = _IN_STORE.match(uri)
    # abfs://container@account.dfs.core.windows.net/path is Azure's own way to name an account.
    if found is None or (found[1] in ("abfs", "abfss", "adl", "az") and "." in found[3]):
        return "", uri
    return found[2], f"{found[1]}://{found[3]}{found[4]}"


def with_connection(connection: str, uri: str) -> str:
    """A URI that names a connection; as it is when there is none."""
    return uri.replace("://", f"://{connection}@", 1) if connection else uri


def _check_connection(uri: str) -> None:
    chain, _, last = uri.rpartition("::")
    connection, plain = split_connection(last)
    if plain == last:
        return
    if ":" in connection:  # not shown: it may be a secret
        raise ValueError("a key and its secret stand before the '@'; name an Airflow connection there, which has them")
    if chain:
        raise ValueError(f"{uri!r}: a connection cannot be named in a chain")
    if not connection or re.match(r"\w+:///|\w+://$", plain):
        raise ValueError(f"{uri!r} names no {'bucket after' if connection else 'connection before'} the '@'")


def has_scheme(uri: str) -> bool:
    """Whether `uri` is a URI, not a plain path; `::` and `://` may be part of a folder's name."""
    return _SCHEMES.match(uri) is not None


def is_absolute(uri: str) -> bool:
    """Whether `uri` says where it is by itself, whatever folder one is in."""
    return has_scheme(uri) or uri.startswith("/")


def local_path(uri: str) -> str | None:
    """The path that `uri` has on this machine, made absolute; None when it lies elsewhere."""
    prefix = next((prefix for prefix in _LOCAL if uri.startswith(prefix)), "")
    if not prefix and has_scheme(uri):
        return None
    # Not Path.expanduser, which fails where `~` begins a plain name.
    return os.path.abspath(os.path.expanduser(uri.removeprefix(prefix)))  # noqa: PTH111


def is_below(name: str) -> bool:
    """Whether a relative path leads to something below the folder that it starts from."""
    return not {"", ".", ".."} & set(name.split("/"))


def fixed_part(path: str) -> str:
    """The folder of a path up to its first `*`, `?` or `[`; the path itself when it has none."""
    found = MAGIC.search(path)
    return path[: found.start()].rpartition("/")[0] if found else path


def check_apart(source: str, output: str, *, where: str = "") -> None:
    """Hold apart what is read and what is written: neither may lie in the other, however they are written.

    Args:
        source: file, folder or glob that is read.
        output: folder that is written to.
        where: what the user gave them in.

    Raises:
        ConfigError: they overlap; scoring would overwrite its source, or read what it wrote.
    """
    pairs = zip(_steps(source), _steps(output), strict=False)
    if all(one == other for one, other in pairs):
        raise ConfigError(
            f"output {output} and source {source} must lie apart, neither in the other",
            where=where,
            mend="Choose another folder for the output",
        )


def _steps(uri: str) -> list[str]:
    """A place's scheme and folders, in one way of writing them; of a glob, those before its first pattern."""
    path = local_path(uri)
    if path is not None:
        path = path if os.path.lexists(path) else fixed_part(path)
        return ["", *os.path.realpath(path).strip("/").split("/")]
    # Two connections may lead to the same bucket, so they tell no places apart.
    scheme, _, path = split_connection(uri.rpartition("::")[2])[1].rpartition("://")
    path = posixpath.normpath(fixed_part(path).strip("/"))
    return [_ALIASES.get(scheme, scheme), *([] if path == "." else path.split("/"))]
