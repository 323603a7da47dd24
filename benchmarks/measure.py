"""Measure CPU time as a multiple of the bare decode, in paired rounds."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import bare
from benchmarks.shapes import Shape

__all__ = ["PIECES", "Ratio", "cpu", "cut", "feeds", "floor", "pair", "ratio"]

# The sizes that feeds come in: the worst, a small read, an Ethernet frame's payload,
# and what most transports hand out at once. 0 stands for one event a feed.
PIECES: Final = {"1 B": 1, "64 B": 64, "1,460 B": 1460, "64 KiB": 65536, "event": 0}
# A floor of fewer decodes than this is timed repeatedly: 20,000 take some 7 ms.
_DECODES: Final = 20_000


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios, with the least and the greatest of them."""

    median: float
    least: float
    most: float


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that one call takes."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def cut(stream: bytes, size: int) -> list[bytes]:
    """Cut a stream into feeds of `size` bytes."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def feeds(shape: Shape, size: int) -> list[bytes]:
    """Return a shape's stream in feeds of `size` bytes; 0 for one event a feed."""
    return cut(shape.stream, size) if size else shape.events


def floor(payloads: Sequence[bytes]) -> Callable[[], float]:
    """Return what measures the bare decode of these payloads, in CPU seconds, once."""
    times = max(1, round(_DECODES / len(payloads)))
    many = [*payloads] * times
    return lambda: cpu(lambda: bare.decode(many)) / times


def ratio(work: Callable[[], object], shape: Shape, rounds: int) -> Ratio:
    """Compare work on a whole shape with the bare decode of it."""
    return pair(work, floor(bare.payloads(shape.stream)), rounds)


def pair(work: Callable[[], object], once: Callable[[], float], rounds: int) -> Ratio:
    """Compare work with what `once` measures, by turns."""
    ratios = sorted(cpu(work) / once() for _ in range(rounds))
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1])
