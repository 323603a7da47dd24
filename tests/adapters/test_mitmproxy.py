"""The addon in a real mitmdump, in front of the fake upstream, in reverse mode.

mitmproxy's pins differ from everybody's, so it runs from an environment of its own:
UNSTREAM_MITMDUMP names its mitmdump, else PATH is searched.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
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

MITMDUMP = os.environ.get("UNSTREAM_MITMDUMP") or shutil.which("mitmdump")
HELLO = events("Hel", "lo", " ", "wörld")

pytestmark = pytest.mark.skipif(not MITMDUMP, reason="mitmdump is not installed")


@cache
def keeps_streamed() -> bool:
    """Say whether mitmproxy knows to keep a body that was streamed: 12 does."""
    assert MITMDUMP
    done = subprocess.run(  # noqa: S603
        [MITMDUMP, "--options"], capture_output=True, text=True, check=True
    )
    return "store_streamed_bodies" in done.stdout


def printed() -> str:
    """Return the path that the documented command gives to mitmproxy."""
    done = subprocess.run(
        [sys.executable, "-m", "unstream.mitmproxy"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class Proxy:
    """A running mitmdump; `line` waits for what the addon writes."""

    def __init__(self, port: int, folder: Path, *options: str) -> None:
        self.file = folder / "completions.jsonl"
        os.mkfifo(self.file)  # to wait for a line without looking time and again
        assert MITMDUMP
        command = (
            *(MITMDUMP, "--mode", f"reverse:http://127.0.0.1:{port}"),
            *("--listen-host", "127.0.0.1", "--listen-port", "0"),
            *("--set", f"confdir={folder}", "--set", f"unstream_file={self.file}"),
            *("-s", printed(), *options),
        )
        self.process = subprocess.Popen(  # noqa: S603
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
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


@contextmanager
def running(port: int, folder: Path, *options: str) -> Iterator[Proxy]:
    """Run mitmdump in front of a port."""
    proxy = Proxy(port, folder, *options)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture(scope="module")
def proxy(
    server: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with running(server.port, tmp_path_factory.mktemp("mitmproxy")) as proxy:
        yield proxy


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


@contextmanager
def answering(response: bytes) -> Iterator[int]:
    """Answer one request with these bytes, whatever it asks; give the port."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            while file.readline().strip():
                pass
            connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(WAIT)
        assert not thread.is_alive()


def post(proxy: Proxy, target: bytes) -> bytes:
    """Post to a target of any bytes; return the response as it came."""
    host, _, port = proxy.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" % target
        )
        with connection.makefile("rb") as file:
            head = b"".join(iter(lambda: file.readline().strip() + b"\n", b"\n"))
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            return head + b"\n" + file.read(length)


def script(folder: Path, code: str) -> str:
    """Write another addon; return its path."""
    path = folder / "other.py"
    path.write_text(code)
    return str(path)


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
    assert (line["ending"], line["interrupted"]) == ("truncated", "client")
    assert text(line).startswith("Hello")
    assert script.gone.wait(WAIT)
    assert proxy.has_no_more()


def test_a_client_of_http_2_that_resets_its_stream(
    proxy: Proxy, server: Upstream
) -> None:
    connection = pytest.importorskip("h2.connection").H2Connection()
    script = server.serve(Script(HELLO, stepped=True))
    host, _, port = proxy.address.removeprefix("http://").partition(":")
    path = proxy.url(script).removeprefix(proxy.address)
    names = {"method": "POST", "scheme": "http", "authority": host, "path": path}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=WAIT) as plain,
        tls.wrap_socket(plain) as client,
    ):
        connection.initiate_connection()
        headers = [(f":{name}", value) for name, value in names.items()]
        connection.send_headers(1, headers, end_stream=True)
        client.sendall(connection.data_to_send())
        got = b""
        while b"assistant" not in got:
            got += (piece := client.recv(1 << 16))
            assert piece
        connection.receive_data(got)
        connection.reset_stream(1, 8)  # CANCEL
        client.sendall(connection.data_to_send())
        line = proxy.line()
    assert (line["ending"], line["interrupted"]) == ("truncated", "client")
    assert script.gone.wait(WAIT)


def test_an_upstream_that_dies(proxy: Proxy, server: Upstream) -> None:
    script = server.serve(Script(HELLO[:3], end="death", stepped=True))
    with pytest.raises(OSError):  # noqa: PT011 - broken off in one way or another
        through(proxy, script)
    line = proxy.line()
    assert (line["ending"], line["interrupted"]) == ("truncated", "upstream")
    assert text(line) == "Hello"
    assert proxy.has_no_more()


def test_a_body_that_was_not_streamed_breaks_off(
    proxy: Proxy, server: Upstream
) -> None:
    half = whole("Hello")[:40]
    script = server.serve(Script([half], kind="application/json", end="death"))
    assert b" 502 " in post(proxy, proxy.url(script).encode()[len(proxy.address) :])
    line = proxy.line()
    # mitmproxy gives out nothing of it, so that nothing can be said of it.
    assert (line["ending"], line["interrupted"]) == (None, "upstream")
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
    other = server.serve(Script(HELLO, kind="text/plain"))
    assert b"".join(through(proxy, other)) == b"".join(HELLO)
    script = server.serve(Script(HELLO))
    through(proxy, script)
    line = proxy.line()
    assert line["url"].split("/")[3] == script.url.split("/")[3]
    assert proxy.has_no_more()


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (429, "application/json", b'{"error":"down"}'),
        (500, "text/event-stream", b'data: {"error":"down"}\n\n'),
        (502, "text/html", b"<h1>Bad gateway</h1>"),
    ],
)
def test_a_failed_request(
    proxy: Proxy, server: Upstream, *, status: int, kind: str, said: bytes
) -> None:
    script = server.serve(Script([said], status=status, kind=kind))
    assert b"".join(through(proxy, script)) == said
    line = proxy.line()
    assert (line["status"], line["n_bytes"]) == (status, len(said))
    error = "down" if b"down" in said else None
    assert (line["error"], line["ending"] == "error") == (error, error is not None)
    assert proxy.has_no_more()


@pytest.mark.parametrize("path", ["messages", "responses", "completions"])
def test_the_paths_of_other_protocols(path: str, tmp_path: Path) -> None:
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    with (
        answering(f"{head}content-length: 3\r\n\r\n:\n\n".encode()) as port,
        running(port, tmp_path) as proxy,
    ):
        post(proxy, f"/v1/{path}".encode())
        line = proxy.line()
    assert (line["status"], line["n_bytes"]) == (200, 3)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    body = whole("Hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    head += b"content-encoding: \xff\r\ncontent-length: %d\r\n\r\n" % len(body)
    with answering(head + body) as port, running(port, tmp_path) as proxy:
        assert post(proxy, b"/a\xffb" + PATH.encode()).endswith(body)
        line = proxy.line()
    assert line["url"].endswith("/a\\xffb" + PATH)
    assert line["undecoded"] == "\\xff"


# --- Other addons ---------------------------------------------------------------------

MODULES = """
import importlib.util
import json
import pathlib

names = "httpx", "asgi", "usage", "sse", "unstream_addon", "_tap"
found = {name: importlib.util.find_spec(name) for name in names}
origins = {name: spec and spec.origin for name, spec in found.items()}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(origins))
"""


def test_our_modules_are_nobody_elses(tmp_path: Path) -> None:
    other = script(tmp_path, MODULES)
    with running(1, tmp_path, "-s", other):
        found = json.loads((tmp_path / "other.json").read_text())
    own = Path(printed())
    assert found.pop("unstream_addon") == str(own)
    assert not any(origin and "unstream" in origin for origin in found.values())
    assert [one for one in own.parent.iterdir() if one.suffix] == [own]


def test_another_addon_of_the_same_class_name(tmp_path: Path) -> None:
    other = script(tmp_path, "class Addon: pass\n\naddons = [Addon()]\n")
    with running(1, tmp_path, "-s", other) as proxy:
        pass
    assert "already exists" not in "".join(proxy.said)


WRAPS = """
def responseheaders(flow):
    before = flow.response.stream
    flow.response.stream = lambda data: before(data).replace(b"Hel", b"HEL")
"""


def test_an_addon_that_changes_what_we_hand_on(
    server: Upstream, tmp_path: Path
) -> None:
    served = server.serve(Script(HELLO))
    with running(server.port, tmp_path, "-s", script(tmp_path, WRAPS)) as proxy:
        assert b"HEL" in b"".join(through(proxy, served))
        line = proxy.line()
    assert (line["ending"], text(line)) == ("complete", "Hello wörld")


@pytest.mark.parametrize("value", ["True", "lambda data: data"])
def test_an_addon_that_streams_past_us(
    value: str, server: Upstream, tmp_path: Path
) -> None:
    served = server.serve(Script(HELLO))
    code = f"def responseheaders(flow): flow.response.stream = {value}"
    with running(server.port, tmp_path, "-s", script(tmp_path, code)) as proxy:
        assert b"".join(through(proxy, served)) == b"".join(HELLO)
        line = proxy.line()
    assert line["ending"] is line["completion"] is None
    assert line["status"] == 200
    assert any("load it after other addons" in said for said in proxy.said)


@pytest.mark.parametrize("value", [True, False])
def test_an_addon_that_streams_past_us_but_leaves_the_body(
    value: object, server: Upstream, tmp_path: Path
) -> None:
    if value and not keeps_streamed():
        pytest.skip("this mitmproxy keeps no body that was streamed")
    served = server.serve(Script(HELLO))
    code = f"def responseheaders(flow): flow.response.stream = {value}"
    keep = ("--set", "store_streamed_bodies=true")
    with running(server.port, tmp_path, "-s", script(tmp_path, code), *keep) as proxy:
        through(proxy, served)
        line = proxy.line()
    assert (line["ending"], text(line)) == ("complete", "Hello wörld")


def test_a_body_that_mitmproxy_streams_by_itself(tmp_path: Path) -> None:
    body = whole("Hello" * 100)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    head += b"content-length: %d\r\n\r\n" % len(body)
    option = ("--set", "stream_large_bodies=100")
    with answering(head + body) as port, running(port, tmp_path, *option) as proxy:
        assert post(proxy, PATH.encode()).endswith(body)
        line = proxy.line()
    assert (line["ending"], text(line)) == ("complete", "Hello" * 100)


# --- The end --------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_stops_nothing(
    server: Upstream, tmp_path: Path
) -> None:
    with running(server.port, tmp_path) as proxy:
        proxy.file.unlink()
        proxy.file.mkdir()
        for _ in range(2):
            script = server.serve(Script(HELLO, stepped=True))
            assert through(proxy, script) == HELLO
    assert any("on_finish raised" in line for line in proxy.said)


def test_what_is_open_when_mitmproxy_stops_is_written(
    server: Upstream, tmp_path: Path
) -> None:
    with running(server.port, tmp_path) as proxy:
        script = server.serve(Script(HELLO, stepped=True, end="open"))
        pieces = read(proxy.url(script))
        for _ in HELLO[:3]:
            next(pieces)
            script.step()
        proxy.process.terminate()
        line = proxy.line()
        pieces.close()  # type: ignore[attr-defined] # a generator
    assert line["ending"] == "truncated"


# --- Saved flows ----------------------------------------------------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_flows_that_were_saved(keeps: object, server: Upstream, tmp_path: Path) -> None:
    saved, file = tmp_path / "flows", tmp_path / "later.jsonl"
    options = ("-w", str(saved), "--set", f"store_streamed_bodies={keeps}".lower())
    with running(server.port, tmp_path, *options) as proxy:
        for end in ("clean", "death"):
            script = server.serve(Script(HELLO[:4], end=end, stepped=True))
            with pytest.raises(OSError) if end == "death" else nullcontext():  # noqa: PT011 - as above
                through(proxy, script)
            proxy.line()
        script = server.serve(Script([whole("Hi")], kind="application/json"))
        through(proxy, script)
        proxy.line()
    assert MITMDUMP
    subprocess.run(  # noqa: S603
        [
            *(MITMDUMP, "-n", "-r", saved, "--set", f"confdir={tmp_path}"),
            *("-s", printed(), "--set", f"unstream_file={file}"),
        ],
        check=True,
        timeout=WAIT,
        capture_output=True,
    )
    clean, dead, json_ = map(json.loads, file.read_text().splitlines())
    assert clean["timing"] is dead["timing"] is None  # nobody measured
    assert dead["ending"] is None  # mitmproxy keeps no body that broke off
    assert dead["interrupted"] is None
    assert (json_["ending"], text(json_)) == ("complete", "Hi")
    if keeps and keeps_streamed():
        assert (clean["ending"], text(clean)) == ("truncated", "Hello ")
    else:
        assert clean["ending"] is None
