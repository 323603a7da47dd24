"""The benchmarks run, and measure work that gives the right answer."""

import pytest

from benchmarks import bars, scale
from benchmarks.measure import feeds
from benchmarks.peers.conformance import Score, cases, faults, score
from benchmarks.peers.peers import PEERS, load
from benchmarks.peers.protocols import PROTOCOLS
from tests import protocol_shapes
from tests.shapes import build


def test_every_bar_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "RECORDED", bars.RECORDED / "none")  # takes seconds
    bars.main(["--chunks", "60", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    n_bars = sum(len(row.bars) for row in bars.ROWS)
    assert len(lines) == 1 + n_bars + len(bars.BESIDE)


def test_the_import_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    scale.main(["import", "--rounds", "1"])
    assert "import, ms" in capsys.readouterr().out


# What a good engineer writes needs no peer to be installed.
@pytest.mark.parametrize("peer", PEERS[:2], ids=lambda peer: peer.name)
@pytest.mark.parametrize("name", ["text", "tools, padded", "n=4, padded"])
def test_the_bundled_ways_agree(name: str, peer: object) -> None:
    [loaded] = [load(each) for each in PEERS if each is peer]
    assert loaded is not None
    shape = build(name, 60)
    assert not shape.faults(loaded.read(loaded.fold(feeds(shape, "64 B"))))


def test_we_fold_what_the_correctness_column_counts() -> None:
    for protocol, peers in {"chat": PEERS, **PROTOCOLS}.items():
        loaded = load(peers[0])
        assert loaded is not None
        streams = cases(protocol)
        assert len(streams) > 30
        assert score(loaded, streams, protocol) == Score(list(streams), [], [])


@pytest.mark.parametrize("name", protocol_shapes.SHAPES)
def test_what_is_compared_of_a_shape_is_told_from_another(name: str) -> None:
    shape, other = (protocol_shapes.build(name, n) for n in (60, 30))
    if shape.protocol in PROTOCOLS:
        assert faults(shape.answer, shape.answer, shape.protocol) == []
        assert "usage" in faults(other.answer, shape.answer, shape.protocol)
        assert len(faults({}, shape.answer, shape.protocol)) > 1
