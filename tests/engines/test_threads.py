"""Work in threads, and how many of them BLAS has."""

from __future__ import annotations

from threadpoolctl import threadpool_info, threadpool_limits

from ae_plugin.engines.threads import BLAS, parallel


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_is_held_to_one_thread_until_the_last_stream_has_ended() -> None:
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        first, second = parallel(abs, range(9)), parallel(abs, range(9))
        next(first), next(second)
        assert blas_threads() == {1}
        assert list(first) == list(range(1, 9))
        assert blas_threads() == {1}
        second.close()
        assert blas_threads() == before


def test_what_is_computed_on_one_blas_thread_is_so_wherever_it_is_called_from() -> None:
    @BLAS.single()
    def seen() -> set[int]:
        return blas_threads()

    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            assert [seen(), seen()] == [{1}, {1}]
            assert blas_threads() == {threads}
