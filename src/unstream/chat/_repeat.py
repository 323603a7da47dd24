"""The look: an event that equals an earlier one but for its text does the same.

Nearly every event of a stream is the last one with another piece of text. So an event,
which is decoded into Structs, has its text taken out, and what is left is compared with
what was left of an earlier event that did nothing but append such a text. If they are
equal, the text is appended where that one went. msgspec does the decoding and the
comparing, in half the time of folding the event.

What is compared is everything: a key that the Structs do not have is not decoded, and
what has no plain type stays raw bytes. What it is compared with is forgotten as soon as
an event of another kind was folded, because the same event might then do something
else.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from unstream._lists import JsonArray
from unstream._rules import DROPPED, Effects, drop
from unstream.chat._fields import CHOICE, DELTA, TOP
from unstream.chat._schema import Chunk, ChunkChoice, decode_chunk, open_decoder
from unstream.chat._tokens import check

__all__ = ["MISFITS", "Repeats"]

_LF: Final = ord("\n")
_PADDING: Final = ("obfuscation", "p")
# Keys of a chunk, a choice and a delta whose values are dropped: twins, and the like.
_DROPS: Final = tuple(
    frozenset(key for key, rule in table.items() if rule is drop)
    for table in (TOP, CHOICE, DELTA)
)
# What is raised for an event that is not of the shape that is looked for.
MISFITS: Final = (
    *(ValueError, msgspec.DecodeError, RecursionError),
    *(LookupError, TypeError, AttributeError),
)
# Streams in which something else changes from event to event are not looked at again
# and again in vain: after so many misses in a row, so many events are not looked at.
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


# A place of a text or a list, its key there, and what it is appended by.
_Hole = tuple[Callable[[ChunkChoice], Any], str, Callable[[Any], object]]


class _Template:
    """A choice of an event, and where the texts went that it appended.

    Nearly always there is one text, which stands in the delta itself: `write` appends
    what stands there under `key`. Log probabilities are appended like texts, though
    they are lists.
    """

    __slots__ = ("choice", "holes", "key", "write")

    def __init__(self, choice: ChunkChoice, record: Effects) -> None:
        self.choice = choice  # without its texts
        self.key = ""
        self.write: Any = None
        self.holes: list[_Hole] = []
        for key, _, did in record:
            if did is DROPPED:
                continue
            if isinstance(did, JsonArray):
                self.holes.append((_in_logprobs, key, did.extend))
                continue
            place = _PLACES[key]
            if place is _in_delta and not self.key:
                self.key, self.write = key, did.write
            else:
                self.holes.append((place, key, did.write))

    def take(self, choice: ChunkChoice) -> list[tuple[Callable[[Any], object], Any]]:
        """Take what changes out of a choice; raise where something is missing.

        Return each with what it is to be appended by.
        """
        taken = []
        for place, key, write in self.holes:
            part = place(choice)
            value = getattr(part, key)
            setattr(part, key, None)
            if place is _in_logprobs:
                value = check(value)
            elif not value:
                raise TypeError("no text")
            taken.append((write, value))
        return taken


def _have_one(delta: Any) -> None:
    """Raise where there are several of what a text may stand in."""
    for parts in (delta.tool_calls, delta.reasoning_details):
        if parts is not None:
            [_] = parts


class Repeats:
    """The events of one stream that others may be like, one for each choice.

    `top` is what stood beside the choices of all of them; `missed` is the last event
    that was looked at and not like one, unless it lost something by that.
    """

    __slots__ = (
        "_by_index",
        "_dropped",
        "_misses",
        "_rest",
        "decode",
        "is_ready",
        "missed",
        "top",
    )

    def __init__(self) -> None:
        # What is dropped and has no field of its own: its level, key and field.
        self._dropped: tuple[tuple[int, str, str], ...] = ()
        self._by_index: dict[int | None, _Template] = {}
        self._misses = 0
        self._rest = 0
        self.decode: Any = decode_chunk
        self.is_ready = False
        self.missed: Chunk | None = None
        self.top: Chunk | None = None

    def clear(self) -> None:
        """Forget all: an event did something else."""
        if self.is_ready:
            self._by_index = {}
            self.is_ready = False

    def learn(self, top: Chunk, choice: ChunkChoice, record: Effects) -> None:
        """Take note of an event that did nothing but append texts.

        `top` is without its choices and its padding; both are kept.
        """
        if self._rest:
            self._rest -= 1
            return
        try:
            like = _Template(choice, record)
            if like.key:
                setattr(choice.delta, like.key, None)
            if like.holes:
                _have_one(choice.delta)
                like.take(choice)
            elif not like.key:
                return
        except MISFITS:
            return
        self._by_index[choice.index] = like
        self.is_ready = True
        self.top = top

    def learn_from(self, data: bytes, record: Effects) -> None:
        """Do the same for an event that is not decoded yet."""
        if self._rest:
            self._rest -= 1
            return
        try:
            chunk = self.decode(data)
        except msgspec.ValidationError:
            # A key without a field, perhaps.
            if (opened := open_decoder(msgspec.json.decode(data), _DROPS)) is None:
                return
            try:
                chunk, self.decode = opened.decode(data), opened.decode
            except MISFITS:  # and something deeper that has no field
                return
            self._dropped = opened.dropped
        except MISFITS:
            return
        known = {*_PADDING, *(key for _, key, _ in self._dropped)}
        if any(did is DROPPED and key not in known for key, _, did in record):
            return
        if chunk.choices is not None and len(chunk.choices) == 1:
            [choice] = chunk.choices
            chunk.choices = chunk.obfuscation = chunk.p = None
            self._drop(chunk, choice)
            if self.top != chunk:
                self.clear()
            self.learn(chunk, choice, record)

    def _drop(self, chunk: Any, choice: Any) -> None:
        """Take out what is dropped, whatever it is."""
        parts = chunk, choice, choice.delta
        for level, _, name in self._dropped:
            if (part := parts[level]) is not None:  # a delta may be null
                setattr(part, name, None)

    def take(self, payloads: list[bytes], at: int) -> int:
        """Append the texts of payloads from `at` on while they are like; return where.

        Nothing has been done with the payload at the place that is returned.
        """
        by_index, decode, top = self._by_index, self.decode, self.top
        start, dropped = at, self._dropped
        self.missed = None
        try:
            for data in payloads[at:] if at else payloads:
                chunk = decode(data)
                [choice] = chunk.choices
                like = by_index[choice.index]
                key = like.key
                if like.holes or dropped:
                    if _LF in data or not self._take_several(chunk, choice, like):
                        break
                    at += 1
                    continue
                delta = choice.delta
                text = getattr(delta, key)
                setattr(delta, key, None)
                if choice != like.choice:
                    setattr(delta, key, text)
                    self.missed = chunk
                    break
                padding, p = chunk.obfuscation, chunk.p
                chunk.choices = None
                if padding is not None:
                    chunk.obfuscation = None
                if p is not None:
                    chunk.p = None
                if chunk != top or _LF in data:
                    setattr(delta, key, text)
                    chunk.choices = [choice]
                    chunk.obfuscation, chunk.p = padding, p
                    self.missed = chunk
                    break
                like.write(text)
                at += 1
        except MISFITS:
            pass
        if at > start:
            self._misses = 0
        else:
            self._misses += 1
            if self._misses == _MISSES:
                self._misses = 0
                self._rest = _REST
                self.clear()
        return at

    def _take_several(self, chunk: Any, choice: Any, like: _Template) -> bool:
        """Append what an event holds, if it is like; say so."""
        taken = like.take(choice)
        if like.key:
            delta = choice.delta
            text = getattr(delta, like.key)
            if not text:
                return False
            taken.append((like.write, text))
            setattr(delta, like.key, None)
        chunk.choices = chunk.obfuscation = chunk.p = None
        if self._dropped:
            self._drop(chunk, choice)
        if choice != like.choice or chunk != self.top:
            return False
        for write, value in taken:
            write(value)
        return True
