"""What docs/embedding.md shows is what happens, with the real libraries."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import unstream
from tests.adapters.upstream import WAIT, Script, Upstream, events
from unstream.sse import Decoder
from unstream.usage import Asked

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "embedding.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[GATEWAY] = [code for code in PYTHON if "usage.withhold" in code]
HELLO = events("Hel", "lo")


def shown(library: str) -> str:
    """Return the block that imports a library."""
    line = re.compile(rf"^(import|from) {library}\b", re.MULTILINE)
    [code] = [code for code in PYTHON if line.search(code)]
    return str(code)


def block(library: str) -> dict[str, Any]:
    """Run the block that imports a library; return what it defines."""
    pytest.importorskip(library)
    names: dict[str, Any] = {}
    exec(compile(shown(library), f"embedding.md, {library}", "exec"), names)  # noqa: S102
    return names


def test_every_block_is_tested() -> None:
    here = Path(__file__).read_text()
    for code in PYTHON:
        library = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
        others = library - {"unstream"}
        assert any(f'"{name}"' in here for name in others) or code == GATEWAY, code


def test_a_gateway() -> None:
    names: dict[str, Any] = {}
    exec(compile(GATEWAY, "embedding.md, usage", "exec"), names)  # noqa: S102
    for asked in Asked:
        calls: list[Any] = []
        response = SimpleNamespace(iter_content=lambda _: iter(HELLO))
        seen = [*names["relay"](response, calls.append, asked)]
        ours = asked is Asked.ASKED
        assert seen == [piece for piece in HELLO if not (ours and b"usage" in piece)]
        assert calls[0].completion.usage is not None


def test_requests(server: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    script = server.serve(Script(HELLO))
    relay = block("requests")["relay"]
    assert b"".join(relay(script.url, {"model": "m"})) == script.body
    assert re.match(r"complete \d", capsys.readouterr().out)


def test_aiohttp(server: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    script = server.serve(Script(HELLO))
    relay = block("aiohttp")["relay"]

    async def go() -> bytes:
        return b"".join([piece async for piece in relay(script.url, {"model": "m"})])

    assert asyncio.run(go()) == script.body
    assert re.match(r"complete \d", capsys.readouterr().out)


def test_starlette(server: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn")
    names = block("starlette")
    from tests.adapters.roads import read
    from tests.adapters.server import relay, serving

    script = server.serve(Script(HELLO))
    app = names["app"]
    app.mount("/", relay(lambda: script.url))
    with serving(app) as address:
        assert b"".join(read(f"{address}/v1/chat/completions")) == script.body
    assert capsys.readouterr().out.startswith("/v1/chat/completions 200 complete")


def test_openai(
    server: Upstream,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("httpx")
    monkeypatch.setenv("NO_PROXY", "*")
    script = server.serve(Script(HELLO))
    ask = block("openai")["ask"]
    ask(script.url.removesuffix("/chat/completions"))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{script.url} 200 complete")


def test_websockets() -> None:
    ask = block("websockets")["ask"]
    from websockets.sync.server import ServerConnection, serve

    body = (ROOT / "examples" / "responses.sse").read_bytes()
    messages = [event.data.decode() for event in Decoder().feed(body)]
    asked = []

    def answer(socket: ServerConnection) -> None:
        asked.append(json.loads(socket.recv()))
        for message in messages[: asked[-1]["n"]]:
            socket.send(message)

    outcomes: list[Any] = []
    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        for n in (len(messages), 5):
            seen = [*ask(url, {"model": "m", "n": n}, outcomes.append)]
            assert seen == [json.loads(message) for message in messages[:n]]
        server.shutdown()
        thread.join(WAIT)
    assert asked[0]["type"] == "response.create"
    whole, cut = outcomes
    assert whole.unwrap() == unstream.responses.fold(body)
    assert cut.ending == "truncated"
    assert cut.record.text == "Let me look that up."


# --- Reducers -------------------------------------------------------------------------


def test_langsmith() -> None:
    done = _in_a_process(
        "langsmith",
        """
import langsmith

class Client:
    def create(self, **_):
        return iter(CHUNKS)

client = Client()
client.chat = client.completions = client
ended = []
with langsmith.tracing_context(enabled="local"):
    out = ask(client, {}, langsmith_extra={"on_end": ended.append})
    assert list(out) == CHUNKS
[run] = ended
print(run.outputs["choices"][0]["message"]["content"])
""",
    )
    assert done == "Hello"


def test_what_mlflow_does() -> None:
    # mlflow.tracing.fluent 3.17, at the end: `outputs = output_reducer(outputs)`, with
    # the list of what was yielded.
    code = 'print(reduce(CHUNKS)["choices"][0]["message"]["content"])'
    assert _in_a_process("langsmith", code) == "Hello"


def test_weave_accumulates_one_by_one() -> None:
    # weave.trace.op: `state = accumulator(state, value)`, the state None at first, and
    # `postprocess_output(state)` when the call is finished.
    done = _in_a_process(
        "weave",
        """
state = None
for chunk in CHUNKS:
    state = collect(state, chunk)
assert ask._accumulator is collect and ask.postprocess_output is reduce
assert reduce(None) is None
print(reduce(state)["choices"][0]["message"]["content"])
""",
    )
    assert done == "Hello"


def test_litellm() -> None:
    done = _in_a_process(
        "litellm",
        """
import asyncio
from litellm.types.utils import ModelResponseStream

async def response():
    for chunk in CHUNKS:
        yield ModelResponseStream(**chunk)

async def go():
    hook = log.async_post_call_streaming_iterator_hook
    return [chunk async for chunk in hook(None, response(), {})]

assert len(asyncio.run(go())) == len(CHUNKS)
""",
    )
    assert done.startswith("complete")
    assert "content='Hello'" in done


def _in_a_process(library: str, code: str) -> str:
    """Run a block and then some code, apart: these libraries warn as they please."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    chunks = [piece[6:].decode().strip() for piece in HELLO[:-1]]
    lines = f"import json\nCHUNKS = [json.loads(c) for c in {chunks!r}]\n"
    nowhere = "http://127.0.0.1:9"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", shown(library) + lines + code],
        env={
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch one
            "LANGSMITH_ENDPOINT": nowhere,
            "LANGSMITH_API_KEY": "none",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=6 * WAIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
