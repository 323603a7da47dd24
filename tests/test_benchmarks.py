"""The benchmarks measure work that gives the right answer."""

import pytest

from benchmarks.conformance import Score, cases, score
from benchmarks.measure import check, feeds, fold
from benchmarks.peers import PEERS, load
from tests.shapes import SHAPES, build


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", ["64 KiB", "event"])
def test_a_shape_folds_to_its_known_answer(name: str, size: str) -> None:
    shape = build(name, 60)
    check(shape, fold(feeds(shape, size)))


def test_a_shape_is_the_same_every_time() -> None:
    for name in SHAPES:
        assert build(name, 30) == build(name, 30)


# What a good engineer writes needs no peer to be installed.
@pytest.mark.parametrize("peer", PEERS[:2], ids=lambda peer: peer.name)
@pytest.mark.parametrize("name", ["text", "tools, padded", "n=4, padded"])
def test_the_bundled_ways_agree(name: str, peer: object) -> None:
    [road] = [load(each) for each in PEERS if each is peer]
    assert road is not None
    shape = build(name, 60)
    assert not shape.faults(road.read(road.fold(feeds(shape, "64 B"))))


def test_faults_are_named() -> None:
    shape = build("tools, padded", 60)
    wrong = {"choices": [{"index": 0, "message": {"content": "x"}}]}
    assert shape.faults(wrong) == ["content", "tool_calls", "usage"]
    assert shape.faults({}) == ["choices", "tool_calls", "usage"]


def test_we_fold_what_the_correctness_column_counts() -> None:
    road = load(PEERS[0])
    assert road is not None
    streams = cases()
    assert score(road, streams) == Score(list(streams), [], [])
