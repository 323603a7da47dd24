"""What is printed of the streams of a file, and what is told of them.

This module knows the shapes of the output; not where it goes, but for what is shown
while it comes.
"""

import sys
from collections.abc import Iterator
from typing import Final

import msgspec

from unstream._cli import _files, _fold
from unstream._cli._files import why
from unstream._cli._fold import Folded
from unstream._cli._stats import Row, row
from unstream._cli._streams import Ask, Fault, Passed, Stream, streams
from unstream._cli._terminal import escape, escape_json, escape_text, shown, write
from unstream._json import Json
from unstream._notes import NOTES
from unstream._outcome import Ending

__all__ = ["FAILED", "Report", "Shape", "died", "reports"]

FAILED: Final = 1
_NOTED: Final = 3
_CODES: Final = {
    Ending.COMPLETE: 0,
    Ending.TRUNCATED: 3,
    Ending.EMPTY: 3,
    Ending.FOREIGN: 3,
    Ending.LIMIT: 3,
    Ending.ERROR: 4,
}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Say how a stream is printed: as `json`, `text`, `outcome`, `check`, `follow`.

    As `stats` or `plot` all are summed up in the end. Of `several` files, each stream
    is named; `terminal` gets no control characters.
    """

    kind: str = "json"
    pretty: bool = False
    several: bool = False
    terminal: bool = False

    @property
    def is_sum(self) -> bool:
        """Whether what is printed comes at the end."""
        return self.kind in ("stats", "plot")


class Report(msgspec.Struct, kw_only=True):
    """Hold what is to be written of one stream, what to be told, and its status."""

    out: bytes = b""
    told: str | None = None
    status: int = 0
    passed: int = 0
    """How many entries of the file were passed over."""
    row: Row | None = None
    """For who sums them up."""


def reports(name: str, ask: Ask, shape: Shape) -> Iterator[Report]:
    """Fold what is in a file and yield what there is to say of each stream."""
    try:
        for found in streams(name, _files.read(name), ask):
            if isinstance(found, Passed):
                yield Report(passed=found.n)
                continue
            named = shape.several or found.name != name
            if isinstance(found, Fault):
                yield _failed(found.name, found.why, shape, named=named)
            else:
                yield _made(found, ask, shape, named=named)
    except BrokenPipeError:  # of what `--follow` writes
        raise
    except OSError as error:
        yield _failed(name, why(error), shape, named=shape.several)
    except Exception as error:  # noqa: BLE001 - the other files are to be folded, too
        yield _failed(name, _fault(error), shape, named=shape.several)


def _made(stream: Stream, ask: Ask, shape: Shape, *, named: bool) -> Report:
    """Report on one stream; what is wrong with it leaves the others of its file."""
    try:
        if shape.kind == "follow":
            return _followed(stream, ask, named=named)
        folded = _fold.fold(stream, ask, lines=shape.kind == "check")
        return _report(folded, shape, named=named)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        return _failed(stream.name, _fault(error), shape, named=named)


def _followed(stream: Stream, ask: Ask, *, named: bool) -> Report:
    from unstream._cli._follow import follow  # noqa: PLC0415 - rich takes 50 ms

    if named:
        head = f"==> {escape(shown(stream.name))} <==\n"
        write(head.encode("utf-8", "replace"))
    outcome = follow(stream.events.pieces, ask.of, ask.limits, sys.stdout)
    if stream.source.fault is None:
        return Report(status=_CODES[outcome.ending])
    told = f"{_place(stream.name)}: {why(stream.source.fault)}"
    return Report(told=told, status=max(FAILED, _CODES[outcome.ending]))


def _fault(error: Exception) -> str:
    return f"this is a fault of unstream: {type(error).__name__}: {error}"


def died(name: str, shape: Shape) -> Report:
    """Say that the process that folded a file was killed."""
    reason = "the process that folded it was killed; is there enough memory?"
    return _failed(name, reason, shape, named=shape.several)


def _place(name: str) -> str:
    return "standard input" if name == "-" else shown(name)


def _failed(name: str, reason: str, shape: Shape, *, named: bool) -> Report:
    out = b""
    if named and shape.kind in ("json", "outcome"):
        out = _json(name, {"error": reason}, shape, named=True)
    told = f"{_place(name)}: {reason}"
    summed = Row(name=name, ending="unread")
    return Report(out=out, told=told, status=FAILED, row=summed)


def _report(folded: Folded, shape: Shape, *, named: bool) -> Report:
    outcome, told = folded.outcome, None
    status = _CODES[outcome.ending]
    said = [] if folded.reason is None else [f"{outcome.ending}: {folded.reason}"]
    if folded.fault is not None:
        said.append(folded.fault)
        status = max(FAILED, status)
    if said:
        place = "" if folded.name == "-" else f"{shown(folded.name)}: "
        told = f"{place}{'; '.join(said)}"
    if shape.kind == "check" and outcome.notes:
        status = max(status, _NOTED)
    if shape.is_sum:
        summed = row(folded.name, outcome, folded.exchange)
        return Report(told=told, status=status, row=summed)
    return Report(out=_shape(folded, shape, named=named), told=told, status=status)


def _shape(folded: Folded, shape: Shape, *, named: bool) -> bytes:
    name, outcome = folded.name, folded.outcome
    whole = outcome.completion
    if shape.kind == "check":
        return _lint(folded)
    if shape.kind == "text":
        text = "" if whole is None else whole.output_text
        text = escape_text(text) if shape.terminal else text
        head = f"==> {escape(shown(name))} <==\n" if named else ""
        return f"{head}{text}\n".encode("utf-8", "replace")
    if shape.kind == "outcome":
        return _json(name, outcome.to_dict(), shape, named=named)
    if whole is None and not named:
        return b""
    answer = {"error": folded.reason} if whole is None else whole.to_dict()
    return _json(name, answer, shape, named=named)


def _json(name: str, whole: dict[str, Json], shape: Shape, *, named: bool) -> bytes:
    if named:
        rest = {key: value for key, value in whole.items() if key != "file"}
        whole = {"file": shown(name), **rest}  # whatever a server says
    line = msgspec.json.encode(whole)
    if shape.pretty:
        line = msgspec.json.format(line, indent=2)
    if shape.terminal:
        line = escape_json(line.decode()).encode()
    return line + b"\n"


def _lint(folded: Folded) -> bytes:
    """Write the notes of a stream in the order of their events, a line each."""
    lines = []
    for note in sorted(folded.outcome.notes, key=lambda note: note.event):
        place = escape(shown(folded.name))
        if folded.lines is not None and 0 < note.event <= len(folded.lines):
            place += f":{folded.lines[note.event - 1]}"
        times = f" ({note.count} times)" if note.count > 1 else ""
        what = NOTES.get(note.code, "")
        lines.append(f"{place}: event {note.event}: {note.code}{times}: {what}\n")
    return "".join(lines).encode("utf-8", "replace")
