"""Hold the whole fold against its bars: CPU time in bare decodes of the same chunks.

`python -m benchmarks.bars [WORD ...] [--chunks N] [--rounds N]` measures each row whose
name contains one of the words, or all. The answer is checked first. "recorded" are the
streams recorded from real services, where they stand beside the repository.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import bare
from benchmarks.measure import Ratio, check, cut, feeds, fold, pair
from tests.shapes import Shape, build

__all__ = ["RECORDED", "recorded"]

RECORDED: Final = Path(__file__).parents[2] / "shared" / "corpus" / "streams"
_RECORDED_BAR: Final = 3.5


@dataclass(frozen=True)
class Row:
    """A shape, and the most that it may cost in each way of feeding."""

    name: str
    shape: str
    bars: dict[str, float]
    n: int | None = None  # the chunks of one stream, where many are folded in a row
    fast: bool = True


def _short(n: int, bar: float) -> Row:
    return Row(f"OpenAI's default, {n} events", "text, padded", {"one feed": bar}, n)


def _plain(shape: str, bar: float) -> Row:
    return Row(f"fast path off: {shape}", shape, {"64 KiB": bar}, fast=False)


def _long(shape: str, block: float, event: float) -> Row:
    return Row(shape, shape, {"64 KiB": block, "event": event})


ROWS: Final = (
    _short(5, 6.5),
    _short(16, 4.2),
    _short(50, 2.5),
    _short(300, 1.6),
    _plain("text", 2.8),
    _plain("unknown key, constant", 3.5),
    _plain("router", 4.5),
    _long("text", 0.70, 0.9),
    _long("text, padded", 1.05, 1.3),
    _long("reasoning, padded", 1.1, 1.3),
    _long("tools, padded", 1.3, 1.5),
    _long("tricky, padded", 1.2, 1.4),
    _long("n=4, padded", 1.5, 1.8),
    _long("logprobs, padded", 1.7, 1.9),
    _long("unknown key, constant, padded", 1.3, 1.5),
)


def measure(row: Row, way: str, chunks: int, rounds: int) -> Ratio:
    """Fold one long stream of a shape, or as many chunks in short ones."""
    n = row.n or chunks
    shapes = [build(row.shape, n, seed=seed) for seed in range(max(1, chunks // n))]
    many = [_cut(shape, way) for shape in shapes]
    for shape, pieces in zip(shapes, many, strict=True):
        check(shape, fold(pieces, fast=row.fast))
    return _pair(many, [shape.stream for shape in shapes], rounds, fast=row.fast)


def recorded(rounds: int) -> Ratio:
    """Fold all recorded streams, an accumulator each."""
    streams = [path.read_bytes() for path in sorted(RECORDED.rglob("*.sse"))]
    many = [cut(stream, 65536) for stream in streams]
    for pieces in many:
        assert repr(fold(pieces)) == repr(fold(pieces, fast=False))
    return _pair(many, streams, rounds)


def _cut(shape: Shape, way: str) -> list[bytes]:
    return [shape.stream] if way == "one feed" else feeds(shape, way)


def _pair(
    many: Sequence[Sequence[bytes]],
    streams: Sequence[bytes],
    rounds: int,
    *,
    fast: bool = True,
) -> Ratio:
    def work() -> None:
        for pieces in many:
            fold(pieces, fast=fast)

    payloads = [each for stream in streams for each in bare.payloads(stream)]
    return pair(work, [*filter(_is_sound, payloads)], rounds)


def _is_sound(payload: bytes) -> bool:
    try:
        bare.decode([payload])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False  # an odd one, which only we pay for
    return True


def main() -> None:
    """Print a line for each bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", default=[""], metavar="WORD")
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{'':40} {'feeds':8} {'median':>7} {'min':>6} {'max':>6} {'bar':>6}")

    def is_asked(name: str) -> bool:
        return any(word in name for word in arguments.words)

    if RECORDED.exists() and is_asked("recorded"):
        _show("recorded", "64 KiB", recorded(arguments.rounds), _RECORDED_BAR)
    for row in filter(lambda row: is_asked(row.name), ROWS):
        for way, bar in row.bars.items():
            found = measure(row, way, arguments.chunks, arguments.rounds)
            _show(row.name, way, found, bar)


def _show(name: str, way: str, found: Ratio, most: float) -> None:
    print(
        f"{name:40} {way:8} {found.median:7.2f} {found.least:6.2f} {found.most:6.2f}"
        f" {most:6.2f}{'' if found.median <= most else '  over'}",
        flush=True,
    )


if __name__ == "__main__":
    main()
