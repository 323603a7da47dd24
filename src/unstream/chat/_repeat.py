"""The look: an event that equals an earlier one but for its text does the same.

Nearly every event of a stream is the last one with another piece of text. So before an
event takes the ordinary road, key by key, it is decoded into a Struct, its texts and
its padding are taken out, and what is left is compared with what was left of an earlier
event that did nothing but append such texts. If they are equal, the texts are appended
where those went. Decoding and comparing are done by msgspec, in half the time of the
ordinary road.

What is compared is everything: a key that the Struct does not have is not decoded, and
what has no plain type stays raw bytes. What it is compared with is forgotten as soon as
an event of another kind was folded, because the same event might then do something
else.
"""

from collections.abc import Callable
from io import StringIO
from typing import Any, Final

import msgspec

from unstream._json import Json
from unstream._rules import DROPPED, Effects
from unstream.chat._schema import Chunk, ChunkChoice, decode_chunk, open_decoder
from unstream.chat._tokens import JsonArray, check

__all__ = ["Repeats"]

_LF: Final = ord("\n")
_PADDING: Final = ("obfuscation", "p")
_MISFITS: Final = (
    *(ValueError, msgspec.DecodeError, RecursionError),
    *(LookupError, TypeError, AttributeError),
)
# Streams in which something else changes from event to event are not looked at again
# and again in vain: after so many misses in a row, so many events take the ordinary
# road. A miss costs about half of that road.
_MISSES: Final = 4
_REST: Final = 32



def _in_delta(choice: ChunkChoice) -> Any:
    return choice.delta


def _in_logprobs(choice: ChunkChoice) -> Any:
    return choice.logprobs


# Where a text stands in a choice, by its key.
_PLACES: Final[dict[str, Callable[[ChunkChoice], Any]]] = {
    **dict.fromkeys(
        ("content", "reasoning", "reasoning_content", "refusal"),
        _in_delta,
    ),
    **dict.fromkeys(
        ("text", "summary", "data"),
        lambda choice: choice.delta.reasoning_details[0],  # type: ignore[union-attr,index]
    ),
    "arguments": lambda choice: choice.delta.tool_calls[0].function,  # type: ignore[union-attr,index]
}


class _Template:
    """An event, and where the texts went that it appended."""

    __slots__ = ("chunk", "holes", "is_padded", "key", "write")

    def __init__(self, chunk: Chunk, record: Effects) -> None:
        self.chunk = chunk  # without its texts and its padding
        # Where a text stands, its key there, what it is appended by. Log probabilities
        # are appended like texts, though they are lists.
        self.holes: list[tuple[Callable[[Any], Any], str, Callable[[Any], object]]] = []
        self.is_padded = False
        for key, _, did in record:
            if did is DROPPED:
                self.is_padded = True
            elif isinstance(did, JsonArray):
                self.holes.append((_in_logprobs, key, did.extend))
            elif isinstance(did, StringIO):
                self.holes.append((_PLACES[key], key, did.write))
        # Nearly always there is one text, and it stands in the delta itself.
        self.key = ""
        self.write: Any = None
        if len(self.holes) == 1 and self.holes[0][0] is _in_delta:
            _, self.key, self.write = self.holes[0]

    def take(self, chunk: Chunk) -> list[tuple[Callable[[Any], object], Any]]:
        """Take what changes out of a chunk; raise where something is missing.

        Return each with what it is to be appended by.
        """
        if self.is_padded:
            chunk.obfuscation = chunk.p = None
        choice = chunk.choices[0]  # type: ignore[index]
        taken = []
        for place, key, write in self.holes:
            part = place(choice)
            value = getattr(part, key)
            if place is _in_logprobs:
                value = check(value)
            elif not value:
                raise TypeError("no text")
            setattr(part, key, None)
            taken.append((write, value))
        return taken


class Repeats:
    """The events of one stream that others may be like, one for each choice."""

    __slots__ = ("_by_index", "_decode", "_misses", "_rest", "is_ready")

    def __init__(self) -> None:
        self._by_index: dict[int | None, _Template] = {}
        self._decode: Any = decode_chunk
        self._misses = 0
        self._rest = 0
        self.is_ready = False

    def clear(self) -> None:
        """Forget all: an event did something else."""
        if self.is_ready:
            self._by_index = {}
            self.is_ready = False

    def learn(self, data: bytes, record: Effects) -> None:
        """Take note of an event that did nothing but append texts."""
        if self._rest:
            self._rest -= 1
            return
        for key, _, did in record:
            if did is DROPPED:
                if key not in _PADDING:
                    return
            elif key not in _PLACES:
                return
        try:
            chunk = self._decode(data)
            like = _Template(chunk, record)
            index = chunk.choices[0].index
            like.take(chunk)
        except msgspec.ValidationError:
            # A key without a field, perhaps.
            sent: Json = msgspec.json.decode(data)
            if (decode := open_decoder(sent)) is not None and decode != self._decode:
                self._decode = decode
                self.learn(data, record)
            return
        except _MISFITS:
            return
        if like.holes:
            self._by_index[index] = like
            self.is_ready = True

    def take(self, payloads: list[bytes], at: int) -> int:
        """Append the texts of payloads from `at` on while they are like; return where.

        Nothing has been done with the payload at the place that is returned.
        """
        by_index, decode = self._by_index, self._decode
        start = at
        for data in payloads[at:] if at else payloads:
            try:
                chunk = decode(data)
                choice = chunk.choices[0]
                like = by_index[choice.index]
                key = like.key
                if key:
                    delta = choice.delta
                    text = getattr(delta, key)
                    setattr(delta, key, None)
                    if like.is_padded:
                        chunk.obfuscation = chunk.p = None
                    if chunk != like.chunk or _LF in data:
                        break
                    like.write(text)
                else:
                    taken = like.take(chunk)
                    if chunk != like.chunk or _LF in data:
                        break
                    for write, value in taken:
                        write(value)
            except _MISFITS:
                break
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
