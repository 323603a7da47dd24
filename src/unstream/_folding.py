"""Fold at once: functions from a source to a completion."""

import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Generator,
    Iterable,
    Mapping,
)
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from unstream._accumulator import Accumulator
from unstream._outcome import Completion, Ending, Limits
from unstream._protocol import Protocol
from unstream.chat import PROTOCOL, ChatCompletion
from unstream.sse import BytesLike

if TYPE_CHECKING:
    from unstream._events import Event

__all__ = [
    "AsyncSource",
    "Source",
    "aevents",
    "afold",
    "afold_chunks",
    "events",
    "fold",
    "fold_chunks",
]

T = TypeVar("T", bound=Completion)

Source: TypeAlias = BytesLike | Iterable[BytesLike]
AsyncSource: TypeAlias = AsyncIterable[BytesLike]


@overload
def fold(source: Source, *, limits: Limits | None = None) -> ChatCompletion: ...
@overload
def fold(
    source: Source, *, protocol: Protocol[T], limits: Limits | None = None
) -> T: ...
def fold(
    source: Source,
    *,
    protocol: Protocol[Any] = PROTOCOL,
    limits: Limits | None = None,
) -> Any:
    """Fold a stream, given as bytes-like or as an iterable of bytes-likes.

    Raises TruncatedStream, ProviderError, EmptyStream, ForeignStream or LimitExceeded
    where the ending is not complete, each with the `outcome`; TypeError where `source`
    is something else.
    """
    accumulator = Accumulator(protocol=protocol, limits=limits)
    if isinstance(source, bytes | bytearray | memoryview):
        accumulator.feed(source)  # pyright: ignore[reportArgumentType]
    else:
        for data in _iterate(source, "afold"):
            accumulator.feed(data)
    return accumulator.finish().unwrap()


@overload
async def afold(
    source: AsyncSource, *, limits: Limits | None = None
) -> ChatCompletion: ...
@overload
async def afold(
    source: AsyncSource, *, protocol: Protocol[T], limits: Limits | None = None
) -> T: ...
async def afold(
    source: AsyncSource,
    *,
    protocol: Protocol[Any] = PROTOCOL,
    limits: Limits | None = None,
) -> Any:
    """Fold a stream, given as an async iterable of bytes-likes; raises as `fold`."""
    accumulator = Accumulator(protocol=protocol, limits=limits)
    async for data in _aiterate(source, "fold"):
        accumulator.feed(data)
    return accumulator.finish().unwrap()


@overload
def fold_chunks(
    chunks: Iterable[Any], *, incomplete: bool = False, limits: Limits | None = None
) -> ChatCompletion: ...
@overload
def fold_chunks(
    chunks: Iterable[Any],
    *,
    protocol: Protocol[T],
    incomplete: bool = False,
    limits: Limits | None = None,
) -> T: ...
def fold_chunks(
    chunks: Iterable[Any],
    *,
    protocol: Protocol[Any] = PROTOCOL,
    incomplete: bool = False,
    limits: Limits | None = None,
) -> Any:
    """Fold chunks that were parsed already: mappings, or objects with a dump.

    See `Accumulator.add`. Clients keep `[DONE]` to themselves, so a finish_reason in
    each choice is the end. Raises as `fold`; `incomplete=True` returns what came of a
    stream that was truncated. Raises TypeError for what is no chunk.
    """
    accumulator = Accumulator(protocol=protocol, limits=limits)
    chunk = None
    for chunk in _iterate(chunks, "afold_chunks"):
        _add(accumulator, chunk)
    return _conclude(accumulator, type(chunk).__name__, incomplete=incomplete)


@overload
async def afold_chunks(
    chunks: AsyncIterable[Any],
    *,
    incomplete: bool = False,
    limits: Limits | None = None,
) -> ChatCompletion: ...
@overload
async def afold_chunks(
    chunks: AsyncIterable[Any],
    *,
    protocol: Protocol[T],
    incomplete: bool = False,
    limits: Limits | None = None,
) -> T: ...
async def afold_chunks(
    chunks: AsyncIterable[Any],
    *,
    protocol: Protocol[Any] = PROTOCOL,
    incomplete: bool = False,
    limits: Limits | None = None,
) -> Any:
    """Do what `fold_chunks` does for an async iterable of chunks."""
    accumulator = Accumulator(protocol=protocol, limits=limits)
    chunk = None
    async for chunk in _aiterate(chunks, "fold_chunks"):
        _add(accumulator, chunk)
    return _conclude(accumulator, type(chunk).__name__, incomplete=incomplete)


def events(
    source: Source,
    *,
    protocol: Protocol[Any] = PROTOCOL,
    limits: Limits | None = None,
) -> Generator["Event", None, None]:
    """Yield what is new in a stream as it comes, and at last `Ended`, however it ended.

    `source` is what `fold` takes. What it raises is raised, after the last events of
    what came. Raises TypeError, when it is called, where `source` is something else.
    """
    whole = isinstance(source, bytes | bytearray | memoryview)
    pieces = (source,) if whole else _iterate(source, "aevents")
    accumulator = Accumulator(protocol=protocol, limits=limits, events=True)
    return _events(pieces, accumulator)


def _events(
    source: Iterable[Any], accumulator: Accumulator[Any]
) -> Generator["Event", None, None]:
    try:
        for data in source:
            yield from accumulator.feed(data)
    except Exception:
        accumulator.finish()
        yield from accumulator.events()
        raise
    accumulator.finish()
    yield from accumulator.events()


def aevents(
    source: AsyncSource,
    *,
    protocol: Protocol[Any] = PROTOCOL,
    limits: Limits | None = None,
) -> AsyncGenerator["Event", None]:
    """Do what `events` does for an async iterable of bytes-likes."""
    accumulator = Accumulator(protocol=protocol, limits=limits, events=True)
    return _aevents(_aiterate(source, "events"), accumulator)


async def _aevents(
    source: AsyncIterable[Any], accumulator: Accumulator[Any]
) -> AsyncGenerator["Event", None]:
    try:
        async for data in source:
            for event in accumulator.feed(data):
                yield event
    except Exception:
        accumulator.finish()
        for event in accumulator.events():
            yield event
        raise
    accumulator.finish()
    for event in accumulator.events():
        yield event


def _add(accumulator: Accumulator[Any], chunk: Any) -> None:
    if isinstance(chunk, bytes | bytearray | memoryview | str):
        raise TypeError(
            f"a chunk was parsed already, and this is {type(chunk).__name__}: "
            "fold(source) takes bytes"
        )
    accumulator.add(chunk)


def _conclude(accumulator: Accumulator[Any], kind: str, *, incomplete: bool) -> Any:
    outcome = accumulator.finish()
    if incomplete and outcome.ending is Ending.TRUNCATED and outcome.completion:
        return outcome.completion
    if outcome.ending is Ending.FOREIGN:
        other = f"unstream.{outcome.foreign}.PROTOCOL" if outcome.foreign else ""
        raise TypeError(
            f"{kind} is no chunk of the protocol {outcome.protocol}: it takes what the "
            "API streams, as mappings, or as objects with model_dump() or to_dict()"
            + (f"; for these there is protocol={other}" if other else "")
        )
    return outcome.unwrap()


def _iterate(source: Any, name: str) -> Iterable[Any]:
    kind = type(source).__name__
    if isinstance(source, str):
        raise TypeError("a stream is bytes, not str: pass text.encode()")
    if isinstance(source, AsyncIterable):
        raise TypeError(f"{kind} is an async iterable: use {name}")
    if isinstance(source, os.PathLike):
        raise TypeError(f"a path is no stream: pass its read_bytes(), not {kind}")
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise TypeError(f"a stream is bytes or an iterable of bytes, not {kind}")
    return source


def _aiterate(source: Any, name: str) -> AsyncIterable[Any]:
    if not isinstance(source, AsyncIterable):
        kind = type(source).__name__
        raise TypeError(f"{kind} is no async iterable: {name}(...) takes the others")
    return source
