"""An addon for mitmproxy that writes down the answers of models that go by.

Load it with `mitmdump -s "$(python -m unstream.mitmproxy)"`. This module knows
mitmproxy's hooks; it does not import mitmproxy.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from unstream._outcome import Outcome
from unstream._tap import Side, Tap, guard, is_inference, is_watched, log

__all__ = ["Addon", "addons"]

_START: Final = "unstream.start"

# As much may wait to be folded, as in a tap that can make its source wait.
_WAITING: Final = 1024 * 1024

# What mitmproxy says where a client of HTTP/1 left, which is all that a saved flow
# tells, and where a stream of HTTP/2 or 3 was reset.
_LEFT: Final = "Client disconnected."
_RESET: Final = " by client ("


class Addon:
    """Append a line of JSON to a file for each answer of a model.

    The file is the option `unstream_file`. A line is what `Outcome.to_json` gives,
    after `id`, `url` (without its query, which may hold a key) and `status`. Requests
    that failed, with 4xx or 5xx, have one, too. `interrupted` is None where mitmproxy
    does not tell which side it was: a stream was reset with HTTP/2 on both sides, a
    flow was killed, or saved.

    An event stream is handed on piece by piece as it comes, as by mitmproxy's own
    option `stream`; mitmproxy then keeps no body of it. Any other response is handled
    as without this addon, and read when it is complete.

    A body that was never seen here has a line whose `ending` is None: it broke off
    before mitmproxy handed it out, an option or another addon streamed it past this
    one, or it was saved without its body. What another addon puts into
    `response.stream` before this one is called with the pieces; load this addon last.
    """

    # By default its name is that of its class, which must be nobody else's.
    name = "unstream"

    def __init__(self) -> None:
        self._open: dict[str, _Watch] = {}
        self._options: Any = None

    def load(self, loader: Any) -> None:
        """Declare the option."""
        loader.add_option(
            "unstream_file",
            str,
            "completions.jsonl",
            "The file to which unstream appends a line for each answer of a model.",
        )
        self._options = loader.master.options

    def requestheaders(self, flow: Any) -> None:
        """Start the clock."""
        flow.metadata[_START] = perf_counter()

    def responseheaders(self, flow: Any) -> None:
        """Watch a response that is an event stream."""
        guard(self._begin)(flow)

    async def response(self, flow: Any) -> None:
        """Read a response that was not streamed; end the watch of one that was."""
        await self._end(flow, guard(_side)(flow))

    async def error(self, flow: Any) -> None:
        """End the watch where either side went away, or mitmproxy stops."""
        # Of a flow that was saved `response` has told already.
        if flow.live and flow.response is not None:
            await self._end(flow, guard(_side)(flow))

    def _begin(self, flow: Any) -> None:
        response = flow.response
        kind = response.headers.get("content-type", "").lower()
        is_streamed = kind.startswith("text/event-stream") or response.stream
        if not flow.live or not is_streamed:
            return
        if (watch := self._watch(flow)) is not None:
            self._open[flow.id] = watch
            watch.before = response.stream
            response.stream = watch

    def _watch(self, flow: Any) -> "_Watch | None":
        request, response = flow.request, flow.response
        kind = response.headers.get("content-type", "")
        path = unquote(request.path.partition("?")[0])
        if not is_inference(request.method, path):
            return None
        if not is_watched(response.status_code, kind):
            return None
        watch = _Watch()
        watch.tap = Tap(
            partial(self._write, flow, watch, is_live=flow.live),
            coding=_text(response.headers.get("content-encoding", "")),
            content_type=kind,
            start=flow.metadata.get(_START),
        )
        return watch

    async def _end(self, flow: Any, side: Side | None) -> None:
        watch = self._open.pop(flow.id, None) or guard(self._watch)(flow)
        if watch is None:
            return
        body = flow.response.raw_content
        if not watch.has_seen and body is not None:
            watch.has_seen = True
            watch.tap.hold(body)
        if not watch.has_seen and flow.response.stream not in (False, watch):
            log("a response was streamed past unstream: load it after other addons")
        watch.tap.interrupted = side
        await watch.tap.afinish()

    def _write(
        self, flow: Any, watch: "_Watch", outcome: Outcome[Any], *, is_live: bool
    ) -> None:
        completion = outcome.completion
        line: dict[str, Any] = {
            "id": flow.id,
            "url": _text(flow.request.pretty_url.partition("?")[0]),
            "status": flow.response.status_code,
            **outcome.to_dict(),
        }
        if completion is not None:
            line["completion"] = msgspec.Raw(completion.to_json())
        if not watch.has_seen:
            line["ending"] = None
        if not is_live:
            line["timing"] = None  # it would be that of reading the file
        with Path(self._options.unstream_file).expanduser().open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


class _Watch:
    """Watch one response: mitmproxy calls this with each piece of its body."""

    tap: Tap

    def __init__(self) -> None:
        self.before: Any = None  # what another addon had put in this place
        self.has_seen = False
        self._is_reading = False
        self._n_waiting = 0

    def __call__(self, data: bytes) -> Any:
        self.has_seen = True
        guard(self._take)(data)
        return self.before(data) if callable(self.before) else data

    def _take(self, data: bytes) -> None:
        self.tap.hold(data)
        self._n_waiting += len(data)
        if self._n_waiting > _WAITING:
            self.tap.read()
            self._n_waiting = 0
        elif not self._is_reading:
            # What is returned is handed on; there is no "after" but the next turn of
            # the event loop.
            asyncio.get_running_loop().call_soon(self._read)
            self._is_reading = True

    def _read(self) -> None:
        self._is_reading = self.tap.read_some()
        if self._is_reading:
            asyncio.get_running_loop().call_soon(self._read)
        else:
            self._n_waiting = 0


def _side(flow: Any) -> Side | None:
    """Say who ended a flow early."""
    if flow.error is None:
        return None
    message = flow.error.msg
    if message == _LEFT or (flow.live and not flow.client_conn.connected):
        return "client"
    if _RESET in message:
        # It says so of an upstream, too; but HTTP/1 resets nothing.
        if flow.response.http_version.startswith("HTTP/1"):
            return "client"
        return "upstream" if flow.request.http_version.startswith("HTTP/1") else None
    # Last, for mitmproxy closes it where the client is gone.
    return "upstream" if flow.live and not flow.server_conn.connected else None


def _text(text: str) -> str:
    # mitmproxy reads headers and paths as UTF-8, and keeps other bytes as surrogates.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


addons: Final[list[Addon]] = [Addon()]

if __name__ == "__main__":
    sys.stdout.write(f"{Path(__file__).with_name('_addon') / 'unstream_addon.py'}\n")
