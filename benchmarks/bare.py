"""The floor that people think there is: one bare typed decode for each chunk.

A minimal decoder, on payloads that were split beforehand; nothing is folded and nothing
is kept. All ratios in this folder are to this loop, in the same run.
"""

from typing import Any

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


_decode = json.Decoder(Chunk).decode


def payloads(stream: bytes) -> list[bytes]:
    """Split a stream into the payloads that this can decode; odd ones only we pay."""
    lines = stream.replace(b"\r\n", b"\n").split(b"\n")
    found = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    return [each for each in found if each.startswith(b"{") and _is_sound(each)]


def _is_sound(payload: bytes) -> bool:
    try:
        _decode(payload)
    except (DecodeError, UnicodeDecodeError):
        return False
    return True


def decode(payloads: list[bytes]) -> None:
    """Decode every payload."""
    for payload in payloads:
        _decode(payload)
