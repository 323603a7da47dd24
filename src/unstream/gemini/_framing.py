r"""The framing of `streamGenerateContent`: an event stream, a JSON array, or objects.

This module knows where a payload begins and ends, and nothing of what it means. The
first character of the body, behind a byte order mark and white space, decides:

- `[`: a JSON array, as Google answers without `alt=sse`. Each element is a payload; the
  closing bracket is the end mark, and is handed out as `[DONE]`; whatever follows it is
  one malformed payload.
- `{`: objects one after the other, until something else comes: events from there on.
  One object alone is no stream, it is left to the accumulator as a body.
- anything else: an event stream. An object that stands between the events without
  `data:` (Google sends errors like that) is a payload, too. It begins where a line does
  and goes on to its last bracket, or to a blank line.

*Operations wanted.* Those of `sse.Decoder`, of which this is one.

*Goals.* Each byte is looked at twice at the most, however the input is cut. An event
stream costs what it costs `sse.Decoder`.

*Plan.* Where a value begins, the scanner of the standard library is tried once: it
finds the end of one that lies within the block (measured, an element of 740 bytes: 3.4
microseconds; to count brackets takes 12). One that is cut is kept in a bytearray, and
its brackets are counted as they come.

*Warning.* A payload in a run must hold no line feed (see `sse.Decoder`), so the line
feeds of elements are handed out as CR: both are white space to JSON, and neither may
stand in one of its strings.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from unstream.sse import BOM, DEFAULT_LIMIT, Decoder, Event, Run

__all__ = ["Framing"]

_LINE: Final = 40  # bytes that it takes to hold a line, besides its own
_QUOTE: Final = ord('"')
_OPEN: Final = ord("{")
_LIST: Final = ord("[")
_CLOSE: Final = ord("]")
_OPENING: Final = (_OPEN, _LIST)

# The forms of a body, besides _LIST and _OPEN.
_EVENTS: Final = 0
_CLOSED: Final = 1  # an array, behind its bracket
_SPENT: Final = 2  # and more than white space followed

_WHITE: Final = re.compile(rb"[ \t\r\n]*+")
_GAP: Final = re.compile(rb"[ \t\r\n,]*+")
# Up to the next bracket. A string that the block does not end stays before its quote.
_OUTSIDE: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_INSIDE: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# Up to the end of an element that is neither an object nor a list.
_BARE: Final = re.compile(rb'(?:[^",{\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)

_LINE_END: Final = re.compile(rb"[\r\n]")

_decode: Final = json.JSONDecoder(strict=False).raw_decode


class Framing(Decoder):
    """Split a body of `streamGenerateContent` into payloads, incrementally.

    An `sse.Decoder` that reads JSON arrays and objects, too. `limit` bounds an element
    or an object as it does the data of an event.
    """

    __slots__ = (
        "_alone",
        "_begun",
        "_brackets",
        "_form",
        "_lines",
        "_lost",
        "_same_line",
        "_start",
        "_value",
    )

    def __init__(
        self, *, limit: int = DEFAULT_LIMIT, error_field: bool = False
    ) -> None:
        super().__init__(limit=limit, error_field=error_field)
        self._form: int | None = None  # it is not known yet
        self._start = bytearray()  # what came so far, while it is not
        self._brackets = _Brackets()
        self._begun = False  # an element or object was, and it was cut
        self._value = bytearray()  # what came of it
        self._lost = False  # it went over the limit
        self._alone: bytes | None = None  # an object, until something follows it
        self._same_line = False  # no line ended since the last object
        self._lines: list[bytes] = []  # of an object between events

    @property
    def idle(self) -> bool:
        """Say whether the input so far ends between two events."""
        return self._form == _EVENTS and super().idle

    @property
    def by_lines(self) -> bool:
        """Say whether events end at the ends of lines, and nowhere else."""
        return self._form == _EVENTS

    @property
    def is_open(self) -> bool:
        """Say whether an end mark is still to come: the bracket of the array."""
        return self._form == _LIST

    def cut(self, data: bytes) -> Run | None:
        """Take bytes that are a run of events and nothing else; see `Decoder.cut`."""
        return super().cut(data) if self._form == _EVENTS else None

    def read(self, data: bytes) -> Iterator[Run | Event]:
        """Take the next bytes; yield runs of payloads, and the events between them."""
        if self._form is None:
            data = self._begin(data)
        if self._form == _EVENTS:
            return super().read(data)
        return (
            self._read_objects(data) if self._form == _OPEN else self._read_array(data)
        )

    def close(self, *, rest: bool = False) -> list[Event]:
        """End the input and return the events that this completes."""
        if self._form is None:
            self._form = _EVENTS
            start = bytes(self._start)
            return [*self.feed(start), *super().close(rest=rest)]
        if self._form == _EVENTS:
            return super().close(rest=rest)
        # The first object of a body, whole or cut, is the accumulator's.
        if not rest or not self._value or not self._has_fields:
            return []
        value = bytes(self._value)
        self._value.clear()
        if self._form == _LIST:
            value = value.replace(b"\n", b"\r")
        return [Event("message", value)]

    # --- The forms of a body ----------------------------------------------------------

    def _begin(self, data: bytes) -> bytes:
        """Choose the form by the first character; return what is to be read of it."""
        start = self._start
        at = len(start)
        start += data
        if start[:1] == BOM[:1]:
            if len(start) < len(BOM) and BOM.startswith(start):
                return b""
            at = max(at, len(BOM)) if start.startswith(BOM) else 0
        at = _end(_WHITE, start, at)
        if at == len(start) and at <= self._limit:
            return b""
        first = start[at] if at < len(start) else _EVENTS
        if first in _OPENING:
            self._form = first
            self._head = None  # no byte order mark can come any more
            self._has_fields = first == _LIST
            data = bytes(start[at + (first == _LIST) :])
        else:
            self._form = _EVENTS
            data = bytes(start)
        start.clear()
        return data

    def _read_array(self, block: bytes) -> Iterator[Run | Event]:
        run = Run()
        text = block.decode("latin-1")  # of which each character is a byte
        at, size = 0, len(block)
        while at < size and self._form != _SPENT:
            if not self._begun:
                at = _end(_GAP, block, at)
                if at == size:
                    break
                if self._form == _CLOSED:
                    self._form = _SPENT
                    run.append(block[at : at + 1])  # no byte alone is an object
                    break
                if block[at] == _CLOSE:
                    self._form = _CLOSED
                    run.append(b"[DONE]")
                    at += 1
                    continue
            at, value = self._take_value(block, text, at)
            if value is not None:
                run.append(value.replace(b"\n", b"\r"))
        if run:
            yield run

    def _read_objects(self, block: bytes) -> Iterator[Run | Event]:
        run = Run()
        text = block.decode("latin-1")
        at, size = 0, len(block)
        while at < size:
            if not self._begun:
                at = self._pass_gap(block, at)
                if at == size:
                    break
                if self._alone is not None:
                    self._has_fields = True
                    yield Event("message", self._alone)
                    self._alone = None
                if block[at] != _OPEN:
                    yield from self._leave_objects(run, block, at)
                    return
            at, value = self._take_value(block, text, at)
            if self._begun:
                break
            self._same_line = True
            if not self._has_fields:
                self._alone = value
                self._has_fields = value is None  # it was over the limit
            elif value is not None:
                run.append(value)
        yield from _parted(run)

    def _leave_objects(self, run: Run, block: bytes, at: int) -> Iterator[Run | Event]:
        """Go on with events, where no object begins."""
        if self._same_line:
            run.append(block[at : at + 1])  # as behind an array
        yield from _parted(run)
        self._form = _EVENTS
        self._is_idle = True
        yield from super().read(block[at:])

    def _pass_gap(self, block: bytes, at: int) -> int:
        """Return where the next object begins, or something else."""
        end = _end(_GAP, block, at)
        if _LINE_END.search(block, at, end):
            self._same_line = False
        return end

    def _take_value(self, block: bytes, text: str, at: int) -> tuple[int, bytes | None]:
        """Read on in a value; return where it ends, and the value, if it is whole."""
        start = at
        if not self._begun:
            at = self._brackets.begin(block, text, at)
            if at > start and at - start <= self._limit:
                return at, block[start:at]
            self._begun = True
        if at == start:
            at = self._brackets.find(block, at)
        if not self._lost:
            self._value += block[start : at if at >= 0 else len(block)]
            if len(self._value) > self._limit:
                self._lost = True
                self.n_skipped += 1
                self._value.clear()
        if at < 0:
            return len(block), None
        value = None if self._lost else bytes(self._value)
        self._begun = self._lost = False
        self._value.clear()
        return at, value

    # --- Objects between events -------------------------------------------------------

    def _field(self, line: bytes, events: list[Event]) -> None:
        if self._lines or (line[:1] == b"{" and self.is_stream):
            self._add_line(line, events)
        else:
            super()._field(line, events)

    def _add_line(self, line: bytes, events: list[Event]) -> None:
        """Take a line of an object, or of several, that stand without `data:`."""
        if self._skipping:
            return
        if self._data:  # the event before it has no blank line
            super()._dispatch(events)
        self._size += len(line) + _LINE
        at, size = 0, len(line)
        while at < size:
            start, at = at, self._brackets.find(line, at)
            if at < 0:
                self._lines.append(line[start:])
                if self._brackets.in_string:  # no string goes on in another line
                    self._end_object(events)
                return
            self._lines.append(line[start:at])
            self._end_object(events)
            at = _end(_GAP, line, at)
            if line[at : at + 1] not in (b"{", b""):
                events.append(Event("message", line[at:]))
                return

    def _end_object(self, events: list[Event]) -> None:
        data = b"\n".join(self._lines)
        events.append(Event(self._event or "message", data, self.last_event_id))
        self._lines.clear()
        self._size = 0
        self._brackets.clear()

    def _has_begun(self) -> bool:
        return bool(self._lines) or super()._has_begun()

    def _dispatch(self, events: list[Event]) -> None:
        if self._lines:
            self._end_object(events)  # which was cut off
        super()._dispatch(events)

    def _skip(self) -> None:
        self._lines.clear()
        self._brackets.clear()
        super()._skip()


class _Brackets:
    """Find the end of a JSON value that is cut anywhere, by its brackets."""

    __slots__ = ("_bare", "_depth", "_escaped", "in_string")

    def __init__(self) -> None:
        self._bare = False  # it is neither an object nor a list
        self._depth = 0
        self._escaped = False  # what was read ends in a backslash
        self.in_string = False

    def begin(self, block: bytes, text: str, at: int) -> int:
        """Return where a value ends that lies within the block, else where it begins.

        `text` is the block as Latin-1.
        """
        self._bare = block[at] not in _OPENING
        if not self._bare:
            try:
                return _decode(text, at)[1]
            except (ValueError, RecursionError):
                pass
        return at

    def find(self, block: bytes, at: int) -> int:
        """Return where the value ends, or -1 where it goes on."""
        size = len(block)
        while True:
            at = self._pass_over(block, at)
            if at == size:
                return -1
            byte = block[at]
            if byte == _QUOTE:
                self.in_string = not self.in_string
            elif self._bare:
                return at
            elif byte in _OPENING:
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    self._depth = 0
                    return at + 1
            at += 1

    def _pass_over(self, block: bytes, at: int) -> int:
        """Return where the next bracket or quote is that matters, or the size."""
        if not self.in_string:
            return _end(_BARE if self._bare else _OUTSIDE, block, at)
        if self._escaped:
            self._escaped = False
            at += 1
        at = _end(_INSIDE, block, at)
        if at < len(block) and block[at] != _QUOTE:
            self._escaped = True
            return len(block)
        return at

    def clear(self) -> None:
        """Begin anew."""
        self._bare = self._escaped = self.in_string = False
        self._depth = 0


def _parted(values: Run) -> Iterator[Run | Event]:
    """Yield values as runs, and those that hold a line feed by themselves."""
    run = Run()
    for value in values:
        if b"\n" not in value:
            run.append(value)
            continue
        if run:
            yield run
            run = Run()
        yield Event("message", value)
    if run:
        yield run


def _end(pattern: re.Pattern[bytes], block: bytes | bytearray, at: int) -> int:
    """Return where a pattern that always matches ends."""
    found = pattern.match(block, at)
    return at if found is None else found.end()
