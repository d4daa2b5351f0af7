"""How partitions are called, and in which order they come."""

from __future__ import annotations

import re
from functools import lru_cache

from ae_plugin.errors import ConfigError
from ae_plugin.places import check_uri


@lru_cache(65_536)
def in_order(partition: str) -> tuple[str | int, ...]:
    """What partitions are ordered by: their text, whole numbers in it by size, so that `month=10` follows `month=9`."""
    # Text and numbers take turns in the split, so that like is compared with like.
    return tuple(
        int(part) if part.isascii() and part.isdecimal() else part for part in re.split(r"([0-9]+)", partition)
    )


def partition_id(text: str, keys: list[str]) -> str:
    """Turn what a user typed (`2013-01-29`, `date=2013-01-29`) into a partition's hive path.

    Raises:
        ConfigError: it names no partition of these keys.
    """
    if text == "" and not keys:
        return ""
    parts = text.strip("/").split("/")
    if len(parts) == len(keys):
        named = [part if "=" in part else f"{key}={part}" for part, key in zip(parts, keys, strict=True)]
        whole = "/".join(named)
        if all(n.split("=", 1)[0] == key for n, key in zip(named, keys, strict=True)):
            try:
                check_uri(whole.replace("=", "/"))  # a value may climb out too
            except ValueError as error:
                raise ConfigError(str(error), where="--partition") from error
            return whole
    wanted = "/".join(f"{key}=VALUE" for key in keys) or "none: this source has no partition_by"
    raise ConfigError(f"{text!r} names no partition", where="--partition", mend=f"Wanted: {wanted}")
