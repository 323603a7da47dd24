"""When things came: the times of one stream, and a sketch of the gaps between them.

This module reads no clock, it is given one; it knows neither bytes nor protocols.
"""

from collections import defaultdict
from collections.abc import Callable
from math import ceil, exp, log
from operator import sub
from typing import Final

import msgspec

__all__ = ["Gaps", "Timing", "Watch"]

# A bucket holds what differs by 3.9 %, so that its middle is within 1.95 % of each.
# It is written with four digits, another 0.05 % at the most: 2 % in all.
_STEP: Final = log(1.0195 / 0.9805)
_MIDDLE: Final = 0.9805  # of the upper end: as far from the one end as from the other
# Nobody sees a microsecond; nobody waits for a day. That makes 648 buckets at the most.
_LEAST: Final = 1e-6
_MOST: Final = 86_400.0
# Of so many feeds it is known when each came, before it is known of what protocol they
# are: an event or two, in feeds of any size. What comes after them comes as one.
_MOST_EARLY: Final = 1024

STALL: Final = 1.0
"""The seconds from which on a gap is a stall: some fifty tokens of a usual model."""


class Gaps(msgspec.Struct, frozen=True, kw_only=True):
    """Describe the times between feeds that ended an event, in seconds.

    A gap is no time per token: a feed may end many events, and an event hold many
    tokens, or none. Events that came in one feed came at one time, with no gap.
    `p50`, `p95` and `p99` are quantiles (nearest rank), within 2 % of the exact ones
    between a microsecond and a day; `largest` is exact.
    """

    count: int
    p50: float
    p95: float
    p99: float
    largest: float
    stalls: int
    """How many were of a second or longer."""
    histogram: tuple[tuple[float, int], ...]
    """Gaps, within 2 %, each with how many there were; ascending, 0.0 for less than a
    microsecond. Those of many streams can be added up."""

    def sample(self, most: int) -> list[float]:
        """Return the gaps, or, of more than `most`, as many at even ranks."""
        n = min(self.count, most)
        ranks = [(2 * i + 1) * self.count // (2 * n) for i in range(n)]
        found: list[float] = []
        entries = iter(self.histogram)
        gap, below = 0.0, 0
        for rank in ranks:
            while below <= rank:
                gap, count = next(entries)
                below += count
            found.append(gap)
        return found


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold when things came, in seconds since the watch began; None: never.

    An adapter counts from the request where it sees that, else from its own making; an
    `Accumulator(clock=...)` from its making. What can be known is when a feed came:
    everything that it brought came then.
    """

    first_byte: float | None = None
    """When the first bytes of the body came."""
    first_event: float | None = None
    """When the first event ended, whatever it said."""
    first_content: float | None = None
    """When the first bytes came that say something: text, reasoning, a tool call."""
    first_reasoning: float | None = None
    """When the first text of a reasoning came, of any choice."""
    first_text: float | None = None
    """When the first text of an answer came, of any choice."""
    last_event: float | None = None
    """When the last event ended; between it and `total` nothing came."""
    total: float
    """When the watch ended."""
    feeds: int = 0
    """The feeds that ended an event, those of one time as one. For the events see
    `Outcome.n_events`."""
    gaps: Gaps | None = None
    """The times between them; None where there were less than two."""
    output_rate: float | None = None
    """Output tokens a second, of all that was written, until `last_event`; None where
    no usage was sent."""


class Sketch:
    """Count gaps in buckets of logarithmic width: quantiles in bounded memory.

    As DDSketch does (Masson, Rim and Lee, VLDB 2019): a value falls into the bucket of
    its logarithm, so that the error of a quantile is relative to it.
    """

    __slots__ = ("_buckets", "_largest", "_stalls", "count")

    def __init__(self) -> None:
        self._buckets: defaultdict[int, int] = defaultdict(int)
        self._largest = 0.0
        self._stalls = 0
        self.count = 0

    def add(self, gaps: list[float]) -> None:
        """Count gaps."""
        if not gaps:
            return
        self.count += len(gaps)
        if (largest := max(gaps)) >= STALL:
            self._stalls += sum(gap >= STALL for gap in gaps)
            gaps = [min(gap, _MOST) for gap in gaps]
        self._largest = max(self._largest, largest)
        buckets = self._buckets
        for gap in gaps:
            buckets[ceil(log(gap / _LEAST) / _STEP) if gap >= _LEAST else -1] += 1

    def result(self) -> Gaps | None:
        """Return what was counted; None for nothing."""
        if not self.count:
            return None
        histogram = tuple(
            (0.0 if at < 0 else float(f"{_LEAST * _MIDDLE * exp(at * _STEP):.4g}"), n)
            for at, n in sorted(self._buckets.items())
        )
        p50, p95, p99 = (_at(histogram, self.count, q) for q in (50, 95, 99))
        return Gaps(
            count=self.count,
            p50=min(p50, self._largest),
            p95=min(p95, self._largest),
            p99=min(p99, self._largest),
            largest=self._largest,
            stalls=self._stalls,
            histogram=histogram,
        )


def _at(histogram: tuple[tuple[float, int], ...], count: int, percent: int) -> float:
    rank = -(-percent * count // 100)
    for gap, n in histogram:
        rank -= n
        if rank <= 0:
            return gap
    raise ValueError("no such rank")


class Watch:
    """The times of one stream: of its feeds, and of what came first in them."""

    __slots__ = (
        "_firsts",
        "_gaps",
        "_last",
        "_start",
        "clock",
        "early",
        "now",
        "stamps",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._start = clock()
        self._gaps = Sketch()
        self._firsts: dict[str, float] = {}  # by the names of `Timing`
        self._last: float | None = None  # when an event ended
        self.stamps: list[float] = []  # what the clock said at each feed that is held
        # Of what came before the protocol was known: when, and how many bytes.
        self.early: list[tuple[float, int]] = []
        self.now = 0.0  # when the newest that was taken came

    def take(self) -> list[float]:
        """Return the times of the feeds since this was called."""
        start = self._start
        times = [stamp - start for stamp in self.stamps]
        self.stamps.clear()
        self.now = times[-1]
        return times

    def wait(self, time: float, size: int) -> None:
        """Take note of so many bytes that are read later."""
        if len(self.early) == _MOST_EARLY:
            size += self.early.pop()[1]
        self.early.append((time, size))

    def meet(self, name: str, time: float) -> None:
        """Take note of a thing that was there at a time; the first time counts."""
        self._firsts.setdefault(name, time)

    def end_events(self, times: list[float]) -> None:
        """Take note that an event ended in what came at each of some times."""
        self.meet("first_event", times[0])
        last = times[0] if self._last is None else self._last
        gaps = map(sub, times, [last, *times])
        self._gaps.add([gap for gap in gaps if gap])  # what came at one time came once
        self._last = times[-1]

    def result(self, n_output: int | None) -> Timing:
        """Return the times; `n_output` is how many tokens were written, if known."""
        last, gaps = self._last, self._gaps
        return Timing(
            **self._firsts,
            last_event=last,
            total=self.clock() - self._start,
            feeds=gaps.count + (last is not None),
            gaps=gaps.result(),
            output_rate=n_output / last if n_output is not None and last else None,
        )
