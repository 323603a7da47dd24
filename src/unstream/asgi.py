"""An ASGI middleware that watches the chat completions an application sends.

It knows the ASGI messages of a response and depends on no framework.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

from unstream._outcome import Limits
from unstream._outcome import Outcome
from unstream._tap import Tap, guard, is_chat, is_watched, refuse_async

__all__ = ["Middleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
OnFinish: TypeAlias = Callable[[Scope, Outcome], Awaitable[None] | None]


class Middleware:
    """Pass every message on, and call back with each chat completion that went by.

    A response is watched where `select(scope)` is true (by default a POST to a path
    that ends with `/chat/completions`), its status is 200 and its type an event stream
    or JSON. `on_finish(scope, outcome)`, sync or async, is called once for each of
    these, after its last byte was handed on: at its end, or when the application
    returns, raises or is cancelled before that. What it raises is logged, to the logger
    "unstream".
    """

    def __init__(
        self,
        app: App,
        on_finish: OnFinish,
        *,
        select: Callable[[Scope], bool] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.app = app
        self._on_finish = on_finish
        refuse_async(select or _select)
        self._select = guard(select or _select)
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] != "http" or not self._select(scope):
            await self.app(scope, receive, send)
            return
        start = perf_counter()
        tap: Tap | None = None

        async def watch(message: Message) -> None:
            nonlocal tap
            kind = message["type"]
            if kind == "http.response.body" and tap is not None:
                tap.hold(message.get("body", b""))
                await send(message)
                tap.read()
                if not message.get("more_body", False):
                    await tap.afinish()
                return
            await send(message)
            if kind == "http.response.start":
                tap = guard(self._tap)(scope, message, start)
            elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
                tap = None  # the server reads the file itself: nothing is seen here

        try:
            await self.app(scope, receive, watch)
        finally:
            # Also to wait for a callback whose own wait was cancelled: Starlette ends
            # the sending task as soon as the response is complete.
            if tap is not None:
                await tap.afinish()

    def _tap(self, scope: Scope, message: Message, start: float) -> Tap | None:
        types, codings = [], []
        for name, value in message.get("headers", ()):
            match bytes(name).lower():
                case b"content-type":
                    types.append(bytes(value).decode("latin-1"))
                case b"content-encoding":
                    codings.append(bytes(value).decode("latin-1"))
        if not is_watched(message["status"], ",".join(types)):
            return None
        return Tap(
            partial(self._on_finish, scope),
            limits=self._limits,
            coding=",".join(codings),
            start=start,
        )


def _select(scope: Scope) -> bool:
    return is_chat(scope["method"], scope["path"])
