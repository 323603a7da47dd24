"""The addon in a real mitmdump, in front of the fake upstream, in reverse mode.

mitmproxy's pins differ from everybody's, so it runs from an environment of its own:
UNSTREAM_MITMDUMP names its mitmdump, else PATH is searched.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.roads import read
from tests.adapters.upstream import (
    PATH,
    WAIT,
    Script,
    Upstream,
    encoded,
    events,
    whole,
)
from unstream import mitmproxy

MITMDUMP = os.environ.get("UNSTREAM_MITMDUMP") or shutil.which("mitmdump")
HELLO = events("Hel", "lo", " ", "wörld")

pytestmark = pytest.mark.skipif(not MITMDUMP, reason="mitmdump is not installed")


class Proxy:
    """A running mitmdump; `lines` waits for what the addon writes."""

    def __init__(self, upstream: Upstream, folder: Path) -> None:
        self.file = folder / "completions.jsonl"
        os.mkfifo(self.file)  # to wait for a line without looking time and again
        addon = subprocess.run(
            [sys.executable, "-m", "unstream.mitmproxy"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert MITMDUMP
        command: Sequence[str] = (
            *(MITMDUMP, "--mode", f"reverse:http://127.0.0.1:{upstream.port}"),
            *("--listen-host", "127.0.0.1", "--listen-port", "0"),
            *("--set", f"confdir={folder}", "--set", f"unstream_file={self.file}"),
            *("-s", addon.stdout.strip()),
        )
        self.process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # Read and write: the end of one writer is not the end of the file.
        self._reading = os.fdopen(os.open(self.file, os.O_RDWR), "rb", buffering=0)
        self.said: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if "listening at" in line:
                self.address = line.rsplit(" ", 1)[1].strip().removesuffix(".")
                break
        else:
            raise RuntimeError("".join(self.said))
        self._rest = threading.Thread(target=self._listen)
        self._rest.start()
        self.address = self.address.replace("http://*", "http://127.0.0.1")

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def url(self, script: Script) -> str:
        return f"{self.address}/{script.url.split('/')[3]}{PATH}"

    def line(self) -> Any:
        got: list[bytes] = []
        reader = threading.Thread(
            target=lambda: got.append(self._reading.readline()), daemon=True
        )
        reader.start()
        reader.join(WAIT)
        assert got, "".join(self.said)
        return json.loads(got[0])

    def has_no_more(self) -> bool:
        os.set_blocking(self._reading.fileno(), False)
        try:
            return not self._reading.read()
        finally:
            os.set_blocking(self._reading.fileno(), True)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT)
        self._rest.join(WAIT)
        self._reading.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def proxy(
    server: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    running = Proxy(server, tmp_path_factory.mktemp("mitmproxy"))
    try:
        yield running
    finally:
        running.close()


def through(proxy: Proxy, script: Script, stop: int | None = None) -> list[bytes]:
    got = []
    pieces = read(proxy.url(script) + "?key=secret")
    for piece in pieces:
        got.append(piece)
        script.step()
        if len(got) == stop:
            pieces.close()  # type: ignore[attr-defined] # a generator
            break
    return got


def text(line: Any) -> str:
    said = line["completion"]["choices"][0]["message"]["content"]
    assert isinstance(said, str)
    return said


def test_a_stream_passes_piece_by_piece(proxy: Proxy, server: Upstream) -> None:
    script = server.serve(Script(HELLO, stepped=True))
    assert through(proxy, script) == HELLO
    line = proxy.line()
    assert line["ending"] == "complete"
    assert line["done"] is True
    assert line["status"] == 200
    assert line["url"].endswith(PATH)
    assert text(line) == "Hello wörld"
    timing = line["timing"]
    assert 0 < timing["first_byte"] < timing["first_content"] < timing["total"]
    assert proxy.has_no_more()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_an_encoded_stream(proxy: Proxy, server: Upstream, coding: str) -> None:
    if coding in ("br", "zstd"):
        pytest.importorskip({"br": "brotli", "zstd": "backports.zstd"}[coding])
    pieces = encoded(HELLO, coding)
    script = server.serve(Script(pieces, coding=coding, stepped=True))
    assert through(proxy, script) == pieces
    line = proxy.line()
    if line["undecoded"] is None:
        assert text(line) == "Hello wörld"
    else:  # the library is missing where mitmproxy is
        assert (line["undecoded"], line["ending"]) == (coding, "empty")


def test_a_client_that_leaves(proxy: Proxy, server: Upstream) -> None:
    script = server.serve(Script(HELLO, stepped=True))
    assert through(proxy, script, stop=3) == HELLO[:3]
    line = proxy.line()
    assert line["ending"] == "truncated"
    assert text(line).startswith("Hello")
    assert script.gone.wait(WAIT)
    assert proxy.has_no_more()


def test_an_upstream_that_dies(proxy: Proxy, server: Upstream) -> None:
    script = server.serve(Script(HELLO[:3], end="death", stepped=True))
    with pytest.raises(OSError):  # noqa: PT011 - broken off in one way or another
        through(proxy, script)
    line = proxy.line()
    assert line["ending"] == "truncated"
    assert text(line) == "Hello"
    assert proxy.has_no_more()


def test_bytes_by_the_piece(proxy: Proxy, server: Upstream) -> None:
    body = b"".join(HELLO)
    script = server.serve(Script([body[i : i + 1] for i in range(len(body))]))
    assert b"".join(through(proxy, script)) == body
    assert text(proxy.line()) == "Hello wörld"


def test_a_whole_completion(proxy: Proxy, server: Upstream) -> None:
    script = server.serve(Script([whole("Hello")], kind="application/json"))
    assert b"".join(through(proxy, script)) == whole("Hello")
    assert text(proxy.line()) == "Hello"
    assert proxy.has_no_more()


def test_other_responses_leave_no_line(proxy: Proxy, server: Upstream) -> None:
    for script in (Script(HELLO, kind="text/plain"), Script(HELLO, status=500)):
        server.serve(script)
        assert b"".join(through(proxy, script)) == b"".join(HELLO)
    script = server.serve(Script(HELLO))
    through(proxy, script)
    line = proxy.line()
    assert line["url"].split("/")[3] == script.url.split("/")[3]
    assert proxy.has_no_more()


def test_a_file_that_cannot_be_written_stops_nothing(
    server: Upstream, tmp_path: Path
) -> None:
    proxy = Proxy(server, tmp_path)
    try:
        proxy.file.unlink()
        proxy.file.mkdir()
        for _ in range(2):
            script = server.serve(Script(HELLO, stepped=True))
            assert through(proxy, script) == HELLO
    finally:
        proxy.close()
    assert any("on_finish raised" in line for line in proxy.said)


def test_what_is_open_when_mitmproxy_stops_is_written(
    server: Upstream, tmp_path: Path
) -> None:
    proxy = Proxy(server, tmp_path)
    try:
        script = server.serve(Script(HELLO, stepped=True, end="open"))
        pieces = read(proxy.url(script))
        for _ in HELLO[:3]:
            next(pieces)
            script.step()
        proxy.process.terminate()
        line = proxy.line()
        pieces.close()  # type: ignore[attr-defined] # a generator
    finally:
        proxy.close()
    assert line["ending"] == "truncated"


SAVE = """
import sys
from mitmproxy import http, io
from mitmproxy.test import tflow

request = http.Request.make("POST", "http://x/v1/chat/completions")
headers = {"content-type": "text/event-stream"}
response = http.Response.make(200, sys.stdin.buffer.read(), headers)
with open(sys.argv[1], "wb") as file:
    io.FlowWriter(file).add(tflow.tflow(req=request, resp=response))
"""


def test_a_flow_that_was_saved(tmp_path: Path) -> None:
    assert MITMDUMP
    python = Path(MITMDUMP).with_name("python")
    if not python.exists():
        pytest.skip("mitmdump has no Python beside it")
    saved, file = tmp_path / "flows", tmp_path / "completions.jsonl"
    body = b"".join(HELLO)
    subprocess.run([python, "-c", SAVE, saved], input=body, check=True)  # noqa: S603
    subprocess.run(  # noqa: S603
        [
            *(MITMDUMP, "-n", "-r", saved, "--set", f"confdir={tmp_path}"),
            *("-s", mitmproxy.__file__, "--set", f"unstream_file={file}"),
        ],
        check=True,
        timeout=WAIT,
        capture_output=True,
    )
    [line] = map(json.loads, file.read_text().splitlines())
    assert (line["ending"], text(line)) == ("complete", "Hello wörld")
