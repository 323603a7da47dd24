r"""Server-sent events: bytes in at any cut, events out.

This module knows the WHATWG event-stream grammar (HTML standard, section 9.2) and
nothing about JSON or what an event means. It is the one framing of event streams.

*Operations wanted.* Take bytes at any cut; hand out events as soon as their blank line
came; keep what is unfinished; say whether this is an event stream at all.

*Goals.* Each byte is touched a constant number of times however the input is cut. An
event of one unnamed data line, as most servers send it, costs no more than to be cut
out: `read` hands out runs of them as lists of payloads.

*Plan.* Line ends are made LF. Where a block begins between two events, it is split at
`\n\ndata: ` (measured: 180 ns an event, against 245 for a split into lines); what comes
out is a payload, unless it holds a line feed. All else is read line by line: the
beginning and the end of a block, events with names, comments. An unfinished line is
kept in a bytearray, which grows in place.

*Warning.* A payload of a run that holds a line feed is not one yet: give it to
`reread`, before the next item is asked for.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

__all__ = ["BOM", "DEFAULT_LIMIT", "BytesLike", "Decoder", "Event", "Run"]

BytesLike: TypeAlias = bytes | bytearray | memoryview

# The largest events seen carry an image or a whole audio clip in base64, a few MiB;
# openai-go stops at 32 MiB, openai-node at 16. Twice the larger, and still small
# enough to hold for one connection.
DEFAULT_LIMIT: Final = 64 * 1024 * 1024

_LINE: Final = 40  # bytes that it takes to hold a data line, besides its own
# A longer payload that is unfinished is kept as a line, to which bytes can be added.
_TAIL: Final = 4096
_NAMES: Final = 256  # Responses, with the most of all, has sixty kinds of events
_CR: Final = ord("\r")  # a number is found in bytes faster than bytes are
_LF: Final = ord("\n")
BOM: Final = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True, gc=False):
    """Hold one dispatched event.

    `event` is `"message"` where the stream named none; `data` is the payload as bytes,
    its lines joined by LF, invalid UTF-8 left as it came; `id` is the last event id at
    the time of the dispatch; `retry`, in milliseconds, is set where this event's block
    carried that field.
    """

    event: str
    data: bytes
    id: str = ""
    retry: int | None = None


class Run(list[bytes]):
    """Payloads of events of one data line each.

    `size` is their length, 0 where that is not known; `names` are those of the events,
    as bytes, where they have names.
    """

    size = 0
    names: "list[bytes] | None" = None

    def name(self, at: int) -> str:
        """Return the name of an event, "" where it has none."""
        return "" if self.names is None else self.names[at].decode("utf-8", "replace")


class Decoder:
    """Split an event stream into events, incrementally.

    `limit` bounds, in bytes, the data of one event plus the line being read; an event
    beyond it is skipped and counted in `n_skipped`. With `error_field`, a line of a
    field named `error` (llama.cpp before September 2025) is an event of that name by
    itself; the standard ignores it.

    `last_event_id` and `retry` are the stream's state as the standard defines it;
    `n_unknown` counts lines that are no comment and no field the standard knows.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_error_field",
        "_event",
        "_event_retry",
        "_has_fields",
        "_head",
        "_id",
        "_is_idle",
        "_limit",
        "_line",
        "_line_lost",
        "_names",
        "_size",
        "_skipping",
        "_tail",
        "last_event_id",
        "n_skipped",
        "n_unknown",
        "retry",
    )

    def __init__(
        self, *, limit: int = DEFAULT_LIMIT, error_field: bool = False
    ) -> None:
        self._limit = limit
        self._error_field = error_field
        self._head: bytes | None = b""  # what may yet be a byte order mark
        self._after_cr = False
        self._line = bytearray()  # the unfinished line
        self._line_lost = False  # it went over the limit
        self._data: list[bytes] = []  # the data lines of the unfinished event
        self._size = 0
        self._event = ""
        self._event_retry: int | None = None
        self._id = ""  # the standard's buffer: committed by the blank line
        self._skipping = False
        self._has_fields = False
        self._is_idle = False  # until it is known that no byte order mark comes
        self._names: set[bytes] = set()  # of events in runs
        self._tail: bytes | None = None  # of a run: a payload that is unfinished
        self.last_event_id: str = ""
        self.retry: int | None = None
        self.n_skipped: int = 0
        self.n_unknown: int = 0

    @property
    def is_stream(self) -> bool:
        """Say whether any line so far was a comment or a field of the standard."""
        return self._has_fields or bool(self._data)

    @property
    def idle(self) -> bool:
        """Say whether the input so far ends between two events."""
        return self._is_idle and self._tail is None and not self._after_cr

    @property
    def is_between(self) -> bool:
        """Say whether no event has begun, though half a line end may be missing."""
        return (self._is_idle or self._head == b"") and self._tail is None

    @property
    def awaits_lf(self) -> bool:
        """Say whether the input so far ends in CR, to which an LF would belong."""
        return self._after_cr

    @property
    def pending(self) -> bytes:
        """The data of the event that has begun, as far as its lines are complete."""
        return b"\n".join(self._data)

    @property
    def by_lines(self) -> bool:
        """Say whether events end at the ends of lines, and nowhere else."""
        return True

    @property
    def is_open(self) -> bool:
        """Say whether an end mark is still to come: an event stream has none."""
        return False

    def feed(self, data: BytesLike) -> list[Event]:
        """Take the next bytes and return the events that they complete.

        Raises TypeError where `data` is not bytes-like; nothing that the bytes contain
        raises.
        """
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        events: list[Event] = []
        for found in self.read(data):
            if isinstance(found, Event):
                events.append(found)
                continue
            for at, payload in enumerate(found):
                if _LF in payload:
                    events += self.reread(payload)
                    continue
                name = found.name(at) or "message"
                events.append(Event(name, payload, self.last_event_id))
        return events

    def cut(self, data: bytes) -> Run | None:
        """Take bytes that are a run of unnamed events and nothing else; see *Warning*.

        Return None, with nothing taken, where they may be more: `read` takes those. It
        costs half as much, which counts where a stream is short and fed whole.
        """
        if (
            data[:6] != b"data: "
            or data[-2:] != b"\n\n"
            or not (self._is_idle or self._head == b"")
            or self._tail is not None
            or self._after_cr
            or _CR in data
            or len(data) > self._limit
        ):
            return None
        self._head = None
        self._is_idle = self._has_fields = True
        run = Run(data[6:-2].split(b"\n\ndata: "))
        run.size = len(data) - 8 * len(run)
        return run

    def read(self, data: bytes) -> Iterator[Run | Event]:
        """Take the next bytes; yield runs of payloads, and the events between them.

        A run stands for events of one data line each; see *Warning*.
        """
        block = self._normalise(data)
        if not block:
            return
        tail, self._tail = self._tail, None
        if tail is not None:
            if tail[-1:] != b"\n" and 6 + len(tail) + len(block) <= self._limit:
                yield from self._split(block, tail)
                return
            self._read(b"data: " + tail)
        if not self._is_idle:
            if _LF not in block:  # one byte is found four times as fast as two
                self._read(block)
                return
            # Finish the event that an earlier block began.
            end = block.find(b"\n\n") + 2
            if end == 1:
                yield from self._read(block)
                return
            yield from self._read(block[:end])
            block = block[end:]
        if block[:7] == b"event: " and len(block) <= self._limit:
            yield from self._split_named(block)
            return
        if block[:6] != b"data: ":
            # Comments come first, say.
            start = block.find(b"\n\ndata: ") + 2
            if start == 1:
                yield from self._read(block)
                return
            yield from self._read(block[:start])
            block = block[start:]
        if len(block) > self._limit:
            yield from self._read(block)
        else:
            yield from self._split(block, None)

    def _split(self, block: bytes, tail: bytes | None) -> Iterator[Run | Event]:
        """Split a block into payloads; it begins with `data: ` or goes on with `tail`.

        What is unfinished is kept as the next tail, or read line by line.
        """
        run = Run(block.split(b"\n\ndata: "))
        run.size = len(block) - 8 * len(run) + 8
        if tail is None:
            run[0] = run[0][6:]
            run.size -= 6
        else:
            run[0] = tail + run[0]
            run.size += len(tail)
        rest = run.pop()
        run.size -= len(rest)
        ends = rest[-2:] == b"\n\n"
        if ends:
            run.append(rest[:-2])
            run.size += len(rest) - 2
        if run:
            self._has_fields = True
            yield run
        if ends:
            return
        if len(rest) < _TAIL and _LF not in rest:
            self._tail = rest
        else:
            yield from self._read(b"data: " + rest)

    def _split_named(self, block: bytes) -> Iterator[Run | Event]:
        """Split a block of events that have a name and one data line each.

        An event named `error` is read by itself: it means something else than others.
        Most blocks hold events of one name, and these are cut out without a look at the
        name of each: in half the time.
        """
        end = block.find(b"\n")
        name, mark = block[7:end], block[: end + 7]
        if name in self._names and mark[-7:] == b"\ndata: ":
            alike = block[len(mark) :].split(b"\n\n" + mark)
            last = alike.pop()
            if alike and not [payload for payload in alike if _LF in payload]:
                run = Run(alike)
                run.names = [name] * len(alike)
                yield run
                block = mark + last
        parts = block.split(b"\n\nevent: ")
        parts[0] = parts[0][7:]
        rest: bytes | None = parts.pop()
        if rest is not None and rest[-2:] == b"\n\n":
            parts.append(rest[:-2])
            rest = None
        known = self._names
        run, names = Run(), []
        for part in parts:
            name, found, payload = part.partition(b"\ndata: ")
            if found and _LF not in payload and (name in known or self._meet(name)):
                run.append(payload)
                names.append(name)
                continue
            if run:
                run.names = names
                yield run
                run, names = Run(), []
            yield from self._read(b"event: " + part + b"\n\n")
        if run:
            self._has_fields = True
            run.names = names
            yield run
        if rest is not None:
            yield from self._read(b"event: " + rest)

    def _meet(self, name: bytes) -> bool:
        """Remember a name that events of a run may have; say whether it is one."""
        if _LF in name or name.strip() == b"error" or len(self._names) > _NAMES:
            return False
        self._names.add(name)
        return True

    def reread(self, payload: bytes) -> list[Event]:
        """Read what a run held of more than one line."""
        return list(self._read(b"data: " + payload + b"\n\n"))

    def close(self, *, rest: bool = False) -> list[Event]:
        """End the input and return the events that this completes.

        The standard drops an event whose blank line never came. With `rest` it is
        dispatched: servers do omit that line (llama.cpp after `[DONE]`), and what
        stands there tends to hold the usage.
        """
        events: list[Event] = []
        if rest:
            if self._tail is not None:
                self._read(b"data: " + self._tail)
                self._tail = None
            line = (self._head or b"") + bytes(self._line)
            self._line.clear()
            self._head = None
            self._read_lines([line], events)
            self._dispatch(events)
        return events

    def _normalise(self, block: bytes) -> bytes:
        """Strip the byte order mark and make line ends LF."""
        if self._head is not None:
            block = self._strip_bom(block)
        if self._after_cr and block:
            self._after_cr = False
            # The last feed ended in CR: this LF belongs to that line end, and a
            # second blank line here would cut an event in two.
            if block[0] == _LF:
                block = block[1:]
        if _CR in block:
            self._after_cr = block.endswith(b"\r")
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return block

    def _strip_bom(self, block: bytes) -> bytes:
        block = (self._head or b"") + block
        if len(block) < len(BOM) and BOM.startswith(block):
            self._head = block
            return b""
        self._head = None
        self._is_idle = True
        return block.removeprefix(BOM)

    def _read(self, block: bytes) -> list[Event]:
        """Read line by line."""
        lines = block.split(b"\n")
        rest = lines.pop()
        events: list[Event] = []
        if lines:
            if self._line_lost:
                del lines[0]
                self._line_lost = False
            elif self._line:
                self._line += lines[0]
                lines[0] = bytes(self._line)
                self._line.clear()
            self._read_lines(lines, events)
        if rest and not self._line_lost:
            self._line += rest
            if len(self._line) > self._limit - self._size:
                self._line_lost = True
                if not self._line.startswith(b":"):
                    self._skip()
                self._line.clear()
        self._is_idle = not (self._line or self._line_lost or self._has_begun())
        return events

    def _skip(self) -> None:
        if not self._skipping:
            self._skipping = True
            self.n_skipped += 1
        self._has_fields = self.is_stream
        self._data.clear()
        self._size = 0

    def _read_lines(self, lines: list[bytes], events: list[Event]) -> None:
        for line in lines:
            if not line:
                if self._has_begun():
                    self._dispatch(events)
            elif len(line) > self._limit - self._size:
                if line[:1] != b":":  # a comment is no part of the event
                    self._skip()
            elif line[:5] == b"data:":  # half the cost of startswith
                if not self._skipping:
                    # One space after the colon belongs to the syntax.
                    value = line[6:] if line[5:6] == b" " else line[5:]
                    self._data.append(value)
                    self._size += len(value) + _LINE
            else:
                self._field(line, events)

    def _field(self, line: bytes, events: list[Event]) -> None:
        name, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        has_fields, self._has_fields = self._has_fields, True
        if not name:  # a comment
            return
        if name == b"data":
            if not self._skipping:
                self._data.append(value)
                self._size += _LINE
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry":
            # 18 digits of milliseconds are 30 million years; int() of many more is
            # slow, and refused by Python beyond 4,300.
            digits = value.lstrip(b"0") or b"0"
            if value.isdigit() and len(digits) <= 18:  # noqa: PLR2004
                self.retry = self._event_retry = int(digits)
        elif name == b"error" and colon and self._error_field:
            events.append(Event("error", value, self.last_event_id))
        else:
            self._has_fields = has_fields
            self.n_unknown += 1

    def _has_begun(self) -> bool:
        return bool(
            self._data
            or self._event
            or self._skipping
            or self._event_retry is not None
            or self._id != self.last_event_id
        )

    def _dispatch(self, events: list[Event]) -> None:
        self.last_event_id = self._id
        if self._data:
            self._has_fields = True
            lines = self._data
            data = lines[0] if len(lines) == 1 else b"\n".join(lines)
            events.append(
                Event(
                    self._event or "message",
                    data,
                    self.last_event_id,
                    self._event_retry,
                )
            )
            lines.clear()
            self._size = 0
        self._event = ""
        self._event_retry = None
        self._skipping = False
