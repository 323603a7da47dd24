"""Measure what the middleware costs a server, and whether it holds on to anything.

`python -m benchmarks.adapters load` serves many streams at once by uvicorn, with and
without the middleware, and prints the CPU time of the server's thread; as that swings
by more than the difference, it also prints what the middleware costs by itself, without
a server. `soak` serves streams for a minute and prints the memory. Both check every
answer.
"""

import argparse
import asyncio
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.adapters.server import serving
from tests.adapters.upstream import choice, event, packed
from unstream import Ending, Outcome
from unstream._tap import Tap
from unstream.asgi import Middleware

__all__ = ["Load", "load", "soak"]

_PATH: Final = "/v1/chat/completions"
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


class _App:
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
    outcomes: dict[str, list[Outcome]]
    """The outcomes, by path."""


def load(n_streams: int, n_chunks: int, *, watched: bool) -> Load:
    """Serve streams, all at once, and read them."""
    app: Any = _App(n_streams, n_chunks)
    expected = [b"".join(stream) for stream in app.streams]
    outcomes: dict[str, list[Outcome]] = {}
    if watched:
        app = Middleware(
            app,
            lambda scope, one: outcomes.setdefault(scope["path"], []).append(one),
        )

    async def go(address: str) -> tuple[float, list[bytes]]:
        before = float(await _ask(address, "/cpu"))
        bodies = await asyncio.gather(
            *(_ask(address, f"/{stream}{_PATH}") for stream in range(n_streams))
        )
        return float(await _ask(address, "/cpu")) - before, bodies

    with serving(app) as address:
        cpu, bodies = asyncio.run(go(address))
    n_wrong = sum(a != b for a, b in zip(bodies, expected, strict=True))
    return Load(cpu, n_wrong, outcomes)


def _print_load(n_streams: int, n_chunks: int, rounds: int) -> None:
    alone = statistics.median(_alone(n_chunks) for _ in range(9))
    taken: dict[bool, list[float]] = {False: [], True: []}
    for at in range(2 * rounds + 1):
        watched = bool(at % 2)
        done = load(n_streams, n_chunks, watched=watched)
        assert done.n_wrong == 0
        assert len(done.outcomes) == n_streams * watched
        if at:  # the first one warms up
            taken[watched].append(done.cpu / (n_streams * n_chunks))
    for watched, each in taken.items():
        _print(
            streams=n_streams,
            chunks=n_chunks,
            watched=watched,
            server_us_a_chunk=_us(statistics.median(each)),
            least=_us(min(each)),
            most=_us(max(each)),
        )
    _print(
        middleware_alone_us_a_chunk=_us(alone),
        cpu_ratio=round(1 + alone / min(taken[False]), 3),
    )


def _alone(n_chunks: int) -> float:
    """Return the CPU seconds a chunk that the middleware adds where nothing is sent."""
    scope = {"type": "http", "method": "POST", "path": f"/0/plain{_PATH}"}
    times = 20

    async def send(_: Any) -> None: ...

    async def go(app: Any) -> float:
        begin = time.thread_time()
        for _ in range(times):
            await app(scope, None, send)
        return time.thread_time() - begin

    app = _App(1, n_chunks)
    bare = asyncio.run(go(app))
    return (asyncio.run(go(Middleware(app, lambda *_: None))) - bare) / (
        times * n_chunks
    )


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 2)


# --- Soak -----------------------------------------------------------------------------


def soak(
    more: Callable[[int], bool], note: Callable[[int, int, int], None] | None = None
) -> list[int]:
    """Serve rounds of streams while `more(round)`; return the traced bytes after each.

    In each round some are read to the end, some are left early, some are compressed;
    `note(round, bytes, taps)` hears of each.
    """
    counts = dict.fromkeys(Ending, 0)

    def on_finish(_: Any, outcome: Outcome) -> None:
        counts[outcome.ending] += 1

    async def one_round(address: str) -> None:
        asks = []
        for stream in range(_ROUND):
            kind = ("plain", "gzip", "left")[stream % 3]
            stop = 1000 if kind == "left" else None
            asks.append(_ask(address, f"/{stream}/{kind}{_PATH}", stop))
        await asyncio.gather(*asks)

    traced: list[int] = []
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    tracemalloc.start()
    try:
        with serving(Middleware(_App(_ROUND, 200), on_finish)) as address:
            while more(len(traced)):
                asyncio.run(one_round(address))
                while sum(counts.values()) < _ROUND * (len(traced) + 1):
                    time.sleep(0.001)  # a client that left is noticed a little later
                gc.collect()
                taps = sum(isinstance(one, Tap) for one in gc.get_objects())
                traced.append(tracemalloc.get_traced_memory()[0])
                if note is not None:
                    note(len(traced), traced[-1], taps)
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert counts[Ending.COMPLETE] >= len(traced) * _ROUND * 2 // 3
    return traced


def _print_soak(seconds: float) -> None:
    end = time.monotonic() + seconds

    def note(at: int, traced: int, taps: int) -> None:
        if at & (at - 1) == 0:  # 1, 2, 4, ...
            _print(round=at, traced_kib=traced >> 10, taps=taps)

    traced = soak(lambda _: time.monotonic() < end, note)
    settled = traced[min(3, len(traced) - 1)]
    _print(
        rounds=len(traced),
        streams=len(traced) * _ROUND,
        grown_kib=(traced[-1] - settled) / 1024,
    )


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["load", "soak"])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args(argv)
    if options.task == "load":
        _print_load(options.streams, options.chunks, options.rounds)
    else:
        _print_soak(options.seconds)


if __name__ == "__main__":
    main()
