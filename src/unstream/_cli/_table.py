"""Tables of text: aligned with spaces, or drawn by rich as wide as a terminal is.

This module knows nothing of what stands in the cells.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from unstream._cli._progress import rich

__all__ = ["KEYS", "Table", "drawer", "fit"]

KEYS: Final = ("", "")
"""The heads of a list of keys and values, which has none."""

_GAP: Final = 2
_ANY: Final = 1_000_000
_Style = Callable[[str, str], str]


class Table(NamedTuple):
    """Hold lines of cells; where a head ends in `>`, its cells stand to the right.

    On a terminal, columns are as wide as `most` says and cut there, and those in
    `wraps` go on in a new line.
    """

    heads: tuple[str, ...]
    lines: Sequence[tuple[str, ...]]
    most: Mapping[str, int] = {}
    wraps: Sequence[str] = ()


def drawer(width: int | None, style: _Style) -> Callable[[Table], str]:
    """Return what draws a table, for a terminal of that width, or plainly.

    `style(head, cell)` is the style that rich gives a cell; of a list of keys and
    values, the key is the head.
    """
    console = None if width is None else rich("console")
    if console is None:
        return _plain
    return lambda table: _drawn(table, console.Console(width=width), style)


def fit(
    table: Table, width: int | None, worth: Sequence[str]
) -> tuple[Table, list[str]]:
    """Return a table that a terminal has room for, and the heads that it has not.

    `worth` names all heads, the dearest first. A pipe has room for all.
    """
    if width is None or rich("console") is None:
        return table, []
    columns = {cells[0]: cells for cells in zip(table.heads, *table.lines, strict=True)}
    kept: set[str] = set()
    left_out: list[str] = []
    for head in sorted(table.heads, key=worth.index):
        size = min(max(map(len, columns[head])), table.most.get(head, _ANY))
        if kept and size > width:
            left_out.append(head.rstrip(">"))
        else:
            kept.add(head)
            width -= size + _GAP
    heads, *lines = zip(*(columns[h] for h in table.heads if h in kept), strict=True)
    return table._replace(heads=heads, lines=lines), left_out


def _plain(table: Table) -> str:
    lines = [tuple(head.rstrip(">") for head in table.heads), *table.lines]
    if table.heads == KEYS:
        del lines[0]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    drawn = []
    for line in lines:
        cells = [
            cell.rjust(width) if head.endswith(">") else cell.ljust(width)
            for cell, width, head in zip(line, widths, table.heads, strict=True)
        ]
        drawn.append((" " * _GAP).join(cells).rstrip() + "\n")
    return "".join(drawn)


def _drawn(table: Table, console: Any, style: _Style) -> str:
    keyed = table.heads == KEYS
    drawing = rich("table").Table(
        box=None, show_header=not keyed, pad_edge=False, padding=(0, _GAP, 0, 0)
    )
    for place, head in enumerate(table.heads):
        wraps = place > 0 if keyed else head in table.wraps
        drawing.add_column(
            head.rstrip(">"),
            justify="right" if head.endswith(">") else "left",
            overflow="fold" if wraps else "ellipsis",
            style="bold" if keyed and not place else "",
            no_wrap=not wraps,
            max_width=table.most.get(head),
        )
    text = rich("text").Text
    for line in table.lines:
        heads = ("", line[0]) if keyed else table.heads
        cells = zip(heads, line, strict=True)
        drawing.add_row(*(text(cell, style(head, cell)) for head, cell in cells))
    with console.capture() as captured:
        console.print(drawing)
    shown: str = captured.get()
    return shown
