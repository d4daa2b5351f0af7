"""Folders of picture files that are written in the layout of the source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa

from ae_plugin.engines.local import reading
from ae_plugin.errors import DataError
from ae_plugin.places import is_below
from ae_plugin.store.files import Folder, SourceFile, open_fs
from ae_plugin.store.tree import Tree

# A disk takes as long to sync one file as to sync several.
_THREADS = 8
_PART = 2**20


class FolderWriter:
    """One staged folder of an output: each picture of a partition in a file named as in the source.

    Args:
        folder: the output.
        name: of the staged folder.
        files: of the partition; what is written are record batches of theirs (see `engines.pictures.FILES`), in order.

    Attributes:
        lost: path of a file whose bytes could not be had -> why; there is no such file in the folder.
    """

    def __init__(self, folder: Folder, name: str, files: Sequence[SourceFile]) -> None:
        self.lost: dict[str, str] = {}
        self._tree, self._files = Tree(folder, name), iter(files)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="write")
        self._running: list[Future[None]] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the files of a record batch; those of the one before are written by then."""
        self._wait()
        contents = batch.column("image")
        for row in range(batch.num_rows):
            self._running.append(self._pool.submit(self._file, next(self._files), contents[row]))

    def close(self) -> str:
        """Finish; returns the folder's sha256, see `Tree.close`."""
        self._wait()
        self._pool.shutdown()
        return self._tree.close()

    def abort(self) -> None:
        """Let go of a folder that will be thrown away."""
        self._pool.shutdown(cancel_futures=True)

    def _wait(self) -> None:
        for done in self._running:
            done.result()
        self._running = []

    def _file(self, file: SourceFile, content: pa.Scalar) -> None:
        if content.is_valid:
            self._tree.write(file.name, [content.as_py()])
            return
        try:
            parts = _parts(file)
            first = next(parts, b"")
        except DataError as error:
            if error.transient:
                raise
            self.lost[file.name] = error.what
            return
        self._tree.write(file.name, itertools.chain([first], parts))


def _parts(file: SourceFile) -> Iterator[bytes]:
    """A file's content, part by part: it may be larger than memory."""
    with reading(file.uri):
        fs, path = open_fs(file.uri)
        with fs.open(path, "rb") as handle:
            while part := handle.read(_PART):
                yield part


def check_layout(files: Sequence[SourceFile]) -> None:
    """See that each file of a partition can have a file of its own below the partition's folder of an output.

    Raises:
        DataError: two of them would be one, one would lie where another is a folder, or one leads elsewhere.
    """
    names, seen = {file.name for file in files}, set[str]()
    for file in files:
        if not is_below(file.name):
            what = f"its path below the partition, {file.name!r}, leads elsewhere"
            raise DataError(what, where=file.uri, mend="Move it")
        above = {str(parent) for parent in PurePosixPath(file.name).parents} & names
        if file.name in seen or above:
            taken = next(iter(above), file.name)
            raise DataError(f"another file of the partition is called {taken} too", where=file.uri, mend="Rename one")
        seen.add(file.name)
