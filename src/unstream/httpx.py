"""Response hooks for the clients of httpx and of httpx2, sync and async.

This module knows how their responses hand on a body; it imports neither of them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache, partial
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from unstream._exchange import REQUEST_BYTES, Exchange, headers
from unstream._outcome import Limits, Outcome
from unstream._tap import (
    Tap,
    check_callable,
    check_limits,
    guard,
    is_inference,
    is_watched,
)
from unstream._tee import awatch, watch

__all__ = ["observe"]


class _Client(Protocol):
    @property
    def event_hooks(self) -> dict[str, list[Any]]: ...


Client = TypeVar("Client", bound=_Client)
OnFinish: TypeAlias = Callable[[Outcome[Any], Exchange], Awaitable[None] | None]

_START: Final = "unstream.start"


def observe(
    client: Client,
    on_finish: OnFinish,
    *,
    select: Callable[[Any], bool] | None = None,
    limits: Limits | None = None,
) -> Client:
    """Watch the answers of models that a client receives; return the client.

    `client` is a Client or an AsyncClient of httpx or httpx2, by itself or as the
    `http_client` of another library. A response is watched where `select(request)` is
    true, by default a POST to a path that ends with `/chat/completions`,
    `/completions`, `/messages` or `/responses`, or has `:generateContent` or
    `:streamGenerateContent` in it; if its status is 2xx and its type an event stream or
    JSON, or if it failed, with 4xx or 5xx and of any type.

    `on_finish(outcome, exchange)` is called once for each of these, when the response
    is closed, which reading it to its end does; it may be async for an AsyncClient.
    What it raises is logged, to the logger "unstream". `outcome.interrupted` is
    "upstream" where reading the body raised an Exception, a timeout of the client
    included; "client" where the response was closed before its end, or its reader
    cancelled.

    Raises TypeError where `client` is no client of theirs, a function cannot be called
    so or is async where nothing would await it, or `limits` are none.
    """
    _check(client)
    choose = select or _select
    check_callable("select(request)", choose)
    is_async = hasattr(client, "aclose")
    check_callable("on_finish(outcome, exchange)", on_finish, awaited=is_async)
    check_limits(limits)
    watch = guard(partial(_watch, choose=choose, on_finish=on_finish, limits=limits))
    hooks: tuple[Any, Any] = (_start, partial(_hook, watch))
    if is_async:
        hooks = (_astart, partial(_ahook, watch))
    # First of all: a hook that reads the body then reads it through this one.
    for kind, hook in zip(("request", "response"), hooks, strict=True):
        client.event_hooks[kind].insert(0, hook)
    return client


def _check(client: Any) -> None:
    kind = type(client).__name__
    if isinstance(client, type):
        raise TypeError(f"{client.__name__} is a class: observe a client made of it")
    if hasattr(getattr(client, "_client", None), "event_hooks"):
        # As the clients of openai and anthropic, which wrap one of httpx.
        raise TypeError(
            f"observe the client of httpx that this {kind} sends by: make it as "
            f"{kind}(http_client=observe(...)), or observe its _client"
        )
    if not hasattr(client, "event_hooks"):
        raise TypeError(f"{kind} has no event_hooks: pass a client of httpx itself")


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
    request = response.request
    kind = response.headers.get("content-type", "")
    if not is_watched(response.status_code, kind) or not choose(request):
        return None
    exchange = Exchange(
        method=request.method,
        url=str(request.url),
        path=request.url.path,
        status=response.status_code,
        request_headers=headers(request.headers.raw),
        response_headers=headers(response.headers.raw),
        request_body=_body(request),
        native=response,
    )
    coding = response.headers.get("content-encoding", "")
    tap = Tap(
        lambda outcome: on_finish(outcome, exchange),
        limits=limits,
        coding="" if response.is_closed else coding,
        content_type=kind,
        start=request.extensions.get(_START),
    )
    if response.is_closed:  # by a transport for tests, or by a cache
        tap.hold(response.content)
        tap.interrupted = None
        return tap
    response.stream = _tee(response.stream, tap)
    return None


def _body(request: Any) -> bytes | None:
    try:
        body: bytes = request.content
    except RuntimeError:  # RequestNotRead, of either library: it is streamed
        return None
    return body if len(body) <= REQUEST_BYTES else None


def _hook(watch: Callable[[Any], Tap | None], response: Any) -> None:
    if (tap := watch(response)) is not None:
        tap.finish()


async def _ahook(watch: Callable[[Any], Tap | None], response: Any) -> None:
    if (tap := watch(response)) is not None:
        await tap.afinish()


def _select(request: Any) -> bool:
    return is_inference(request.method, request.url.path)


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
        return watch(self._stream, self._tap)

    def close(self) -> None:
        # The one place that is always reached: who reads up to [DONE], as `openai`
        # does, never sees the end of the body.
        try:
            self._stream.close()
        finally:
            self._tap.finish()


class _AsyncStream(_Tee):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return awatch(self._stream, self._tap)

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._tap.afinish()
