"""Measure CPU time as a multiple of the bare decode, in paired rounds."""

import gc
import inspect
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import bare
from tests.shapes import Shape
from unstream import Accumulator, Ending, Outcome

__all__ = ["PIECES", "Ratio", "check", "cpu", "cut", "feeds", "floor", "fold", "pair"]

# The sizes that feeds come in: the worst, a small read, an Ethernet frame's payload,
# what most transports hand out at once, and one event a feed.
PIECES: Final = {"1 B": 1, "64 B": 64, "1,460 B": 1460, "64 KiB": 65536, "event": None}
# A floor of fewer decodes than this is timed repeatedly: 20,000 take some 7 ms.
_DECODES: Final = 20_000
# What switches the fast path off, by either of its names.
_PARAMETERS: Final = inspect.signature(Accumulator).parameters
_PLAIN: Final[Any] = {"fast" if "fast" in _PARAMETERS else "express": False}


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, with the least and the greatest of them."""

    median: float
    least: float
    most: float


def fold(pieces: Sequence[bytes], *, fast: bool = True) -> Outcome:
    """Fold a stream given as the feeds it arrives in, the completion included."""
    accumulator = Accumulator() if fast else Accumulator(**_PLAIN)
    for data in pieces:
        accumulator.feed(data)
    return accumulator.finish()


def check(shape: Shape, outcome: Outcome) -> None:
    """Raise AssertionError unless the fold gave the shape's known answer."""
    assert outcome.ending is Ending.COMPLETE
    assert outcome.completion is not None
    assert not shape.faults(outcome.completion.to_dict())


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that one call takes."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def cut(stream: bytes, size: int) -> list[bytes]:
    """Cut a stream into feeds of `size` bytes."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def feeds(shape: Shape, way: str) -> list[bytes]:
    """Return a shape's stream in feeds of one of the `PIECES`."""
    size = PIECES[way]
    return shape.events if size is None else cut(shape.stream, size)


def floor(payloads: Sequence[bytes]) -> Callable[[], float]:
    """Return what measures the bare decode of these payloads, in CPU seconds, once."""
    times = max(1, round(_DECODES / len(payloads)))
    many = [*payloads] * times
    return lambda: cpu(lambda: bare.decode(many)) / times


def pair(work: Callable[[], object], payloads: Sequence[bytes], rounds: int) -> Ratio:
    """Compare work with the bare decode of what it reads, by turns."""
    once = floor(payloads)
    ratios = sorted(cpu(work) / once() for _ in range(rounds))
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1])
