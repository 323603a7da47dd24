"""Response hooks for the clients of httpx and of httpx2, sync and async.

This module knows how their responses hand on a body; it imports neither of them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache, partial
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from unstream._outcome import Limits
from unstream._outcome import Outcome
from unstream._steps import aclose
from unstream._tap import Tap, guard, is_chat, is_watched, refuse_async

__all__ = ["observe"]


class _Client(Protocol):
    @property
    def event_hooks(self) -> dict[str, list[Any]]: ...


Client = TypeVar("Client", bound=_Client)
OnFinish: TypeAlias = Callable[[Any, Outcome], Awaitable[None] | None]

_START: Final = "unstream.start"


def observe(
    client: Client,
    on_finish: OnFinish,
    *,
    select: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
) -> Client:
    """Watch the chat completions that a client receives; return the client.

    `client` is a Client or an AsyncClient of httpx or httpx2, by itself or as the
    `http_client` of another library. A response is watched where `select(request)` is
    true (by default a POST to a path that ends with `/chat/completions`), its status is
    200 and its type an event stream or JSON. `on_finish(request, outcome)` is called
    once for each of these, when the response is closed, which reading it to its end
    does; it may be async for an AsyncClient. What it raises is logged, to the logger
    "unstream". Raises TypeError where `client` is no client of theirs, or a function is
    async that nothing would await.
    """
    if not hasattr(client, "event_hooks"):
        kind = type(client).__name__
        raise TypeError(f"{kind} has no event_hooks: pass the client of httpx itself")
    choose = select or _select
    refuse_async(choose)
    watch = guard(partial(_watch, choose=choose, on_finish=on_finish, limits=limits))
    hooks: tuple[Any, Any] = (_start, partial(_hook, watch))
    if hasattr(client, "aclose"):
        hooks = (_astart, partial(_ahook, watch))
    else:
        refuse_async(on_finish)
    # First of all: a hook that reads the body then reads it through this one.
    for kind, hook in zip(("request", "response"), hooks, strict=True):
        client.event_hooks[kind].insert(0, hook)
    return client


def _start(request: Any) -> None:
    request.extensions[_START] = perf_counter()


async def _astart(request: Any) -> None:
    _start(request)


def _watch(
    response: Any,
    *,
    choose: Callable[[Any], bool],
    on_finish: OnFinish,
    limits: Limits | None,
) -> Tap | None:
    """Tee a response; of one that is complete already, return the tap."""
    request, headers = response.request, response.headers
    if not is_watched(response.status_code, headers.get("content-type", "")):
        return None
    if not choose(request):
        return None
    tap = Tap(
        partial(on_finish, request),
        limits=limits,
        coding="" if response.is_closed else headers.get("content-encoding", ""),
        start=request.extensions.get(_START),
    )
    if response.is_closed:  # by a transport for tests, or by a cache
        tap.hold(response.content)
        return tap
    response.stream = _tee(response.stream, tap)
    return None


def _hook(watch: Callable[[Any], Tap | None], response: Any) -> None:
    if (tap := watch(response)) is not None:
        tap.finish()


async def _ahook(watch: Callable[[Any], Tap | None], response: Any) -> None:
    if (tap := watch(response)) is not None:
        await tap.afinish()


def _select(request: Any) -> bool:
    return is_chat(request.method, request.url.path)


# --- The streams ----------------------------------------------------------------------


def _tee(stream: Any, tap: Tap) -> Any:
    # Both libraries ask for an instance of their own class of this name.
    for base in type(stream).__mro__:
        if base.__name__ == "AsyncByteStream":
            return _join(_AsyncStream, base)(stream, tap)
        if base.__name__ == "SyncByteStream":
            return _join(_Stream, base)(stream, tap)
    raise TypeError(f"{type(stream).__name__} is no byte stream")


@cache
def _join(own: type, base: type) -> Any:
    return type(own.__name__, (own, base), {})


class _Tee:
    def __init__(self, stream: Any, tap: Tap) -> None:
        self._stream = stream
        self._tap = tap

    def __getattr__(self, name: str) -> Any:
        # httpx2 keeps `elapsed` here.
        return getattr(self._stream, name)


class _Stream(_Tee):
    def __iter__(self) -> Iterator[bytes]:
        tap = self._tap
        for piece in self._stream:
            tap.hold(piece)
            yield piece
            tap.read()

    def close(self) -> None:
        # The one place that is always reached: who reads up to [DONE], as `openai`
        # does, never sees the end of the body.
        try:
            self._stream.close()
        finally:
            self._tap.finish()


class _AsyncStream(_Tee):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        tap = self._tap
        pieces = aiter(self._stream)
        try:
            async for piece in pieces:
                tap.hold(piece)
                yield piece
                tap.read()
        finally:
            await aclose(pieces)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._tap.afinish()
