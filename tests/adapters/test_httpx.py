"""What is particular to the hooks, and the real `openai` client on top of them."""

import asyncio
import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.adapters.roads import Seen, aclient, client
from tests.adapters.upstream import (
    PATH,
    WAIT,
    Script,
    Upstream,
    encoded,
    event,
    events,
    whole,
)
from unstream import Ending, Outcome
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
) -> list[Any]:
    """Ask by the openai client; return the chunks, or the one completion."""
    openai = pytest.importorskip("openai")
    if library == "httpx2" and int(openai.__version__.partition(".")[0]) < 3:
        pytest.skip("this openai knows httpx alone")
    options: Any = {
        "api_key": "none",
        "base_url": script.url.removesuffix("/chat/completions"),
        "max_retries": 0,
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


def text(outcome: Outcome) -> str:
    assert outcome.completion is not None
    return outcome.completion.choices[0].message.text()


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
    assert text(seen.outcome) == "Hello wörld"
    assert seen.outcome.usage_source == "usage"


def test_openai_leaves_early(server: Upstream, library: str, *, is_async: bool) -> None:
    script = server.serve(Script(HELLO, stepped=True))
    seen = Seen()
    assert len(ask(script, library, seen, is_async=is_async, stop=3)) == 3
    assert script.gone.wait(WAIT)
    assert seen.outcome.ending is Ending.TRUNCATED
    assert text(seen.outcome).startswith("Hello")


def test_openai_and_an_upstream_that_dies(
    server: Upstream, library: str, *, is_async: bool
) -> None:
    openai = pytest.importorskip("openai")
    script = server.serve(Script(HELLO[:3], end="death"))
    seen = Seen()
    with pytest.raises((openai.APIConnectionError, *transport_errors())):
        ask(script, library, seen, is_async=is_async)
    assert seen.outcome.ending is Ending.TRUNCATED
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


def test_the_callback_gets_the_request(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    requests: list[Any] = []
    script = server.serve(Script(HELLO))
    with module.Client(timeout=WAIT, trust_env=False) as http:
        observe(http, lambda request, _: requests.append(request))
        http.post(script.url, content=b'{"model":"m"}')
    [request] = requests
    assert isinstance(request, module.Request)
    assert request.content == b'{"model":"m"}'


def test_select(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    calls: list[Outcome] = []
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
    calls: list[Outcome] = []
    script = server.serve(Script(HELLO, end="open"))
    with module.Client(timeout=WAIT, trust_env=False) as http:
        observe(http, lambda one, _: calls.append(one))
        with http.stream("POST", script.url):
            pass
    assert [outcome.ending for outcome in calls] == [Ending.EMPTY]
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
    assert text(seen.outcome) == "Hello"
    assert script.gone.wait(WAIT)


def test_two_observers_see_the_same(server: Upstream, library: str) -> None:
    module = pytest.importorskip(library)
    calls: list[Outcome] = []
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
    calls: list[Outcome] = []
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


def test_what_nothing_would_await_is_refused(library: str) -> None:
    module = pytest.importorskip(library)

    async def later(*_: Any) -> bool:
        return True

    with module.Client() as http:
        with pytest.raises(TypeError, match="async"):
            observe(http, later)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="async"):
            observe(http, lambda *_: None, select=later)  # type: ignore[arg-type]
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
    calls: list[Outcome] = []

    async def note(outcome: Outcome, _: Any) -> None:
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
