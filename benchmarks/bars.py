"""Hold the whole fold against its bars: CPU time in bare decodes of the same chunks.

`python -m benchmarks.bars [WORD ...] [--chunks N] [--rounds N]` measures each row whose
name contains one of the words, or all. The answer is checked first. "recorded" are the
streams recorded from real services, where they stand beside the repository. "over
chat's" is what an event of another protocol costs over what one of a chat does, each in
bare decodes of its own.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.measure import (
    FEEDS,
    Figure,
    beside,
    build,
    check,
    cut,
    feeds,
    fold,
    pair,
    show,
)

__all__ = ["BESIDE", "ROWS", "figures"]

RECORDED: Final = Path(__file__).parents[2] / "shared" / "corpus" / "streams"
_RECORDED_BAR: Final = 3.5
_WHOLE: Final = "one feed"


@dataclass(frozen=True)
class Row:
    """A shape, and the most that it may cost in each way of feeding."""

    name: str
    shape: str
    bars: dict[str, float]
    n: int | None = None  # the chunks of one stream, where many are folded in a row
    fast: bool = True


def _short(n: int, bar: float) -> Row:
    return Row(f"OpenAI's default, {n} events", "text, padded", {_WHOLE: bar}, n)


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
    _plain("messages: text", 2.8),
    _plain("responses: text", 3.0),
    _plain("gemini: text", 3.2),
    _plain("text: text", 13.5),
    _long("messages: text", 1.8, 3.2),
    _long("messages: tools", 5.8, 6.2),
    _long("responses: text", 3.1, 3.8),
    _long("responses: text, padded", 2.9, 3.5),
    _long("responses: tools, padded", 6.2, 6.4),
    _long("gemini: text", 3.1, 3.6),
    _long("gemini: tools", 3.7, 4.2),
    _long("text: text", 1.0, 1.1),
)

# On the ordinary road an event of these costs no more bare decodes than one of a chat.
BESIDE: Final = ("messages: text", "responses: text")


def figures(words: Sequence[str], chunks: int, rounds: int) -> Iterator[Figure]:
    """Measure each row whose name contains one of the words."""
    rows = [row for row in ROWS if any(word in row.name for word in words)]
    if RECORDED.exists() and any(word in "recorded" for word in words):
        streams = [path.read_bytes() for path in sorted(RECORDED.rglob("*.sse"))]
        many = [cut(stream, FEEDS["64 KiB"]) for stream in streams]
        for pieces in many:
            assert repr(fold(pieces)) == repr(fold(pieces, fast=False))
        work = partial(_fold_all, many, fast=True)
        yield Figure("recorded", "64 KiB", pair(work, streams, rounds), _RECORDED_BAR)
    for row in rows:
        n = row.n or chunks
        shapes = [build(row.shape, n, seed=seed) for seed in range(max(1, chunks // n))]
        streams = [shape.stream for shape in shapes]
        for way, bar in row.bars.items():
            many = [
                [shape.stream] if way == _WHOLE else feeds(shape, way)
                for shape in shapes
            ]
            for shape, pieces in zip(shapes, many, strict=True):
                check(shape, fold(pieces, shape.protocol, fast=row.fast))
            protocol = shapes[0].protocol
            work = partial(_fold_all, many, protocol, fast=row.fast)
            yield Figure(row.name, way, pair(work, streams, rounds, protocol), bar)
    for other in BESIDE:
        name = f"over chat's: {other}"
        if any(word in name for word in words):
            sides = build(other, chunks), build("text", chunks)
            yield Figure(name, "fast path off", beside(*sides, rounds, fast=False), 1.0)


def _fold_all(
    many: Sequence[Sequence[bytes]], protocol: str = "chat", *, fast: bool
) -> None:
    for pieces in many:
        fold(pieces, protocol, fast=fast)


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", default=[""], metavar="WORD")
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args(argv)
    show(figures(arguments.words, arguments.chunks, arguments.rounds))


if __name__ == "__main__":
    main()
