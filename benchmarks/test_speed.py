"""Time the framing, the decoding and the folding of every shape.

`pytest benchmarks --benchmark-enable --benchmark-group-by=group` times them; without
the first option each runs once, on little, and only the answers are checked.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import bare
from benchmarks.measure import PIECES, check, feeds, fold
from tests.shapes import SHAPES, Shape, build
from unstream.sse import Decoder, Event


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Shape:
    return build(request.param, 100 if benchmark.disabled else 2_000)


@pytest.mark.benchmark(group="framing")
def test_framing(shape: Shape, benchmark: BenchmarkFixture) -> None:
    pieces = feeds(shape, "64 KiB")

    def frame() -> list[Event]:
        decoder = Decoder()
        return [event for data in pieces for event in decoder.feed(data)]

    events = benchmark(frame)
    payloads = [event.data for event in events if event.data != b"[DONE]"]
    assert payloads == bare.payloads(shape.stream)


@pytest.mark.benchmark(group="decoding")
def test_decoding(shape: Shape, benchmark: BenchmarkFixture) -> None:
    payloads = bare.payloads(shape.stream)
    assert len(payloads) >= 100
    benchmark(bare.decode, payloads)


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.benchmark(group="folding")
def test_folding(shape: Shape, size: str, benchmark: BenchmarkFixture) -> None:
    check(shape, benchmark(fold, feeds(shape, size)))
