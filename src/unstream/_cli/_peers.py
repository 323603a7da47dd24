"""Other libraries that fold chat completions from bytes, where they are installed.

Each does what its documentation, or its own client, does; nothing touches the network.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module, metadata
from typing import Any, Final, NamedTuple

from unstream._json import Json

__all__ = ["Peer", "facts", "installed"]

_Whole = dict[str, Any]


class Peer(NamedTuple):
    """Hold a library: `fold` is what is timed, `read` makes a dict of its result."""

    name: str
    fold: Callable[[Sequence[bytes]], Any]
    read: Callable[[Any], _Whole]


def installed() -> Iterator[Peer]:
    """Yield the peers that can be imported."""
    for distribution, load in _LOADERS.items():
        try:
            version = metadata.version(distribution)
            yield load(version)
        except (ImportError, AttributeError):
            continue  # it is not there, or not as it was


def facts(whole: _Whole) -> Json:
    """Return what answers are compared by: texts, reasons, tool calls, tokens."""
    choices = []
    for choice in whole.get("choices") or ():
        message = choice.get("message") or {}
        calls = [
            (function.get("name"), function.get("arguments"))
            for call in message.get("tool_calls") or ()
            if (function := call.get("function"))
        ]
        text = message.get("content") or ""
        choices.append((choice.get("index"), text, choice.get("finish_reason"), calls))
    usage = whole.get("usage") or {}
    tokens = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    return [sorted(choices, key=str), tokens]


class _Response:
    """Stand in for the response of a client: what its decoder calls."""

    headers: Final = {"content-type": "text/event-stream"}

    def __init__(self, feeds: Iterable[bytes]) -> None:
        self._feeds = feeds

    def iter_bytes(self) -> Iterator[bytes]:
        return iter(self._feeds)

    def close(self) -> None:
        pass


def _openai(version: str) -> Peer:
    client = import_module("openai").OpenAI(api_key="none")
    stream = import_module("openai").Stream
    chunk = import_module("openai.types.chat").ChatCompletionChunk
    state_type = import_module("openai.lib.streaming.chat").ChatCompletionStreamState

    def fold(feeds: Sequence[bytes]) -> Any:
        state = state_type()
        for each in stream(cast_to=chunk, response=_Response(feeds), client=client):
            state.handle_chunk(each)
        # Not get_final_completion: it raises where the finish_reason is "length".
        return state.current_completion_snapshot

    def read(snapshot: Any) -> _Whole:
        whole: _Whole = snapshot.to_dict(mode="json", warnings=False)
        return whole

    return Peer(f"openai {version} StreamState", fold, read)


def _litellm(version: str) -> Peer:
    # It fetches a price list from the network on import otherwise.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm: Any = import_module("litellm")
    litellm.suppress_debug_info = True  # it would print to standard output
    build = litellm.stream_chunk_builder
    parser = import_module("litellm.llms.openai.chat.gpt_transformation")
    handler = parser.OpenAIChatCompletionStreamingHandler
    parse = handler(streaming_response=None, sync_stream=True).chunk_parser

    def fold(feeds: Sequence[bytes]) -> Any:
        lines = b"".join(feeds).splitlines()
        payloads = (line[5:].strip() for line in lines if line.startswith(b"data:"))
        return build([parse(json.loads(each)) for each in payloads if each[:1] == b"{"])

    return Peer(
        f"litellm {version} chunk_builder",
        fold,
        lambda response: response.model_dump(warnings=False) if response else {},
    )


_LOADERS: Final[dict[str, Callable[[str], Peer]]] = {
    "openai": _openai,
    "litellm": _litellm,
}
