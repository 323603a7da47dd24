"""Tees: iterators of bytes, or of chunks, that are watched while they are read.

This module knows how iterators are told that their reader left, and how they tell that
their source broke.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from typing import Any, Final, TypeVar

from unstream._generators import abegin, aclose, begin, close, is_in_loop
from unstream._outcome import Limits, Outcome
from unstream._tap import Tap, check_callable, log

__all__ = ["atee", "awatch", "tee", "watch"]

T = TypeVar("T")

_CALL: Final = "on_finish(outcome)"
_STUCK: Final = "a source could not be closed"


def tee(
    source: Iterable[T],
    on_finish: Callable[[Outcome[Any]], None],
    *,
    limits: Limits | None = None,
    content_encoding: str = "",
    start: float | None = None,
) -> Generator[T, None, None]:
    """Yield what a body comes in, unchanged, and call back with what it was.

    `source` gives bytes-likes, cut anywhere, or chunks that were parsed already (see
    `Accumulator.add`). `on_finish(outcome)` is called once, after the last of them was
    taken: at the end of `source`, when it raises, or when this generator is closed or
    dropped. Each of them closes `source`, if it has a `close`. `content_encoding` is
    the header of that name where the bytes are still encoded. Times count from `start`,
    a reading of `time.perf_counter` such as one from before the request; by default
    from this call.

    `outcome.interrupted` is "upstream" where `source` raised an Exception, "client"
    where this generator was closed or dropped before the end of a stream that was not
    complete. What the callback raises, or the `close` of `source`, is logged to the
    logger "unstream"; nothing is raised while iterating but what `source` raises.

    Raises TypeError where `source` is no iterable of bytes or chunks, `on_finish` is
    async or does not take one argument, or `limits` are none.
    """
    _check(source, "__iter__", "__aiter__", "atee")
    check_callable(_CALL, on_finish)
    tap = Tap(on_finish, limits=limits, coding=content_encoding, start=start)
    return begin(_tee(source, tap))


def _tee(source: Iterable[Any], tap: Tap) -> Generator[Any, None, None]:
    try:
        yield b""  # taken by `begin`
        yield from watch(source, tap)
    finally:
        try:
            close(source)
        except Exception:  # noqa: BLE001 - what the source itself raised goes first
            log(_STUCK)
        finally:
            tap.finish()


def watch(source: Iterable[Any], tap: Tap) -> Generator[Any, None, None]:
    """Yield what a source gives, and tell the tap who ended it."""
    is_out = False  # the reader has the last of it
    try:
        for data in source:
            tap.hold(data)
            is_out = True
            yield data
            is_out = False
            tap.read()
        tap.interrupted = None
    except Exception:
        if not is_out:
            tap.interrupted = "upstream"
        raise


def atee(
    source: AsyncIterable[T],
    on_finish: Callable[[Outcome[Any]], Awaitable[None] | None],
    *,
    limits: Limits | None = None,
    content_encoding: str = "",
    start: float | None = None,
) -> AsyncGenerator[T, None]:
    """Do what `tee` does for an async iterable; `on_finish` may be async, too.

    Each ending closes `source` by its `aclose`, or else its `close`, if it has one. A
    reader that is cancelled counts as a client that left. An async `on_finish` is
    awaited before the iteration ends, and runs on by itself where that is cancelled.
    Make it where an event loop runs: one that is made elsewhere and dropped before its
    first step neither calls back nor closes its source.
    """
    _check(source, "__aiter__", "__iter__", "tee")
    check_callable(_CALL, on_finish, awaited=True)
    tap = Tap(on_finish, limits=limits, coding=content_encoding, start=start)
    begins = is_in_loop()
    generator = awatch(source, tap, begins=begins, ends=True)
    return abegin(generator) if begins else generator


async def awatch(
    source: AsyncIterable[Any], tap: Tap, *, begins: bool = False, ends: bool = False
) -> AsyncGenerator[Any, None]:
    """Do what `watch` does; `ends` says whether the tap and the source end here."""
    items: AsyncIterator[Any] | None = None
    is_out = False  # as above
    try:
        if begins:
            yield b""  # taken by `abegin`
        items = aiter(source)
        async for data in items:
            tap.hold(data)
            is_out = True
            yield data
            is_out = False
            if tap.read_some():
                await tap.aread()
        tap.interrupted = None
    except Exception:  # to be cancelled is none
        if not is_out:
            tap.interrupted = "upstream"
        raise
    finally:
        try:
            await _aclose(items)
            if ends and source is not items:
                await _aclose(source)
        finally:
            if ends:
                await tap.afinish()


async def _aclose(source: Any) -> None:
    try:
        await aclose(source)
    except Exception:  # noqa: BLE001 - as above
        log(_STUCK)


def _check(source: Any, method: str, other: str, fix: str) -> None:
    """Raise TypeError for what is no iterable of bytes or chunks."""
    kind = type(source).__name__
    if isinstance(source, str | bytes | bytearray | memoryview | Mapping):
        raise TypeError(f"source gives bytes or chunks, one by one; a {kind} is one")
    if hasattr(source, method):
        return
    if hasattr(source, other):
        raise TypeError(f"{kind} has no {method}: pass it to unstream.{fix}")
    if hasattr(source, "__await__"):
        raise TypeError(f"a {kind} is to be awaited first")
    raise TypeError(f"{kind} has no {method}: pass an iterable of its bytes or chunks")
