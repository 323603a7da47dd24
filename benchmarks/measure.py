"""Fold, and measure CPU time as a multiple of the bare decode, in paired rounds."""

import gc
import inspect
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

from benchmarks import bare
from tests import protocol_shapes, shapes
from unstream import Accumulator, Ending, Outcome

__all__ = [
    "FEEDS",
    "Figure",
    "Shape",
    "Spread",
    "beside",
    "build",
    "check",
    "cpu",
    "cut",
    "feeds",
    "fold",
    "pair",
    "show",
]

Shape: TypeAlias = shapes.Shape | protocol_shapes.Shape

# The ways to cut a stream into feeds, in bytes: the worst, a small read, an Ethernet
# frame's payload, what most transports hand out at once, and one event each.
FEEDS: Final = {"1 B": 1, "64 B": 64, "1,460 B": 1460, "64 KiB": 65536, "event": 0}
# Shorter work is repeated: what runs once finds the caches cold. 20,000 decodes take as
# long, the chunks of a bar, so there both sides run once.
_SECONDS: Final = 0.01
# What switches the fast path off, by either of its names.
_PARAMETERS: Final = inspect.signature(Accumulator).parameters
_PLAIN: Final[Any] = {"fast" if "fast" in _PARAMETERS else "express": False}


class Spread(NamedTuple):
    """The median of some values, with the least and the greatest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Sum up values."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])


class Figure(NamedTuple):
    """What was found, and the most that it may be."""

    name: str
    way: str
    found: Spread
    bar: float | None


def show(figures: Iterable[Figure]) -> None:
    """Print figures as they are found, and mark those that are over their bar."""
    print(f"{'':40} {'':14} {'median':>7} {'least':>7} {'most':>7} {'bar':>6}")
    for name, way, found, bar in figures:
        values = " ".join(f"{value:7.2f}" for value in found)
        mark = "" if bar is None else f" {bar:6.2f}{'  over' * (found.median > bar)}"
        print(f"{name:40} {way:14} {values}{mark}", flush=True)


def build(name: str, n: int, *, seed: int = 7) -> Shape:
    """Build a shape of any protocol, of about `n` events."""
    module = protocol_shapes if name in protocol_shapes.SHAPES else shapes
    shape: Shape = module.build(name, n, seed=seed)
    return shape


def fold(
    pieces: Iterable[bytes], protocol: str = "chat", *, fast: bool = True
) -> Outcome[Any]:
    """Fold a stream given as the feeds it arrives in, the completion included."""
    options: dict[str, Any] = {} if fast else _PLAIN
    if protocol != "chat":  # the first version knew no other
        options = {"protocol": import_module(f"unstream.{protocol}").PROTOCOL} | options
    accumulator = Accumulator(**options)
    for data in pieces:
        accumulator.feed(data)
    return accumulator.finish()


def check(shape: Shape, outcome: Outcome[Any]) -> None:
    """Raise AssertionError unless the fold gave the shape's known answer."""
    assert outcome.ending is Ending.COMPLETE
    assert outcome.completion is not None
    assert not shape.faults(outcome.completion.to_dict())


def cut(stream: bytes, size: int) -> list[bytes]:
    """Cut a stream into feeds of `size` bytes."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def feeds(shape: Shape, way: str) -> list[bytes]:
    """Return a shape's stream in feeds of one of the `FEEDS`."""
    return cut(shape.stream, FEEDS[way]) if FEEDS[way] else shape.events


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that one call takes."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def pair(
    work: Callable[[], object],
    streams: Sequence[bytes],
    rounds: int,
    protocol: str = "chat",
) -> Spread:
    """Compare work on streams with the bare decode of their chunks, by turns."""
    took = _in_decodes(work, streams, protocol)
    return Spread.of(took() for _ in range(rounds))


def beside(one: Shape, other: Shape, rounds: int, *, fast: bool) -> Spread:
    """Compare what an event of a shape costs with what one of another does, by turns.

    Each in bare decodes of its own payloads.
    """
    costs = []
    for shape in (one, other):
        work = partial(fold, feeds(shape, "64 KiB"), shape.protocol, fast=fast)
        check(shape, work())
        costs.append(_in_decodes(work, [shape.stream], shape.protocol))
    cost, measure = costs
    return Spread.of(cost() / measure() for _ in range(rounds))


def _in_decodes(
    work: Callable[[], object], streams: Sequence[bytes], protocol: str
) -> Callable[[], float]:
    """Return what measures work in bare decodes of the payloads of its streams."""
    payloads = [each for stream in streams for each in bare.payloads(stream, protocol)]
    took, floor = _often(work), _often(lambda: bare.decode(payloads, protocol))
    return lambda: took() / floor()


def _often(work: Callable[[], object]) -> Callable[[], float]:
    """Return what measures one call out of as many as are not too short to measure."""
    times = max(1, int(_SECONDS / cpu(work)))

    def many() -> None:
        for _ in range(times):
            work()

    return lambda: cpu(many) / times
