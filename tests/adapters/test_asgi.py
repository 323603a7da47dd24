"""What is particular to the middleware: messages of every kind, and under uvicorn."""

import asyncio
import contextvars
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from tests.adapters.upstream import PATH, WAIT, Script, Upstream, events
from unstream import Accumulator, Ending, Exchange, Outcome
from unstream.asgi import Middleware

HELLO = events("Hel", "lo")
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")
SSE = [(b"Content-Type", b"text/event-stream")]
SCOPE = {"type": "http", "method": "POST", "path": PATH}

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def start(status: int = 200, headers: Any = SSE) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(piece: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": more}


async def swallow(_: Message) -> None: ...


async def refuse() -> Message:
    raise AssertionError


def whole_stream() -> list[Message]:
    return [start(), *(body(piece) for piece in HELLO), body(b"", more=False)]


class Run:
    """Run messages through the middleware; keep what came out, and the calls."""

    def __init__(
        self,
        messages: list[Message],
        scope: Any = None,
        *,
        error: BaseException | None = None,
        **options: Any,
    ) -> None:
        self.messages = messages
        self.scope = SCOPE if scope is None else scope
        self.error = error
        self.sent: list[Message] = []
        self.calls: list[tuple[Outcome, Exchange]] = []
        self.order: list[str] = []
        self.app = Middleware(self._app, self._note, **options)

    def __call__(self) -> "Run":
        asyncio.run(self.app(self.scope, self._receive, self._send))
        return self

    async def _app(self, scope: Any, receive: Any, send: Send) -> None:
        assert scope is self.scope
        self.receive = receive
        NAME.set("inside")
        for message in self.messages:
            await send(message)
        if self.error is not None:
            raise self.error

    def _note(self, outcome: Outcome, exchange: Exchange) -> None:
        self.calls.append((outcome, exchange))
        self.order.append(f"call {NAME.get()}")

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self.order.append(message["type"])

    async def _receive(self) -> Message:
        raise AssertionError


def test_every_message_is_the_very_same_and_the_call_comes_last() -> None:
    messages = whole_stream()
    run = Run(messages)()
    assert [id(one) for one in run.sent] == [id(one) for one in messages]
    [(outcome, exchange)] = run.calls
    assert exchange.native is SCOPE
    assert outcome.unwrap().choices[0].message.text() == "Hello"
    # The context is that of the application where it began to answer.
    assert run.order[-1] == "call inside"


def test_a_piece_is_handed_on_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(whole_stream())
    feed = Accumulator.feed

    def noted(self: Accumulator, data: bytes) -> None:
        run.order.append("read")
        feed(self, data)

    monkeypatch.setattr(Accumulator, "feed", noted)
    run()
    assert run.order[1:-2] == ["http.response.body", "read"] * len(HELLO)


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        {"type": "websocket", "path": PATH},
        {**SCOPE, "path": "/v1/models"},
        {**SCOPE, "method": "GET"},
    ],
)
def test_other_scopes_get_the_server_s_own_send(scope: Any) -> None:
    sends: list[Any] = []

    async def app(_: Any, __: Any, send: Any) -> None:
        sends.append(send)

    middleware = Middleware(app, lambda *_: None)
    asyncio.run(middleware(scope, refuse, swallow))
    assert sends == [swallow]


def test_select_widens_and_narrows() -> None:
    scope = {**SCOPE, "path": "/other"}
    assert Run(whole_stream(), scope, select=lambda _: True)().calls
    assert not Run(whole_stream(), select=lambda scope: scope is not SCOPE)().calls


def test_a_select_that_raises_watches_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(whole_stream(), select=lambda scope: scope["nothing"])()
    assert run.sent == run.messages
    assert not run.calls
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    "headers", [(), [(b"content-type", None)], [(b"content-type",)], None, 5]
)
def test_headers_of_any_kind_pass(headers: Any) -> None:
    run = Run([start(headers=headers), body(b"x", more=False)])()
    assert run.sent == run.messages
    assert not run.calls


def test_headers_that_can_be_read_once_are_left_to_the_server() -> None:
    once = iter(SSE)
    run = Run([start(headers=once), body(b"x", more=False)])
    run()
    assert run.sent[0]["headers"] is once


@pytest.mark.parametrize("kind", ["pathsend", "zerocopysend"])
def test_a_body_that_the_server_reads_itself_is_not_watched(kind: str) -> None:
    message = {"type": f"http.response.{kind}", "path": "/x"}
    run = Run([start(), message])()
    assert run.sent == run.messages
    assert not run.calls


def test_messages_of_extensions_pass() -> None:
    messages = whole_stream()
    messages.insert(0, {"type": "http.response.early_hint", "links": []})
    messages.insert(1, {"type": "http.response.debug", "info": {}})
    messages.append({"type": "http.response.trailers", "headers": []})
    run = Run(messages)()
    assert run.sent == messages
    assert len(run.calls) == 1


def test_a_body_without_its_keys_is_the_empty_end() -> None:
    messages = [*whole_stream()[:-1], {"type": "http.response.body"}]
    run = Run(messages)()
    assert run.sent[-1] == {"type": "http.response.body"}
    assert run.calls[0][0].ending is Ending.COMPLETE


def test_the_call_does_not_wait_for_what_the_application_does_after() -> None:
    order: list[str] = []

    async def app(_: Any, __: Any, send: Send) -> None:
        for message in whole_stream():
            await send(message)
        order.append("background")

    middleware = Middleware(app, lambda *_: order.append("call"))
    asyncio.run(middleware(dict(SCOPE), refuse, swallow))
    assert order == ["call", "background"]


def test_no_final_body() -> None:
    run = Run(whole_stream()[:5])()
    [(outcome, _)] = run.calls
    assert outcome.ending is Ending.COMPLETE
    assert not outcome.done


@pytest.mark.parametrize("error", [RuntimeError("boom"), asyncio.CancelledError()])
def test_an_application_that_raises(error: BaseException) -> None:
    run = Run(whole_stream()[:3], error=error)
    with pytest.raises(type(error)):
        run()
    [(outcome, _)] = run.calls
    assert outcome.ending is Ending.TRUNCATED
    assert outcome.n_bytes == len(b"".join(HELLO[:2]))


def test_an_application_that_raises_before_it_answers() -> None:
    run = Run([], error=RuntimeError("boom"))
    with pytest.raises(RuntimeError):
        run()
    assert not run.calls


def test_a_send_that_raises_is_the_application_s_own() -> None:
    calls: list[Outcome] = []

    async def app(_: Any, __: Any, send: Send) -> None:
        for message in whole_stream():
            await send(message)

    async def send(message: Message) -> None:
        if b"lo" in message.get("body", b""):
            raise OSError("gone")

    middleware = Middleware(app, lambda outcome, _: calls.append(outcome))
    with pytest.raises(OSError, match="gone"):
        asyncio.run(middleware(dict(SCOPE), refuse, send))
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]


def test_an_async_callback_runs_although_the_request_is_cancelled() -> None:
    released, done = asyncio.Event(), asyncio.Event()
    sent = asyncio.Event()
    calls: list[Outcome] = []

    async def app(_: Any, __: Any, send: Send) -> None:
        for message in whole_stream()[:3]:
            await send(message)
        sent.set()
        await asyncio.Event().wait()

    async def on_finish(outcome: Outcome, _: Any) -> None:
        await released.wait()
        calls.append(outcome)
        done.set()

    async def go() -> None:
        middleware = Middleware(app, on_finish)
        request = asyncio.create_task(middleware(dict(SCOPE), refuse, swallow))
        await sent.wait()
        request.cancel()
        await asyncio.sleep(0)
        request.cancel()  # where it waits for the callback
        with pytest.raises(asyncio.CancelledError):
            await request
        released.set()
        async with asyncio.timeout(5):
            await done.wait()

    asyncio.run(go())
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]


def test_the_request_waits_for_a_callback_whose_own_wait_was_cancelled() -> None:
    # Starlette sends from a task of its own, and ends it when the response is complete.
    calls: list[Outcome] = []
    started, released = asyncio.Event(), asyncio.Event()

    async def app(_: Any, __: Any, send: Send) -> None:
        async def stream() -> None:
            for message in whole_stream():
                await send(message)

        sender = asyncio.create_task(stream())
        await started.wait()
        sender.cancel()
        await asyncio.wait([sender])

    async def on_finish(outcome: Outcome, _: Any) -> None:
        started.set()
        await released.wait()
        calls.append(outcome)

    async def go() -> None:
        middleware = Middleware(app, on_finish)
        request = asyncio.create_task(middleware(dict(SCOPE), refuse, swallow))
        await started.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not request.done()
        released.set()
        async with asyncio.timeout(5):
            await request
        assert len(calls) == 1

    asyncio.run(go())


def test_a_select_that_is_async_is_refused() -> None:
    async def select(_: Any) -> bool:
        return False

    with pytest.raises(TypeError, match="async"):
        Run([], select=select)


def test_what_comes_after_the_end_is_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    messages = [*whole_stream(), body(b"more", more=False)]
    run = Run(messages)()
    assert run.sent == messages
    [(outcome, _)] = run.calls
    assert outcome.ending is Ending.COMPLETE
    assert not caplog.text


# --- Under uvicorn --------------------------------------------------------------------


@pytest.fixture
def uvicorn() -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")


@pytest.mark.usefixtures("uvicorn")
def test_a_callback_that_blocks_does_not_keep_the_client_waiting(
    server: Upstream,
) -> None:
    from tests.adapters.roads import read
    from tests.adapters.server import relay, serving

    free = threading.Event()
    waited: list[bool] = []
    script = server.serve(Script(HELLO))
    app = Middleware(
        relay(lambda: script.url), lambda *_: waited.append(free.wait(WAIT))
    )
    with serving(app) as address:
        assert b"".join(read(address + PATH)) == script.body
        free.set()
    assert waited == [True]


@pytest.mark.usefixtures("uvicorn")
def test_a_client_that_is_killed(server: Upstream) -> None:
    from tests.adapters.server import Returns, relay, serving

    outcomes: queue.Queue[Outcome] = queue.Queue()
    script = server.serve(Script(HELLO, end="open"))
    app = Returns(
        Middleware(relay(lambda: script.url), lambda one, _: outcomes.put(one))
    )
    with serving(app) as address:
        port = int(address.rpartition(":")[2])
        client = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        # Reset, rather than closed in good manners.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(f"POST {PATH} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        got = b""
        while b"[DONE]" not in got:
            got += client.recv(1 << 16)
        client.close()
        assert script.gone.wait(WAIT)
        app.returned.get(timeout=WAIT)
        outcome = outcomes.get(timeout=WAIT)
    assert outcome.ending is Ending.COMPLETE
    assert outcome.done
    assert outcomes.empty()


@pytest.mark.usefixtures("uvicorn")
def test_a_client_that_is_slow(server: Upstream) -> None:
    from tests.adapters.server import relay, serving

    outcomes: queue.Queue[Outcome] = queue.Queue()
    text = "x" * 10_000
    script = server.serve(Script(events(*[text] * 300)))
    app = Middleware(relay(lambda: script.url), lambda one, _: outcomes.put(one))
    with serving(app) as address:
        port = int(address.rpartition(":")[2])
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(WAIT)
            client.connect(("127.0.0.1", port))
            client.sendall(
                f"POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
            )
            got = bytearray()
            while data := client.recv(2048):
                got += data
    outcome = outcomes.get(timeout=WAIT)
    assert outcome.unwrap().choices[0].message.text() == text * 300
    assert got.count(text.encode()) == 300
    assert outcome.n_bytes == len(script.body)


@pytest.mark.usefixtures("uvicorn")
@pytest.mark.parametrize("outside", [True, False])
def test_beside_the_gzip_of_starlette(*, outside: bool, server: Upstream) -> None:
    from starlette.middleware.gzip import GZipMiddleware

    from tests.adapters.roads import read
    from tests.adapters.server import relay, serving

    outcomes: queue.Queue[Outcome] = queue.Queue()
    script = server.serve(Script(HELLO))
    app = relay(lambda: script.url)
    if outside:
        app = GZipMiddleware(app, minimum_size=1)
    app = Middleware(app, lambda one, _: outcomes.put(one))
    if not outside:
        app = GZipMiddleware(app, minimum_size=1)
    with serving(app) as address:
        b"".join(read(address + PATH))
    assert outcomes.get(timeout=WAIT).ending is Ending.COMPLETE
