"""Tees: iterators of bytes, or of chunks, that are watched while they are read."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
)
from typing import Any, TypeVar

from unstream._outcome import Limits
from unstream._outcome import Outcome
from unstream._steps import abegin, aclose, begin, close, is_in_loop
from unstream._tap import Tap, refuse_async

__all__ = ["atee", "tee"]

Piece = TypeVar("Piece")


def tee(
    source: Iterable[Piece],
    on_finish: Callable[[Outcome], None],
    *,
    limits: Limits | None = None,
    content_encoding: str = "",
) -> Generator[Piece, None, None]:
    """Yield the pieces of a body as they come, and call back with what they were.

    `source` gives bytes-likes, cut anywhere, or chunks that were parsed already (see
    `Accumulator.add`). `on_finish(outcome)` is called once, after the last piece was
    taken: at the end of `source`, when it raises, or when this generator is closed or
    dropped. Each of them closes `source`, if it has a `close`. `content_encoding` is
    the header of that name where the pieces are still encoded. What the callback raises
    is logged, to the logger "unstream"; nothing is raised while iterating but what
    `source` raises. Raises TypeError where `on_finish` is async.
    """
    refuse_async(on_finish)
    tap = Tap(on_finish, limits=limits, coding=content_encoding)
    return begin(_pieces(source, tap))


def _pieces(source: Iterable[Any], tap: Tap) -> Generator[Any, None, None]:
    try:
        yield b""  # taken by `begin`
        for piece in source:
            tap.hold(piece)
            yield piece
            tap.read()
    finally:
        try:
            close(source)
        finally:
            tap.finish()


def atee(
    source: AsyncIterable[Piece],
    on_finish: Callable[[Outcome], Awaitable[None] | None],
    *,
    limits: Limits | None = None,
    content_encoding: str = "",
) -> AsyncGenerator[Piece, None]:
    """Do what `tee` does for an async iterable; `on_finish` may be async, too.

    Each ending closes `source` by its `aclose`, if it has one. An async `on_finish` is
    awaited before the iteration ends, and runs on by itself where that is cancelled.
    """
    tap = Tap(on_finish, limits=limits, coding=content_encoding)
    begins = is_in_loop()
    pieces = _apieces(source, tap, begins=begins)
    return abegin(pieces) if begins else pieces


async def _apieces(
    source: AsyncIterable[Any], tap: Tap, *, begins: bool
) -> AsyncGenerator[Any, None]:
    pieces: AsyncIterator[Any] | None = None
    try:
        if begins:
            yield b""  # taken by `abegin`
        pieces = aiter(source)
        async for piece in pieces:
            tap.hold(piece)
            yield piece
            tap.read()
    finally:
        try:
            await aclose(pieces)
            await aclose(source)
        finally:
            await tap.afinish()
