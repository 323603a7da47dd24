"""What is particular to the middleware: messages of every kind, and under uvicorn."""

import asyncio
import contextvars
import gc
import importlib
import queue
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import pytest

from tests.adapters.roads import MOST, Fed
from tests.adapters.upstream import BOMB, PATH, WAIT, Script, Upstream, events, packed
from unstream import Accumulator, Ending, Exchange, Outcome
from unstream.asgi import Middleware

HELLO = events("Hel", "lo")
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")
SSE = [(b"Content-Type", b"text/event-stream")]
SCOPE = {"type": "http", "method": "POST", "path": PATH}
HEARD = ("http.request", "http.disconnect")  # what the server sends

Message = MutableMapping[str, Any]
GONE: Message = {"type": "http.disconnect"}
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
        self._heard = (one for one in messages if one["type"] in HEARD)
        self.scope = SCOPE if scope is None else scope
        self.error = error
        self.sent: list[Message] = []
        self.calls: list[tuple[Outcome[Any], Exchange]] = []
        self.order: list[str] = []
        self.app = Middleware(self._app, self._note, **options)

    def __call__(self) -> "Run":
        asyncio.run(self.app(self.scope, self._receive, self._send))
        return self

    async def _app(self, scope: Any, receive: Any, send: Send) -> None:
        assert scope is self.scope
        NAME.set("inside")
        for message in self.messages:
            if message["type"] in HEARD:
                assert await receive() is message
            else:
                await send(message)
        if self.error is not None:
            raise self.error

    def _note(self, outcome: Outcome[Any], exchange: Exchange) -> None:
        self.calls.append((outcome, exchange))
        self.order.append(f"call {NAME.get()}")

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self.order.append(message["type"])

    async def _receive(self) -> Message:
        return next(self._heard)


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

    def noted(self: Accumulator[Any], data: bytes) -> None:
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


def asked(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def test_the_exchange() -> None:
    scope = {
        **SCOPE,
        "path": "/a b/v1/messages",
        "raw_path": b"/a%20b/v1/messages",
        "query_string": b"beta=true&x=%FF",
        "scheme": "https",
        "headers": [
            (b"Host", b"example.com:8000"),
            (b"X-Api-Key", b"\xff"),
            (b"accept", b"a"),
            (b"Accept", b"b"),
        ],
    }
    [(_, exchange)] = Run(whole_stream(), scope)().calls
    assert exchange == Exchange(
        method="POST",
        url="https://example.com:8000/a%20b/v1/messages?beta=true&x=%FF",
        path="/a b/v1/messages",
        status=200,
        request_headers={
            "host": "example.com:8000",
            "x-api-key": "\xff",
            "accept": "a, b",
        },
        response_headers={"content-type": "text/event-stream"},
        request_body=None,
        native=scope,
    )
    assert repr(exchange) == "<Exchange POST /a b/v1/messages 200>"


@pytest.mark.parametrize("host", [True, False])
def test_the_url_without_what_a_server_may_leave_out(*, host: bool) -> None:
    headers = [(b"host", b"x")] if host else []
    scope = {**SCOPE, "path": "/é/v1/messages", "headers": headers}
    [(_, exchange)] = Run(whole_stream(), scope)().calls
    assert exchange.url == "http://x" * host + "/%C3%A9/v1/messages"


MIB = b"x" * (1 << 20)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ([asked(b"a", more=True), asked(b"b", more=True), asked(b"")], b"ab"),
        ([asked(b"")], b""),
        ([{"type": "http.request"}], b""),
        ([], None),
        ([asked(b"a", more=True)], None),
        ([asked(b"a", more=True), GONE], None),
        ([asked(MIB, more=True)] * 3 + [asked(MIB)], MIB * 4),
        ([asked(MIB, more=True)] * 4 + [asked(b"x")], None),
    ],
    ids=["cut", "empty", "bare", "unread", "half", "broken", "large", "too large"],
)
def test_the_body_of_the_request(request_: list[Message], body: bytes | None) -> None:
    [(_, exchange)] = Run([*request_, *whole_stream()])().calls
    assert exchange.request_body == body


def test_a_body_that_is_read_while_it_is_answered() -> None:
    messages = whole_stream()
    messages.insert(2, asked(b"late"))
    [(_, exchange)] = Run(messages)().calls
    assert exchange.request_body == b"late"


def test_a_message_of_any_kind_is_received(caplog: pytest.LogCaptureFixture) -> None:
    run = Run([{"type": "http.request", "body": 5}, *whole_stream()])()
    [(_, exchange)] = run.calls
    assert exchange.request_body is None
    assert "TypeError" in caplog.text


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


@pytest.mark.parametrize(
    ("messages", "error", "interrupted"),
    [
        (whole_stream()[:3], None, "upstream"),
        (whole_stream()[:3], RuntimeError("boom"), "upstream"),
        (whole_stream()[:3], asyncio.CancelledError(), "client"),
        ([*whole_stream()[:3], GONE], None, "client"),
        ([*whole_stream()[:3], GONE], RuntimeError("boom"), "client"),
        ([GONE, *whole_stream()[:2], body(b"", more=False)], None, "client"),
        ([*whole_stream()[:3], body(b"", more=False)], None, None),
        ([*whole_stream()[:-1], GONE], None, None),
        ([*whole_stream(), GONE], RuntimeError("boom"), None),
    ],
    ids=[
        *("returned", "raised", "cancelled", "gone", "gone, raised", "gone, sent"),
        *("ended early", "gone after done", "gone after the end"),
    ],
)
def test_who_interrupted(
    messages: list[Message], error: BaseException | None, interrupted: str | None
) -> None:
    run = Run(messages, error=error)
    with suppress(RuntimeError, asyncio.CancelledError):
        run()
    [(outcome, _)] = run.calls
    assert outcome.interrupted == interrupted


def test_a_failure_without_headers() -> None:
    run = Run(
        [{"type": "http.response.start", "status": 500}, body(b"x", more=False)]
    )()
    [(outcome, exchange)] = run.calls
    assert (exchange.status, outcome.n_bytes) == (500, 1)


def test_a_piece_that_stands_for_much_leaves_the_loop_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = Fed(monkeypatch)
    headers = [*SSE, (b"content-encoding", b"gzip")]
    run = Run(
        [start(headers=headers), body(BOMB), body(packed(b"")), body(b"", more=False)]
    )
    fed.run(run.app(run.scope, refuse, run._send))
    assert max(fed.turns) <= MOST
    [(outcome, _)] = run.calls
    assert outcome.unwrap().choices[0].message.text() == "Hello"


def test_nothing_is_left_of_a_request() -> None:
    def count() -> int:
        # Errors of other tests may hold some.
        return sum(type(one).__name__ == "_Watch" for one in gc.get_objects())

    gc.collect()
    before = count()
    gc.disable()
    try:
        Run(whole_stream())()
        assert count() == before
    finally:
        gc.enable()


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


@pytest.mark.parametrize(
    ("error", "interrupted"), [(OSError, "client"), (ValueError, "upstream")]
)
def test_a_send_that_raises_is_the_application_s_own(
    error: type[Exception], interrupted: str
) -> None:
    calls: list[Outcome[Any]] = []

    async def app(_: Any, __: Any, send: Send) -> None:
        for message in whole_stream():
            await send(message)

    async def send(message: Message) -> None:
        if b"lo" in message.get("body", b""):
            raise error("gone")

    middleware = Middleware(app, lambda outcome, _: calls.append(outcome))
    with pytest.raises(error, match="gone"):
        asyncio.run(middleware(dict(SCOPE), refuse, send))
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]
    assert calls[0].interrupted == interrupted


def test_an_async_callback_runs_although_the_request_is_cancelled() -> None:
    released, done = asyncio.Event(), asyncio.Event()
    sent = asyncio.Event()
    calls: list[Outcome[Any]] = []

    async def app(_: Any, __: Any, send: Send) -> None:
        for message in whole_stream()[:3]:
            await send(message)
        sent.set()
        await asyncio.Event().wait()

    async def on_finish(outcome: Outcome[Any], _: Any) -> None:
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
    calls: list[Outcome[Any]] = []
    started, released = asyncio.Event(), asyncio.Event()

    async def app(_: Any, __: Any, send: Send) -> None:
        async def stream() -> None:
            for message in whole_stream():
                await send(message)

        sender = asyncio.create_task(stream())
        await started.wait()
        sender.cancel()
        await asyncio.wait([sender])

    async def on_finish(outcome: Outcome[Any], _: Any) -> None:
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


async def app(_: Any, __: Any, ___: Any) -> None: ...


async def later(_: Any) -> bool:
    return False


def test_what_can_never_work_is_refused() -> None:
    def note(*_: Any) -> None: ...

    make: Any = Middleware
    for args, options, fix in (
        ((app, None), {}, r"on_finish\(outcome, exchange\)"),
        ((app, lambda _: None), {}, r"on_finish\(outcome, exchange\)"),
        ((None, note), {}, r"app\(scope, receive, send\)"),
        ((lambda _, __: None, app), {}, r"app\(scope, receive, send\)"),
        ((app, note), {"select": later}, "async"),
        ((app, note), {"select": lambda: True}, r"select\(scope\)"),
        ((app, note), {"select": "/v1"}, r"select\(scope\)"),
        ((app, note), {"limits": 5}, r"Limits\(\)"),
    ):
        with pytest.raises(TypeError, match=fix):
            make(*args, **options)


def test_what_comes_after_the_end_is_not_ours(caplog: pytest.LogCaptureFixture) -> None:
    messages = [*whole_stream(), body(b"more", more=False)]
    run = Run(messages)()
    assert run.sent == messages
    [(outcome, _)] = run.calls
    assert outcome.ending is Ending.COMPLETE
    assert not caplog.text


# --- Under hypercorn ------------------------------------------------------------------


async def answer(scope: Any, receive: Any, send: Send) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    for message in whole_stream()[:3]:
        await send(message)
    if "raises" in scope["path"]:
        raise RuntimeError
    if "listens" in scope["path"]:
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    for message in whole_stream()[3:]:
        await send(message)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_hypercorn_and_its_event_loops(loop: str) -> None:
    pytest.importorskip("hypercorn")
    pytest.importorskip(loop)
    from tests.adapters.roads import read
    from tests.adapters.server import hypercorn

    outcomes: queue.Queue[tuple[Outcome[Any], Exchange]] = queue.Queue()

    async def note(outcome: Outcome[Any], exchange: Exchange) -> None:
        await sleep(0)
        outcomes.put((outcome, exchange))

    sleep: Any = importlib.import_module(loop).sleep
    with hypercorn(Middleware(answer, note), loop) as address:
        for name, interrupted in (
            ("ends", None),
            ("raises", "upstream"),
            ("listens", "client"),
        ):
            pieces = read(f"{address}/{name}{PATH}")
            assert next(pieces) == HELLO[0]
            if name == "listens":
                pieces.close()  # type: ignore[attr-defined]
            with suppress(OSError, ValueError):
                list(pieces)
            outcome, exchange = outcomes.get(timeout=WAIT)
            assert outcome.interrupted == interrupted
            assert exchange.path == f"/{name}{PATH}"
            assert exchange.request_body == b""
    assert outcomes.empty()


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

    outcomes: queue.Queue[Outcome[Any]] = queue.Queue()
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

    outcomes: queue.Queue[Outcome[Any]] = queue.Queue()
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

    outcomes: queue.Queue[Outcome[Any]] = queue.Queue()
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
