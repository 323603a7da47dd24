"""Measure what a ratio does not show: growth, memory, the import.

`python -m benchmarks.scale [WORD ...] [--rounds N] [--quick]` measures each figure
whose name contains one of the words, or all. The memory is read where Linux tells it.
"""

import argparse
import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from benchmarks.measure import FEEDS, Figure, Spread, cpu, feeds, fold, show
from tests.shapes import SHAPES, build
from unstream import Accumulator

__all__ = ["figures", "fresh", "peak"]

_FEW: Final = 2_000
_MANY: Final = 200_000
_MEMORY: Final = (
    "text",
    "text, padded",
    "tools, padded",
    "n=4, padded",
    "logprobs, padded",
)
_MIB: Final = 2**20
_MS: Final = 1000

T = TypeVar("T")


def figures(words: Sequence[str], rounds: int, *, quick: bool) -> Iterator[Figure]:
    """Measure all figures that are asked for."""

    def is_asked(name: str) -> bool:
        return any(word in name for word in words)

    many = _MANY // 10 if quick else _MANY
    for shape in SHAPES:
        if is_asked(name := f"growth: {shape}"):
            yield Figure(name, f"{many:,} chunks", _growth(shape, many, rounds), 1.15)
    for shape in _MEMORY:
        if is_asked(name := f"peak, MiB: {shape}"):
            yield _peak(name, shape, 4 if quick else 100)
    for way, events in (("idle", []), ("open", build("text, padded", 200).events)):
        if is_asked(name := f"an accumulator, KiB: {way}"):
            yield Figure(
                name, f"{len(events)} events", Spread.of([_held(events)]), None
            )
    if is_asked(name := "import, ms"):
        yield Figure(name, "beyond msgspec", _importing(rounds), 10)


def _growth(name: str, many: int, rounds: int) -> Spread:
    """Return what a chunk costs among many, against few; 1 is linear."""
    small, large = build(name, _FEW), build(name, many)
    short, long = feeds(small, "64 KiB"), feeds(large, "64 KiB")
    times = min(20, many // _FEW)

    def repeat() -> None:
        for _ in range(times):
            fold(short)

    def ratio() -> float:
        a_chunk = cpu(repeat) / times / len(small.events)
        return cpu(lambda: fold(long)) / len(large.events) / a_chunk

    return Spread.of(ratio() for _ in range(rounds))


def _held(events: Sequence[bytes]) -> float:
    """Return the KiB that an accumulator holds after events of its own."""
    n = 200
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [Accumulator() for _ in range(n)]
    for event in events:
        view = memoryview(event)
        for accumulator in kept:
            accumulator.feed(view.tobytes())
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held / n / 1024


def _importing(rounds: int) -> Spread:
    """Return the CPU milliseconds that unstream adds to the import of msgspec.

    With the bytecode cached, as it is once a package was installed.
    """
    code = (
        "import time, msgspec.json; start = time.process_time(); import unstream;"
        "print(time.process_time() - start)"
    )
    command = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as cache:
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env = {**kept, "PYTHONPYCACHEPREFIX": cache}

        def taken() -> float:
            return float(subprocess.check_output(command, env=env)) * _MS  # noqa: S603

        taken()  # writes the cache
        return Spread.of(taken() for _ in range(rounds))


# --- In a process of its own ----------------------------------------------------------


def fresh(task: Callable[..., T], *arguments: Any) -> T:
    """Call a function of a module in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(task, *arguments).result()


def peak(fold: Callable[[Iterable[bytes]], T], path: Path) -> tuple[int, T]:
    """Fold a file; return the bytes that this added at its highest, and the result."""
    for shape in ("text", "tools", "logprobs"):  # what is imported late, is now
        fold([build(shape, 20).stream])
    gc.collect()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
    result = fold(_reads(path))
    return _resident("VmHWM") - before, result


def _resident(key: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) * 1024


def _reads(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(FEEDS["64 KiB"]):
            yield data


def _peak(name: str, shape: str, mib: int) -> Figure:
    """Hold a long stream against twice the JSON of its completion and 4 MiB."""
    sample = build(shape, _FEW)
    n = mib * _MIB * _FEW // len(sample.stream)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stream")
        path.write_bytes(build(shape, n).stream)
        most, json = fresh(_fold_file, path)
    bar = 2 * json / _MIB + 4
    return Figure(name, f"{mib} MiB stream", Spread.of([most / _MIB]), bar)


def _fold_file(path: Path) -> tuple[int, int]:
    most, outcome = peak(fold, path)
    assert outcome.completion is not None
    return most, len(outcome.completion.to_json())


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", default=[""], metavar="WORD")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="with shorter streams")
    arguments = parser.parse_args(argv)
    show(figures(arguments.words, arguments.rounds, quick=arguments.quick))


if __name__ == "__main__":
    main()
