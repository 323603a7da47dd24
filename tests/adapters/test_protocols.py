"""Every protocol, from a loopback upstream, by its official client."""

import queue
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
httpx2 = pytest.importorskip("httpx2")

from tests.adapters.server import serving
from unstream import Exchange, Outcome, fold, fold_chunks
from unstream._detect import load
from unstream.asgi import Middleware
from unstream.httpx import observe

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT = 20

FILES = {
    "/v1/messages": "messages.sse",
    "/v1/responses": "responses.sse",
    "/v1/completions": "text.sse",
    "/v1/chat/completions": "hello.sse",
    "/v1beta/models/gemini-3-pro:streamGenerateContent": "gemini.sse",
}


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """Stream the example of the path, in small pieces; for the array form, as one."""
    while (await receive()).get("more_body"):
        pass
    body = (EXAMPLES / FILES[scope["path"]]).read_bytes()
    kind = b"text/event-stream"
    if (
        scope["path"].endswith("GenerateContent")
        and b"alt=sse" not in scope["query_string"]
    ):
        lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
        body, kind = b"[" + b",\r\n".join(lines) + b"\n]\n", b"application/json"
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, len(body), 100):
        data = body[at : at + 100]
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body"})


Seen = queue.Queue[tuple[Outcome[Any], Exchange]]


def put(seen: Seen) -> Any:
    return lambda outcome, exchange: seen.put((outcome, exchange))


def check(seen: Seen, protocol: str, text: str = "Let me look that up.") -> None:
    outcome, exchange = seen.get(timeout=WAIT)
    assert outcome.protocol == protocol
    assert outcome.ending == "complete", outcome
    assert outcome.interrupted is None
    assert outcome.record.text.startswith(text)
    assert outcome.timing is not None
    assert outcome.timing.first_content is not None
    assert exchange.status == 200
    assert exchange.method == "POST"
    assert exchange.path in FILES
    assert seen.empty()


def check_chunks(chunks: Any, protocol: str, file: str) -> None:
    """Hold what a client's objects fold to against the bytes that it got."""
    want = fold((EXAMPLES / file).read_bytes(), protocol=load(protocol))
    assert fold_chunks(chunks, protocol=load(protocol)) == want


def test_messages_by_the_anthropic_client() -> None:
    anthropic = pytest.importorskip("anthropic")
    server_side: Seen = queue.Queue()
    client_side: Seen = queue.Queue()
    with serving(Middleware(upstream, put(server_side))) as url:
        module = httpx2 if _wants(anthropic, "httpx2") else httpx
        with module.Client() as http:
            client = anthropic.Anthropic(
                api_key="k", base_url=url, http_client=observe(http, put(client_side))
            )
            with client.messages.stream(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
            ) as stream:
                message = stream.get_final_message()
    assert message.content[-1].input == {"city": "Oslo"}
    check(server_side, "messages")
    check(client_side, "messages")


def test_responses_and_both_completions_by_the_openai_client() -> None:
    openai = pytest.importorskip("openai")
    server_side: Seen = queue.Queue()
    client_side: Seen = queue.Queue()
    with serving(Middleware(upstream, put(server_side))) as url:
        module = httpx2 if _wants(openai, "httpx2") else httpx
        with module.Client() as http:
            client = openai.OpenAI(
                api_key="k",
                base_url=f"{url}/v1",
                http_client=observe(http, put(client_side)),
            )
            with client.responses.stream(model="m", input="hi") as stream:
                events = [*stream]
                assert stream.get_final_response().output_text == "Let me look that up."
            check(server_side, "responses")
            check(client_side, "responses")
            # The helper adds what it parsed to its events, which is kept.
            folded = fold_chunks(events, protocol=load("responses"))
            [message] = folded.to_dict()["output"]
            assert message["content"][0].pop("parsed") is None
            assert message["content"][0]["text"] == "Let me look that up."
            said: Any = [{"role": "user", "content": "hi"}]
            for protocol, file, ask in (
                (
                    "responses",
                    "responses.sse",
                    partial(client.responses.create, input="hi"),
                ),
                ("text", "text.sse", partial(client.completions.create, prompt="hi")),
                (
                    "chat",
                    "hello.sse",
                    partial(client.chat.completions.create, messages=said),
                ),
            ):
                check_chunks(ask(model="m", stream=True), protocol, file)
                check(server_side, protocol)
                check(client_side, protocol)


def test_gemini_by_the_google_client() -> None:
    genai = pytest.importorskip("google.genai")
    server_side: Seen = queue.Queue()
    client_side: Seen = queue.Queue()
    with (
        serving(Middleware(upstream, put(server_side))) as url,
        httpx.Client() as http,
    ):
        options = genai.types.HttpOptions(
            base_url=url,
            api_version="v1beta",
            httpx_client=observe(http, put(client_side)),
        )
        client = genai.Client(api_key="k", http_options=options)
        chunks = list(
            client.models.generate_content_stream(model="gemini-3-pro", contents="hi")
        )
    assert chunks[-1].function_calls[0].name == "weather"
    folded = fold_chunks(chunks, protocol=load("gemini"))
    assert "sdkHttpResponse" in folded.extra  # which is the client's own
    assert folded.calls()[0].name == "weather"
    check(server_side, "gemini", "Let me look that up.")
    check(client_side, "gemini", "Let me look that up.")


def test_geminis_array_is_read_as_well() -> None:
    server_side: Seen = queue.Queue()
    with (
        serving(Middleware(upstream, put(server_side))) as url,
        httpx.Client() as http,
    ):
        path = "/v1beta/models/gemini-3-pro:streamGenerateContent"
        assert http.post(url + path, json={}).json()[0]["responseId"] == "r7Qx"
    check(server_side, "gemini")


def _wants(library: Any, name: str) -> bool:
    """Say which of the two modules a client is built on."""
    module = __import__(f"{library.__name__}._base_client", fromlist=[name])
    return hasattr(module, name)
