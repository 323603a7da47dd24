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
from contextlib import suppress
from typing import Any, TypeVar

from unstream._limits import Limits
from unstream._outcome import Outcome
from unstream._tap import Tap

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
    is logged, to the logger "unstream"; nothing is raised here but what `source`
    raises.
    """
    tap = Tap(on_finish, limits=limits, coding=content_encoding)
    pieces = _pieces(source, tap)
    next(pieces)
    return pieces


def _pieces(source: Iterable[Any], tap: Tap) -> Generator[Any, None, None]:
    try:
        # A first step, taken above: closing a generator that was never started would
        # skip what stands under `finally`.
        yield b""
        for piece in source:
            tap.hold(piece)
            yield piece
            tap.read()
    finally:
        try:
            if callable(close := getattr(source, "close", None)):
                close()
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
    pieces = _apieces(source, tap)
    with suppress(StopIteration):
        pieces.asend(None).send(None)  # a step that awaits nothing
    return pieces


async def _apieces(source: AsyncIterable[Any], tap: Tap) -> AsyncGenerator[Any, None]:
    pieces: AsyncIterator[Any] | None = None
    try:
        yield b""  # as above
        pieces = aiter(source)
        async for piece in pieces:
            tap.hold(piece)
            yield piece
            tap.read()
    finally:
        try:
            for one in (pieces, source):
                aclose: Any = getattr(one, "aclose", None)
                if aclose is not None:
                    await aclose()
        finally:
            await tap.afinish()
