"""Secrets that people wrote into URIs, kept out of whatever people read: messages, logs, pages."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^\s/?#@:'\"`]*:[^\s'\"`]*@")
_VALUES = re.compile(r"([?&][^\s=&#'\"`]+=)[^\s&#'\"`]+")
_URI = re.compile(r"\w+://[^\s'\"`]+")


def shown(text: str) -> str:
    """A text without what its URIs hold before an `@` after a colon, and without the values of their queries."""
    return _URI.sub(lambda found: _VALUES.sub(r"\1...", _USER.sub("...@", found[0])), text) if "://" in text else text
