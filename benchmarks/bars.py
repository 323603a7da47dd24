"""Measure the whole fold against a bare decode, as CPU-time ratios within one run.

`python -m benchmarks.bars [SHAPE ...] [--chunks N] [--rounds N]`
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable

from benchmarks import bare
from benchmarks.shapes import Shape, build
from unstream import Accumulator, Ending

__all__ = ["check", "fold", "ratio"]

# The most that each shape may cost, as a multiple of the bare decode: fed in pieces of
# 64 KiB, and one event at a time.
BARS = {
    "text": (0.60, 1.0),
    "padded": (0.85, 1.4),
    "reasoning": (0.60, 1.0),
    "tools": (0.75, 1.2),
    "tricky": (0.95, 1.7),
    "n=4": (1.5, 2.2),
    "logprobs": (1.0, 1.2),
    "stranger": (5.0, 6.0),
    "router": (2.5, 3.0),
}


def fold(feeds: list[bytes]) -> Accumulator:
    """Fold a stream given as the feeds it arrives in, the completion included."""
    accumulator = Accumulator()
    for data in feeds:
        accumulator.feed(data)
    accumulator.finish()
    return accumulator


def check(shape: Shape, accumulator: Accumulator) -> None:
    """Raise AssertionError unless the fold gave the shape's known answer."""
    outcome = accumulator.finish()
    assert outcome.ending is Ending.COMPLETE
    assert outcome.completion is not None
    got = outcome.completion.to_dict()
    assert got["usage"]["total_tokens"] == 30
    assert [choice["index"] for choice in got["choices"]] == list(shape.answer)
    for choice in got["choices"]:
        for key, value in shape.answer[choice["index"]].items():
            assert choice["message"][key] == value, (shape.name, key)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that one call takes."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def ratio(
    work: Callable[[], object], floor: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Return the median, least and greatest of `rounds` paired ratios."""
    ratios = sorted(cpu(work) / cpu(floor) for _ in range(rounds))
    return statistics.median(ratios), ratios[0], ratios[-1]


def cut(stream: bytes, size: int) -> list[bytes]:
    """Cut a stream into feeds of `size` bytes."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def main() -> None:
    """Print a line for each shape and way of feeding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="*", default=list(BARS))
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{'shape':10} {'feeds':7} {'median':>7} {'min':>6} {'max':>6} {'bar':>6}")
    for name in arguments.shapes:
        shape = build(name, arguments.chunks)
        payloads = bare.payloads(shape.stream)
        ways = {"64 KiB": cut(shape.stream, 64 * 1024), "event": shape.events}
        for (way, feeds), bar in zip(ways.items(), BARS[name], strict=True):
            check(shape, fold(feeds))
            median, least, most = ratio(
                lambda feeds=feeds: fold(feeds),
                lambda payloads=payloads: bare.decode(payloads),
                arguments.rounds,
            )
            verdict = "" if median <= bar else "  over"
            print(
                f"{name:10} {way:7} {median:7.2f} {least:6.2f} {most:6.2f} {bar:6.2f}"
                f"{verdict}",
                flush=True,
            )


if __name__ == "__main__":
    main()
