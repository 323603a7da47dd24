"""A proxy that forwards `/v1/*` and records the chat completions that go by.

Run `python recording_proxy.py https://api.openai.com`, point a client's base URL at
http://127.0.0.1:8900/v1, and open http://127.0.0.1:8900/ to read what was said.
"""

import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.templating import Jinja2Templates
from starlette.types import Receive, Scope, Send

from unstream import Outcome, usage
from unstream.httpx import observe

TABLE = """CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, at TEXT,
    model TEXT, ending TEXT, timing JSON, usage JSON, error JSON, completion JSON)"""
INSERT = "INSERT INTO record VALUES (NULL, datetime(), ?, ?, ?, ?, ?, ?)"

# What belongs to one connection (RFC 9110, section 7.6.1), and what httpx sets itself.
DROPPED = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding"}
DROPPED |= {b"upgrade", b"host", b"content-length", b"accept-encoding"}

# What a model says is untrusted: templates escape it, and the page runs no script.
templates = Jinja2Templates(Path(__file__).parent)
templates.env.filters["parsed"] = json.loads
templates.env.filters["pretty"] = lambda value: json.dumps(value, indent=2)
POLICY = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}


class Relay(StreamingResponse):
    """Hand on a response, and close it however that ends."""

    def __init__(self, reply: httpx.Response, *, withhold: bool) -> None:
        raw = reply.aiter_raw()
        super().__init__(usage.awithhold(raw) if withhold else raw, reply.status_code)
        self.reply = reply
        lowered = [(name.lower(), value) for name, value in reply.headers.raw]
        self.raw_headers = [pair for pair in lowered if pair[0] not in DROPPED]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.reply.aclose()


def create(upstream: str, database: str) -> Starlette:
    """Make a proxy to an upstream, which records in an SQLite database."""

    def query(sql: str, *values: object) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()

    async def record(_: httpx.Request, outcome: Outcome) -> None:
        whole = outcome.completion.to_dict() if outcome.completion else {}
        parts = (outcome.timing, whole.get("usage"), outcome.error, whole)
        texts = (msgspec.json.encode(part).decode() for part in parts)
        values = (whole.get("model"), outcome.ending, *texts)
        await run_in_threadpool(query, INSERT, *values)

    # A model may think for as long as it likes, and no request waits for another.
    time, room = httpx.Timeout(None, connect=10), httpx.Limits(max_connections=None)
    client = observe(httpx.AsyncClient(timeout=time, limits=room), record)
    base = upstream.removesuffix("/v1")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        query(TABLE)
        async with client:
            yield

    async def forward(request: Request) -> Response:
        body, added = await request.body(), False
        path, search = request.scope["raw_path"], request.scope["query_string"]
        if path.endswith(b"/chat/completions"):
            body, added = usage.ask(body)
        headers = [pair for pair in request.headers.raw if pair[0] not in DROPPED]
        headers.append((b"accept-encoding", b"identity"))  # to withhold, it must read
        url = base + (path + b"?" + search if search else path).decode()
        # Made without the client, whose cookies are other people's.
        sent = httpx.Request(request.method, url, headers=headers, content=body)
        try:
            return Relay(await client.send(sent, stream=True), withhold=added)
        except httpx.TransportError as error:
            return JSONResponse({"error": {"message": f"no upstream: {error!r}"}}, 502)

    def show(request: Request) -> Response:
        number = request.path_params.get("id")
        opened = query("SELECT * FROM record WHERE id = ?", number)
        latest = query("SELECT * FROM record ORDER BY id DESC LIMIT 200")
        status = 404 if number and not opened else 200
        name, page = "recording_proxy.html", {"latest": latest, "opened": opened}
        return templates.TemplateResponse(request, name, page, status, POLICY)

    proxied = Route("/v1/{path:path}", forward, methods=["GET", "POST", "DELETE"])
    pages = [Route("/", show), Route("/{id:int}", show)]
    return Starlette(routes=[*pages, proxied], lifespan=lifespan)


if __name__ == "__main__":
    upstream = sys.argv[1] if len(sys.argv) > 1 else os.environ["UPSTREAM"]
    proxy = create(upstream, os.environ.get("DATABASE", "recordings.sqlite"))
    port = int(os.environ.get("PORT", "8900"))  # and the headers are the upstream's
    uvicorn.run(proxy, port=port, date_header=False, server_header=False)
