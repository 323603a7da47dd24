"""Time the framing, the bare decode and the whole fold of every shape.

`pytest benchmarks --benchmark-only` times them; without that option each runs once, on
little, and only the answers are checked.
"""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import bare
from benchmarks.measure import Shape, build, check, feeds, fold
from tests import protocol_shapes
from tests.shapes import SHAPES
from unstream.sse import Decoder, Event


@pytest.fixture(params=[*SHAPES, *protocol_shapes.SHAPES])
def shape(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Shape:
    return build(request.param, 100 if benchmark.disabled else 2_000)


def run(
    benchmark: BenchmarkFixture, shape: Shape, work: Callable[..., Any], *args: Any
) -> Any:
    """Time work on a shape, and note what it makes a second and an event."""
    result = benchmark(work, *args)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["MB/s"] = len(shape.stream) / seconds / 1e6
        benchmark.extra_info["us/event"] = seconds / len(shape.events) * 1e6
    return result


@pytest.mark.benchmark(group="framing")
def test_framing(shape: Shape, benchmark: BenchmarkFixture) -> None:
    pieces = feeds(shape, "64 KiB")

    def frame() -> list[Event]:
        decoder = Decoder()
        return [event for data in pieces for event in decoder.feed(data)]

    events = run(benchmark, shape, frame)
    payloads = [event.data for event in events if event.data != b"[DONE]"]
    assert payloads == bare.payloads(shape.stream, shape.protocol)


@pytest.mark.benchmark(group="bare decode")
def test_decoding(shape: Shape, benchmark: BenchmarkFixture) -> None:
    payloads = bare.payloads(shape.stream, shape.protocol)
    assert len(payloads) >= 100
    run(benchmark, shape, bare.decode, payloads, shape.protocol)


@pytest.mark.parametrize("way", ["64 KiB", "event"])
@pytest.mark.benchmark(group="fold")
def test_folding(shape: Shape, way: str, benchmark: BenchmarkFixture) -> None:
    check(shape, run(benchmark, shape, fold, feeds(shape, way), shape.protocol))
