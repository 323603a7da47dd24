"""The picture of times: what is drawn, and what is told where there are none."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import structs

from tests.cli.test_inputs import CHUNKS, GOOD, entry, har
from unstream.__main__ import main
from unstream._cli import _plot
from unstream._cli._stats import Row
from unstream._timing import Timing

pytest.importorskip("matplotlib")
# Of older versions of it, with a newer pyparsing.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STARTED: Final = 1795521600.0  # of the entries
Plot = Callable[..., tuple[int, str]]


@pytest.fixture
def plot(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Plot:
    def plot(data: Any, *arguments: str, into: str = "it.svg") -> tuple[int, str]:
        text = data if isinstance(data, str) else json.dumps(data)
        (tmp_path / "it").write_text(text)
        picture = str(tmp_path / into)
        status = main(["--plot", picture, *arguments, str(tmp_path / "it")])
        got = capfd.readouterr()
        assert got.out == ""
        return status, got.err.replace(f"{tmp_path}/", "")

    return plot


def timed(*arrivals: float) -> dict[str, Any]:
    messages = [
        {"time": STARTED + at, "eventName": "", "data": json.dumps(chunk)}
        for at, chunk in zip(arrivals, CHUNKS, strict=True)
    ]
    return entry(None, _eventSourceMessages=messages)


@pytest.mark.parametrize("suffix", ["svg", "PNG", "pdf"])
def test_a_picture_is_written(plot: Plot, tmp_path: Path, suffix: str) -> None:
    data = har(timed(0.5, 0.6), entry(GOOD))
    assert plot(data, into=f"it.{suffix}") == (0, "")
    begins = {"svg": b"<?xml", "PNG": b"\x89PNG", "pdf": b"%PDF"}[suffix]
    assert (tmp_path / f"it.{suffix}").read_bytes().startswith(begins)


def test_processes_draw_what_one_does(plot: Plot, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(json.dumps(har(timed(0.5, 0.6))))
    status, told = plot(har(timed(0.5, 0.7)), "-j2", str(tmp_path / "other"))
    assert (status, told) == (0, "")


def test_a_bar_for_each_stream_and_a_gap_between_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figure: Any = pytest.importorskip("matplotlib.figure").Figure
    drawn: list[Any] = []
    monkeypatch.setattr(figure, "savefig", lambda figure, _: drawn.append(figure))
    timing = Timing(first_byte=0.5, total=2)
    arrivals = (0.5, 0.6, 0.6, 1.6)
    first = Row(name="d/a", ending="complete", timing=timing, started=10)
    rows = [
        Row(name="d/b", ending="error", timing=timing, started=11),
        structs.replace(first, arrivals=arrivals),
        Row(name="d/c", ending="complete"),
    ]
    assert _plot.draw(rows, "x.svg") is None
    [waterfall, gaps] = drawn[0].axes
    assert [label.get_text() for label in waterfall.get_yticklabels()] == ["a", "b"]
    bars = [(bar.get_x(), bar.get_width()) for bar in waterfall.patches]
    assert bars == [(0, 0.5), (0.5, 1.5), (1, 0.5), (1.5, 1.5)]
    assert sum(bar.get_height() for bar in gaps.patches) == 3
    assert [text.get_text().split()[0] for text in gaps.texts] == ["p50", "p95", "p99"]
    assert gaps.texts[0].get_text() == " p50 100 ms"
    # Without times of events there is nothing to say of gaps.
    told = _plot.draw(rows[:1], "x.svg")
    assert told == "x.svg: no events have times, so there are no gaps"
    assert len(drawn[1].axes) == 1
    told = _plot.draw(rows[:1] * 100, "x.svg")
    assert told == "x.svg: the first 80 of 100 streams are drawn"


def test_a_name_is_drawn_as_it_is(plot: Plot, tmp_path: Path) -> None:
    odd = tmp_path / "$\\frac{1$ \x1b[31m 日本"
    odd.write_text(json.dumps(har(timed(0.5, 0.7))))
    assert plot(har(timed(0.5, 1e308)), str(odd)) == (0, "")


def test_no_times_are_told_in_a_line(plot: Plot, tmp_path: Path) -> None:
    status, told = plot(GOOD)
    assert status == 2
    assert told == (
        "unstream: no stream has times to be drawn; those of HAR and flows have\n"
    )
    assert not (tmp_path / "it.svg").exists()


def test_no_place_for_the_picture_is_told(plot: Plot) -> None:
    status, told = plot(har(entry(GOOD)), into="none/it.svg")
    assert (status, told) == (1, "unstream: none/it.svg: No such file or directory\n")


def test_the_suffix_must_be_of_a_picture(
    plot: Plot, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        plot(GOOD, into="it.txt")
    assert raised.value.code == 2
    assert "its name ends in .svg, .png or .pdf" in capfd.readouterr().err


def test_it_needs_matplotlib(plot: Plot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    told = "unstream: --plot needs matplotlib: pip install 'unstream[plot]'\n"
    assert plot(GOOD) == (2, told)
