"""A proxy that forwards `/v1/*` and records the chat completions that go by.

Run `python recording_proxy.py https://api.openai.com`, point a client's base URL at
http://127.0.0.1:8900/v1, and open http://127.0.0.1:8900/ to read what was said.
"""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import uvicorn
from starlette import responses, routing, templating
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from unstream import Outcome, usage
from unstream.httpx import observe

TABLE = """CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, at TEXT,
    model TEXT, ending TEXT, timing TEXT, usage TEXT, error TEXT, completion TEXT)"""
INSERT = "INSERT INTO record VALUES (NULL, datetime(), ?, ?, ?, ?, ?, ?)"

# What belongs to one connection (RFC 9110, section 7.6.1), and what httpx sets itself.
HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding"}
OURS = HOP | {b"upgrade", b"host", b"content-length", b"accept-encoding"}
METHODS = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT"]

# What a model says is untrusted: templates escape it, and the page runs no script.
templates = templating.Jinja2Templates(Path(__file__).parent)
templates.env.filters["parsed"] = msgspec.json.decode
POLICY = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}


class _Relay(responses.StreamingResponse):
    reply: httpx.Response  # to be closed, however this ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.reply.aclose()


def create(upstream: str, database: str) -> Starlette:
    """Make a proxy to an upstream, which records in an SQLite database."""
    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute(TABLE)
    writer = ThreadPoolExecutor(1)  # no client waits for the disk

    def record(_: httpx.Request, outcome: Outcome) -> None:
        whole = outcome.completion.to_dict() if outcome.completion else {}
        parts = (outcome.timing, whole.get("usage"), outcome.error, whole)
        texts = (msgspec.json.encode(part).decode() for part in parts)
        row = (str(whole.get("model") or ""), outcome.ending, *texts)
        writer.submit(db.execute, INSERT, row).add_done_callback(Future.result)

    time, room = httpx.Timeout(None, connect=10), httpx.Limits(max_connections=None)
    client = observe(httpx.AsyncClient(timeout=time, limits=room), record)
    base = upstream.rstrip("/").removesuffix("/v1")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with writer:
            async with client:
                yield

    async def forward(request: Request) -> responses.Response:
        body, added = await request.body(), False
        path, search = request.scope["raw_path"], request.scope["query_string"]
        if path.endswith(b"/chat/completions"):
            body, added = usage.ask(body)
        headers = [pair for pair in request.headers.raw if pair[0] not in OURS]
        headers.append((b"accept-encoding", b"identity"))  # to withhold, it must read
        url = base + (path + b"?" + search if search else path).decode()
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
        raw, dropped = reply.aiter_raw(), HOP | {b"content-length"} if added else HOP
        relay = _Relay(usage.awithhold(raw) if added else raw, reply.status_code)
        pairs = ((name.lower(), value) for name, value in reply.headers.raw)
        relay.raw_headers = [pair for pair in pairs if pair[0] not in dropped]
        relay.reply = reply
        return relay

    def show(request: Request) -> responses.Response:
        opened = [*db.execute("SELECT * FROM record WHERE id=:id", request.path_params)]
        latest = [*db.execute("SELECT * FROM record ORDER BY id DESC LIMIT 200")]
        name, page = "recording_proxy.html", {"opened": opened, "latest": latest}
        status = 404 if request.path_params["id"] and not opened else 200
        return templates.TemplateResponse(request, name, page, status, POLICY)

    proxied = routing.Route("/v1/{path:path}", forward, methods=METHODS)
    pages = routing.Route("/{id:path}", show)
    return Starlette(routes=[proxied, pages], lifespan=lifespan)


if __name__ == "__main__":
    [_, upstream] = sys.argv if sys.argv[1:] else sys.exit(__doc__)
    proxy = create(upstream, os.environ.get("DATABASE", "recordings.sqlite"))
    port = int(os.environ.get("PORT", "8900"))  # and the headers are the upstream's
    uvicorn.run(proxy, port=port, date_header=False, server_header=False)
