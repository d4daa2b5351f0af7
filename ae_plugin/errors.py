"""Everything that can go wrong on purpose.

    AeError                     exit code 1 (our bug, if it is ever seen)
    ├── UserError               exit code 2: one line that says what, where and how to mend it
    │   ├── ConfigError         the pipeline YAML
    │   ├── DataError           the source: unreadable, empty, or of another schema
    │   └── StoreError          the output or the registry: unwritable, tampered with
    ├── UnfamiliarError         exit code 3: the partition was refused by the guard
    └── NoChampionError         exit code 4: nothing to score with

Messages are written for the person who has to act: ``what: where. mend``. An error is ``transient`` when the same
thing may succeed later without anybody's doing: a full disk, a store that does not answer. Airflow tries it again.
"""

from __future__ import annotations

import errno
import gzip
from typing import TYPE_CHECKING

from ae_plugin.masks import shown

if TYPE_CHECKING:
    from ae_plugin.schemas import RunRecord

_LASTING = (
    *(FileNotFoundError, FileExistsError, PermissionError, NotADirectoryError, IsADirectoryError),
    NotImplementedError,
)
_LASTING_CODES = {
    *(errno.ENOENT, errno.EEXIST, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR),
    *(errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOSYS),
    getattr(errno, "EREMCHG", errno.EINVAL),  # a bucket in another region, as s3fs says it
}
# What botocore raises when nobody but the user can help, by name: nothing here imports it.
_LASTING_NAMES = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("NoRegionError", "ParamValidationError", "InvalidEndpointConfigurationError"),
}
# What object stores' packages raise besides OSError, when they are not reached or give up.
_STORE_PACKAGES = ("aiobotocore", "aiohttp", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google")


class AeError(Exception):
    """Base of all errors raised by ae_plugin; ``str(error)`` is always one line."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "", transient: bool = False) -> None:
        self.what, self.where, self.mend, self.transient = what, where, mend, transient
        text = what if not where else f"{where}: {what}"
        whole = f"{text}. {mend}" if mend else text
        super().__init__(shown(" ".join(whole.split())))

    def placed(self, where: str) -> AeError:
        """Return this error with a place, when it names none yet."""
        if self.where:
            return self
        return type(self)(self.what, where=where, mend=self.mend, transient=self.transient)


class UserError(AeError):
    """Something that the user or their system is to mend; unless it is transient, trying again cannot succeed."""

    exit_code = 2


class ConfigError(UserError):
    """The pipeline YAML is wrong."""


class DataError(UserError):
    """The source cannot be read, is empty, or does not have the columns the model learned."""


class EmptySourceError(DataError):
    """There are no files in the source, or it does not exist."""


class StoreError(UserError):
    """The output or the registry cannot be written, or was changed by somebody else."""


class UnfamiliarError(AeError):
    """The guard refused the partition: it is not the kind of data the model was trained on.

    Attributes:
        record: of the run that ended so.
    """

    exit_code = 3
    record: RunRecord | None = None


class NoChampionError(AeError):
    """There is no champion to score with."""

    exit_code = 4


def is_io(error: BaseException) -> bool:
    """Whether an exception is the word of a file system or of an object store's package."""
    said = (OSError, NotImplementedError)  # the latter: what a file system cannot do at all, such as write
    return isinstance(error, said) or type(error).__module__.partition(".")[0] in _STORE_PACKAGES


def is_transient(error: BaseException) -> bool:
    """Whether trying the same again may succeed: not when a path or a right is missing, nor when a file is broken."""
    if not is_io(error) or isinstance(error, (*_LASTING, gzip.BadGzipFile)):
        return False
    if _LASTING_NAMES & {kind.__name__ for kind in type(error).__mro__}:
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in _LASTING_CODES
    return type(error) is not OSError  # Arrow's own, without a code: the file is not what it should be
