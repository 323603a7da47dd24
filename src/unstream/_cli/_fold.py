"""One stream of a file, folded: its outcome, and in words why it is not complete."""

from array import array
from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from unstream._accumulator import Accumulator
from unstream._cli import _records
from unstream._cli._exchanges import Exchange
from unstream._cli._files import why
from unstream._cli._streams import Ask, Stream
from unstream._detect import ANY, Detector, load
from unstream._outcome import Ending, ForeignStream, Outcome, StreamError
from unstream._timing import Timing
from unstream.sse import DEFAULT_LIMIT

__all__ = ["Folded", "fold"]


class Folded(msgspec.Struct, kw_only=True):
    """Hold what came of one stream; `lines`, if asked for, of each event its line."""

    name: str
    outcome: Outcome[Any]
    reason: str | None
    """Why it is not complete; None where it is."""
    fault: str | None = None
    """Why its file could not be read to the end; None where it could."""
    lines: "array[int] | None" = None
    exchange: Exchange | None = None


def fold(stream: Stream, ask: Ask, *, lines: bool = False) -> Folded:
    """Fold a stream, or what of it can be read."""
    places: array[int] | None = None
    if lines and stream.events.has_lines:
        accumulator, places = _fold_by_line(stream, ask)
    else:
        accumulator = Accumulator(protocol=ask.of, limits=ask.limits)
        for data in stream.events.pieces:
            accumulator.feed(data)
    timing: Timing | None = None
    if stream.exchange is not None:
        timing = stream.exchange.timing
    outcome = msgspec.structs.replace(
        accumulator.finish(), n_bytes=stream.bytes.size, timing=timing
    )
    return Folded(
        name=stream.name,
        outcome=outcome,
        reason=_reason(outcome, stream, ask),
        fault=None if stream.source.fault is None else why(stream.source.fault),
        lines=places,
        exchange=stream.exchange,
    )


def _reason(outcome: Outcome[Any], stream: Stream, ask: Ask) -> str | None:
    try:
        outcome.unwrap()
    except ForeignStream as error:
        if outcome.foreign is not None:
            return (
                f"this is a stream of another protocol: --protocol {outcome.foreign} "
                "reads it"
            )
        reason = str(error)
        if ask.of is ANY:
            reason = f"this is no stream of a known protocol ({outcome.n_bytes} bytes)"
    except StreamError as error:
        reason = str(error)
    else:
        return None
    if outcome.ending in (Ending.FOREIGN, Ending.EMPTY) and (
        path := _records.suggest(stream.events.first)
    ):
        return f"{reason}; --field {path} seems to hold one"
    return reason


# --- Line by line ---------------------------------------------------------------------


def _fold_by_line(stream: Stream, ask: Ask) -> tuple[Accumulator[Any], "array[int]"]:
    """Fold a line at a time, and keep for each event where it began.

    The protocol is found out first: what finds it holds back the events meanwhile.
    """
    kept: list[bytes] = []
    pieces, protocol = stream.events.pieces, ask.of
    if protocol is ANY:
        detector = Detector()
        for piece in pieces:
            kept.append(piece)
            if (found := detector.feed(piece)) or detector.is_over:
                break
        else:
            found = detector.close()
        protocol = found or load("chat")
    accumulator = Accumulator(protocol=protocol, limits=ask.limits, fast=False)
    places = array("Q")
    begin, number, by_line = 0, 1, stream.events.by_line
    source = chain(kept, pieces)
    for line in source if by_line else _split(source):
        accumulator.feed(line)
        if not begin and line[:1] not in b":\r\n":  # nor is it empty
            begin = number
        # An event is complete behind a blank line; each line of chunks is one.
        if by_line or not line.strip(b"\r\n"):
            places.extend([begin] * (_count(accumulator) - len(places)))
            begin = 0
        number += by_line or line.endswith((b"\n", b"\r"))
    accumulator.finish()
    places.extend([begin] * (_count(accumulator) - len(places)))
    return accumulator, places


def _count(accumulator: Accumulator[Any]) -> int:
    _ = accumulator.has_content  # reads what the feeds left
    return accumulator._fold.n_events  # noqa: SLF001 - of this package


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines as event streams have them: they end in CR, LF or both.

    One that is longer than an event may be is yielded in parts.
    """
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if b"\n" not in piece and b"\r" not in piece and size <= DEFAULT_LIMIT:
            continue
        lines = b"".join(held).splitlines(keepends=True)
        held, size = [], 0
        # A CR at the end of a piece may be half of a line end.
        if not lines[-1].endswith(b"\n") and len(lines[-1]) <= DEFAULT_LIMIT:
            held.append(lines.pop())
            size = len(held[0])
        yield from lines
    yield from b"".join(held).splitlines(keepends=True)
