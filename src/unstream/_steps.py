"""Generators that end as they should: begun at once, and closing what they read from.

This module knows when Python runs what stands under `finally` in a generator.
"""

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["abegin", "aclose", "begin", "close", "is_in_loop"]

Piece = TypeVar("Piece")


def begin(pieces: Generator[Piece, None, None]) -> Generator[Piece, None, None]:
    """Take the first step, which yields nothing of use.

    Closing a generator that was never started would skip its `finally`.
    """
    next(pieces)
    return pieces


def is_in_loop() -> bool:
    """Say whether an event loop will know of an async generator that begins now.

    It closes those that are dropped. One that is made elsewhere is to begin there.
    """
    return sys.get_asyncgen_hooks().finalizer is not None


def abegin(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """Do what `begin` does; the first step awaits nothing."""
    with suppress(StopIteration):
        pieces.asend(None).send(None)
    return pieces


def close(source: Any) -> None:
    """Close an iterable that can be closed."""
    close: Any = getattr(source, "close", None)
    if close is not None:
        close()


async def aclose(source: Any) -> None:
    """Close an async iterable that can be closed."""
    aclose: Any = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()
