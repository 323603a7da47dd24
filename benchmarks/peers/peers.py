"""Ways from the bytes of a stream to a completion, each doing equal work.

All take the feeds as a transport hands them out and give back something from which the
whole completion can be read. Where a library only takes parsed chunks, they come to it
the cheapest way that it documents or uses itself; nothing touches the network. What
calls a private name says so: the library offers no public one.

A peer is imported when it is loaded. `fold` is what is timed; `read` is not.
"""

import codecs
import json
import os
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module, metadata
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks import measure
from unstream import ChatCompletion, Outcome

__all__ = [
    "CLAUDE_TAP",
    "PEERS",
    "Bytes",
    "Completion",
    "Loaded",
    "Peer",
    "load",
    "versions",
]

Fold = Callable[[Iterable[bytes]], Any]
Completion = dict[str, Any]


class Loaded(NamedTuple):
    """A loaded peer: `fold` makes its result of the feeds, `read` a dict of that."""

    fold: Fold
    read: Callable[[Any], Completion]


class Peer(NamedTuple):
    """A way to be compared: its name, what must be installed, and how it is loaded."""

    name: str
    distributions: tuple[str, ...]
    load: Callable[[], Loaded]


# --- Ours -----------------------------------------------------------------------------


def _unstream() -> Loaded:
    def read(outcome: Outcome[ChatCompletion]) -> Completion:
        return outcome.completion.to_dict() if outcome.completion else {}

    return Loaded(measure.fold, read)


# --- What a good engineer writes ------------------------------------------------------


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None


def _lines(feeds: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for data in feeds:
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _naive() -> Loaded:  # noqa: C901 - written as one would in ten minutes
    """Split lines, decode each into a Struct, append the content and the arguments."""
    decode = msgspec.json.Decoder(_Chunk).decode

    def fold(feeds: Iterable[bytes]) -> Completion:  # noqa: C901
        head: _Chunk | None = None
        usage = None
        texts: dict[int, list[str]] = {}
        reasons: dict[int, str] = {}
        calls: dict[tuple[int, int], tuple[_ToolCall, list[str]]] = {}
        for line in _lines(feeds):
            if not line.startswith(b"data: {"):
                continue
            chunk = decode(line[6:])
            head = head or chunk
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text = texts.setdefault(choice.index, [])
                delta = choice.delta
                if delta is not None:
                    if delta.content:
                        text.append(delta.content)
                    for call in delta.tool_calls or ():
                        key = choice.index, call.index
                        pieces = calls.setdefault(key, (call, []))[1]
                        if call.function and call.function.arguments:
                            pieces.append(call.function.arguments)
                if choice.finish_reason:
                    reasons[choice.index] = choice.finish_reason
        choices = []
        for index in sorted(texts):
            message: Completion = {
                "role": "assistant",
                "content": "".join(texts[index]),
            }
            if mine := [calls[key] for key in sorted(calls) if key[0] == index]:
                message["tool_calls"] = [_called(call, pieces) for call, pieces in mine]
            reason = reasons.get(index)
            choice_ = {"index": index, "message": message, "finish_reason": reason}
            choices.append(choice_)
        head = head or _Chunk()
        envelope = {"id": head.id, "created": head.created, "model": head.model}
        return {**envelope, "choices": choices, "usage": usage}

    return Loaded(fold, dict)


def _called(call: _ToolCall, pieces: list[str]) -> Completion:
    name = call.function.name if call.function else None
    function = {"name": name, "arguments": "".join(pieces)}
    return {"id": call.id, "type": "function", "function": function}


class Bytes:
    """Stand in for a client's response: what the decoders call, without a network."""

    def __init__(self, feeds: Iterable[bytes]) -> None:
        self._feeds = feeds
        self.headers = {"content-type": "text/event-stream"}

    def iter_bytes(self) -> Iterator[bytes]:
        return iter(self._feeds)

    def iter_text(self) -> Iterator[str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return (text for data in self._feeds if (text := decode(data)))

    def close(self) -> None:
        pass


def _dicts() -> Loaded:
    """Read events with httpx-sse, parse them with json, merge the deltas as dicts."""
    source = import_module("httpx_sse").EventSource

    def fold(feeds: Iterable[bytes]) -> Completion:
        whole: Completion = {}
        choices: dict[int, Completion] = {}
        for event in source(Bytes(feeds)).iter_sse():
            if not event.data or event.data == "[DONE]":
                continue
            chunk = json.loads(event.data)
            for choice in chunk.pop("choices", None) or ():
                into = choices.setdefault(choice["index"], {"message": {}})
                _merge(into["message"], choice.pop("delta", None) or {})
                logprobs = (choice.pop("logprobs", None) or {}).get("content")
                if logprobs:
                    into.setdefault("logprobs", {"content": []})
                    into["logprobs"]["content"] += logprobs
                _merge(into, choice)
            _update(whole, chunk)
        whole["choices"] = [choices[index] for index in sorted(choices)]
        return whole

    return Loaded(fold, dict)


_ONCE: Final = frozenset({"id", "type", "role", "index", "finish_reason"})


def _merge(into: Completion, delta: Completion) -> None:
    for key, value in delta.items():
        if value is None:
            into.setdefault(key, None)
        elif key == "tool_calls":
            calls = into.get(key) or []
            into[key] = calls
            for call in value:
                while len(calls) <= call["index"]:
                    calls.append({})
                _merge(calls[call["index"]], call)
        elif isinstance(value, dict):
            into[key] = into.get(key) or {}
            _merge(into[key], value)
        elif isinstance(value, str) and key not in _ONCE:
            into[key] = (into.get(key) or "") + value
        else:
            into[key] = value


def _update(whole: Completion, chunk: Completion) -> None:
    whole.update((key, value) for key, value in chunk.items() if value is not None)


# --- Libraries ------------------------------------------------------------------------


def _openai_chunks() -> Callable[[Iterable[bytes]], Iterator[Any]]:
    """Return openai-python's own way from bytes to ChatCompletionChunks."""
    openai = import_module("openai")
    chunk = import_module("openai.types.chat").ChatCompletionChunk
    client = openai.OpenAI(api_key="none")
    stream = openai.Stream
    return lambda feeds: iter(
        stream(cast_to=chunk, response=Bytes(feeds), client=client)
    )


def _openai() -> Loaded:
    chunks = _openai_chunks()
    state_type = import_module("openai.lib.streaming.chat").ChatCompletionStreamState

    def fold(feeds: Iterable[bytes]) -> Any:
        state = state_type()
        for chunk in chunks(feeds):
            state.handle_chunk(chunk)
        # Not get_final_completion: it raises where the finish_reason is "length".
        return state.current_completion_snapshot

    return Loaded(fold, lambda snapshot: snapshot.to_dict(mode="json"))


def _openinference() -> Loaded:
    chunks = _openai_chunks()
    module = "openinference.instrumentation.openai._response_accumulator"
    accumulator_type = import_module(module)._ChatCompletionAccumulator  # noqa: SLF001
    completion = import_module("openai.types.chat").ChatCompletion

    def fold(feeds: Iterable[bytes]) -> Any:
        accumulator = accumulator_type({}, completion)
        for chunk in chunks(feeds):
            accumulator.process_chunk(chunk)
        return accumulator._result()  # noqa: SLF001 - get_attributes dumps it to JSON

    return Loaded(fold, lambda result: result or {})


def _claude_tap() -> Loaded:
    """Rebuild as its proxy does for the trace."""
    reassembler = import_module("claude_tap.sse").SSEReassembler

    def fold(feeds: Iterable[bytes]) -> Any:
        into = reassembler(store_events=False)  # its proxy's default
        for data in feeds:
            into.feed_bytes(data)
        return into.reconstruct()

    return Loaded(fold, lambda snapshot: snapshot or {})


def _litellm() -> Loaded:
    # It fetches a price list from the network on import otherwise.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm = import_module("litellm")
    parser = import_module("litellm.llms.openai.chat.gpt_transformation")
    handler = parser.OpenAIChatCompletionStreamingHandler
    parse = handler(streaming_response=None, sync_stream=True).chunk_parser

    def fold(feeds: Iterable[bytes]) -> Any:
        chunks = [
            parse(json.loads(line[5:]))
            for line in _lines(feeds)
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]"
        ]
        return litellm.stream_chunk_builder(chunks)

    def read(response: Any) -> Completion:
        completion: Completion = response.model_dump() if response else {}
        for choice in completion.get("choices", ()):  # it has one name for both
            message = choice["message"]
            message.setdefault("reasoning", message.get("reasoning_content"))
        return completion

    return Loaded(fold, read)


def _langchain_parts() -> Callable[[Iterable[bytes]], Iterator[Any]]:
    """Return what ChatOpenAI._stream does with the chunks of openai-python."""
    chunks = _openai_chunks()
    model = import_module("langchain_openai").ChatOpenAI(model="m", api_key="none")
    first = import_module("langchain_core.messages").AIMessageChunk

    def parts(feeds: Iterable[bytes]) -> Iterator[Any]:
        kind = first
        for chunk in chunks(feeds):
            part = model._convert_chunk_to_generation_chunk(  # noqa: SLF001
                chunk.model_dump(), kind, {}
            )
            if part is not None:
                kind = type(part.message)
                yield part

    return parts


def _langchain() -> Loaded:
    """Add each part to the sum so far."""
    parts = _langchain_parts()

    def fold(feeds: Iterable[bytes]) -> Any:
        whole = None
        for part in parts(feeds):
            whole = part if whole is None else whole + part
        return whole

    return Loaded(fold, _generation)


def _langchain_once() -> Loaded:
    """Add all parts to the first at once, as langchain's `invoke` does."""
    parts = _langchain_parts()

    def fold(feeds: Iterable[bytes]) -> Any:
        first, *others = parts(feeds)
        return first + others

    return Loaded(fold, _generation)


def _generation(whole: Any) -> Completion:
    """Write langchain's message down as a completion: it has its own words for it."""
    message = whole.message
    info = whole.generation_info or {}
    calls = [
        {
            "id": call["id"],
            "function": {"name": call["name"], "arguments": call["args"]},
        }
        for call in message.tool_call_chunks
    ]
    said = {**message.additional_kwargs, "content": message.content}
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "logprobs": info.get("logprobs")}
    choice["finish_reason"] = info.get("finish_reason")
    total = (message.usage_metadata or {}).get("total_tokens")
    return {"choices": [choice], "usage": {"total_tokens": total}}


_LANGCHAIN: Final = ("langchain-core", "langchain-openai", "openai")
_OPENINFERENCE: Final = ("openinference-instrumentation-openai", "openai")

# It folds whatever the protocol is.
CLAUDE_TAP: Final = Peer("claude-tap SSEReassembler", ("claude-tap",), _claude_tap)

PEERS: Final = (
    Peer("unstream", ("unstream", "msgspec"), _unstream),
    Peer("naive msgspec fold", ("msgspec",), _naive),
    Peer("httpx-sse + json + dict merge", ("httpx-sse",), _dicts),
    CLAUDE_TAP,
    Peer("openinference accumulator", _OPENINFERENCE, _openinference),
    Peer("openai ChatCompletionStreamState", ("openai",), _openai),
    Peer("litellm stream_chunk_builder", ("litellm",), _litellm),
    Peer("langchain, one + over a list", _LANGCHAIN, _langchain_once),
    Peer("langchain, running +", _LANGCHAIN, _langchain),
)


def load(peer: Peer) -> Loaded | None:
    """Import a peer; None where it is not installed."""
    try:
        versions(peer)
    except metadata.PackageNotFoundError:
        return None
    return peer.load()


def versions(peer: Peer) -> dict[str, str]:
    """Return the versions of what a peer needs, by name of distribution."""
    return {name: metadata.version(name) for name in peer.distributions}
