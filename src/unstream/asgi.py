"""An ASGI middleware that watches the answers of models that an application sends.

It knows the ASGI messages of a request and a response and depends on no framework.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import quote

from unstream._exchange import REQUEST_BYTES, Exchange, headers
from unstream._outcome import Limits, Outcome
from unstream._tap import (
    Side,
    Tap,
    check_callable,
    check_limits,
    guard,
    is_inference,
    is_watched,
)

__all__ = ["Middleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
OnFinish: TypeAlias = Callable[[Outcome[Any], Exchange], Awaitable[None] | None]


class Middleware:
    """Pass every message on, and call back with each answer of a model that went by.

    A response is watched where `select(scope)` is true, by default a POST to a path
    that ends with `/chat/completions`, `/completions`, `/messages` or `/responses`, or
    has `:generateContent` or `:streamGenerateContent` in it; if its status is 2xx and
    its type an event stream or JSON, or if it failed, with 4xx or 5xx and of any type.

    `on_finish(outcome, exchange)`, sync or async, is called once for each of these,
    after its last byte was handed on: at its end, or when the application returns,
    raises or is cancelled before that. What it raises is logged, to the logger
    "unstream". `outcome.interrupted` is "client" where, before the end, the server said
    that the client had gone (`http.disconnect`, or a `send` that raised) or the
    application was cancelled; "upstream" where the application raised, or returned too
    early.

    Raises TypeError where `select` or `on_finish` cannot be called so, `select` is
    async, or `limits` are none.
    """

    def __init__(
        self,
        app: App,
        on_finish: OnFinish,
        *,
        select: Callable[[Scope], bool] | None = None,
        limits: Limits | None = None,
    ) -> None:
        choose = select or _select
        check_callable("app(scope, receive, send)", app, awaited=True)
        check_callable("on_finish(outcome, exchange)", on_finish, awaited=True)
        check_callable("select(scope)", choose)
        check_limits(limits)
        self.app = app
        self._on_finish = on_finish
        self._select = guard(choose)
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] != "http" or not self._select(scope):
            await self.app(scope, receive, send)
            return
        watch = _Watch(scope, receive, send, self._on_finish, self._limits)
        try:
            await self.app(scope, watch.receive, watch.send)
            watch.end("upstream")
        except Exception:  # to be cancelled is none
            watch.end("upstream")
            raise
        finally:
            # Also to wait for a callback whose own wait was cancelled: Starlette ends
            # the sending task as soon as the response is complete.
            if watch.tap is not None:
                await watch.tap.afinish()


class _Watch:
    """Stand between one request of a server and its application."""

    __slots__ = (
        "_is_gone",
        "_is_read",
        "_limits",
        "_n_request",
        "_on_finish",
        "_receive",
        "_request",
        "_scope",
        "_send",
        "_start",
        "tap",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        on_finish: OnFinish,
        limits: Limits | None,
    ) -> None:
        self.tap: Tap | None = None
        self._start = perf_counter()
        self._scope = scope
        self._receive = receive
        self._send = send
        self._on_finish = on_finish
        self._limits = limits
        self._request: list[bytes] | None = []  # its body; None where it is too large
        self._n_request = 0
        self._is_read = False  # that body, to its end
        self._is_gone = False  # the client

    def end(self, side: Side | None) -> None:
        """Say who ended the response, unless the client was the first to go."""
        if self.tap is not None and not self._is_gone:
            self.tap.interrupted = side

    async def receive(self) -> Message:
        """Pass on a message of the server."""
        message = await self._receive()
        self._hear(message)
        return message

    async def send(self, message: Message) -> None:
        """Pass on a message of the application."""
        kind, tap = message["type"], self.tap
        if kind == "http.response.body" and tap is not None:
            tap.hold(message.get("body", b""))
            try:
                await self._send(message)
            except OSError:  # as the specification has it, where nobody listens
                self._is_gone = True
                raise
            if message.get("more_body", False):
                if tap.read_some():
                    await tap.aread()
            else:
                self.end(None)
                await tap.afinish()
            return
        await self._send(message)
        if kind == "http.response.start":
            self._answer(message)
        elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
            self.tap = None  # the server reads the file itself: nothing is seen here

    @guard
    def _hear(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self._is_gone = True
        elif message["type"] == "http.request":
            data = message.get("body", b"")
            self._n_request += len(data)
            if self._n_request > REQUEST_BYTES:
                self._request = None
            elif self._request is not None and data:
                self._request.append(data)
            self._is_read = not message.get("more_body", False)

    @guard
    def _answer(self, message: Message) -> None:
        scope, status = self._scope, message["status"]
        received, sent = (
            headers(scope.get("headers", ())),
            headers(message.get("headers", ())),
        )
        kind = sent.get("content-type", "")
        if not is_watched(status, kind):
            self._request = None
            return

        def on_finish(outcome: Outcome[Any]) -> Any:
            body = self._request if self._is_read else None
            exchange = Exchange(
                method=scope["method"],
                url=_url(scope, received.get("host", "")),
                path=scope["path"],
                status=status,
                request_headers=received,
                response_headers=sent,
                request_body=None if body is None else b"".join(body),
                native=scope,
            )
            return self._on_finish(outcome, exchange)

        self.tap = Tap(
            on_finish,
            limits=self._limits,
            coding=sent.get("content-encoding", ""),
            content_type=kind,
            start=self._start,
        )


def _select(scope: Scope) -> bool:
    return is_inference(scope["method"], scope["path"])


def _url(scope: Scope, host: str) -> str:
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string")
    target = (path + b"?" + query if query else path).decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{target}" if host else target
