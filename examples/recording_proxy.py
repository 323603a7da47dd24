"""A proxy that forwards what asks a model, and records the answers that go by.

Run `python recording_proxy.py https://api.openai.com`, point a client's base URL at
http://127.0.0.1:8900/v1, and open http://127.0.0.1:8900/ to read what was said. So it
is with Anthropic and Google, whose clients put the `/v1` or `/v1beta` there themselves.
"""

import asyncio
import logging
import os
import re
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx
import msgspec
import uvicorn
from starlette import exceptions, responses, routing, templating
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unstream import Exchange, Limits, Outcome, Tokens, usage
from unstream.httpx import observe

# An event, or a body of JSON, is read in one go: 4 MiB take 0.6 s at worst. What is
# beyond a limit passes all the same.
LIMITS = Limits(event_bytes=4 << 20, stream_bytes=64 << 20, held_bytes=32 << 20)
MANY, WAITING = 1000, 64 << 20  # answers, and their bytes, that wait for the database
PATIENCE, FAREWELL = 1, 3  # seconds that a page, and the end, wait for the database

TABLE = "CREATE TABLE IF NOT EXISTS answer (id INTEGER PRIMARY KEY, at, listed, record)"
INSERT = "INSERT INTO answer VALUES (NULL, datetime(), ?, ?)"
OPENED = "SELECT id, at, record FROM answer WHERE id = :id"
LATEST = "SELECT id, at, listed FROM answer ORDER BY id DESC LIMIT 200"

# What belongs to one connection (RFC 9110, section 7.6.1), and what httpx sets itself.
HOP = b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection "
HOP += b"te trailer transfer-encoding upgrade"
OURS = b"host content-length accept-encoding"
METHODS = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"]
VERSIONS = (b"/v1/", b"/v1beta/")  # what begins otherwise is not forwarded
# Any other name may be one that somebody makes lead here (DNS rebinding), until the
# environment says that it is ours.
HOSTS = {"localhost", "127.0.0.1", "[::1]"}
HOSTS |= {*os.environ.get("HOSTS", "").lower().split()}

# What a model says is untrusted: templates escape it, and the page runs no script.
TEMPLATE = "recording_proxy.html"
templates = templating.Jinja2Templates(Path(__file__).parent)
templates.env.filters["parsed"] = msgspec.json.decode
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
HEADERS = {"content-security-policy": POLICY, "cache-control": "no-store"}
log = logging.getLogger("uvicorn.error")


class Recorder(threading.Thread):
    """Write answers into a database; no client waits for the disk."""

    def __init__(self, database: str) -> None:
        super().__init__(daemon=True)  # the end need not wait for it
        Path(database).touch(0o600)
        Path(database).chmod(0o600)  # what was said is nobody else's
        with closing(sqlite3.connect(database, PATIENCE)) as db:
            db.execute(TABLE)
        self._database = database
        self.queue: SimpleQueue[tuple[Outcome[Any], int, str] | None] = SimpleQueue()
        self._taken = self._written = 0  # bytes
        self.start()

    def __call__(self, outcome: Outcome[Any], exchange: Exchange) -> None:
        """Take an answer, unless too much waits."""
        if self.queue.qsize() > MANY or self._taken - self._written > WAITING:
            log.warning("an answer is not recorded: too many wait for the database")
            return
        self._taken += outcome.n_bytes
        said = exchange.native.extensions.get("said", b"").decode(errors="replace")
        self.queue.put((outcome, exchange.status, said))

    def run(self) -> None:
        """Write until None comes, however long somebody locks the database."""
        with closing(sqlite3.connect(self._database, 1e6, isolation_level=None)) as db:
            for outcome, status, said in iter(self.queue.get, None):
                try:
                    db.execute(INSERT, row_of(outcome, status, said))
                except Exception:
                    log.exception("an answer is not recorded")
                self._written += outcome.n_bytes


def row_of(outcome: Outcome[Any], status: int, said: str) -> list[str]:
    """Say what is written of an answer: what it is listed by, and the whole."""
    flat = outcome.record  # the same for every protocol
    used, timing = flat.usage or Tokens(), outcome.timing
    record = {"status": status, "said": said, "flat": flat, **outcome.to_dict()}
    listed = [status, outcome.ending, flat.model, used.input, used.output]
    listed += [timing.first_content, timing.total] if timing else [None, None]
    short = ["" if one is None else str(one)[:80] for one in listed]
    return [msgspec.json.encode(one).decode() for one in (short, record)]


def check(request: Request) -> None:
    """Refuse what is meant for another host, and what a page of another site sends."""
    sent = request.headers.getlist("host") + request.headers.getlist("origin")
    names = {re.sub(r"^.*://|:\d*$", "", one).lower() for one in sent}
    if not names or not names <= HOSTS:
        raise exceptions.HTTPException(403, "not for this host or origin: see HOSTS")


def target(base: httpx.URL, scope: Scope) -> httpx.URL:
    """Say where a request goes: never out of its API, whoever decodes the path."""
    path, query = scope["raw_path"], scope["query_string"]
    steps = unquote_to_bytes(path).replace(b"\\", b"/").split(b"/")
    if not path.startswith(VERSIONS) or b"." in steps or b".." in steps:
        raise exceptions.HTTPException(400, "the path leads out of the API")
    path = base.raw_path.rstrip(b"/") + path
    return base.copy_with(raw_path=path + b"?" + query if query else path)


def end_to_end(headers: list[Any], ours: bytes) -> list[Any]:
    """Leave out what belongs to one connection, and what is ours."""
    pairs = [(name.lower(), value) for name, value in headers]
    options = b",".join(value for name, value in pairs if name == b"connection")
    dropped = b" ".join((HOP, ours, options.lower().replace(b",", b" "))).split()
    return [pair for pair in pairs if pair[0] not in dropped]


async def keep(pieces: AsyncIterator[bytes], said: bytearray) -> AsyncIterator[bytes]:
    """Keep the beginning of a body that is no answer: it says why there is none."""
    async for piece in pieces:
        said += piece[: 64 * 1024 - len(said)]
        yield piece


class Relay(responses.StreamingResponse):
    """Pass on a reply; close it, however this ends."""

    def __init__(self, reply: httpx.Response, *, added: bool) -> None:
        pieces = reply.aiter_raw()
        if reply.is_error:
            pieces = keep(pieces, reply.extensions.setdefault("said", bytearray()))
        elif added:
            pieces = usage.awithhold(pieces)
        super().__init__(pieces, reply.status_code)
        self.raw_headers = end_to_end(reply.headers.raw, b"content-length" * added)
        # A page of the upstream's runs no script that could read ours.
        self.raw_headers.append((b"content-security-policy", b"sandbox"))
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._reply.aclose()


def create(upstream: str, database: str) -> Starlette:
    """Make a proxy to an upstream, which records in an SQLite database."""
    base = httpx.URL(upstream.rstrip("/").removesuffix("/v1"))
    time, room = httpx.Timeout(None, connect=10), httpx.Limits(max_connections=None)
    client, recorder = httpx.AsyncClient(timeout=time, limits=room), Recorder(database)
    observe(client, recorder, limits=LIMITS)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield
        recorder.queue.put(None)
        recorder.join(FAREWELL)

    async def forward(request: Request) -> responses.Response:
        check(request)
        url, body, added = target(base, request.scope), await request.body(), False
        if url.path.endswith("/completions"):  # of a chat, and the old ones
            body, asked = await asyncio.to_thread(usage.ask, body)  # 2M keys take 6 s
            added = asked is usage.Asked.ASKED
        headers = end_to_end(request.headers.raw, OURS)
        headers.append((b"accept-encoding", b"identity"))  # to withhold, it must read
        # Made without the client, whose cookies are other people's.
        sent = httpx.Request(request.method, url, headers=headers, content=body)
        answer = asyncio.ensure_future(client.send(sent, stream=True))
        leaving = asyncio.ensure_future(request.receive())  # all that comes by now
        try:
            await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
            reply = answer.result()
        except (httpx.TransportError, asyncio.InvalidStateError) as error:
            return responses.JSONResponse({"error": {"message": repr(error)}}, 502)
        finally:
            answer.cancel()
            leaving.cancel()
        return Relay(reply, added=added)

    def show(request: Request) -> responses.Response:
        check(request)
        number = request.path_params["id"]
        try:
            with closing(sqlite3.connect(database, PATIENCE)) as db:
                db.row_factory = sqlite3.Row
                query = OPENED if number else LATEST
                rows = db.execute(query, {"id": number}).fetchall()
        except sqlite3.OperationalError as error:
            raise exceptions.HTTPException(503, f"{error}: reload") from error
        status = 404 if number and not rows else 200
        page = {"number": number, "rows": rows}
        return templates.TemplateResponse(request, TEMPLATE, page, status, HEADERS)

    paths = [version.decode() + "{path:path}" for version in VERSIONS]
    routes = [routing.Route(path, forward, methods=METHODS) for path in paths]
    routes.append(routing.Route("/{id:path}", show))
    return Starlette(routes=routes, lifespan=lifespan)


if __name__ == "__main__":
    [_, upstream] = sys.argv if sys.argv[1:] else sys.exit(__doc__)
    proxy = create(upstream, os.environ.get("DATABASE", "recordings.sqlite"))
    port = int(os.environ.get("PORT", "8900"))  # and the headers are the upstream's
    uvicorn.run(proxy, port=port, date_header=False, server_header=False)
