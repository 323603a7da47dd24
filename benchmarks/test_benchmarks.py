"""The benchmarks run, and measure work that gives the right answer."""

import pytest

from benchmarks import bars, scale
from benchmarks.measure import feeds
from benchmarks.peers.conformance import Score, cases, score
from benchmarks.peers.peers import PEERS, load
from tests.shapes import build


def test_every_bar_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "RECORDED", bars.RECORDED / "none")  # takes seconds
    bars.main(["--chunks", "60", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + sum(len(row.bars) for row in bars.ROWS)


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
    loaded = load(PEERS[0])
    assert loaded is not None
    streams = cases()
    assert score(loaded, streams) == Score(list(streams), [], [])
