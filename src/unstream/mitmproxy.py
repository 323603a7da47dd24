"""An addon for mitmproxy that writes down the chat completions that go by.

Load it with `mitmdump -s "$(python -m unstream.mitmproxy)"`. This module knows
mitmproxy's hooks; it does not import mitmproxy.
"""

import asyncio
import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import msgspec

from unstream._outcome import Outcome
from unstream._tap import Tap, guard, is_chat, is_watched

__all__ = ["Addon", "addons"]

_START: Final = "unstream.start"


class Addon:
    """Append a line of JSON to a file for each chat completion.

    The file is the option `unstream_file`. A line is what an `Outcome` holds, after
    `id`, `url` (without its query, which may hold a key) and `status`.

    An event stream is handed on piece by piece as it comes, as by mitmproxy's own
    option `stream`; mitmproxy then keeps no body of it. A response in JSON is handled
    as without this addon, and read when it is complete.
    """

    def __init__(self) -> None:
        self._open: dict[str, Tap] = {}
        self._options: Any = None

    def load(self, loader: Any) -> None:
        """Declare the option."""
        loader.add_option(
            "unstream_file",
            str,
            "completions.jsonl",
            "The file to which unstream appends a line for each chat completion.",
        )
        self._options = loader.master.options

    def requestheaders(self, flow: Any) -> None:
        """Start the clock."""
        flow.metadata[_START] = perf_counter()

    def responseheaders(self, flow: Any) -> None:
        """Watch a response that is an event stream."""
        guard(self._watch)(flow)

    def response(self, flow: Any) -> None:
        """Read a response that was not streamed; end the watch of one that was."""
        if (tap := self._open.pop(flow.id, None)) is not None:
            tap.finish()
            return
        guard(self._whole)(flow)

    def error(self, flow: Any) -> None:
        """End the watch where either side went away, or mitmproxy stops."""
        if (tap := self._open.pop(flow.id, None)) is not None:
            tap.finish()

    def _watch(self, flow: Any) -> None:
        response = flow.response
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream") or not _is_watched(flow):
            return
        if response.raw_content is not None:
            return  # a flow that was saved: see `response`
        self._open[flow.id] = tap = self._tap(flow)
        before = response.stream  # what another addon put there
        # What is returned is handed on; there is no "after" but the next turn of the
        # event loop.
        soon = asyncio.get_running_loop().call_soon

        def stream(data: bytes) -> Any:
            tap.hold(data)
            soon(tap.read)
            return before(data) if callable(before) else data

        response.stream = stream

    def _whole(self, flow: Any) -> None:
        body = flow.response.raw_content
        if body is None or not _is_watched(flow):
            return
        tap = self._tap(flow)
        tap.hold(body)
        tap.finish()

    def _tap(self, flow: Any) -> Tap:
        return Tap(
            partial(self._write, flow),
            coding=flow.response.headers.get("content-encoding", ""),
            start=flow.metadata.get(_START),
        )

    def _write(self, flow: Any, outcome: Outcome) -> None:
        request, completion = flow.request, outcome.completion
        line: dict[str, Any] = {
            "id": flow.id,
            "url": request.pretty_url.partition("?")[0],
            "status": flow.response.status_code,
            **msgspec.structs.asdict(outcome),
        }
        if completion is not None:
            line["completion"] = msgspec.Raw(completion.to_json())
        with Path(self._options.unstream_file).expanduser().open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def _is_watched(flow: Any) -> bool:
    request, response = flow.request, flow.response
    return is_chat(request.method, request.path.partition("?")[0]) and is_watched(
        response.status_code, response.headers.get("content-type", "")
    )


addons: Final = [Addon()]

if __name__ == "__main__":
    sys.stdout.write(f"{__file__}\n")
