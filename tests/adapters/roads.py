"""The ways that the bytes of a response can take through an adapter, each for real.

A road sends a request to a script's address, reads the answer with an adapter in
between, steps the script once for each piece that it got, and leaves after `stop`
pieces. What it saw goes into `Seen`.
"""

import asyncio
import contextvars
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

import pytest

from tests.adapters.upstream import WAIT, Script
from unstream import Accumulator, Exchange, Limits, Outcome, atee, tee

CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("context", default="")


@dataclass
class Seen:
    """What came out at the end of a road."""

    act: Callable[[], None] = lambda: None  # what the callback does besides
    pieces: list[bytes] = field(default_factory=list)
    calls: list[Outcome[Any]] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    had: list[int] = field(default_factory=list)  # the bytes that were there by then
    contexts: list[str] = field(default_factory=list)
    error: BaseException | None = None
    is_remote: bool = False  # the callback runs elsewhere than the reader

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def outcome(self) -> Outcome[Any]:
        """The one outcome."""
        assert len(self.calls) == 1
        return self.calls[0]

    def note(self, outcome: Outcome[Any], *exchange: Exchange) -> None:
        self.calls.append(outcome)
        self.exchanges += exchange
        self.had.append(len(self.body))
        self.contexts.append(CONTEXT.get())
        self.act()

    async def anote(self, outcome: Outcome[Any], *exchange: Exchange) -> None:
        await asyncio.sleep(0)
        self.note(outcome, *exchange)

    def take(self, pieces: Iterable[bytes], script: Script, stop: int | None) -> None:
        for piece in pieces:
            self.pieces.append(piece)
            script.step()
            if stop is not None and len(self.pieces) >= stop:
                break

    async def atake(
        self, pieces: AsyncIterator[bytes], script: Script, stop: int | None
    ) -> None:
        async for piece in pieces:
            self.pieces.append(piece)
            script.step()
            if stop is not None and len(self.pieces) >= stop:
                break


# A turn, that of an end which follows at once, and a slice more.
MOST = 3 * 16 * 1024


class Fed:
    """Note how many bytes were fed in each turn of a loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns = [0]
        feed = Accumulator.feed

        def noted(accumulator: Accumulator[Any], data: bytes) -> None:
            self.turns[-1] += len(data)
            feed(accumulator, data)

        monkeypatch.setattr(Accumulator, "feed", noted)

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turns.append(0)

    def run(self, work: Any) -> None:
        async def go() -> None:
            other = asyncio.create_task(self.tick())
            await work
            other.cancel()

        asyncio.run(go())


class Road(Protocol):
    def __call__(
        self, script: Script, seen: Seen, stop: int | None, limits: Limits | None
    ) -> None: ...


# --- Tees -----------------------------------------------------------------------------


def by_requests(
    script: Script, seen: Seen, stop: int | None, limits: Limits | None
) -> None:
    import requests

    with (
        requests.Session() as session,
        session.post(script.url, stream=True, timeout=WAIT) as response,
    ):
        source = response.raw.stream(1 << 16, decode_content=False)
        coding = response.headers.get("content-encoding", "")
        with closing(
            tee(source, seen.note, limits=limits, content_encoding=coding)
        ) as pieces:
            seen.take(pieces, script, stop)


def by_aiohttp(
    script: Script, seen: Seen, stop: int | None, limits: Limits | None
) -> None:
    asyncio.run(_by_aiohttp(script, seen, stop, limits))


async def _by_aiohttp(
    script: Script, seen: Seen, stop: int | None, limits: Limits | None
) -> None:
    import aiohttp

    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(script.url) as response,
    ):
        pieces = atee(
            response.content.iter_any(),
            seen.anote,
            limits=limits,
            content_encoding=response.headers.get("content-encoding", ""),
        )
        try:
            await seen.atake(pieces, script, stop)
        finally:
            await pieces.aclose()


# --- Clients --------------------------------------------------------------------------


def by_client(library: str) -> Road:
    def road(
        script: Script, seen: Seen, stop: int | None, limits: Limits | None
    ) -> None:
        with client(library, seen, limits) as one:
            with one.stream("POST", script.url) as response:
                seen.take(response.iter_raw(), script, stop)
            assert response.elapsed is not None

    return road


def by_async_client(library: str) -> Road:
    def road(
        script: Script, seen: Seen, stop: int | None, limits: Limits | None
    ) -> None:
        async def go() -> None:
            async with aclient(library, seen, limits) as one:
                async with one.stream("POST", script.url) as response:
                    await seen.atake(response.aiter_raw(), script, stop)
                assert response.elapsed is not None

        asyncio.run(go())

    return road


@contextmanager
def client(library: str, seen: Seen, limits: Limits | None = None) -> Iterator[Any]:
    """Give a client that is observed."""
    from unstream.httpx import observe

    module = pytest.importorskip(library)
    with module.Client(timeout=WAIT, trust_env=False) as one:
        yield observe(one, seen.note, limits=limits)


@asynccontextmanager
async def aclient(
    library: str, seen: Seen, limits: Limits | None = None
) -> AsyncIterator[Any]:
    """Give an async client that is observed by an async callback."""
    from unstream.httpx import observe

    module = pytest.importorskip(library)
    async with module.AsyncClient(timeout=WAIT, trust_env=False) as one:
        yield observe(one, seen.anote, limits=limits)


# --- The middleware -------------------------------------------------------------------


def by_asgi(*, is_async: bool) -> Road:
    def road(
        script: Script, seen: Seen, stop: int | None, limits: Limits | None
    ) -> None:
        from tests.adapters.server import Returns, relay, serving
        from unstream.asgi import Middleware

        app = Returns(
            Middleware(
                relay(lambda: script.url),
                seen.anote if is_async else seen.note,
                limits=limits,
            )
        )
        with serving(app) as address:
            try:
                seen.take(read(address + script.path), script, stop)
            finally:
                app.returned.get(timeout=WAIT)

    return road


def read(url: str, size: int = 1 << 16) -> Iterator[bytes]:
    """Post to an address and give the chunks of the body as they come."""
    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(
            f"POST /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()
        )
        with connection.makefile("rb", buffering=size) as file:
            while file.readline().strip():
                pass
            while line := file.readline():
                if not (length := int(line, 16)):
                    return
                yield file.read(length + 2)[:-2]
            raise ConnectionError("the body broke off")


ROADS: dict[str, tuple[str, Road]] = {
    "tee, requests": ("requests", by_requests),
    "atee, aiohttp": ("aiohttp", by_aiohttp),
    "asgi": ("uvicorn", by_asgi(is_async=False)),
    "asgi, async": ("uvicorn", by_asgi(is_async=True)),
    "httpx": ("httpx", by_client("httpx")),
    "httpx, async": ("httpx", by_async_client("httpx")),
    "httpx2": ("httpx2", by_client("httpx2")),
    "httpx2, async": ("httpx2", by_async_client("httpx2")),
}


def travel(
    name: str,
    script: Script,
    *,
    stop: int | None = None,
    limits: Limits | None = None,
    act: Callable[[], None] = lambda: None,
) -> Seen:
    """Take a road, to its end or to where it breaks."""
    needs, road = ROADS[name]
    if not find_spec(needs) or (needs == "uvicorn" and not find_spec("starlette")):
        pytest.skip(f"{needs} is not installed")
    seen = Seen(act=act, is_remote=needs == "uvicorn")
    try:
        road(script, seen, stop, limits)
    except Exception as error:  # noqa: BLE001 - each library has errors of its own
        seen.error = error
    return seen
