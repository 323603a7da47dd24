"""Generators that end as they should: begun at once, and closing what they read from.

This module knows when Python runs what stands under `finally` in a generator.
"""

import sys
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["abegin", "aclose", "begin", "close", "is_in_loop"]

T = TypeVar("T")


def begin(generator: Generator[T, None, None]) -> Generator[T, None, None]:
    """Take the first step, which yields nothing of use.

    Closing a generator that was never started would skip its `finally`.
    """
    next(generator)
    return generator


def is_in_loop() -> bool:
    """Say whether an event loop will know of an async generator that begins now.

    It closes those that are dropped. One that is made elsewhere is to begin there.
    """
    return sys.get_asyncgen_hooks().finalizer is not None


def abegin(generator: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Do what `begin` does; the first step awaits nothing."""
    with suppress(StopIteration):
        generator.asend(None).send(None)
    return generator


def close(source: Any) -> None:
    """Close an iterable that can be closed."""
    close: Any = getattr(source, "close", None)
    if close is not None:
        close()


async def aclose(source: Any) -> None:
    """Close an async iterable that can be closed.

    By its `aclose`, as generators and httpx have it, or its `close`, as openai's
    AsyncStream; either may be a plain function.
    """
    close: Any = getattr(source, "aclose", None) or getattr(source, "close", None)
    if close is not None and isinstance(closing := close(), Awaitable):
        await closing
