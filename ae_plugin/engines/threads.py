"""Work beside work: iterators that run ahead, functions applied in a few threads, BLAS kept to one thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from threadpoolctl import threadpool_limits

from ae_plugin.engines.memory import keep_freed_memory

T = TypeVar("T")
R = TypeVar("R")


def prefetch(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Run an iterator in a thread of its own, at most `depth` items ahead; its error is raised here."""
    ahead: queue.Queue[tuple[Literal["item", "error", "end"], Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: Literal["item", "error", "end"], value: Any) -> bool:
        while not stop.is_set():
            try:
                ahead.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            put("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ahead.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stop.set()
        thread.join()


class _Blas:
    """Holds BLAS to one thread as long as anybody wants that: holders may come and go in any order.

    How a BLAS rounds depends on how many threads it has, so whatever must come out the same again is computed on one.
    """

    def __init__(self) -> None:
        self._lock, self._holders = threading.Lock(), 0
        self._limits = contextlib.ExitStack()

    @contextmanager
    def single(self) -> Iterator[None]:
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._limits.enter_context(threadpool_limits(1, "blas"))
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._limits.close()


BLAS = _Blas()


def parallel(work: Callable[[T], R], items: Iterable[T], workers: int = 2) -> Iterator[R]:
    """Apply `work` to items in a few threads, results in the items' order, at most one result a worker ahead."""
    keep_freed_memory()
    # These threads share the cores already: a BLAS that starts its own on top of them halves the speed.
    with BLAS.single(), ThreadPoolExecutor(workers, thread_name_prefix="score") as pool:
        ahead: deque[Future[R]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
