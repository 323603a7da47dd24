"""Measure what the middleware costs a server.

`python -m benchmarks.adapters [--streams N] [--chunks N] [--rounds N]` serves many
streams at once by uvicorn, with the middleware and without, and checks every answer.
The CPU time of the server's thread swings by more than they differ; so what the
middleware costs by itself, without a server, is printed, too.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.measure import Figure, Spread, show
from tests.adapters.load import PATH, App, load
from unstream.asgi import Middleware

__all__ = ["figures"]

_US = 1e6


def figures(n_streams: int, n_chunks: int, rounds: int) -> Iterator[Figure]:
    """Measure the microseconds that a chunk takes."""
    alone = Spread.of(_alone(n_chunks) * _US for _ in range(rounds))
    yield Figure("middleware alone, us", f"{n_chunks:,} chunks", alone, None)
    taken: dict[bool, list[float]] = {False: [], True: []}
    for at in range(2 * rounds + 1):
        watched = bool(at % 2)
        done = load(n_streams, n_chunks, watched=watched)
        assert done.n_wrong == 0
        assert len(done.outcomes) == n_streams * watched
        if at:  # the first one warms up
            taken[watched].append(done.cpu / (n_streams * n_chunks) * _US)
    for watched, name in ((False, "server, us"), (True, "server with middleware, us")):
        way = f"{n_streams:,} streams"
        yield Figure(name, way, Spread.of(taken[watched]), None)


def _alone(n_chunks: int) -> float:
    """Return the CPU seconds a chunk that the middleware adds where nothing is sent."""
    scope = {"type": "http", "method": "POST", "path": f"/0/plain{PATH}"}
    times = 20

    async def send(_: Any) -> None: ...

    async def go(app: Any) -> float:
        begin = time.thread_time()
        for _ in range(times):
            await app(scope, None, send)
        return time.thread_time() - begin

    app = App(1, n_chunks)
    bare = asyncio.run(go(app))
    watched = asyncio.run(go(Middleware(app, lambda *_: None)))
    return (watched - bare) / (times * n_chunks)


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    show(figures(options.streams, options.chunks, options.rounds))


if __name__ == "__main__":
    main()
