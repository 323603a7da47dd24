"""The look: a delta that differs from the last one in its text alone does the same.

Nearly every event of a stream is the last one with another piece of text. So a payload
is first decoded as if it were that, strictly: any other key or type, any other index,
and it takes the ordinary road. That costs a third more than the decoding itself; the
ordinary road costs six times as much.

What is looked for is known from an event that did nothing but append a text. It is
forgotten as soon as an event did something else, because the same event might then go
to another block.
"""

from collections.abc import Callable
from io import StringIO
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, field

from unstream._rules import Effects
from unstream.sse import Run

__all__ = ["Repeat"]

_LF: Final = ord("\n")
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError)


class _Text(Struct, gc=False, forbid_unknown_fields=True):
    type: Literal["text_delta"]
    text: str


class _Thinking(Struct, gc=False, forbid_unknown_fields=True):
    type: Literal["thinking_delta"]
    text: str = field(name="thinking")
    estimated_tokens: int | None = None  # dropped


class _Input(Struct, gc=False, forbid_unknown_fields=True):
    type: Literal["input_json_delta"]
    text: str = field(name="partial_json")


Delta = TypeVar("Delta", _Text, _Thinking, _Input)


class _Event(Struct, Generic[Delta], gc=False, forbid_unknown_fields=True):
    type: Literal["content_block_delta"]
    index: int
    delta: Delta


_Decode: TypeAlias = Callable[[bytes], "_Event[Any]"]
# By the key that the text stands under.
_DECODERS: Final[dict[str, _Decode]] = {
    "text": msgspec.json.Decoder(_Event[_Text]).decode,
    "thinking": msgspec.json.Decoder(_Event[_Thinking]).decode,
    "partial_json": msgspec.json.Decoder(_Event[_Input]).decode,
}


class Repeat:
    """What is looked for: a delta of one kind, at one index."""

    __slots__ = ("_decode", "_index", "_write")

    def __init__(self, key: str, index: int, sink: StringIO) -> None:
        self._decode = _DECODERS[key]
        self._index = index
        self._write = sink.write

    @staticmethod
    def of(record: Effects, index: int) -> "Repeat | None":
        """Return what to look for after an event that did this; None: nothing."""
        [(key, _, did), *others] = record
        if others or key not in _DECODERS or not isinstance(did, StringIO):
            return None
        return Repeat(key, index, did)

    def take(self, payloads: Run, at: int) -> int:
        """Append the texts of payloads from `at` on while they are like; return where.

        Nothing has been done with the payload at the place that is returned.
        """
        decode, index, write = self._decode, self._index, self._write
        unnamed = payloads.names is None  # what has a name was found to be one line
        for data in payloads[at:] if at else payloads:
            try:
                event = decode(data)
            except _REFUSED:
                break
            if event.index != index or (unnamed and _LF in data):
                break
            write(event.delta.text)
            at += 1
        return at
