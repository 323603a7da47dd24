"""The floor that people think there is: one bare typed decode for each payload.

A minimal decoder of each protocol, on payloads that were split beforehand; nothing is
folded and nothing is kept. All ratios in this folder are to this loop, in the same run.
"""

from typing import Any, Final

from msgspec import DecodeError, Struct, json

__all__ = ["decode", "payloads"]


class Function(Struct, gc=False):
    arguments: str | None = None


class ToolCall(Struct, gc=False):
    index: int = 0
    function: Function | None = None


class Delta(Struct, gc=False):
    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    logprobs: Any = None
    finish_reason: str | None = None


class Usage(Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Chunk(Struct, gc=False):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None


# --- The other protocols: what a text delta has, and the pieces of calls --------------


class TextChoice(Struct, gc=False):
    index: int = 0
    text: str | None = None
    logprobs: Any = None
    finish_reason: str | None = None


class TextChunk(Struct, gc=False):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[TextChoice] = []
    usage: Usage | None = None


class BlockDelta(Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class MessageEvent(Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: BlockDelta | None = None


class ResponseEvent(Struct, gc=False):
    type: str = ""
    content_index: int = 0
    delta: str | None = None
    item_id: str = ""
    logprobs: Any = None
    output_index: int = 0
    sequence_number: int = 0


class Part(Struct, gc=False, rename="camel"):
    text: str | None = None
    thought: bool = False
    function_call: Any = None


class Content(Struct, gc=False):
    role: str = ""
    parts: list[Part] = []


class Candidate(Struct, gc=False, rename="camel"):
    index: int = 0
    content: Content | None = None
    finish_reason: str | None = None


class UsageMetadata(Struct, gc=False, rename="camel"):
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    total_token_count: int = 0


class Generated(Struct, gc=False, rename="camel"):
    candidates: list[Candidate] = []
    usage_metadata: UsageMetadata | None = None
    model_version: str = ""
    response_id: str = ""


_EVENTS: Final[dict[str, type[Struct]]] = {
    "chat": Chunk,
    "text": TextChunk,
    "messages": MessageEvent,
    "responses": ResponseEvent,
    "gemini": Generated,
}
_DECODERS: Final = {name: json.Decoder(type_) for name, type_ in _EVENTS.items()}


def payloads(stream: bytes, protocol: str = "chat") -> list[bytes]:
    """Split a stream into the payloads that this can decode; odd ones only we pay."""
    lines = stream.replace(b"\r\n", b"\n").split(b"\n")
    found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    return [
        each for each in found if each.startswith(b"{") and _is_sound(each, protocol)
    ]


def _is_sound(payload: bytes, protocol: str) -> bool:
    try:
        _DECODERS[protocol].decode(payload)
    except (DecodeError, UnicodeDecodeError):
        return False
    return True


def decode(payloads: list[bytes], protocol: str = "chat") -> None:
    """Decode every payload."""
    decode = _DECODERS[protocol].decode
    for payload in payloads:
        decode(payload)
