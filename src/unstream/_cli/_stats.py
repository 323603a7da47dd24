"""A summary of streams: a list of what is known of one, a table of several.

This module knows how a summary reads; rich draws it on a terminal, where it is there.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from unstream._cli._exchanges import Exchange
from unstream._cli._table import KEYS, Table, drawer, fit
from unstream._cli._terminal import escape, shown
from unstream._notes import NOTES
from unstream._outcome import Arguments, Note, Outcome, Tokens, count
from unstream._timing import Timing

__all__ = ["Row", "draw", "folder_of", "row"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a summary says of one stream; "unread" is no ending, but its lack."""

    name: str
    ending: str
    protocol: str = ""
    id: str = ""
    model: str = ""
    usage: Tokens | None = None
    usage_source: str | None = None
    finish_reasons: tuple[str | None, ...] = ()
    calls: tuple[tuple[str, Arguments, bool], ...] = ()
    """Of each its name, what its arguments are, and whether it may run."""
    notes: tuple[Note, ...] = ()
    n_events: int = 0
    n_bytes: int = 0
    timing: Timing | None = None
    started: float | None = None
    """When it was asked for, in seconds of the epoch."""
    arrivals: tuple[float, ...] = ()
    """When each event came, in seconds since then, where the file knows."""


def row(name: str, outcome: Outcome[Any], exchange: Exchange | None = None) -> Row:
    """Sum up one stream."""
    record = outcome.record
    return Row(
        name=name,
        ending=outcome.ending,
        protocol="" if outcome.completion is None else outcome.protocol,
        id=record.id,
        model=record.model,
        usage=record.usage,
        usage_source=outcome.usage_source,
        finish_reasons=record.finish_reasons,
        calls=tuple(
            (call.name, call.arguments, call.runnable) for call in record.calls
        ),
        notes=outcome.notes,
        n_events=outcome.n_events,
        n_bytes=outcome.n_bytes,
        timing=outcome.timing,
        started=None if exchange is None else exchange.started,
        arrivals=() if exchange is None else exchange.arrivals,
    )


def draw(rows: Sequence[Row], *, several: bool, width: int | None) -> str:
    """Return the summary of streams: for a terminal of that width, or plain."""
    drawn = drawer(width, _style)
    if not several and len(rows) == 1:
        return drawn(_one(rows[0]))
    folder = folder_of(rows)
    streams, left_out = fit(_streams(rows, folder), width, _WORTH)
    tables = [streams, _totals(rows, folder, left_out), _habits(rows)]
    return "\n".join(drawn(table) for table in tables if table.lines)


# --- What it says ---------------------------------------------------------------------


_Cell = Callable[[Row], str]


def _one(row: Row) -> Table:
    cells: dict[str, str] = {
        "file": "" if row.name == "-" else shown(row.name),
        "ending": row.ending,
        "protocol": row.protocol,
        "id": row.id,
        "model": row.model,
        "finish": _reasons(row),
        "usage": _usage(row),
    }
    lines = [(key, value) for key, value in cells.items() if value]
    for name, arguments, runnable in row.calls:
        may = "may run" if runnable else "may not run"
        lines.append(("call", f"{name or '?'}, arguments {arguments}, {may}"))
    size = f"{count(row.n_events, 'event')}, {count(row.n_bytes, 'byte')}"
    lines.append(("size", size))
    if row.timing is not None:
        lines.append(("time", _time(row, row.timing)))
    for note in row.notes:
        times = f", {note.count:,} times" if note.count > 1 else ""
        what = f"{note.code} (event {note.event:,}{times}): {NOTES.get(note.code, '')}"
        lines.append(("note", what))
    return Table(KEYS, [(key, escape(value)) for key, value in lines])


def _usage(row: Row) -> str:
    usage = row.usage
    if usage is None:
        return ""
    counts = [
        (usage.input, "in"),
        (usage.cached_read, "of it cached"),
        (usage.output, "out"),
        (usage.reasoning, "of it reasoning"),
    ]
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count is not None)
    return f"{said} (from {row.usage_source})" if row.usage_source else said


def _time(row: Row, timing: Timing) -> str:
    said = [f"{timing.total:.3f} s in all"]
    if timing.first_byte is not None:
        said.insert(0, f"first byte after {timing.first_byte:.3f} s")
    if speed := _speed(row):
        said.append(f"{speed} tokens a second")
    return ", ".join(said)


def _speed(row: Row) -> str:
    """Return the output tokens a second, since the first byte."""
    timing, usage = row.timing, row.usage
    if timing is None or usage is None or usage.output is None:
        return ""
    took = timing.total - (timing.first_byte or 0)
    return f"{usage.output / took:,.1f}" if took > 0 else ""


def _reasons(row: Row) -> str:
    return ", ".join(reason or "none" for reason in row.finish_reasons)


def _count(key: str) -> _Cell:
    def cell(row: Row) -> str:
        count = getattr(row.usage, key, None)
        return "" if count is None else f"{count:,}"

    return cell


def _seconds(key: str) -> _Cell:
    def cell(row: Row) -> str:
        value = getattr(row.timing, key, None)
        return "" if value is None else f"{value:.3f}"

    return cell


def _calls(row: Row) -> str:
    n, may = len(row.calls), sum(runnable for _, _, runnable in row.calls)
    return "" if not n else str(n) if may == n else f"{n}, {may} may run"


_CELLS: Final[dict[str, _Cell]] = {
    "file": lambda row: shown(row.name),
    "ending": lambda row: row.ending,
    "protocol": lambda row: row.protocol,
    "model": lambda row: row.model,
    "id": lambda row: row.id,
    "finish": _reasons,
    "in>": _count("input"),
    "cached>": _count("cached_read"),
    "out>": _count("output"),
    "reasoning>": _count("reasoning"),
    "calls": _calls,
    "events>": lambda row: f"{row.n_events:,}" if row.n_events else "",
    "first s>": _seconds("first_byte"),
    "total s>": _seconds("total"),
    "tokens/s>": _speed,
    "notes": lambda row: ", ".join(note.code for note in row.notes),
}


def folder_of(rows: Iterable[Row]) -> str:
    """Return what the names of all streams begin with, up to a slash."""
    return os.path.commonprefix([row.name for row in rows]).rpartition("/")[0]  # noqa: RUF071 - up to a slash


def _streams(rows: Iterable[Row], folder: str) -> Table:
    """Return a line for each stream, without the columns that are empty."""
    columns = {key: [escape(cell(row)) for row in rows] for key, cell in _CELLS.items()}
    if folder:
        names = [row.name.removeprefix(folder).lstrip("/") for row in rows]
        columns["file"] = [escape(shown(name)) for name in names]
    if len({*columns["protocol"]}) == 1:
        del columns["protocol"]
    columns = {key: cells for key, cells in columns.items() if any(cells)}
    lines = [*zip(*columns.values(), strict=True)]
    return Table(tuple(columns), lines, _MOST, _WRAPS)


def _totals(rows: Sequence[Row], folder: str, left_out: list[str]) -> Table:
    endings = Counter(row.ending for row in rows)
    lines = [("folder", escape(shown(folder)))] if folder else []
    lines += [
        ("streams", f"{len(rows):,}"),
        ("endings", ", ".join(f"{n:,} {end}" for end, n in endings.most_common())),
    ]
    billed = [row.usage for row in rows if row.usage is not None]
    if billed:
        counts = (sum(each.input or 0 for each in billed), "in")
        output = (sum(each.output or 0 for each in billed), "out")
        said = ", ".join(f"{n:,} {word}" for n, word in (counts, output))
        lines.append(("tokens", f"{said}, of the {len(billed):,} that said"))
    times = [row.timing for row in rows if row.timing is not None]
    if times:
        totals = sorted(each.total for each in times)
        firsts = sorted(t.first_byte for t in times if t.first_byte is not None)
        if firsts:
            lines.append(("first byte", _spread(firsts)))
        lines.append(("total time", _spread(totals)))
    if left_out:
        what = ", ".join(left_out)
        lines.append(("left out", f"{what}; in a pipe there is room"))
    return Table(KEYS, lines)


def _spread(times: list[float]) -> str:
    half = len(times) // 2
    middle = (times[half] + times[~half]) / 2
    return f"{middle:.3f} s in the median, {times[0]:.3f} to {times[-1]:.3f}"


def _habits(rows: Iterable[Row]) -> Table:
    """Return what was odd, and in how many streams."""
    counts = Counter(note.code for row in rows for note in row.notes)
    lines = [(code, f"{n:,}", NOTES.get(code, "")) for code, n in counts.most_common()]
    return Table(("note", "streams>", "what it means"), lines, wraps=_WRAPS)


# --- How it looks ---------------------------------------------------------------------

# The columns by what they are worth on a narrow terminal, and how wide they get there:
# of an id and a model the beginning tells enough.
_WORTH: Final = (
    *("file", "ending", "finish", "in>", "out>", "calls", "notes", "model", "total s>"),
    *("first s>", "id", "protocol", "cached>", "reasoning>", "tokens/s>", "events>"),
)
_MOST: Final = {"id": 14, "model": 22, "file": 32, "notes": 32}
_WRAPS: Final = ("file", "notes", "what it means")


def _style(head: str, cell: str) -> str:
    if head == "ending":
        return _COLOURS.get(cell, "yellow")
    return "yellow" if head in ("note", "notes") else ""


_COLOURS: Final = {"complete": "green", "error": "red"}
