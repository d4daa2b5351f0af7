"""Everything that can go wrong on purpose.

    AeError                     exit code 1 (our bug, if it is ever seen)
    ├── UserError               exit code 2: one line that says what, where and how to mend it
    │   ├── ConfigError         the pipeline YAML
    │   ├── DataError           the source: unreadable, empty, or of another schema
    │   └── StoreError          the output or the registry: unwritable, tampered with
    ├── UnfamiliarError         exit code 3: the partition was refused by the guard
    └── NoChampionError         exit code 4: nothing to score with

Messages are written for the person who has to act: ``what: where. mend``.
"""

from __future__ import annotations


class AeError(Exception):
    """Base of all errors raised by ae_plugin; ``str(error)`` is always one line."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        text = what if not where else f"{where}: {what}"
        super().__init__(" ".join(f"{text}. {mend}".split()) if mend else " ".join(text.split()))


class UserError(AeError):
    """Something that only the user can mend; retrying without a change cannot succeed."""

    exit_code = 2


class ConfigError(UserError):
    """The pipeline YAML is wrong."""


class DataError(UserError):
    """The source cannot be read, is empty, or does not have the columns the model learned."""


class StoreError(UserError):
    """The output or the registry cannot be written, or was changed by somebody else."""


class UnfamiliarError(AeError):
    """The guard refused the partition: it is not the kind of data the model was trained on."""

    exit_code = 3


class NoChampionError(AeError):
    """There is no champion to score with."""

    exit_code = 4
