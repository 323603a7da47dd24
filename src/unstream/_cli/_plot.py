"""A picture of when streams came: a waterfall, and how long the gaps in them are.

This module knows matplotlib; the times are those that the files have.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, Final

from unstream._cli._stats import Row, folder_of
from unstream._cli._terminal import escape, shown

__all__ = ["NoTimes", "draw", "is_there"]

# More bars are no picture any more; the longest names would take all its room.
_BARS: Final = 80
_LETTERS: Final = 40
_BINS: Final = 40
# Told apart by everybody: Okabe and Ito's palette.
_WAIT: Final = "#d0d5dd"
_COLOURS: Final = {"complete": "#0072b2", "error": "#d55e00"}
_OTHER: Final = "#e69f00"
_INK: Final = "#344054"


class NoTimes(Exception):
    """No stream has times to be drawn."""


def is_there() -> bool:
    """Say whether matplotlib can be imported."""
    try:
        import_module("matplotlib.figure")
    except ImportError:
        return False
    return True


def draw(rows: Sequence[Row], path: str) -> str | None:
    """Write the picture; return what is to be told of it, or None.

    Raises OSError where it cannot be written, NoTimes where no stream has any.
    """
    timed = [row for row in rows if row.timing is not None and row.started is not None]
    timed.sort(key=lambda row: row.started or 0)
    if not timed:
        raise NoTimes("no stream has times to be drawn; those of HAR and flows have")
    bars = timed[:_BARS]
    gaps = [gap for row in timed for gap in _gaps(row.arrivals)]
    figure: Any = import_module("matplotlib.figure").Figure
    tall = 1.4 + 0.22 * len(bars)
    sizes = [tall, 3.2] if gaps else [tall]
    drawing = figure(figsize=(10, sum(sizes)), layout="constrained")
    places = drawing.subplots(len(sizes), 1, height_ratios=sizes, squeeze=False)
    _waterfall(places[0][0], bars)
    if gaps:
        _histogram(places[1][0], sorted(gaps))
    with warnings.catch_warnings():  # of a name in a script that the font has not
        warnings.simplefilter("ignore", UserWarning)
        drawing.savefig(path)
    if len(timed) > _BARS:
        return f"{path}: the first {_BARS} of {len(timed):,} streams are drawn"
    return None if gaps else f"{path}: no events have times, so there are no gaps"


def _gaps(arrivals: Sequence[float]) -> list[float]:
    return [max(0.0, after - before) for before, after in pairwise(arrivals)]


def _waterfall(place: Any, rows: Sequence[Row]) -> None:
    origin = rows[0].started or 0
    folder = folder_of(rows)
    for n, row in enumerate(rows):
        if row.timing is None or row.started is None:
            continue
        start, total = row.started - origin, row.timing.total
        first = min(row.timing.first_byte or 0, total)
        colour = _COLOURS.get(row.ending, _OTHER)
        place.barh(n, first, left=start, height=0.6, color=_WAIT)
        rest = max(total - first, 0)
        place.barh(n, rest, left=start + first, height=0.6, color=colour, alpha=0.75)
        times = [start + each for each in row.arrivals]
        place.vlines(times, n - 0.3, n + 0.3, color=_INK, linewidth=0.5, alpha=0.4)
    names = [escape(shown(row.name.removeprefix(folder).lstrip("/"))) for row in rows]
    labels = [_cut(name) for name in names]
    place.set_yticks(range(len(rows)), labels, fontsize=8, parse_math=False)
    place.invert_yaxis()
    place.set_ylim(len(rows) - 0.4, -0.6)
    place.set_xlabel("seconds since the first request", fontsize=9)
    _clean(place, "Streams: the wait for the first byte, then the answer")
    endings = sorted(
        {row.ending for row in rows}, key=lambda ending: ending != "complete"
    )
    marks = [("waiting", _WAIT), *((e, _COLOURS.get(e, _OTHER)) for e in endings)]
    patch = import_module("matplotlib.patches").Patch
    handles = [patch(color=colour, label=label) for label, colour in marks]
    place.legend(
        handles=handles,
        fontsize=8,
        frameon=False,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=len(handles),
    )


def _histogram(place: Any, gaps: list[float]) -> None:
    # What came together has no gap that a clock of milliseconds knows.
    least = max(min((gap for gap in gaps if gap > 0), default=1e-4), 1e-4)
    most = max(gaps[-1], least * 10)
    step = (most / least) ** (1 / _BINS)
    edges = [least * step**n for n in range(_BINS + 1)]
    place.hist([max(gap, least) for gap in gaps], edges, color=_COLOURS["complete"])
    place.set_xscale("log")
    place.margins(y=0.3)
    for n, share in enumerate((50, 95, 99)):
        value = gaps[min(len(gaps) - 1, len(gaps) * share // 100)]
        at = max(value, least)
        place.axvline(at, color=_INK, linewidth=0.8, linestyle=":")
        place.text(
            *(at, 0.98 - 0.08 * n, f" p{share} {value * 1000:,.3g} ms"),
            transform=place.get_xaxis_transform(),
            fontsize=8,
            color=_INK,
            va="top",
        )
    place.set_xlabel("seconds between an event and the next", fontsize=9)
    place.set_ylabel("gaps", fontsize=9)
    _clean(place, f"Gaps between events: {len(gaps):,}")


def _clean(place: Any, title: str) -> None:
    place.set_title(title, fontsize=10, loc="left", color=_INK)
    place.spines[["top", "right"]].set_visible(False)
    place.tick_params(which="both", labelsize=8, colors=_INK)


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
