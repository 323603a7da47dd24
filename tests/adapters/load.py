"""Many streams served at once by uvicorn, with the middleware or without."""

import asyncio
import gc
import time
import tracemalloc
from dataclasses import dataclass
from typing import Any, Final

from tests.adapters.server import serving
from tests.adapters.upstream import choice, event, packed
from unstream import Ending, Outcome
from unstream._tap import Tap
from unstream.asgi import Middleware

__all__ = ["PATH", "App", "Load", "load", "soak"]

PATH: Final = "/v1/chat/completions"
_ROUND: Final = 50


def _text(stream: int, at: int) -> str:
    return f"{stream}:{at} "


def _events(stream: int, n_chunks: int) -> list[bytes]:
    """Make a stream that none of the others is like."""
    made = [event(choices=[choice({"role": "assistant", "content": ""})])]
    made += [
        event(choices=[choice({"content": _text(stream, at)})])
        for at in range(n_chunks)
    ]
    return [*made, event(choices=[choice({}, "stop")]), b"data: [DONE]\n\n"]


class App:
    """Send a stream for each number; `/cpu` tells the time of this thread."""

    def __init__(self, n_streams: int, n_chunks: int) -> None:
        self.streams = [_events(stream, n_chunks) for stream in range(n_streams)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del receive
        start = {"type": "http.response.start", "status": 200}
        if scope["path"] == "/cpu":
            pieces = [str(time.thread_time()).encode()]
            headers = []
        else:
            number, *rest = scope["path"].strip("/").split("/")
            pieces = self.streams[int(number)]
            headers = [(b"content-type", b"text/event-stream")]
            if rest[0] == "gzip":
                pieces = [packed(b"".join(pieces))]
                headers.append((b"content-encoding", b"gzip"))
        await send({**start, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # so that all of them are under way at once
        await send({"type": "http.response.body", "body": b""})


async def _ask(address: str, path: str, stop: int | None = None) -> bytes:
    """Post, and return the body; or go away after `stop` bytes."""
    host, _, port = address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        writer.write(head.encode())
        if stop is not None:
            await reader.readexactly(stop)
            return b""
        await reader.readuntil(b"\r\n\r\n")
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        return b"".join(pieces)
    finally:
        writer.close()
        await writer.wait_closed()


# --- Load -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What serving all the streams took, and what was seen of them."""

    cpu: float
    """The CPU seconds of the server's thread."""
    n_wrong: int
    """The clients whose bytes were not those of their stream."""
    outcomes: dict[str, list[Outcome[Any]]]
    """The outcomes, by path."""


def load(n_streams: int, n_chunks: int, *, watched: bool) -> Load:
    """Serve streams, all at once, and read them."""
    app: Any = App(n_streams, n_chunks)
    expected = [b"".join(stream) for stream in app.streams]
    outcomes: dict[str, list[Outcome[Any]]] = {}
    if watched:
        app = Middleware(
            app,
            lambda one, exchange: outcomes.setdefault(exchange.path, []).append(one),
        )

    async def go(address: str) -> tuple[float, list[bytes]]:
        before = float(await _ask(address, "/cpu"))
        bodies = await asyncio.gather(
            *(_ask(address, f"/{stream}{PATH}") for stream in range(n_streams))
        )
        return float(await _ask(address, "/cpu")) - before, bodies

    with serving(app) as address:
        cpu, bodies = asyncio.run(go(address))
    n_wrong = sum(a != b for a, b in zip(bodies, expected, strict=True))
    return Load(cpu, n_wrong, outcomes)


# --- Soak -----------------------------------------------------------------------------


def soak(rounds: int) -> list[tuple[int, int]]:
    """Serve rounds of streams; return the traced bytes and the taps after each.

    In each round some are read to the end, some are left early, some are compressed.
    """
    counts = dict.fromkeys(Ending, 0)

    def on_finish(outcome: Outcome[Any], _: Any) -> None:
        counts[outcome.ending] += 1

    async def one_round(address: str) -> None:
        asks = []
        for stream in range(_ROUND):
            kind = ("plain", "gzip", "left")[stream % 3]
            stop = 1000 if kind == "left" else None
            asks.append(_ask(address, f"/{stream}/{kind}{PATH}", stop))
        await asyncio.gather(*asks)

    found: list[tuple[int, int]] = []
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    tracemalloc.start()
    try:
        with serving(Middleware(App(_ROUND, 200), on_finish)) as address:
            for at in range(rounds):
                asyncio.run(one_round(address))
                while sum(counts.values()) < _ROUND * (at + 1):
                    time.sleep(0.001)  # a client that left is noticed a little later
                gc.collect()
                taps = sum(isinstance(one, Tap) for one in gc.get_objects())
                found.append((tracemalloc.get_traced_memory()[0], taps))
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert counts[Ending.COMPLETE] >= rounds * _ROUND * 2 // 3
    return found
