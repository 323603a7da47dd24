"""Measure the whole fold against a bare decode, as CPU-time ratios within one run.

`python -m benchmarks.bars [SHAPE ...] [--chunks N] [--rounds N]`; the shape `recorded`
is all the recorded streams, where they stand beside the repository.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import bare
from benchmarks.measure import PIECES, Ratio, cut, feeds, floor, pair, ratio
from benchmarks.shapes import Shape, build
from unstream import Accumulator, Ending

__all__ = ["check", "fold", "recorded"]

RECORDED: Final = Path(__file__).parents[2] / "shared" / "corpus" / "streams"
RECORDED_BAR: Final = 2.0

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


def fold(pieces: list[bytes], *, express: bool = True) -> Accumulator:
    """Fold a stream given as the feeds it arrives in, the completion included."""
    accumulator = Accumulator(express=express)
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


def recorded(rounds: int) -> Ratio:
    """Compare the fold of all recorded streams, one accumulator each."""
    streams = [path.read_bytes() for path in sorted(RECORDED.rglob("*.sse"))]
    payloads = []
    for payload in (each for stream in streams for each in bare.payloads(stream)):
        try:
            bare.decode([payload])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # an odd one, which only we pay for
        payloads.append(payload)
    many = [cut(stream, PIECES["64 KiB"]) for stream in streams]
    for pieces in many:
        plain = fold(pieces, express=False)
        assert repr(fold(pieces).finish()) == repr(plain.finish())

    def work() -> None:
        for pieces in many:
            fold(pieces)

    return pair(work, floor(payloads), rounds)


def main() -> None:
    """Print a line for each shape and way of feeding."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*BARS, *(["recorded"] if RECORDED.exists() else [])]
    parser.add_argument("shapes", nargs="*", default=known)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{'shape':10} {'feeds':7} {'median':>7} {'min':>6} {'max':>6} {'bar':>6}")
    for name in arguments.shapes:
        if name == "recorded":
            _show(name, "64 KiB", recorded(arguments.rounds), RECORDED_BAR)
            continue
        shape = build(name, arguments.chunks)
        for way, bar in zip(("64 KiB", "event"), BARS[name], strict=True):
            pieces = feeds(shape, PIECES[way])
            check(shape, fold(pieces))
            found = ratio(partial(fold, pieces), shape, arguments.rounds)
            _show(name, way, found, bar)


def _show(name: str, way: str, found: Ratio, bar: float) -> None:
    print(
        f"{name:10} {way:7} {found.median:7.2f} {found.least:6.2f} {found.most:6.2f}"
        f" {bar:6.2f}{'' if found.median <= bar else '  over'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
