"""A summary of streams: a list of what is known of one, a table of several.

This module knows how a summary reads; rich draws it on a terminal, where it is there.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from unstream._cli._progress import rich
from unstream._cli._terminal import escape, shown
from unstream._notes import NOTES
from unstream._outcome import Arguments, Ending, Note, Outcome, Timing, Tokens

__all__ = ["Row", "draw", "row"]


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


def row(name: str, outcome: Outcome[Any]) -> Row:
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
    )


def draw(rows: Sequence[Row], *, several: bool, width: int | None) -> str:
    """Return the summary of streams: for a terminal of that width, or plain."""
    console = rich("console") if width is not None else None
    drawn = _plain if console is None else _drawer(console, width or 0)
    if not several and len(rows) == 1:
        return drawn(_one(rows[0]))
    folder = _folder(rows)
    streams = _streams(rows, folder)
    left_out: list[str] = []
    if console is not None:
        streams, left_out = _fit(streams, width or 0)
    tables = [streams, _totals(rows, folder, left_out), _habits(rows)]
    return "\n".join(drawn(table) for table in tables if table.lines)


# --- What it says ---------------------------------------------------------------------


class _Table(NamedTuple):
    """Lines of cells; of a `heads` that ends in `>` the cells stand to the right."""

    heads: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]


_KEYS: Final = ("", "")
_Cell = Callable[[Row], str]


def _one(row: Row) -> _Table:
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
    size = f"{row.n_events:,} events, {row.n_bytes:,} bytes"
    lines.append(("size", size))
    if row.timing is not None:
        lines.append(("time", _time(row, row.timing)))
    for note in row.notes:
        times = f", {note.count:,} times" if note.count > 1 else ""
        what = f"{note.code} (event {note.event:,}{times}): {NOTES.get(note.code, '')}"
        lines.append(("note", what))
    return _Table(_KEYS, [(key, escape(value)) for key, value in lines])


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


def _folder(rows: Iterable[Row]) -> str:
    """Return what the names of all streams begin with, up to a slash."""
    return os.path.commonprefix([row.name for row in rows]).rpartition("/")[0]  # noqa: RUF071 - up to a slash


def _streams(rows: Iterable[Row], folder: str) -> _Table:
    """Return a line for each stream, without the columns that are empty."""
    columns = {key: [escape(cell(row)) for row in rows] for key, cell in _CELLS.items()}
    if folder:
        names = [row.name.removeprefix(folder).lstrip("/") for row in rows]
        columns["file"] = [escape(shown(name)) for name in names]
    if len({*columns["protocol"]}) == 1:
        del columns["protocol"]
    columns = {key: cells for key, cells in columns.items() if any(cells)}
    return _Table(tuple(columns), [*zip(*columns.values(), strict=True)])


def _totals(rows: Sequence[Row], folder: str, left_out: list[str]) -> _Table:
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
        what = ", ".join(head.rstrip(">") for head in left_out)
        lines.append(("left out", f"{what}; in a pipe there is room for it"))
    return _Table(_KEYS, lines)


def _spread(times: list[float]) -> str:
    half = len(times) // 2
    middle = (times[half] + times[~half]) / 2
    return f"{middle:.3f} s in the median, {times[0]:.3f} to {times[-1]:.3f}"


def _habits(rows: Iterable[Row]) -> _Table:
    """Return what was odd, and in how many streams."""
    counts = Counter(note.code for row in rows for note in row.notes)
    lines = [(code, f"{n:,}", NOTES.get(code, "")) for code, n in counts.most_common()]
    return _Table(("note", "streams>", "what it means"), lines)


# --- How it looks ---------------------------------------------------------------------


def _plain(table: _Table) -> str:
    """Align the cells with spaces; a pipe gets them whole."""
    lines = [tuple(head.rstrip(">") for head in table.heads), *table.lines]
    if table.heads == _KEYS:
        del lines[0]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    drawn = []
    for line in lines:
        cells = [
            cell.rjust(width) if head.endswith(">") else cell.ljust(width)
            for cell, width, head in zip(line, widths, table.heads, strict=True)
        ]
        drawn.append("  ".join(cells).rstrip() + "\n")
    return "".join(drawn)


# The columns by what they are worth on a narrow terminal, and how wide they get there:
# of an id and a model the beginning tells enough, names and notes go on in a new line.
_WORTH: Final = [
    "file",
    "ending",
    "finish",
    "in>",
    "out>",
    "calls",
    "notes",
    "model",
    "total s>",
    "first s>",
    "id",
    "protocol",
    "cached>",
    "reasoning>",
    "tokens/s>",
    "events>",
]
_MOST: Final = {"id": 14, "model": 22, "file": 32, "notes": 32}
_WRAPPED: Final = ("file", "notes", "what it means")
_GAP: Final = 2
_ANY: Final = 1_000_000


def _fit(table: _Table, width: int) -> tuple[_Table, list[str]]:
    """Return a table that a terminal has room for, and the heads that it has not."""
    columns = [*zip(table.heads, *table.lines, strict=True)]
    kept: set[str] = set()
    left_out: list[str] = []
    for head in sorted(table.heads, key=_WORTH.index):
        [cells] = [cells for cells in columns if cells[0] == head]
        size = min(max(map(len, cells)), _MOST.get(head, _ANY))
        if kept and size > width:
            left_out.append(head)
        else:
            kept.add(head)
            width -= size + _GAP
    heads, *lines = zip(*(cells for cells in columns if cells[0] in kept), strict=True)
    return _Table(heads, lines), left_out


_COLOURS: Final = {Ending.COMPLETE: "green", Ending.ERROR: "red"}


def _drawer(console_module: Any, width: int) -> Callable[[_Table], str]:
    table_module, text_module = rich("table"), rich("text")

    def drawn(table: _Table) -> str:
        keyed = table.heads == _KEYS
        drawing = table_module.Table(
            box=None,
            show_header=not keyed,
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
        )
        for place, head in enumerate(table.heads):
            wraps = head in _WRAPPED if not keyed else place > 0
            drawing.add_column(
                head.rstrip(">"),
                justify="right" if head.endswith(">") else "left",
                overflow="fold" if wraps else "ellipsis",
                style="bold" if keyed and not place else "",
                no_wrap=not wraps,
                max_width=_MOST.get(head),
            )
        for line in table.lines:
            cells = [text_module.Text(cell) for cell in line]
            _colour(table, cells)
            drawing.add_row(*cells)
        # It sees to NO_COLOR, and to terminals without colours.
        console = console_module.Console(width=width, highlight=False)
        with console.capture() as captured:
            console.print(drawing)
        text: str = captured.get()
        return text

    return drawn


def _colour(table: _Table, cells: list[Any]) -> None:
    for head, cell in zip(table.heads, cells, strict=True):
        if head == "ending" or (cells[0].plain == "ending" and cell is not cells[0]):
            ending = cell.plain.partition(":")[0]
            cell.stylize(_COLOURS.get(ending, "yellow"))
        elif head in ("note", "notes") or cell.plain == "note":
            cell.stylize("yellow")
