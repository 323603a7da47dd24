"""Many files by several processes, in their order.

This module knows processes and their ends; not what is done with a file.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, Final, Generic, TypeVar

__all__ = ["each"]

T = TypeVar("T")

# So many files wait for each process: enough that none is idle behind a large one, and
# few enough that what they give is not held for long.
_AHEAD: Final = 4


def each(
    names: Iterable[str],
    work: Callable[[str], Iterator[T]],
    died: Callable[[str], T],
    n: int,
) -> Iterator[Iterable[T]]:
    """Yield for each name what `work` gives, by `n` processes, in the order of names.

    Standard input is read in this process. Where a process is killed in its work on a
    file, `died` says what stands for that. Who stops early ends the processes.
    """
    pool = _Pool(partial(_collect, work), n)
    pending: deque[tuple[str, Future[list[T]] | None]] = deque()
    source = iter(names)
    is_whole = False
    try:
        while True:
            while (
                len(pending) < _AHEAD * n and (name := next(source, None)) is not None
            ):
                pending.append((name, None if name == "-" else pool.submit(name)))
            if not pending:
                break
            name, future = pending.popleft()
            if future is None:
                yield work(name)
                continue
            try:
                yield future.result()
            except BrokenProcessPool:
                # It took all that was under way with it: which one it was is found out.
                yield pool.retry(name) or [died(name)]
                pending = deque(
                    (name, future and pool.submit(name)) for name, future in pending
                )
        is_whole = True
    finally:
        pool.close(kill=not is_whole)


class _Pool(Generic[T]):
    """Processes that can be had anew when one of them died."""

    def __init__(self, work: Callable[[str], list[T]], n: int) -> None:
        self._work = work
        self._n = n
        self._pool = self._begin(n)

    @staticmethod
    def _begin(n: int) -> ProcessPoolExecutor:
        # To fork where threads run (the progress bar's, the pool's) may hang.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(n, context, initializer=_ignore_interrupts)

    def submit(self, name: str) -> "Future[list[T]]":
        """Begin work on a file."""
        try:
            return self._pool.submit(self._work, name)
        except BrokenProcessPool as error:
            failed: Future[list[T]] = Future()
            failed.set_exception(error)
            return failed

    def retry(self, name: str) -> list[T] | None:
        """Work on a file by itself, with all others anew; None where that dies, too."""
        self.close(kill=True)
        self._pool = self._begin(1)
        try:
            return self._pool.submit(self._work, name).result()
        except BrokenProcessPool:
            return None
        finally:
            self.close(kill=True)
            self._pool = self._begin(self._n)

    def close(self, *, kill: bool) -> None:
        """End the processes, and wait until they have ended."""
        if kill:
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=kill)


def _ignore_interrupts() -> None:
    # Ctrl-C goes to all; whose child this is ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collect(work: Callable[[str], Iterator[Any]], name: str) -> list[Any]:
    return [*work(name)]
