"""The look: an event that equals an earlier one but for its text does the same.

Nearly every event of a stream is the last one with another text, another number and
another padding. So it is decoded into a Struct, and where its type and its address are
those of an event that did nothing but append a text, its text is appended where that
one went. What may stand in such an event is a field of the Struct; an event with
another key, or with log probabilities, is not decoded and goes the ordinary way. What
was learned is forgotten as soon as an event of another kind was folded.
"""

from collections.abc import Callable
from io import StringIO
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct, field

from unstream._rules import DROPPED, Effects
from unstream.sse import Run

__all__ = ["Repeats"]

_LF: Final = ord("\n")
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Streams in which something else changes from event to event are not looked at again
# and again in vain: after so many misses in a row, so many events are not looked at.
_MISSES: Final = 4
_REST: Final = 32
# Items that are streamed at the same time; two are seen in recordings.
_MOST: Final = 16


# A Struct for each index that there may be besides: one that is not there is one less
# to compare. The order is that of OpenAI's servers: msgspec looks for the next field
# first. An empty list of log probabilities is nothing.


class _InItem(Struct, gc=False, forbid_unknown_fields=True):
    type: str | None = None
    delta: str | None = None
    item_id: str | None = None
    logprobs: tuple[()] | None = None
    obfuscation: str | None = None
    output_index: int | None = None
    sequence_number: int | None = None
    place: None = field(default=None, name="*place")


class _InContent(Struct, gc=False, forbid_unknown_fields=True):
    type: str | None = None
    place: int | None = field(default=None, name="content_index")
    delta: str | None = None
    item_id: str | None = None
    logprobs: tuple[()] | None = None
    obfuscation: str | None = None
    output_index: int | None = None
    sequence_number: int | None = None


class _InSummary(Struct, gc=False, forbid_unknown_fields=True):
    type: str | None = None
    delta: str | None = None
    item_id: str | None = None
    logprobs: tuple[()] | None = None
    obfuscation: str | None = None
    output_index: int | None = None
    sequence_number: int | None = None
    place: int | None = field(default=None, name="summary_index")


class _InCommands(Struct, gc=False, forbid_unknown_fields=True):
    type: str | None = None
    place: int | None = field(default=None, name="command_index")
    delta: str | None = None
    item_id: str | None = None
    logprobs: tuple[()] | None = None
    obfuscation: str | None = None
    output_index: int | None = None
    sequence_number: int | None = None


_DECODERS: Final[tuple[Callable[[bytes], Any], ...]] = tuple(
    msgspec.json.Decoder(kind).decode
    for kind in (_InContent, _InItem, _InSummary, _InCommands)
)

# The id, the type, the index of the item, and the one besides.
_Where: TypeAlias = tuple[str | None, str | None, int | None, int | None]


def _where(event: Any) -> _Where:
    return event.item_id, event.type, event.output_index, event.place


class Repeats:
    """What texts are appended to, by the type and the address of their events."""

    __slots__ = ("_decode", "_misses", "_newest", "_rest", "_writes", "is_ready")

    def __init__(self) -> None:
        self._writes: dict[_Where, Callable[[str], object]] = {}
        self._newest: _Where = (None, None, None, None)
        self._decode = _DECODERS[0]  # of all of them
        self._misses = 0
        self._rest = 0
        self.is_ready = False

    def clear(self) -> None:
        """Forget all: an event did something else."""
        if self.is_ready:
            self._writes = {}
            self.is_ready = False

    def learn(self, data: bytes, record: Effects) -> None:
        """Take note of an event that did nothing but append a text."""
        if self._rest:
            self._rest -= 1
            return
        sinks = [did for _, _, did in record if did is not DROPPED]
        if len(sinks) != 1 or not isinstance(sinks[0], StringIO):
            return
        for decode in _DECODERS:
            try:
                event = decode(data)
            except _REFUSED:
                continue
            if decode is not self._decode or len(self._writes) >= _MOST:
                self._decode = decode
                self._writes = {}
            self._newest = _where(event)
            self._writes[self._newest] = sinks[0].write
            self.is_ready = True
            return

    def take(self, payloads: Run, at: int) -> int:
        """Append the texts of payloads from `at` on while they are like; return where.

        Nothing has been done with the payload at the place that is returned.
        """
        writes, decode, start = self._writes, self._decode, at
        item_id, kind, output, place = self._newest
        write = writes[self._newest]
        # A run of events with names holds no line feed.
        may_be_odd = payloads.names is None
        for data in payloads[at:] if at else payloads:
            try:
                event = decode(data)
            except _REFUSED:
                break
            # One by one: to make a tuple of them costs a quarter of the whole.
            if (
                event.item_id != item_id
                or event.type != kind
                or event.output_index != output
                or event.place != place
            ):
                where = _where(event)
                if where not in writes:
                    break
                self._newest = where
                item_id, kind, output, place = where
                write = writes[where]
            text = event.delta
            if not text or (may_be_odd and _LF in data):
                break
            write(text)
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
