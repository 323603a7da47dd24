"""What is in a file: one stream, or many, by the content and never by the name.

This module knows which format a file has; the formats themselves are in their rooms.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import msgspec

from unstream._cli import _exchanges, _records
from unstream._cli._exchanges import Exchange
from unstream._cli._files import Source, plain, why
from unstream._cli._records import Events
from unstream._detect import ANY, load
from unstream._json import Malformed
from unstream._outcome import Limits
from unstream._protocol import Protocol

__all__ = ["Ask", "Counted", "Fault", "Found", "Passed", "Stream", "streams"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is wanted of files."""

    protocol: str = "any"
    limits: Limits = Limits()
    field: str | None = None

    @property
    def of(self) -> Protocol[Any]:
        """The protocol of the streams, or what finds out."""
        return ANY if self.protocol == "any" else load(self.protocol)


class Counted:
    """The pieces of one stream, counted; over the limit nothing more is read."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._limit = limit
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.size > self._limit:
            raise StopIteration
        piece = next(self._pieces)
        self.size += len(piece)
        return piece


class Stream(msgspec.Struct, kw_only=True):
    """Hold one stream or whole answer of a file, to be read once.

    `source.fault` says in the end whether it could be read to its end.
    """

    name: str
    source: Source
    bytes: Counted
    events: Events
    exchange: Exchange | None = None


class Fault(NamedTuple):
    """Something of a file that cannot be read."""

    name: str
    why: str


class Passed(NamedTuple):
    """How many entries of a file hold nothing of a model."""

    n: int


Found: TypeAlias = Stream | Fault | Passed


def streams(name: str, pieces: Iterator[bytes], ask: Ask) -> Iterator[Found]:
    """Yield what is in a file, in its order; raise OSError where it cannot be read.

    The streams of a file that holds many are named `file:entry`, counted from 1; of
    lines that is the number of the line. What comes before a file cannot be read on is
    yielded, then the fault.
    """
    source = Source(plain(pieces))
    try:
        yield from _found(name, source, ask)
    except OSError:
        if source.fault is None:
            raise
    if source.fault is not None:
        yield Fault(name, why(source.fault))


def _found(name: str, source: Source, ask: Ask) -> Iterator[Found]:
    pieces: Iterator[bytes] = source
    if ask.field is not None:
        yield from _by_field(name, pieces, ask)
        return
    kind, kept = _exchanges.kind(pieces)
    pieces = chain(kept, pieces)
    limit = ask.limits.stream_bytes
    if kind == "flows":
        from unstream._cli import _flows  # noqa: PLC0415 - 10 ms, and rarely needed

        found = _flows.flows(pieces)
    elif kind is not None:
        read = _exchanges.har if kind == "har" else _exchanges.cassette
        data = _records.whole(pieces, limit)
        if source.fault is not None:
            return
        found = read(data)
    else:
        several, pieces = _records.are_answers(pieces)
        if several:
            for number, record in _records.records(pieces, limit):
                yield from _inner(f"{name}:{number}", iter([record]), ask)
        else:
            yield _stream(name, source, pieces, ask)
            source.fault = None  # it is told with the stream
        return
    yield from _answers(name, found, ask)


def _stream(name: str, source: Source, pieces: Iterator[bytes], ask: Ask) -> Stream:
    counted = Counted(pieces, ask.limits.stream_bytes)
    events = _records.as_events(counted, ask.of)
    return Stream(name=name, source=source, bytes=counted, events=events)


def _inner(
    name: str, pieces: Iterator[bytes], ask: Ask, exchange: Exchange | None = None
) -> Iterator[Stream | Fault]:
    """Yield what is in a part of a file, which may be packed by itself."""
    try:
        source = Source(plain(pieces))
        stream = _stream(name, source, source, ask)
    except OSError as error:
        yield Fault(name, why(error))
        return
    # Its lines are not those of the file, and it is no record of a log.
    stream.events.has_lines = False
    stream.events.first = b""
    stream.exchange = exchange
    yield stream


def _answers(name: str, found: Iterator[Exchange], ask: Ask) -> Iterator[Found]:
    n_all = n_passed = 0
    for exchange in found:
        n_all += 1
        entry, body = f"{name}:{exchange.number}", exchange.body
        if not exchange.is_answer or body is None:
            n_passed += 1
        elif isinstance(body, OSError):
            yield Fault(entry, str(body))
        else:
            yield from _inner(entry, iter([body]), ask, exchange)
    if n_passed == n_all:
        raise OSError("none of its entries is the answer of a model")
    yield Passed(n_passed)


def _by_field(name: str, pieces: Iterator[bytes], ask: Ask) -> Iterator[Found]:
    path = ask.field or ""
    first, pieces = _records.begins(pieces)
    if first not in (b"{", b"["):
        raise OSError("this is no JSON; --field is for records of that")
    n_all = n_passed = 0
    for number, record in _records.records(pieces, ask.limits.stream_bytes):
        n_all += 1
        entry = f"{name}:{number}"
        try:
            value = _records.pick(_records.read(record), path)
        except Malformed:
            yield Fault(entry, "this record is no JSON")
            continue
        except LookupError:
            value = None
        if value in (None, "", [], {}):
            n_passed += 1
            continue
        yield from _inner(entry, _records.as_pieces(value), ask)
    if n_passed == n_all:
        raise OSError(f"none of its records has a field {path}")
    yield Passed(n_passed)
