"""Measure the whole fold against a bare decode, as CPU-time ratios within one run.

`python -m benchmarks.bars [SHAPE ...] [--chunks N] [--rounds N]`
"""

import argparse
from functools import partial

from benchmarks.measure import PIECES, feeds, ratio
from benchmarks.shapes import Shape, build
from unstream import Accumulator, Ending

__all__ = ["check", "fold"]

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


def fold(pieces: list[bytes]) -> Accumulator:
    """Fold a stream given as the feeds it arrives in, the completion included."""
    accumulator = Accumulator()
    for data in pieces:
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
        for way, bar in zip(("64 KiB", "event"), BARS[name], strict=True):
            pieces = feeds(shape, PIECES[way])
            check(shape, fold(pieces))
            found = ratio(partial(fold, pieces), shape, arguments.rounds)
            verdict = "" if found.median <= bar else "  over"
            print(
                f"{name:10} {way:7} {found.median:7.2f} {found.least:6.2f}"
                f" {found.most:6.2f} {bar:6.2f}"
                f"{verdict}",
                flush=True,
            )


if __name__ == "__main__":
    main()
