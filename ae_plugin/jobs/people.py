"""People say things: who they are, and whether their words can be kept."""

from __future__ import annotations

import getpass
import unicodedata

from ae_plugin.errors import ConfigError


def this_user() -> str:
    """Who runs this process; `unknown` when the system has no name for them."""
    try:
        return getpass.getuser().encode(errors="replace").decode()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def check_words(*texts: str | None, where: str) -> None:
    """See that what somebody wrote is text.

    Args:
        texts: None: nothing was written.
        where: what to name when one is none.

    Raises:
        ConfigError: one is not UTF-8, or holds what steers terminals.
    """
    for text in texts:
        if text is not None and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ConfigError(f"{text!a} is not UTF-8", where=where, mend="Check the terminal's encoding")
        if text is not None and any(unicodedata.category(letter) == "Cc" and letter not in "\n\r\t" for letter in text):
            raise ConfigError(f"{text!a} holds control characters", where=where, mend="Say it in one line of text")
