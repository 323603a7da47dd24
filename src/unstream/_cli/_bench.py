"""How fast streams decode: framing alone, a bare typed decode, and the whole fold.

This module knows how it is measured: in CPU time, by turns, over and over, so that the
drift of a shared machine falls on all alike. What is compared is the same bytes, held
in memory.
"""

import gc
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec

from unstream._accumulator import Accumulator
from unstream._cli import _peers
from unstream._cli._files import read, why
from unstream._cli._report import FAILED
from unstream._cli._streams import Ask, Fault, Stream, streams
from unstream._cli._table import KEYS, Table, drawer, fit
from unstream._cli._terminal import tell, write
from unstream._detect import load
from unstream._outcome import Outcome
from unstream._protocol import Protocol
from unstream.sse import Run

__all__ = ["measure", "run"]

_NOTHING: Final = 3  # as of an empty stream
# As many bytes are measured, in all: they are held several times over.
_MOST: Final = 64 * 1024 * 1024
_FEED: Final = 64 * 1024  # what most transports hand out at once
# Enough rounds for a median and a spread, in a bearable time: a peer may take a hundred
# times as long as we do.
_ROUNDS: Final = (3, 15)
_SECONDS: Final = 1.0
# What is shorter finds the caches cold, and the clock coarse: it is repeated.
_LEAST: Final = 0.02
_PATIENCE: Final = 6.0

_EVENT: Final = re.compile(rb"(?s).+?(?:\r\n\r\n|\n\n|\r\r|\Z)")


# --- A bare typed decode --------------------------------------------------------------


class _Function(msgspec.Struct, gc=False):
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int = 0
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    output_index: int = 0
    delta: Any = None


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    functionCall: Any = None  # noqa: N815 - the name of the wire


class _Content(msgspec.Struct, gc=False):
    role: str | None = None
    parts: list[_Part] = []


class _Candidate(msgspec.Struct, gc=False):
    index: int = 0
    content: _Content | None = None
    finishReason: str | None = None  # noqa: N815


class _Response(msgspec.Struct, gc=False):
    candidates: list[_Candidate] = []
    usageMetadata: dict[str, Any] | None = None  # noqa: N815


_TYPES: Final[dict[str, type[msgspec.Struct]]] = {
    "chat": _Chunk,
    "text": _Chunk,
    "messages": _Event,
    "responses": _Event,
    "gemini": _Response,
}


def _bare(
    name: str, payloads: Iterable[bytes]
) -> tuple[Callable[[], None], list[bytes]]:
    """Return what decodes all payloads that fit the bare type, and those."""
    decode = msgspec.json.Decoder(_TYPES[name]).decode
    sound = []
    for payload in payloads:
        try:
            decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        sound.append(payload)

    def work() -> None:
        for payload in sound:
            decode(payload)

    return work, sound


# --- What is measured -----------------------------------------------------------------


class Capture(NamedTuple):
    """Hold one stream in memory, cut in two ways, with what it folds to."""

    blocks: list[bytes]
    events: list[bytes]
    outcome: Outcome[Any]


def run(names: Iterable[str], ask: Ask, width: int | None) -> int:
    """Measure what is in files and write the tables; return the exit status."""
    captures: list[Capture] = []
    status, room = 0, _MOST
    for name in names:
        try:
            for found in streams(name, read(name), ask):
                if isinstance(found, Fault):
                    tell(f"{found.name}: {found.why}")
                    status = FAILED
                elif isinstance(found, Stream) and room > 0:
                    data = _hold(found, room)
                    room -= len(data)
                    captures += _capture(data, ask.of)
        except OSError as error:
            tell(f"{name}: {why(error)}")
            status = FAILED
    if room <= 0:
        tell(f"measured are the first {_MOST >> 20} MiB alone")
    if not captures:
        tell("there is no stream to measure")
        return max(status, _NOTHING)
    if width is not None:
        tell(f"measuring {_MOST - room:,} bytes of {len(captures):,} streams")
    write(measure(captures, width).encode("utf-8", "replace"))
    return status


def _hold(stream: Stream, room: int) -> bytes:
    pieces = []
    for piece in stream.events.pieces:
        pieces.append(piece)
        if (room := room - len(piece)) <= 0:
            break
    return b"".join(pieces)


def _capture(data: bytes, protocol: Protocol[Any]) -> Iterator[Capture]:
    """Yield what there is to measure of a stream, if it is one."""
    accumulator = Accumulator(protocol=protocol)
    accumulator.feed(data)
    outcome = accumulator.finish()
    if outcome.n_events and outcome.completion is not None:
        blocks = [data[at : at + _FEED] for at in range(0, len(data), _FEED)]
        yield Capture(blocks, _EVENT.findall(data), outcome)


class _Way(NamedTuple):
    name: str
    feeds: str
    work: Callable[[], object]
    answers: str
    times: list[float]


_Cut = Callable[[Capture], list[bytes]]


def measure(captures: Sequence[Capture], width: int | None) -> str:
    """Measure captures, those of each protocol by themselves; return the tables."""
    groups: dict[str, list[Capture]] = {}
    for each in captures:
        groups.setdefault(each.outcome.protocol, []).append(each)
    drawn = drawer(width, lambda head, _: "bold" if head == "us/event>" else "")
    return "\n".join(
        drawn(table)
        for name, group in groups.items()
        for table in _measure(name, group, width)
    )


def _measure(name: str, captures: list[Capture], width: int | None) -> list[Table]:
    protocol = load(name)
    cuts: dict[str, _Cut] = {
        "64 KiB": lambda capture: capture.blocks,
        "event": lambda capture: capture.events,
    }
    payloads = [p for each in captures for p in _payloads(protocol, each.blocks)]
    bare, sound = _bare(name, payloads)
    framing, fold = partial(_frame, protocol), partial(_fold, protocol)
    ways = [
        _Way("framing alone", feeds, partial(_all, framing, captures, cut), "", [])
        for feeds, cut in cuts.items()
    ]
    ways.append(_Way("bare typed decode", "none", bare, "", []))
    ways += [
        _Way("the whole fold", feeds, partial(_all, fold, captures, cut), "", [])
        for feeds, cut in cuts.items()
    ]
    if name == "chat":
        for peer in _peers.installed():
            work = partial(_all, peer.fold, captures, cuts["64 KiB"])
            ways.append(_Way(peer.name, "64 KiB", work, _agree(peer, captures), []))
    _take_turns(ways)
    n_events = sum(each.outcome.n_events for each in captures)
    n_bytes = sum(len(data) for each in captures for data in each.blocks)
    size, bare_size = (n_events, n_bytes), (len(sound), sum(map(len, sound)))
    floor = median(ways[2].times) / max(len(sound), 1)
    lines = [
        _line(way, *(bare_size if way.work is bare else size), floor) for way in ways
    ]
    table, _ = fit(Table(_HEADS, lines), width, _WORTH)
    least, most = (bound(len(way.times) for way in ways) for bound in (min, max))
    rounds = f"{least} to {most}" if least < most else f"{most}"
    said = [
        ("protocol", name),
        ("streams", f"{len(captures):,}, {n_events:,} events, {n_bytes:,} bytes"),
        ("with", _versions()),
        ("how", f"CPU time, medians of {rounds} rounds by turns"),
    ]
    return [Table(KEYS, said), table]


def _payloads(protocol: Protocol[Any], blocks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = protocol.framing()
    for block in blocks:
        for found in decoder.read(block):
            yield from found if isinstance(found, Run) else [found.data]
    for event in decoder.close(rest=True):
        yield event.data


def _frame(protocol: Protocol[Any], feeds: Sequence[bytes]) -> None:
    decoder = protocol.framing(error_field=True)
    for data in feeds:
        for _ in decoder.read(data):
            pass
    decoder.close()


def _fold(protocol: Protocol[Any], feeds: Sequence[bytes]) -> None:
    accumulator = Accumulator(protocol=protocol)
    for data in feeds:
        accumulator.feed(data)
    accumulator.finish()


def _all(
    fold: Callable[[Sequence[bytes]], object], captures: Iterable[Capture], cut: _Cut
) -> None:
    for each in captures:
        # Of a peer, that is: what it gives is looked at elsewhere.
        with suppress(Exception):
            fold(cut(each))


def _agree(peer: _peers.Peer, captures: Iterable[Capture]) -> str:
    """Say of how many streams a peer gives the answer that we give."""
    n_same = n_all = 0
    for each in captures:
        n_all += 1
        ours = each.outcome.completion
        with suppress(Exception):  # whatever it raises, it has no answer
            theirs = peer.read(peer.fold(each.blocks))
            same = ours is not None and _peers.facts(ours.to_dict())
            n_same += same == _peers.facts(theirs)
    return f"{n_same:,} of {n_all:,}"


# --- How it is measured ---------------------------------------------------------------


def _take_turns(ways: Sequence[_Way]) -> None:
    """Measure each way once a round, until it was often enough or takes too long."""
    gc.collect()
    gc.freeze()  # what peers have loaded is not to be looked through before each round
    try:
        often = [_often(way) for way in ways]
        for _ in range(_ROUNDS[1]):
            for way, n in zip(ways, often, strict=True):
                spent, n_rounds = n * sum(way.times), len(way.times)
                if spent < _SECONDS or (n_rounds < _ROUNDS[0] and spent < _PATIENCE):
                    way.times.append(_cpu(way.work, n))
    finally:
        gc.unfreeze()


def _often(way: _Way) -> int:
    """Return how often to do what would be too short to measure."""
    took = _cpu(way.work, 1)
    if took > _LEAST:
        way.times.append(took)
    return max(1, int(_LEAST / max(took, 1e-9)))


def _cpu(work: Callable[[], object], n: int) -> float:
    gc.collect()
    start = time.process_time()
    for _ in range(n):
        work()
    return (time.process_time() - start) / n


# --- How it is shown ------------------------------------------------------------------

_HEADS: Final = (
    *("what", "feeds", "MB/s>", "events/s>", "us/event>", "spread>", "bare decodes>"),
    "same answer>",
)
_WORTH: Final = (
    *("what", "us/event>", "feeds", "same answer>", "MB/s>", "spread>", "events/s>"),
    "bare decodes>",
)


def _line(way: _Way, n: int, n_bytes: int, floor: float) -> tuple[str, ...]:
    middle, n = median(way.times), max(n, 1)
    least, most = (1e6 * bound / n for bound in (min(way.times), max(way.times)))
    return (
        way.name,
        way.feeds,
        _figure(n_bytes / middle / 1e6),
        f"{n / middle:,.0f}",
        _figure(1e6 * middle / n),
        f"{_figure(least)} to {_figure(most)}",
        f"{middle / n / floor:,.2f}",
        way.answers,
    )


def _figure(value: float) -> str:
    """Write a number with three figures, as far as they mean anything."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def _versions() -> str:
    names = ("unstream", "msgspec")
    ours = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    return f"{ours}, {platform.python_implementation()} {platform.python_version()}"
