"""The recording proxy of the examples, run and used as its users would."""

import asyncio
import html
import json
import os
import re
import runpy
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

for name in ("httpx", "jinja2", "starlette", "uvicorn"):
    pytest.importorskip(name)

import httpx
import msgspec
import openai
import uvicorn
from openai.types.chat import ChatCompletionChunk
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from tests.adapters.server import serving
from tests.adapters.test_protocols import EXAMPLES, FILES
from tests.adapters.test_protocols import upstream as examples
from unstream import Accumulator

SCRIPT = Path(__file__).parents[2] / "examples" / "recording_proxy.py"
WAIT = 20  # seconds after which a test has failed rather than waits
EVIL = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)> & é"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
CALL = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "<b>Bern</b>"}'},
}

RECORDS = "SELECT record FROM answer ORDER BY id"
WIDE = b'{"stream":true,' + b",".join(b'"%d":0' % at for at in range(2_000_000)) + b"}"

METHODS = ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "POST"]

# --- The upstream ---------------------------------------------------------------------


class Upstream:
    """A fake model server; the name of the model says what it does."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.go_on = threading.Event()
        self.gone = threading.Event()
        chat = Route("/v1/chat/completions", self.chat, methods=["POST"])
        other = Route("/{path:path}", self.other, methods=METHODS)
        self.app = Starlette(routes=[chat, other])

    async def other(self, request: Request) -> Response:
        where = request.scope["raw_path"] + b"?" + request.scope["query_string"]
        self.seen.append((where.decode(), dict(request.headers), b""))
        answer = JSONResponse({"method": request.method, "n": 1.0}, 203)
        answer.headers.append("set-cookie", "a=1")
        answer.headers.append("set-cookie", "b=2")
        answer.headers["connection"] = "x-hop, keep-alive"
        answer.headers["x-hop"] = answer.headers["proxy-authenticate"] = "1"
        return answer

    async def chat(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append((request.url.path, dict(request.headers), body))
        asked = json.loads(body)
        if asked["model"] == "busy":
            error = {"error": {"message": "slow down", "type": "rate", "code": "r"}}
            return JSONResponse(error, 429, {"retry-after": "7"})
        if asked["model"] == "silent":
            await request.receive()  # which is that the client left
            self.gone.set()
        if asked["model"] == "page":
            return HTMLResponse("<h1>Bad gateway</h1>", 502)
        if asked["model"] == "told":
            return Response(asked["answer"], media_type="application/json")
        if asked["model"] == "wide":
            return Response(WIDE, media_type="application/json")
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "All at once"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return JSONResponse(
                {
                    "id": "c",
                    "object": "chat.completion",
                    "created": 1,
                    "model": asked["model"],
                    "choices": [choice],
                    "usage": USAGE,
                }
            )
        options = asked.get("stream_options") or {}
        pieces = self.events(asked["model"], with_usage="include_usage" in options)
        return StreamingResponse(pieces, media_type="text/event-stream")

    async def events(self, model: str, *, with_usage: bool) -> AsyncIterator[bytes]:
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1}

        def event(*choices: Any, **beside: Any) -> bytes:
            chunk = {**head, "model": model, "choices": choices, **beside}
            return b"data: " + json.dumps(chunk).encode() + b"\n\n"

        def delta(**sent: Any) -> bytes:
            return event({"index": 0, "delta": sent, "finish_reason": None})

        yield delta(role="assistant", content="")
        yield delta(reasoning_content="Hm, <i>well</i>.")
        yield delta(content="Hello ")
        if model == "patient":
            try:
                await asyncio.to_thread(self.go_on.wait, WAIT)
            finally:
                self.gone.set()
        if model == "dying":
            raise ConnectionResetError
        yield delta(content=EVIL)
        yield delta(tool_calls=[CALL])
        yield event({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
        if with_usage:
            yield event(usage=USAGE)
        yield b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def listening() -> Iterator[tuple[Upstream, str]]:
    upstream = Upstream()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(upstream.app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield upstream, f"http://127.0.0.1:{listener.getsockname()[1]}"
    upstream.go_on.set()
    server.should_exit = True
    thread.join(WAIT)
    listener.close()
    assert not thread.is_alive()


@pytest.fixture
def upstream(listening: tuple[Upstream, str]) -> Upstream:
    upstream, _ = listening
    upstream.seen.clear()
    upstream.go_on.clear()
    upstream.gone.clear()
    return upstream


# --- The proxy ------------------------------------------------------------------------


class Proxy:
    """The example in a process of its own, at an upstream."""

    def __init__(self, upstream: str, database: Path, hosts: str = "") -> None:
        self.database = database
        self.may_fail = False
        options = {"DATABASE": str(database), "PORT": "0", "HOSTS": hosts}
        self.process = subprocess.Popen(  # noqa: S603 - our own example
            [sys.executable, SCRIPT, upstream],
            env={**os.environ, **options},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        said = self.process.stderr
        assert said is not None
        self.log: list[str] = []
        for line in said:
            self.log.append(line)
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
                break
        else:
            pytest.fail("".join(self.log))
        self._reader = threading.Thread(target=self.log.extend, args=(said,))
        self._reader.start()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT)
        self._reader.join(WAIT)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def rows(self) -> list[dict[str, Any]]:
        connection = sqlite3.connect(self.database)
        rows = [json.loads(row[0]) for row in connection.execute(RECORDS)]
        connection.close()
        return rows

    def row(self) -> dict[str, Any]:
        """Wait for the one record."""
        [row] = self.wait(1)
        return row

    def wait(self, n: int) -> list[dict[str, Any]]:
        """Wait for as many records."""
        until = time.monotonic() + WAIT
        # Another process makes them: there is nothing to await.
        while len(rows := self.rows()) < n:
            assert time.monotonic() < until, "".join(self.log)
            time.sleep(0.01)
        assert len(rows) == n
        return rows

    def send(self, request: bytes) -> bytes:
        """Send a request that says `connection: close`; return what comes."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture
def proxy(
    upstream: Upstream, listening: tuple[Upstream, str], tmp_path: Path
) -> Iterator[Proxy]:
    assert not upstream.seen
    proxy = Proxy(listening[1] + "/v1", tmp_path / "recordings.sqlite")
    yield proxy
    proxy.close()
    assert proxy.may_fail or "Traceback" not in "".join(proxy.log)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=proxy.url + "/v1", api_key="secret", max_retries=0, timeout=WAIT
    ) as client:
        yield client


def stream(
    client: openai.OpenAI, model: str, **options: Any
) -> "openai.Stream[ChatCompletionChunk]":
    made: openai.Stream[ChatCompletionChunk] = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hi"}],
        stream=True,
        **options,
    )
    return made


def text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices
    )


# --- What passes, and what is recorded ------------------------------------------------


def test_a_stream_is_recorded_with_a_usage_that_the_client_does_not_see(
    upstream: Upstream, proxy: Proxy, client: openai.OpenAI
) -> None:
    chunks = list(stream(client, "m"))
    assert text(chunks) == "Hello " + EVIL
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    [(path, headers, body)] = upstream.seen
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-length"] == str(len(body))
    assert json.loads(body)["stream_options"] == {"include_usage": True}

    row = proxy.row()
    made = row["completion"]
    assert (made["model"], row["ending"], made["usage"]) == ("m", "complete", USAGE)
    assert row["error"] is row["interrupted"] is None
    assert row["status"] == 200
    assert 0 < row["timing"]["first_byte"] <= row["timing"]["first_content"]
    assert row["timing"]["first_content"] <= row["timing"]["total"] < WAIT
    [choice] = row["completion"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Hello " + EVIL
    assert choice["message"]["reasoning_content"] == "Hm, <i>well</i>."
    assert choice["message"]["tool_calls"][0]["function"] == CALL["function"]


def test_a_client_that_asks_sees_the_usage(
    upstream: Upstream, proxy: Proxy, client: openai.OpenAI
) -> None:
    chunks = list(stream(client, "m", stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 18
    assert upstream.seen[0][2].count(b"include_usage") == 1
    assert proxy.row()["completion"]["usage"] == USAGE


def test_each_chunk_comes_as_it_is_sent(
    upstream: Upstream, proxy: Proxy, client: openai.OpenAI
) -> None:
    with stream(client, "patient") as chunks:
        so_far = [next(chunks) for _ in range(3)]  # the upstream waits meanwhile
        assert text(so_far) == "Hello "
        assert not proxy.rows()
        upstream.go_on.set()
        assert text(list(chunks)) == EVIL
    assert proxy.row()["ending"] == "complete"


def test_a_whole_completion_is_recorded_too(
    upstream: Upstream, proxy: Proxy, client: openai.OpenAI
) -> None:
    made = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hi"}]
    )
    assert made.choices[0].message.content == "All at once"
    assert b"stream_options" not in upstream.seen[0][2]
    row = proxy.row()
    assert (row["ending"], row["completion"]["usage"]) == ("complete", USAGE)
    assert row["completion"]["choices"][0]["message"]["content"] == "All at once"


def test_what_a_client_that_left_received_is_recorded(
    upstream: Upstream, proxy: Proxy, client: openai.OpenAI
) -> None:
    with stream(client, "patient") as chunks:
        for _ in range(3):
            next(chunks)
    assert upstream.gone.wait(WAIT)  # which tells the upstream as well
    assert not upstream.go_on.is_set()
    row = proxy.row()
    assert (row["ending"], row["interrupted"]) == ("truncated", "client")
    assert row["completion"]["choices"][0]["message"]["content"] == "Hello "


def test_an_upstream_that_dies_is_recorded_and_not_covered_up(
    proxy: Proxy, client: openai.OpenAI
) -> None:
    proxy.may_fail = True
    chunks = stream(client, "dying")
    with pytest.raises((httpx.HTTPError, openai.APIConnectionError)):
        list(chunks)
    row = proxy.row()
    assert (row["ending"], row["interrupted"]) == ("truncated", "upstream")
    assert row["completion"]["choices"][0]["message"]["content"] == "Hello "


def test_a_client_that_leaves_before_the_answer_lets_the_upstream_go(
    upstream: Upstream, proxy: Proxy
) -> None:
    hasty = openai.OpenAI(
        base_url=proxy.url + "/v1", api_key="secret", max_retries=0, timeout=0.5
    )
    with hasty, pytest.raises(openai.APITimeoutError):
        stream(hasty, "silent")
    assert upstream.gone.wait(WAIT)


@pytest.mark.parametrize(
    ("model", "status", "error", "said"),
    [
        ("busy", 429, {"message": "slow down", "type": "rate", "code": "r"}, "slow"),
        ("page", 502, None, "<h1>Bad gateway</h1>"),
    ],
)
def test_what_failed_is_recorded_with_its_body(
    proxy: Proxy, *, model: str, status: int, error: Any, said: str
) -> None:
    answer = ask(proxy, model=model, stream=True)
    assert answer.status_code == status
    row = proxy.row()
    assert (row["status"], row["error"], row["completion"]) == (status, error, None)
    assert said in row["said"]
    page = httpx.get(proxy.url + "/1")
    assert (page.status_code, said in html.unescape(page.text)) == (200, True)
    assert str(status) in httpx.get(proxy.url).text


def test_a_base_url_may_end_in_a_slash(
    upstream: Upstream, listening: tuple[Upstream, str], tmp_path: Path
) -> None:
    proxy = Proxy(listening[1] + "/v1/", tmp_path / "recordings.sqlite")
    try:
        assert httpx.get(proxy.url + "/v1/models").status_code == 203
    finally:
        proxy.close()
    assert [path for path, _, _ in upstream.seen] == ["/v1/models?"]


def test_a_base_url_may_have_a_path(
    upstream: Upstream, listening: tuple[Upstream, str], tmp_path: Path
) -> None:
    proxy = Proxy(listening[1] + "/tenant/v1", tmp_path / "recordings.sqlite")
    try:
        assert httpx.get(proxy.url + "/v1/models?a=b").status_code == 203
    finally:
        proxy.close()
    assert [path for path, _, _ in upstream.seen] == ["/tenant/v1/models?a=b"]


def test_without_an_upstream_it_says_how_it_is_run() -> None:
    done = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "recording_proxy.py https://" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_upstream_reaches_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        stream(client, "busy")
    assert caught.value.code == "r"
    assert caught.value.response.headers["retry-after"] == "7"


def test_no_upstream_is_a_bad_gateway(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    proxy = Proxy(nowhere, tmp_path / "recordings.sqlite")
    try:
        answer = httpx.post(proxy.url + "/v1/chat/completions", content=b"{}")
    finally:
        proxy.close()
    assert answer.status_code == 502
    assert "ConnectError" in answer.json()["error"]["message"]


def test_other_paths_pass_as_they_are(upstream: Upstream, proxy: Proxy) -> None:
    with httpx.Client(base_url=proxy.url) as client:
        for method in METHODS:
            answer = client.request(
                method, "/v1/models/org%2Fname?a=1&a=%20", headers={"x-mine": "1"}
            )
            client.cookies.clear()
            assert answer.status_code == 203
            assert (
                answer.content
                == json.dumps(
                    {"method": method, "n": 1.0}, separators=(",", ":")
                ).encode()
            )
            assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
            assert len(answer.headers.get_list("date")) == 1
            assert answer.headers["content-length"] == str(len(answer.content))
            # Nor may a page of the upstream's read the recordings.
            assert answer.headers["content-security-policy"] == "sandbox"
    where, headers, _ = upstream.seen[-1]
    assert where == "/v1/models/org%2Fname?a=1&a=%20"
    assert headers["x-mine"] == "1"
    assert "cookie" not in headers  # nobody gets what another was given
    assert proxy.rows() == []


# --- Who may ask for what -------------------------------------------------------------


def get(target: str, host: str = "localhost") -> bytes:
    head = f"GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close"
    return f"{head}\r\n\r\n".encode()


OUT = [
    "/v1/../x",
    "/v1/./x",
    "/v1/%2e%2e/x",
    "/v1/.%2E/x",
    "/v1/a/..%2fx",
    "/v1/..",
    "/v1/..\\x",
    "/v1/..%5cx",
    "/v1%2f..%2fx",
    "/%76%31/x",
]


@pytest.mark.parametrize("path", OUT)
def test_a_path_that_leads_out_of_v1_goes_nowhere(
    path: str, upstream: Upstream, proxy: Proxy
) -> None:
    answer = proxy.send(get(path))
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert not upstream.seen


def test_no_path_leads_to_another_host(upstream: Upstream, proxy: Proxy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        host = f"127.0.0.1:{other.getsockname()[1]}"
        for path in (f"%2fv1%2f@{host}/x", f"/v1%2f@{host}/x", f"//{host}/v1/x"):
            assert proxy.send(get(path)).startswith(b"HTTP/1.1 4")
        with pytest.raises(BlockingIOError):  # nobody came
            other.accept()
    assert not upstream.seen


def test_names_with_dots_and_escapes_stay(upstream: Upstream, proxy: Proxy) -> None:
    for path in ("/v1/a..b/x.", "/v1/.x/...", "/v1/@host:1/x", "/v1/a%2520b%5B"):
        proxy.send(get(path))
        assert upstream.seen[-1][0] == path + "?"


def test_what_belongs_to_a_connection_stays_there(
    upstream: Upstream, proxy: Proxy
) -> None:
    sent = {
        "connection": "close, X-Mine",
        "x-mine": "1",
        "proxy-authorization": "Basic c2VjcmV0",
        "proxy-connection": "keep-alive",
        "te": "trailers",
        "keep-alive": "timeout=5",
        "x-end": "to end",
    }
    answer = httpx.get(proxy.url + "/v1/models", headers=sent)
    [(_, got, _)] = upstream.seen
    assert sent.keys() & got.keys() <= {"connection", "x-end"}
    assert "x-mine" not in got.get("connection", "").lower()
    assert got["x-end"] == "to end"
    assert not {"x-hop", "proxy-authenticate"} & answer.headers.keys()


EVIL_HOSTS = ["evil.example", "127.0.0.1.evil.example:80", "evil.example:127", ""]


@pytest.mark.parametrize("path", ["/", "/1", "/v1/models"])
@pytest.mark.parametrize("host", EVIL_HOSTS)
def test_a_name_that_is_not_ours_is_not_answered(
    host: str, path: str, upstream: Upstream, proxy: Proxy
) -> None:
    answer = proxy.send(get(path, host))
    assert answer.startswith(b"HTTP/1.1 403")
    assert not upstream.seen


def test_names_that_are_ours(
    upstream: Upstream, listening: tuple[Upstream, str], tmp_path: Path
) -> None:
    hosts = "a.example b.example"
    proxy = Proxy(listening[1], tmp_path / "recordings.sqlite", hosts)
    try:
        names = ["LOCALHOST:8900", "127.0.0.1", "[::1]:1", "A.example:80", "b.example"]
        for at, host in enumerate(names):
            httpx.get(proxy.url + "/v1/models", headers={"host": host})
            assert len(upstream.seen) == at + 1
    finally:
        proxy.close()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.2"])
def test_a_page_of_another_site_may_not_post(
    origin: str, upstream: Upstream, proxy: Proxy
) -> None:
    # As a browser sends it without asking: a simple request, in terms of CORS.
    simple = {"origin": origin, "content-type": "text/plain"}
    address = proxy.url + "/v1/chat/completions"
    answer = httpx.post(address, content=b'{"model":"m"}', headers=simple)
    assert answer.status_code == 403
    asks = {"origin": origin, "access-control-request-method": "POST"}
    assert httpx.options(address, headers=asks).status_code == 403
    assert not upstream.seen
    own = {"origin": proxy.url}
    assert httpx.post(address, json={"model": "m"}, headers=own).status_code == 200


# --- The database ---------------------------------------------------------------------


def ask(proxy: Proxy, timeout: float = WAIT, **asked: Any) -> httpx.Response:
    return httpx.post(
        proxy.url + "/v1/chat/completions",
        json={"model": "m", **asked},
        timeout=timeout,
    )


@contextmanager
def locked(proxy: Proxy) -> Iterator[None]:
    lock = sqlite3.connect(proxy.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


# SQLite waits for 5 seconds by itself.
SOON = 4


def test_nobody_waits_for_a_database_that_is_locked(proxy: Proxy) -> None:
    with locked(proxy):
        for asked in ({"stream": True}, {}):
            assert ask(proxy, SOON, **asked).status_code == 200
        for path in ("/", "/1", "/favicon.ico"):
            assert httpx.get(proxy.url + path, timeout=SOON).status_code == 503
        time.sleep(SOON + 2)  # and nothing is lost meanwhile
    proxy.wait(2)


def test_a_database_that_is_locked_does_not_keep_it_from_ending(proxy: Proxy) -> None:
    with locked(proxy):
        for _ in range(5):
            ask(proxy)
        proxy.process.terminate()
        assert proxy.process.wait(WAIT / 2) is not None


def test_what_waits_for_the_database_is_bounded(tmp_path: Path) -> None:
    example = runpy.run_path(str(SCRIPT))
    proxy = SimpleNamespace(database=tmp_path / "recordings.sqlite")
    recorder = example["Recorder"](str(proxy.database))
    exchange = SimpleNamespace(status=200, native=httpx.Response(200))
    outcome = msgspec.structs.replace(Accumulator().finish(), n_bytes=1 << 20)
    with locked(cast("Proxy", proxy)):
        for _ in range(200):
            recorder(outcome, exchange)
        assert recorder.queue.qsize() <= 65
        small = msgspec.structs.replace(outcome, n_bytes=0)
        recorder._taken = recorder._written = 0
        for _ in range(2000):
            recorder(small, exchange)
        assert recorder.queue.qsize() <= 1001
    recorder.queue.put(None)
    recorder.join(WAIT)


def test_what_is_not_written_yet_is_written_at_the_end(
    proxy: Proxy, client: openai.OpenAI
) -> None:
    with locked(proxy):
        list(stream(client, "m"))
        proxy.process.terminate()
    proxy.process.wait(WAIT)
    assert [row["ending"] for row in proxy.rows()] == ["complete"]


def test_the_database_is_nobody_elses(
    listening: tuple[Upstream, str], tmp_path: Path
) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    old.touch(0o644)
    for database in (old, new):
        Proxy(listening[1], database).close()
        assert database.stat().st_mode & 0o777 == 0o600


# --- The loop -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/other/chat/completions", WIDE),
        ("/v1/chat/completions", b'{"model": "wide"}'),
    ],
    ids=["request", "response"],
)
def test_a_body_of_many_keys_does_not_stop_the_others(
    path: str, body: bytes, proxy: Proxy
) -> None:
    ended: list[float] = []

    def post() -> None:
        httpx.post(proxy.url + path, content=body, timeout=6 * WAIT)
        ended.append(time.monotonic())

    with httpx.Client(base_url=proxy.url, timeout=6 * WAIT) as others:
        others.get("/v1/models")
        thread = threading.Thread(target=post)
        thread.start()
        begun, longest = time.monotonic(), 0.0
        while thread.is_alive() or time.monotonic() - begun < 1:
            asked = time.monotonic()
            others.get("/v1/models")
            longest = max(longest, time.monotonic() - asked)
        thread.join()
    # What would be read in one go takes about all of the time.
    assert longest < max(ended[0] - begun, 2) / 3


# --- The page -------------------------------------------------------------------------


class Page(HTMLParser):
    """The elements, the links and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def browse(url: str, profile: Path) -> Page:
    """Open a page in a browser; return what it made of it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium is installed")
    done = subprocess.run(  # noqa: S603 - a browser on our own page
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={profile}", url),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=3 * WAIT,
    )
    return Page(done.stdout)


def test_the_page_lists_and_opens_the_records(
    proxy: Proxy, client: openai.OpenAI, tmp_path: Path
) -> None:
    assert "Nothing yet" in httpx.get(proxy.url).text
    list(stream(client, f"m {EVIL}"))
    proxy.row()
    listed = browse(proxy.url, tmp_path / "profile")
    assert f"m {EVIL}" in listed.text
    assert {"complete", "11", "7"} <= set(listed.text.split())
    opened = browse(proxy.url + listed.links[0], tmp_path / "profile")
    assert "Hello " + EVIL in opened.text
    assert "Hm, <i>well</i>." in opened.text
    assert '{"city": "<b>Bern</b>"}' in opened.text
    assert "Tool call: weather" in opened.text
    assert "Input tokens" in opened.text
    assert "owned" not in opened.text.partition("Recordings")[0]  # the title
    for page in (listed, opened):
        assert not page.tags & {"script", "img", "i", "b"}


def test_every_protocol_is_recorded_and_shown(tmp_path: Path) -> None:
    with serving(examples) as url:
        proxy = Proxy(url, tmp_path / "recordings.sqlite")
        asked = {"model": "m", "stream": True}
        asked["stream_options"] = {"include_usage": True}
        for path, file in FILES.items():
            answer = httpx.post(f"{proxy.url}{path}?alt=sse", json=asked, timeout=WAIT)
            assert answer.content == (EXAMPLES / file).read_bytes()
        rows = proxy.wait(len(FILES))
        pages = [httpx.get(f"{proxy.url}/{n}").text for n in range(1, len(rows) + 1)]
        listed = httpx.get(proxy.url).text
        proxy.close()
    assert [row["protocol"] for row in rows] == [
        *("messages", "responses", "text", "chat", "gemini")
    ]
    calling = {"messages", "chat", "gemini"}
    for row, page in zip(rows, pages, strict=True):
        assert row["ending"] == "complete"
        assert row["flat"]["model"] in listed
        assert f">{row['flat']['usage']['input']}<" in page
        assert "Let me look that up." in page.partition("The record as JSON")[0]
        assert ("Tool call: weather" in page) == (row["protocol"] in calling)


def test_the_page_shows_odd_completions(proxy: Proxy, client: openai.OpenAI) -> None:
    missing = httpx.get(proxy.url + "/7")
    assert missing.status_code == 404
    assert "no recording 7" in missing.text
    with stream(client, "patient") as chunks:
        next(chunks)
    proxy.row()
    shown = httpx.get(proxy.url + "/1")
    assert shown.status_code == 200
    assert "truncated" in shown.text
    policy = shown.headers["content-security-policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= {*policy.split("; ")}
    assert "script" not in policy


# Values of every type, in every place that the page looks at.
ODD: list[Any] = [5, -1.5, "x", "", [], [1, "x", None, [{}]], {}, {"a": {"b": [1]}}]
ODD += [None, True, [{"index": []}], [{"message": 5}], [{"message": {"tool_calls": 1}}]]


def hostile() -> Iterator[bytes]:
    """Make bodies that are no completions, though they say so."""
    message = {"role": "assistant", "content": "x"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"object": "chat.completion", "model": "m", "choices": [choice]}
    names = ("content", "reasoning_content", "reasoning", "refusal", "audio", "role")
    for odd in ODD:
        bodies = [{**whole, key: odd} for key in ("choices", "model", "usage", "error")]
        choices = [{**choice, key: odd} for key in choice]
        choices += [{**choice, "message": {**message, key: odd}} for key in names]
        for call in ({"function": odd}, {"custom": odd}, {"function": {"name": odd}}):
            choices.append({"message": {"tool_calls": [odd, call]}})
        choices += [{"message": {"tool_calls": odd, "function_call": odd}}, {}]
        bodies += [{**whole, "choices": [odd, one]} for one in choices]
        bodies += [{**whole, "usage": {"prompt_tokens": odd, "details": odd}}]
        yield from (json.dumps(body).encode() for body in bodies)
    yield from (
        b"{}",
        b"[]",
        b"5",
        b"<p>",
        b"",
        b'{"error":',
        b'{"error":{"code":9e999}}',
    )
    yield b'{"object":"chat.completion","choices":[],"model":"\\ud800\\u0000"}'
    yield b'{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":1%b}}' % (
        b"0" * 400
    )
    yield (
        b'{"object":"chat.completion","choices":[],"x":'
        + b"[" * 140
        + b"]" * 140
        + b"}"
    )


def test_every_record_has_a_page(proxy: Proxy) -> None:
    bodies = list(hostile())
    with httpx.Client(base_url=proxy.url, timeout=WAIT) as client:
        for body in bodies:
            told = {"model": "told", "answer": body.decode()}
            answer = client.post("/v1/chat/completions", json=told)
            assert answer.content == body
        proxy.wait(len(bodies))
        for number, body in enumerate(bodies, 1):
            page = client.get(f"/{number}")
            assert (page.status_code, body) == (200, body)
            assert "as JSON" in page.text
        assert client.get("/").status_code == 200
    assert "not recorded" not in "".join(proxy.log)


def test_the_list_reads_no_record(proxy: Proxy) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not say what a process held at most")
    answer = whole_of("x" * (1 << 20))
    for _ in range(40):
        ask(proxy, model="told", answer=answer)
    proxy.wait(40)

    def peak() -> int:
        """Return the most that it held since the last call, in KiB."""
        process = Path(f"/proc/{proxy.process.pid}")
        status = (process / "status").read_text()
        (process / "clear_refs").write_text("5")
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0])

    peak()
    before = peak()
    assert httpx.get(proxy.url + "/favicon.ico").status_code == 404
    assert httpx.get(proxy.url).status_code == 200
    assert peak() - before < 10 * 1024  # a quarter of what the records are long


def whole_of(text: str) -> str:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice]})


@pytest.mark.parametrize("number", ["9" * 23, "x", "1/2", "-1", "%00"])
def test_what_is_no_record_is_not_found(number: str, proxy: Proxy) -> None:
    assert httpx.get(f"{proxy.url}/{number}").status_code == 404
