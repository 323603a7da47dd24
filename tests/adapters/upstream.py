"""A fake model server: raw asyncio in a thread, on loopback, that does as told."""

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

PATH = "/v1/chat/completions"
WAIT = 10  # seconds after which a test has failed rather than waits


@dataclass
class Script:
    """What the server does with the requests to one address.

    With `stepped`, every piece after the first waits for a `step`. In the end it
    closes the body ("clean"), drops the connection inside it ("death"), or waits for
    the client to go ("open").
    """

    pieces: Sequence[bytes]
    end: Literal["clean", "death", "open"] = "clean"
    stepped: bool = False
    status: int = 200
    kind: str = "text/event-stream; charset=utf-8"
    coding: str = ""
    path: str = PATH
    url: str = ""
    n_requests: int = 0
    gone: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _steps: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    @property
    def body(self) -> bytes:
        """All that it sends."""
        return b"".join(self.pieces)

    def step(self) -> None:
        """Let the next piece go."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._steps.release)

    async def play(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.n_requests += 1
        fields = {"content-type": self.kind, "content-encoding": self.coding}
        lines = [f"{name}: {value}\r\n" for name, value in fields.items() if value]
        writer.write(
            f"HTTP/1.1 {self.status} X\r\n{''.join(lines)}"
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n".encode()
        )
        gone = asyncio.ensure_future(reader.read())
        try:
            for at, piece in enumerate(self.pieces):
                if self.stepped and at:
                    step = asyncio.ensure_future(self._steps.acquire())
                    await asyncio.wait(
                        (step, gone), return_when=asyncio.FIRST_COMPLETED
                    )
                    if not step.done():
                        step.cancel()
                        self.gone.set()
                        return
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            if self.end == "clean":
                writer.write(b"0\r\n\r\n")
                await writer.drain()
            elif self.end == "open":
                await asyncio.wait((gone,))
                self.gone.set()
        except OSError:
            self.gone.set()
            raise
        finally:
            gone.cancel()


class Upstream:
    """The server; `serve` a script and ask its `url`."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream")
        self.port = 0

    def serve(self, script: Script) -> Script:
        """Take a script; its `url` is set from here on."""
        name = f"/{len(self._scripts)}"
        script.url = f"http://127.0.0.1:{self.port}{name}{script.path}"
        script._loop = self._loop
        self._scripts[name] = script
        return script

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        assert self._ready.wait(WAIT)

    def close(self) -> None:
        """Drop what is open, and end."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._stop = asyncio.Event()
        # Hundreds may come at once.
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line.split(b":")[1]))
            target = head.split(b" ")[1].decode().partition("?")[0]
            name = "/" + target.split("/")[1]
            script = self._scripts[name]
            if name == target.removesuffix(script.path):
                await script.play(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run one."""
    server = Upstream()
    server.start()
    try:
        yield server
    finally:
        server.close()


# --- Streams --------------------------------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def event(**fields: Any) -> bytes:
    """Make an event of a chunk."""
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        **fields,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def events(*texts: str, done: bool = True, usage: bool = True) -> list[bytes]:
    """Make the events of a stream that says these texts."""
    made = [event(choices=[choice({"role": "assistant", "content": ""})])]
    made += [event(choices=[choice({"content": text})]) for text in texts]
    made.append(event(choices=[choice({}, "stop")]))
    if usage:
        made.append(event(choices=[], usage=USAGE))
    if done:
        made.append(b"data: [DONE]\n\n")
    return made


def choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """Make a choice of a chunk."""
    return {"index": 0, "delta": delta, "finish_reason": reason}


def encoded(pieces: Sequence[bytes], coding: str) -> list[bytes]:
    """Encode pieces as a server does that flushes after each event."""
    if not coding:
        return list(pieces)
    for name in coding.split(", "):
        write, flush, end = _encoder(name)
        pieces = [write(piece) + flush() for piece in pieces]
        pieces[-1] += end()
    return list(pieces)


def _encoder(name: str) -> Any:
    if name == "br":
        br = import_module("brotli").Compressor()
        return br.process, br.flush, br.finish
    if name == "zstd":
        library = import_module("backports.zstd")
        zstd = library.ZstdCompressor()
        return zstd.compress, lambda: zstd.flush(zstd.FLUSH_BLOCK), zstd.flush
    bits = {"gzip": 31, "deflate": 15, "bare deflate": -15}[name]
    made = zlib.compressobj(wbits=bits)
    return made.compress, lambda: made.flush(zlib.Z_SYNC_FLUSH), made.flush


def whole(text: str) -> bytes:
    """Make the answer to a request without `stream`."""
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    ).encode()


def packed(data: bytes, level: int = 9) -> bytes:
    """Compress with gzip."""
    return gzip.compress(data, level)


SPARSE = b": \n" * 100_000  # much, that stands for nothing
BOMB = packed(SPARSE + b"".join(events("Hel", "lo")))
