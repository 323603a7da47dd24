"""A progress bar on standard error, where somebody looks at it and rich is there."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from unstream._cli._terminal import escape, tell

__all__ = ["Progress", "is_drawn", "progress", "rich"]


def rich(name: str) -> Any:
    """Return a module of rich, or None where it is not installed."""
    try:
        return import_module(f"rich.{name}")
    except ImportError:
        return None


def is_drawn(stream: Any) -> bool:
    """Say whether a stream is a terminal that can be drawn on."""
    smart = os.environ.get("TERM", "") not in ("", "dumb")
    return smart and stream is not None and stream.isatty()


class Progress(NamedTuple):
    """Hold what to call for each file that is done, and to tell a line meanwhile."""

    advance: Callable[[], object]
    tell: Callable[[str], object]


@contextmanager
def progress(n: int) -> Iterator[Progress]:
    """Show how many of `n` files are done."""
    bars = rich("progress") if n > 1 and is_drawn(sys.stderr) else None
    if bars is None:
        yield Progress(lambda: None, tell)
        return
    console = rich("console").Console(stderr=True)
    bar = bars.Progress(
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("files"),
        bars.TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )

    def tell_above(message: str) -> None:
        line = f"unstream: {escape(message)}"
        console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    with bar:
        task = bar.add_task("", total=n)
        yield Progress(lambda: bar.advance(task), tell_above)
