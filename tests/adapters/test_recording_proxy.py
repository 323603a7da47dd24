"""The recording proxy of the examples, run and used as its users would."""

import asyncio
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

for name in ("httpx", "jinja2", "starlette", "uvicorn"):
    pytest.importorskip(name)

import httpx
import openai
import uvicorn
from openai.types.chat import ChatCompletionChunk
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

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

METHODS = ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "POST"]

# --- The upstream ---------------------------------------------------------------------


class Upstream:
    """A fake model server; the name of the model says what it does."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.go_on = threading.Event()
        self.gone = threading.Event()
        chat = Route("/v1/chat/completions", self.chat, methods=["POST"])
        other = Route("/v1/{path:path}", self.other, methods=METHODS)
        self.app = Starlette(routes=[chat, other])

    async def other(self, request: Request) -> Response:
        where = request.scope["raw_path"] + b"?" + request.scope["query_string"]
        self.seen.append((where.decode(), dict(request.headers), b""))
        answer = JSONResponse({"method": request.method, "n": 1.0}, 203)
        answer.headers.append("set-cookie", "a=1")
        answer.headers.append("set-cookie", "b=2")
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
        if asked["model"] == "odd":
            return JSONResponse({"object": "chat.completion", "model": {"a": 2**70}})
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

    def __init__(self, upstream: str, database: Path) -> None:
        self.database = database
        self.may_fail = False
        self.process = subprocess.Popen(  # noqa: S603 - our own example
            [sys.executable, SCRIPT, upstream],
            env={**os.environ, "DATABASE": str(database), "PORT": "0"},
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
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM record")]
        connection.close()
        for row in rows:
            for name in ("timing", "usage", "error", "completion"):
                row[name] = json.loads(row[name])
        return rows

    def row(self) -> dict[str, Any]:
        """Wait for the one record."""
        until = time.monotonic() + WAIT
        while not (rows := self.rows()):  # another process makes it: nothing to await
            assert time.monotonic() < until, "".join(self.log)
            time.sleep(0.01)
        assert len(rows) == 1
        return rows[0]


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
    assert (row["model"], row["ending"], row["usage"]) == ("m", "complete", USAGE)
    assert row["error"] is None
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
    assert proxy.row()["usage"] == USAGE


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
    assert (row["ending"], row["usage"]) == ("complete", USAGE)
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
    assert row["ending"] == "truncated"
    assert row["completion"]["choices"][0]["message"]["content"] == "Hello "


def test_an_upstream_that_dies_is_recorded_and_not_covered_up(
    proxy: Proxy, client: openai.OpenAI
) -> None:
    proxy.may_fail = True
    chunks = stream(client, "dying")
    with pytest.raises((httpx.HTTPError, openai.APIConnectionError)):
        list(chunks)
    row = proxy.row()
    assert row["ending"] == "truncated"
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


def test_the_client_does_not_wait_for_the_database(proxy: Proxy) -> None:
    lock = sqlite3.connect(proxy.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    for asked in ({"stream": True}, {}):
        # SQLite waits for 5 seconds by itself.
        answer = httpx.post(
            proxy.url + "/v1/chat/completions", json={"model": "m", **asked}, timeout=3
        )
        assert answer.status_code == 200
    lock.execute("ROLLBACK")
    lock.close()
    until = time.monotonic() + WAIT
    while len(proxy.rows()) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_what_is_not_written_yet_is_written_at_the_end(
    proxy: Proxy, client: openai.OpenAI
) -> None:
    lock = sqlite3.connect(proxy.database, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    list(stream(client, "m"))
    proxy.process.terminate()
    lock.execute("ROLLBACK")
    lock.close()
    proxy.process.wait(WAIT)
    assert [row["ending"] for row in proxy.rows()] == ["complete"]


def test_a_model_of_another_type_is_recorded(proxy: Proxy) -> None:
    httpx.post(proxy.url + "/v1/chat/completions", json={"model": "odd"})
    assert "'a'" in proxy.row()["model"]
    assert httpx.get(proxy.url + "/1").status_code == 200


def test_a_base_url_may_end_in_a_slash(
    upstream: Upstream, listening: tuple[Upstream, str], tmp_path: Path
) -> None:
    proxy = Proxy(listening[1] + "/v1/", tmp_path / "recordings.sqlite")
    try:
        assert httpx.get(proxy.url + "/v1/models").status_code == 203
    finally:
        proxy.close()
    assert [path for path, _, _ in upstream.seen] == ["/v1/models?"]


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
    where, headers, _ = upstream.seen[-1]
    assert where == "/v1/models/org%2Fname?a=1&a=%20"
    assert headers["x-mine"] == "1"
    assert "cookie" not in headers  # nobody gets what another was given
    assert proxy.rows() == []


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
    assert "Total tokens" in opened.text
    assert "owned" not in opened.text.partition("Recordings")[0]  # the title
    for page in (listed, opened):
        assert not page.tags & {"script", "img", "i", "b"}


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
    assert "default-src 'none'" in shown.headers["content-security-policy"]


ODD: list[Any] = [5, "x", [1, "x", None], {"a": {"b": [1]}}, None, True]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_the_page_shows_values_of_any_type(odd: Any, proxy: Proxy) -> None:
    message = dict.fromkeys(
        (
            *("content", "reasoning_content", "refusal", "audio", "function_call"),
            *("tool_calls", "role"),
        ),
        odd,
    )
    calls = {"tool_calls": [odd, {"function": odd}, {"custom": {"name": odd}}]}
    for said in (message, calls):
        choice = {"index": odd, "message": said, "finish_reason": odd}
        whole = {"choices": [choice], "usage": odd, "model": odd}
        with sqlite3.connect(proxy.database) as connection:
            connection.execute(
                "INSERT INTO record VALUES (NULL, 'now', 'm', 'error', ?, ?, ?, ?)",
                [json.dumps(value) for value in ({"total": odd}, odd, odd, whole)],
            )
        connection.close()
    assert httpx.get(proxy.url + "/").status_code == 200
    for number in (1, 2):
        shown = httpx.get(f"{proxy.url}/{number}")
        assert shown.status_code == 200
        assert "The completion as JSON" in shown.text


@pytest.mark.parametrize("number", ["9" * 23, "x", "1/2", "-1", "%00"])
def test_what_is_no_record_is_not_found(number: str, proxy: Proxy) -> None:
    assert httpx.get(f"{proxy.url}/{number}").status_code == 404
