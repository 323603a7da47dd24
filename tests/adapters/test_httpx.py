"""What is particular to the hooks, and the real `openai` client on top of them."""

import asyncio
import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.adapters.roads import MOST, Fed, Seen, aclient, client
from tests.adapters.upstream import (
    BOMB,
    PATH,
    WAIT,
    Script,
    Upstream,
    encoded,
    event,
    events,
    whole,
)
from unstream import Ending, Exchange, Outcome, atee, tee
from unstream.httpx import observe

HELLO = events("Hel", "lo", " ", "wörld")
MESSAGES: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# --- openai ---------------------------------------------------------------------------


def ask(  # noqa: PLR0913 - a test's own
    script: Script,
    library: str,
    seen: Seen,
    *,
    is_async: bool,
    stop: int | None = None,
    stream: bool = True,
    max_retries: int = 0,
) -> list[Any]:
    """Ask by the openai client; return the chunks, or the one completion."""
    openai = pytest.importorskip("openai")
    if library == "httpx2" and int(openai.__version__.partition(".")[0]) < 3:
        pytest.skip("this openai knows httpx alone")
    options: Any = {
        "api_key": "none",
        "base_url": script.url.removesuffix("/chat/completions"),
        "max_retries": max_retries,
    }
    request: Any = {"model": "m", "messages": MESSAGES, "stream": stream}
    got: list[Any] = []

    async def go() -> None:
        async with aclient(library, seen) as http:
            ai = openai.AsyncOpenAI(http_client=http, **options)
            answer = await ai.chat.completions.create(**request)
            if not stream:
                got.append(answer)
                return
            async with answer:
                async for chunk in answer:
                    got.append(chunk)
                    script.step()
                    if len(got) == stop:
                        break

    if is_async:
        asyncio.run(go())
        return got
    with client(library, seen) as http:
        ai = openai.OpenAI(http_client=http, **options)
        answer = ai.chat.completions.create(**request)
        if not stream:
            return [answer]
        with answer:
            for chunk in answer:
                got.append(chunk)
                script.step()
                if len(got) == stop:
                    break
    return got


def text(outcome: Outcome[Any]) -> str:
    assert outcome.completion is not None
    return str(outcome.completion.choices[0].message.text())


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_openai_reads_to_done(
    server: Upstream, library: str, *, is_async: bool, coding: str
) -> None:
    pieces = encoded(HELLO, coding)
    script = server.serve(Script(pieces, stepped=True, coding=coding))
    # The last piece, with [DONE], brings no chunk, and the one before needs no step.
    script.step()
    seen = Seen()
    chunks = ask(script, library, seen, is_async=is_async)
    assert len(chunks) == len(HELLO) - 1
    assert seen.outcome.ending is Ending.COMPLETE
    assert seen.outcome.done
    assert seen.outcome.interrupted is None
    assert text(seen.outcome) == "Hello wörld"
    assert seen.outcome.usage_source == "usage"


def test_openai_leaves_early(server: Upstream, library: str, *, is_async: bool) -> None:
    script = server.serve(Script(HELLO, stepped=True))
    seen = Seen()
    assert len(ask(script, library, seen, is_async=is_async, stop=3)) == 3
    assert script.gone.wait(WAIT)
    assert seen.outcome.ending is Ending.TRUNCATED
    assert text(seen.outcome).startswith("Hello")
    assert seen.outcome.interrupted == "client"


def test_openai_and_an_upstream_that_dies(
    server: Upstream, library: str, *, is_async: bool
) -> None:
    openai = pytest.importorskip("openai")
    script = server.serve(Script(HELLO[:3], end="death"))
    seen = Seen()
    with pytest.raises((openai.APIConnectionError, *transport_errors())):
        ask(script, library, seen, is_async=is_async)
    assert seen.outcome.ending is Ending.TRUNCATED
    assert seen.outcome.interrupted == "upstream"
    assert text(seen.outcome) == "Hello"


def transport_errors() -> Iterator[type[Exception]]:
    for name in ("httpx", "httpx2"):
        yield pytest.importorskip(name).TransportError


def test_openai_and_an_error_inside_the_stream(
    server: Upstream, library: str, *, is_async: bool
) -> None:
    openai = pytest.importorskip("openai")
    script = server.serve(Script([*HELLO[:3], event(error={"message": "busy"})]))
    seen = Seen()
    with pytest.raises(openai.APIError, match="busy"):
        ask(script, library, seen, is_async=is_async)
    assert seen.outcome.ending is Ending.ERROR
    assert seen.outcome.error == {"message": "busy"}


@pytest.mark.parametrize("stream", [False, True])
def test_openai_and_a_key_that_is_refused(
    server: Upstream, library: str, *, is_async: bool, stream: bool
) -> None:
    openai = pytest.importorskip("openai")
    body = b'{"error": {"message": "no such key", "code": "invalid_api_key"}}'
    script = server.serve(Script([body], status=401, kind="application/json"))
    seen = Seen()
    with pytest.raises(openai.AuthenticationError, match="no such key"):
        ask(script, library, seen, is_async=is_async, stream=stream)
    assert seen.outcome.ending is Ending.ERROR
    assert seen.outcome.error["message"] == "no such key"
    assert [exchange.status for exchange in seen.exchanges] == [401]


def test_openai_and_its_retries(
    server: Upstream, library: str, *, is_async: bool
) -> None:
    openai = pytest.importorskip("openai")
    body = b'{"error": {"message": "slow down"}}'
    script = server.serve(Script([body], status=429, kind="application/json"))
    seen = Seen()
    with pytest.raises(openai.RateLimitError):
        ask(script, library, seen, is_async=is_async, max_retries=1)
    # Of one that it will retry, openai reads no body.
    assert [exchange.status for exchange in seen.exchanges] == [429, 429]
    assert [one.ending for one in seen.calls] == [Ending.EMPTY, Ending.ERROR]
    assert [one.interrupted for one in seen.calls] == ["client", None]


def test_openai_s_own_streams_in_a_tee(server: Upstream, *, is_async: bool) -> None:
    openai = pytest.importorskip("openai")
    calls: list[Outcome[Any]] = []
    script = server.serve(Script(HELLO, end="open"))
    options: Any = {
        "api_key": "none",
        "base_url": script.url.removesuffix("/chat/completions"),
    }
    request: Any = {"model": "m", "messages": MESSAGES, "stream": True}

    async def go() -> None:
        async with openai.AsyncOpenAI(**options) as ai:
            stream = await ai.chat.completions.create(**request)
            with pytest.raises(TypeError, match=r"unstream\.atee"):
                tee(stream, calls.append)
            chunks = atee(stream, calls.append)
            assert (await anext(chunks)).choices
            await chunks.aclose()
            assert script.gone.wait(WAIT)

    if is_async:
        asyncio.run(go())
    else:
        with openai.OpenAI(**options) as ai:
            stream = ai.chat.completions.create(**request)
            with pytest.raises(TypeError, match=r"unstream\.tee"):
                atee(stream, calls.append)
            chunks = tee(stream, calls.append)
            assert next(chunks).choices
            chunks.close()
            assert script.gone.wait(WAIT)
    assert [outcome.interrupted for outcome in calls] == ["client"]


def test_openai_without_stream(
    server: Upstream, library: str, *, is_async: bool
) -> None:
    script = server.serve(Script([whole("Hello")], kind="application/json"))
    seen = Seen()
    [answer] = ask(script, library, seen, is_async=is_async, stream=False)
    assert answer.choices[0].message.content == "Hello"
    assert text(seen.outcome) == "Hello"


def test_openai_accepts_what_was_folded(server: Upstream, library: str) -> None:
    types = pytest.importorskip("openai.types.chat")
    script = server.serve(Script(HELLO))
    seen = Seen()
    ask(script, library, seen, is_async=False)
    types.ChatCompletion.model_validate(seen.outcome.unwrap().to_dict())


# --- The hooks ------------------------------------------------------------------------


def test_the_client_comes_back_and_its_other_hooks_stay(
    server: Upstream, library: str
) -> None:
    module = pytest.importorskip(library)
    seen = Seen()
    order: list[str] = []

    def before(response: Any) -> None:
        response.read()  # as those do who log bodies
        order.append("before")

    script = server.serve(Script(HELLO))
    with module.Client(
        event_hooks={"response": [before]}, timeout=WAIT, trust_env=False
    ) as http:
        assert observe(http, lambda outcome, _: seen.note(outcome)) is http
        http.event_hooks["response"].append(lambda _: order.append("after"))
        answer = http.post(script.url)
        assert answer.content == script.body
        assert answer.elapsed.total_seconds() > 0
    assert order == ["before", "after"]
    assert seen.outcome.n_bytes == len(script.body)


def test_times_count_from_the_request(server: Upstream, library: str) -> None:
    seen = Seen()
    script = server.serve(Script(HELLO))
    with client(library, seen) as http:
        elapsed = http.post(script.url).elapsed.total_seconds()
    timing = seen.outcome.timing
    assert timing is not None
    # The library's own clock starts after ours and stops before.
    assert timing.total >= elapsed


def test_the_exchange(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    exchanges: list[Exchange] = []
    script = server.serve(Script(HELLO, coding="identity"))
    with module.Client(timeout=WAIT, trust_env=False) as http:
        observe(http, lambda _, exchange: exchanges.append(exchange))
        response = http.post(
            f"{script.url}?a=b%20c",
            content=b'{"model":"m"}',
            headers=[("Accept", "a"), ("accept", "b"), ("X-Api-Key", "secret")],
        )
    [exchange] = exchanges
    assert exchange.native is response
    assert exchange.method == "POST"
    assert exchange.url == f"{script.url}?a=b%20c"
    assert exchange.url.endswith(f"{exchange.path}?a=b%20c")
    assert exchange.status == 200
    assert exchange.request_headers["accept"] == "a, b"
    assert exchange.request_headers["x-api-key"] == "secret"
    assert exchange.response_headers["content-encoding"] == "identity"
    assert exchange.request_body == b'{"model":"m"}'
    assert "secret" not in repr(exchange)


LARGE = b"x" * 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (lambda: b"", b""),
        (lambda: LARGE, LARGE),
        (lambda: LARGE + b"x", None),
        (lambda: iter([b"streamed"]), None),
    ],
    ids=["empty", "large", "too large", "streamed"],
)
def test_the_body_of_the_request(
    server: Upstream, library: str, content: Any, body: bytes | None
) -> None:
    script = server.serve(Script(HELLO))
    seen = Seen()
    with client(library, seen) as http:
        http.post(script.url, content=content())
    [exchange] = seen.exchanges
    assert exchange.request_body == body


def test_select(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    calls: list[Outcome[Any]] = []
    script = server.serve(Script(HELLO))
    for select, n_calls in (
        (lambda request: request.method == "PUT", 1),
        (lambda request: request.nothing, 0),
        (None, 0),
    ):
        with module.Client(timeout=WAIT, trust_env=False) as http:
            observe(http, lambda one, _: calls.append(one), select=select)
            assert http.put(script.url).content == script.body
        assert len(calls) == n_calls
        calls.clear()


def test_a_response_that_is_never_read(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    calls: list[Outcome[Any]] = []
    script = server.serve(Script(HELLO, end="open"))
    with module.Client(timeout=WAIT, trust_env=False) as http:
        observe(http, lambda one, _: calls.append(one))
        with http.stream("POST", script.url):
            pass
    assert [outcome.ending for outcome in calls] == [Ending.EMPTY]
    assert calls[0].interrupted == "client"
    assert script.gone.wait(WAIT)


def test_a_cancelled_request(server: Upstream, library: str) -> None:
    done = asyncio.Event()
    seen = Seen(act=done.set)
    script = server.serve(Script(HELLO[:3], end="open"))

    async def read(http: Any, got: asyncio.Event) -> None:
        async with http.stream("POST", script.url) as response:
            body = b""
            async for piece in response.aiter_raw():
                body += piece
                if len(body) == len(script.body):
                    got.set()

    async def go() -> None:
        got = asyncio.Event()
        async with aclient(library, seen) as http:
            reader = asyncio.create_task(read(http, got))
            await got.wait()
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            async with asyncio.timeout(WAIT):
                await done.wait()

    asyncio.run(go())
    assert seen.outcome.ending is Ending.TRUNCATED
    assert seen.outcome.interrupted == "client"
    assert text(seen.outcome) == "Hello"
    assert script.gone.wait(WAIT)


def test_a_response_of_which_a_hook_wants_nothing(
    server: Upstream, library: str
) -> None:
    module = pytest.importorskip(library)
    seen = Seen()
    script = server.serve(Script([b"{}"], status=500))
    with client(library, seen) as http:
        http.event_hooks["response"].append(lambda answer: answer.raise_for_status())
        with pytest.raises(module.HTTPStatusError):
            http.post(script.url)
    assert [exchange.status for exchange in seen.exchanges] == [500]
    assert seen.outcome.interrupted == "client"


def test_a_reader_that_waits_too_long(
    server: Upstream, library: str, *, is_async: bool
) -> None:
    module = pytest.importorskip(library)
    seen = Seen()
    script = server.serve(Script(HELLO[:3], end="open"))
    timeout = module.Timeout(WAIT, read=0.1)

    async def go() -> None:
        async with aclient(library, seen) as http:
            await http.post(script.url, timeout=timeout)

    def read() -> None:
        with client(library, seen) as http:
            http.post(script.url, timeout=timeout)

    with pytest.raises(module.ReadTimeout):
        asyncio.run(go()) if is_async else read()
    assert seen.outcome.ending is Ending.TRUNCATED
    assert seen.outcome.interrupted == "upstream"


def test_a_piece_that_stands_for_much_leaves_the_loop_to_others(
    server: Upstream, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed, seen = Fed(monkeypatch), Seen()
    script = server.serve(Script([BOMB], coding="gzip"))

    async def go() -> None:
        async with (
            aclient(library, seen) as http,
            http.stream("POST", script.url) as one,
        ):
            assert b"".join([data async for data in one.aiter_raw()]) == BOMB

    fed.run(go())
    assert max(fed.turns) <= MOST
    assert text(seen.outcome) == "Hello"


def test_two_observers_see_the_same(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    calls: list[Outcome[Any]] = []
    script = server.serve(Script(HELLO))
    with module.Client(timeout=WAIT, trust_env=False) as http:
        for _ in range(2):
            observe(http, lambda one, _: calls.append(one))
        assert http.post(script.url).content == script.body
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE] * 2


def test_redirects_are_followed_and_the_answer_is_watched(
    server: Upstream, library: str
) -> None:
    module = pytest.importorskip(library)
    calls: list[Outcome[Any]] = []
    script = server.serve(Script(HELLO))
    gate = module.MockTransport(
        lambda request: (
            module.Response(307, headers={"location": script.url})
            if request.url.host == "gate"
            else None
        )
    )
    with module.Client(
        mounts={"http://gate": gate},
        follow_redirects=True,
        timeout=WAIT,
        trust_env=False,
    ) as http:
        observe(http, lambda one, _: calls.append(one))
        assert http.post(f"http://gate{PATH}").content == script.body
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE]


def test_nothing_is_left_open(server: Upstream, library: str) -> None:
    seen = Seen()
    script = server.serve(Script(HELLO, stepped=True))

    async def go() -> None:
        async with (
            aclient(library, seen) as http,
            http.stream("POST", script.url) as response,
        ):
            async for _ in response.aiter_raw():
                break
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(go())
    assert len(seen.calls) == 1


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(TypeError, match="event_hooks"):
        observe(object(), lambda *_: None)  # type: ignore[type-var]


def test_a_class_is_no_client(library: str) -> None:
    with pytest.raises(TypeError, match="Client is a class"):
        observe(pytest.importorskip(library).Client, lambda *_: None)


def test_what_is_to_be_observed_of_openai(
    server: Upstream, *, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai = pytest.importorskip("openai")
    monkeypatch.setenv("NO_PROXY", "*")
    kind = openai.AsyncOpenAI if is_async else openai.OpenAI
    script = server.serve(Script([whole("Hello")], kind="application/json"))
    options = {
        "api_key": "none",
        "base_url": script.url.removesuffix("/chat/completions"),
    }
    calls: list[Outcome[Any]] = []

    def note(outcome: Outcome[Any], _: Exchange) -> None:
        calls.append(outcome)

    ai = kind(**options)
    with pytest.raises(TypeError) as raised:
        observe(ai, note)
    # What it says is what works.
    assert f"{kind.__name__}(http_client=observe(...))" in str(raised.value)
    assert "observe its _client" in str(raised.value)
    observe(ai._client, note)
    http = openai.DefaultAsyncHttpxClient() if is_async else openai.DefaultHttpxClient()
    request: Any = {"model": "m", "messages": MESSAGES}
    for one in (ai, kind(http_client=observe(http, note), **options)):
        if is_async:

            async def go(one: Any = one) -> None:
                async with one:
                    await one.chat.completions.create(**request)

            asyncio.run(go())
        else:
            with one:
                one.chat.completions.create(**request)
    assert [text(outcome) for outcome in calls] == ["Hello"] * 2


def test_what_can_never_work_is_refused(library: str) -> None:
    module = pytest.importorskip(library)

    async def later(*_: Any) -> bool:
        return True

    make: Any = observe
    with module.Client() as http:
        for on_finish, options, fix in (
            (None, {}, r"on_finish\(outcome, exchange\)"),
            (lambda _: None, {}, r"on_finish\(outcome, exchange\)"),
            (later, {}, "async"),
            (lambda *_: None, {"select": later}, "async"),
            (lambda *_: None, {"select": lambda: True}, r"select\(request\)"),
            (lambda *_: None, {"limits": 5}, r"Limits\(\)"),
        ):
            with pytest.raises(TypeError, match=fix):
                make(http, on_finish, **options)
        assert not http.event_hooks["response"]


@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
def test_a_response_that_is_complete_already(
    library: str, kind: str, *, is_async: bool
) -> None:
    # As transports for tests make them, and caches.
    module = pytest.importorskip(library)
    content = b"".join(HELLO) if kind == "text/event-stream" else whole("Hello")
    headers = {"content-type": kind, "content-encoding": "identity"}
    transport = module.MockTransport(
        lambda _: module.Response(200, content=content, headers=headers)
    )
    calls: list[Outcome[Any]] = []

    async def note(outcome: Outcome[Any], _: Any) -> None:
        calls.append(outcome)

    async def go() -> None:
        async with module.AsyncClient(transport=transport) as http:
            response = await observe(http, note).post(f"http://x{PATH}")
            assert response.content == content

    if is_async:
        asyncio.run(go())
    else:
        with module.Client(transport=transport) as http:
            observe(http, lambda outcome, _: calls.append(outcome))
            assert http.post(f"http://x{PATH}").content == content
    [outcome] = calls
    assert outcome.completion is not None
    assert outcome.completion.choices[0].message.text().startswith("Hel")
