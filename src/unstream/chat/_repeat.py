"""The look: an event that equals an earlier one but for its text does the same.

Nearly every event of a stream is the last one with another piece of text. So before an
event takes the ordinary road, key by key, it is decoded into a Struct, its text and its
padding are taken out, and what is left is compared with what was left of an earlier
event that did nothing but append such a text. If they are equal, the text is appended
where that one went. Decoding and comparing are done by msgspec: half the cost of the
ordinary road.

What is compared is everything: a key that the Struct does not have is not decoded, and
what has no plain type stays raw bytes. What it is compared with is forgotten as soon as
an event of another kind was folded, because the same event might then do something
else.
"""

from io import StringIO
from typing import Final

import msgspec

from unstream._rules import DROPPED, Effects
from unstream.chat._schema import Chunk, decode_chunk

__all__ = ["Repeats"]

_LF: Final = ord("\n")
_PADDING: Final = ("obfuscation", "p")
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Streams in which something else changes from event to event are not looked at again
# and again in vain: after so many misses in a row, so many events take the ordinary
# road. A miss costs about two thirds of that road.
_MISSES: Final = 4
_REST: Final = 64


class _Template:
    __slots__ = ("chunk", "in_call", "key", "sink")

    def __init__(self, chunk: Chunk, key: str, sink: StringIO, *, in_call: bool) -> None:
        self.chunk = chunk  # without its text and its padding
        self.key = key
        self.sink = sink
        self.in_call = in_call


class Repeats:
    """The events of one stream that others may be like, one for each choice."""

    __slots__ = ("_by_index", "_misses", "_rest", "is_ready")

    def __init__(self) -> None:
        self._by_index: dict[int | None, _Template] = {}
        self._misses = 0
        self._rest = 0
        self.is_ready = False

    def clear(self) -> None:
        """Forget all: an event did something else."""
        if self.is_ready:
            self._by_index = {}
            self.is_ready = False

    def learn(self, data: bytes, record: Effects) -> None:
        """Take note of an event that did nothing but append a text."""
        if self._rest:
            self._rest -= 1
            return
        key, sink = "", None
        for name, _, did in record:
            if did is DROPPED:
                if name not in _PADDING:
                    return
            elif sink is not None:
                return  # two texts
            elif isinstance(did, StringIO):
                key, sink = name, did
        if sink is None:
            return
        try:
            chunk = decode_chunk(data)
        except _REFUSED:
            return
        in_call = key == "arguments"
        if _take_text(chunk, key, in_call=in_call):
            index = chunk.choices[0].index  # type: ignore[index]
            self._by_index[index] = _Template(chunk, key, sink, in_call=in_call)
            self.is_ready = True

    def take(self, payloads: list[bytes], at: int) -> int:
        """Append the texts of payloads from `at` on while they are like; return where.

        Nothing has been done with the payload at the place that is returned.
        """
        by_index, decode = self._by_index, decode_chunk
        start = at
        for data in payloads[at:] if at else payloads:
            try:
                chunk = decode(data)
                choice = chunk.choices[0]  # type: ignore[index]
                like = by_index[choice.index]
                part = choice.delta
                if like.in_call:
                    part = part.tool_calls[0].function  # type: ignore
                key = like.key
                text = getattr(part, key)
                setattr(part, key, None)
            except (*_REFUSED, LookupError, TypeError, AttributeError):
                break
            chunk.obfuscation = chunk.p = None
            if not text or chunk != like.chunk or _LF in data:
                break
            like.sink.write(text)
            at += 1
        if at > start:
            self._misses = 0
        else:
            self._misses += 1
            if self._misses == _MISSES:
                self._misses = 0
                self._rest = _REST
                self.clear()
        return at


def _take_text(chunk: Chunk, key: str, *, in_call: bool) -> bool:
    """Take text and padding out of a chunk; say whether there was such a text."""
    chunk.obfuscation = chunk.p = None
    if not chunk.choices or chunk.choices[0].delta is None:
        return False
    part: object = chunk.choices[0].delta
    if in_call:
        calls = chunk.choices[0].delta.tool_calls
        if not calls or calls[0].function is None:
            return False
        part = calls[0].function
    if not getattr(part, key, None):
        return False
    setattr(part, key, None)
    return True
