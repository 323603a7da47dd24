"""A proxy: uvicorn for real, in a thread, in front of the fake upstream."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import uvicorn

from tests.adapters.upstream import WAIT


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI application; give its address."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app, log_config=None, lifespan="off", timeout_graceful_shutdown=WAIT
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="uvicorn"
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(WAIT)
        listening.close()
        assert not thread.is_alive()


@contextmanager
def hypercorn(app: Any, loop: str) -> Iterator[str]:
    """Serve it by hypercorn, in an event loop of asyncio or of trio."""
    serve: Any = import_module(f"hypercorn.{loop}").serve
    run: Any = import_module(loop).run
    config: Any = import_module("hypercorn.config").Config()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config.bind = [address]
    config.errorlog = None
    sleep: Any = import_module(loop).sleep
    stop = threading.Event()

    async def stopped() -> None:
        while not stop.is_set():
            await sleep(0.01)

    async def go() -> None:
        await serve(app, config, shutdown_trigger=stopped)

    arg: Any = go() if loop == "asyncio" else go
    thread = threading.Thread(target=run, args=(arg,), name="hypercorn")
    thread.start()
    try:
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            try:
                host, _, port = address.partition(":")
                socket.create_connection((host, int(port))).close()
                break
            except OSError:
                time.sleep(0.01)
        yield f"http://{address}"
    finally:
        stop.set()
        thread.join(WAIT)
        assert not thread.is_alive()


class Returns:
    """Say when an application is through with a request, and with what."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.returned: queue.Queue[BaseException | None] = queue.Queue()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            self.returned.put(error)
            raise
        self.returned.put(None)


def relay(url: Callable[[], str]) -> Any:
    """Make an application that passes on what it reads from an address, as proxies do.

    It reads from a socket, so that it does not depend on any client.
    """
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def answer(request: Request) -> StreamingResponse:
        await request.body()
        status, headers, pieces = await fetch(url())
        keep = ("content-type", "content-encoding")
        return StreamingResponse(
            pieces,
            status,
            {name: headers[name] for name in keep if name in headers},
        )

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])


async def fetch(url: str) -> tuple[int, dict[str, str], AsyncIterator[bytes]]:
    """Post to an address; give the status, the headers and the chunks as they came."""
    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield (await reader.readexactly(size + 2))[:-2]
        finally:
            writer.close()

    return int(head[0].split()[1]), headers, pieces()
