"""Measure what does not fit into one ratio: growth, memory, many at once, one feed.

`python -m benchmarks.scale TASK [ARGUMENT ...]` runs one measurement that needs a
process to itself and prints it as JSON; `child` starts such a process.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import bare
from benchmarks.measure import cpu, cut, feeds, floor, fold
from benchmarks.peers import PEERS, load
from tests.shapes import build
from unstream import Accumulator

__all__ = [
    "child",
    "growth",
    "idle",
    "importing",
    "large_event",
    "one_feed",
]

ROOT: Final = Path(__file__).parents[1]
_BLOCK: Final = 64 * 1024
_MANY: Final = 10_000
_TURNS: Final = 200


def child(task: str, *arguments: str) -> Any:
    """Run a task in a fresh process and return what it prints."""
    command = [sys.executable, "-m", "benchmarks.scale", task, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def growth(name: str, few: int, many: int, rounds: int) -> tuple[float, float, float]:
    """Return what a chunk costs among `many`, against `few`: median, least, most."""
    small, large = build(name, few), build(name, many)
    short, long = feeds(small, "64 KiB"), feeds(large, "64 KiB")
    times = max(1, min(20, many // few))

    def repeat() -> None:
        for _ in range(times):
            fold(short)

    ratios = []
    for _ in range(rounds):
        a_chunk = cpu(repeat) / times / len(small.events)
        ratios.append(cpu(lambda: fold(long)) / len(large.events) / a_chunk)
    return statistics.median(ratios), min(ratios), max(ratios)


def large_event(size: int, rounds: int) -> float:
    """Return the cost of one event of `size` bytes in 1 KiB reads, against whole."""
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * size}}]}
    stream = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
    reads = cut(stream, 1024)
    return statistics.median(
        cpu(lambda: fold(reads)) / cpu(lambda: fold([stream])) for _ in range(rounds)
    )


def idle() -> int:
    """Return the bytes that a new accumulator holds."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [Accumulator() for _ in range(1000)]
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held // len(kept)


def one_feed(name: str, chunks: int) -> dict[str, float]:
    """Return quantiles of the wall-clock microseconds of one feed, event by event."""
    events = build(name, chunks).events
    accumulator = Accumulator()
    clock, feed = time.perf_counter_ns, accumulator.feed
    spent = []
    gc.collect()
    for data in events:
        start = clock()
        feed(data)
        spent.append(clock() - start)
    accumulator.finish()
    spent.sort()
    at = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    found = {key: spent[int(len(spent) * share)] / 1000 for key, share in at.items()}
    return {**found, "most": spent[-1] / 1000}


# --- In a process of its own ----------------------------------------------------------


def _memory() -> tuple[int, int]:
    """Return the bytes that this process holds, and the most it held since `_reset`."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux: the most since the process began
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scale = 1 if sys.platform == "darwin" else 1024
        return most * scale, most * scale
    found = dict(line.split(":", 1) for line in status.splitlines())
    now, most = (int(found[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, most


def _reset() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # what was held at the start may then hide a small peak


def _reads(path: str) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while data := file.read(_BLOCK):
            yield data


def _peak(name: str, path: str) -> dict[str, Any]:
    """Measure what folding a file adds to the memory at its highest."""
    [road] = [load(peer) for peer in PEERS if peer.name == name]
    assert road is not None
    for shape in (
        "text",
        "tools, padded",
        "logprobs, padded",
    ):  # what is imported late, is now
        road.fold([build(shape, 20).stream])
    gc.collect()
    before = _memory()[0]
    _reset()
    completion = road.fold(_reads(path))
    peak = _memory()[1] - before
    to_json = getattr(completion, "to_json", None)
    is_ours = isinstance(to_json(), bytes) if callable(to_json) else False
    return {"peak": peak, "json": len(to_json()) if to_json and is_ours else None}


def _in_turn(copied: str) -> dict[str, Any]:
    """Feed many accumulators in turn; `copied` gives each bytes of its own."""
    shape = build("text", _TURNS)
    once = floor(bare.payloads(shape.stream))
    gc.collect()
    before = _memory()[0]
    _reset()
    accumulators = [Accumulator() for _ in range(_MANY)]

    def feed() -> None:
        for event in shape.events:
            for accumulator in accumulators:
                accumulator.feed(event)

    def feed_copies() -> None:
        for event in shape.events:
            view = memoryview(event)
            for accumulator in accumulators:
                accumulator.feed(view.tobytes())

    took = cpu(feed_copies if copied == "copied" else feed)
    memory = _memory()
    took += cpu(lambda: [accumulator.finish() for accumulator in accumulators])
    for accumulator in accumulators:
        completion = accumulator.finish().completion
        assert completion is not None
        assert completion.choices[0].message.content == shape.answer[0]["content"]
    return {
        "seconds": took,
        "ratio": took / _MANY / once(),
        "feeds": _MANY * len(shape.events),
        "held": (memory[0] - before) // _MANY,
        "peak": memory[1] - before,
    }


def importing(rounds: int) -> tuple[float, float]:
    """Return the CPU milliseconds to import msgspec, and what unstream adds to that.

    With the bytecode cached, as it is once a package was installed; medians.
    """
    code = (
        "import time; start = time.process_time(); import msgspec.json;"
        "first = time.process_time(); import unstream;"
        "print(first - start, time.process_time() - first)"
    )
    command = [sys.executable, "-c", code]
    taken = []
    with tempfile.TemporaryDirectory() as cache:
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env = {**kept, "PYTHONPYCACHEPREFIX": cache}
        for _ in range(rounds + 1):  # the first one writes the cache
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)  # noqa: S603
            taken.append([float(word) * 1000 for word in done.stdout.split()])
    first, added = zip(*taken[1:], strict=True)
    return statistics.median(first), statistics.median(added)


_TASKS: Final[dict[str, Callable[..., Any]]] = {
    "peak": _peak,
    "in-turn": _in_turn,
}


def main() -> None:
    """Run one task and print what it measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=_TASKS)
    parser.add_argument("arguments", nargs="*")
    arguments = parser.parse_args()
    print(json.dumps(_TASKS[arguments.task](*arguments.arguments)))


if __name__ == "__main__":
    main()
