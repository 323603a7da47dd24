"""A stream as people watch it: its events, written to a terminal while they come.

With rich (`unstream[cli]`), which knows terminals, colours and how wide a character is;
else, and where it goes to no terminal, as plain text.
"""

from collections.abc import Iterable
from typing import Any, Final, TextIO

from unstream._accumulator import Accumulator
from unstream._cli._progress import rich
from unstream._cli._terminal import escape_text
from unstream._events import (
    ArgumentsDelta,
    CallFinished,
    CallRevised,
    CallStarted,
    Ended,
    ErrorReported,
    Event,
    ReasoningDelta,
    RefusalDelta,
    Replaced,
    StartedOver,
    TextDelta,
)
from unstream._json import Json, dump
from unstream._outcome import Call, Ending, Limits, Outcome, count
from unstream._protocol import Protocol

__all__ = ["follow"]


def follow(
    pieces: Iterable[bytes],
    protocol: Protocol[Any],
    limits: Limits,
    out: TextIO,
) -> Outcome[Any]:
    """Show a stream as it comes, then a line about it; return the outcome.

    A KeyboardInterrupt is raised again when what came was shown.
    """
    accumulator = Accumulator(protocol=protocol, limits=limits, events=True)
    view = _View(_Screen(out))
    interrupt: KeyboardInterrupt | None = None
    try:
        for data in pieces:
            view.show(accumulator.feed(data))
    except KeyboardInterrupt as error:
        interrupt = error
        view.is_interrupted = True
    outcome = accumulator.finish()
    view.show(accumulator.events())
    if interrupt is not None:
        raise interrupt
    return outcome


# --- The screen -----------------------------------------------------------------------


class _Screen:
    """Where it is written: text in styles, and where the line ends."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._encoding = out.encoding or "utf-8"
        console, self._text = rich("console"), rich("text")
        self._console: Any = None
        if console is not None:
            self._console = console.Console(file=out, highlight=False)
        self.column = 0
        # A frame is drawn to the edge of a terminal; elsewhere there is none.
        self.width: int | None = None
        if self._console is not None and self._console.is_terminal:
            self.width = self._console.width
        self.frame = ("╭─", "│ ", "╰─") if self._can("╭│╰─") else ("+-", "| ", "+-")
        self.dot = " · " if self._can("·") else ", "

    def _can(self, text: str) -> bool:
        try:
            text.encode(self._encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def write(self, text: str, style: str = "") -> None:
        """Write a text that is clean."""
        if not text:
            return
        text = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        if self._console is None:
            self._out.write(text)
        else:
            self._console.print(self._text.Text(text, style), end="", soft_wrap=True)
        last = text.rpartition("\n")[2]
        self.column = _width(last) + (0 if "\n" in text else self.column)

    def end_line(self) -> None:
        """Begin a line, unless one has just begun."""
        if self.column:
            self.write("\n")

    def flush(self) -> None:
        """Let it be seen."""
        self._out.flush()


def _width(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    cells = rich("cells")
    return len(text) if cells is None else int(cells.cell_len(text))


# --- What is seen ---------------------------------------------------------------------

_STYLES: Final = {"text": "", "reasoning": "dim italic", "refusal": "yellow"}
_GOOD: Final = "green"
_BAD: Final = "bold red"
_QUIET: Final = "dim"


class _View:
    """What was shown, and what is shown next."""

    def __init__(self, screen: _Screen) -> None:
        self._screen = screen
        self._place: tuple[Any, ...] = ()  # what is being written
        self._names: dict[tuple[int, int], str] = {}  # of calls
        self.is_interrupted = False

    def show(self, events: Iterable[Event]) -> None:
        """Show events."""
        for event in events:
            self._show(event)
        self._screen.flush()

    def _show(self, event: Event) -> None:  # noqa: C901 - a case for each
        match event:
            case TextDelta():
                self._say("text", event.choice, event.position, event.text)
            case ReasoningDelta():
                self._say("reasoning", event.choice, event.position, event.text)
            case RefusalDelta():
                self._say("refusal", event.choice, event.position, event.text)
            case CallStarted():
                named = " ".join(filter(None, (event.name or "?", event.id)))
                self._names[event.choice, event.position] = _line(named)
                self._open(event.choice, event.position, again=False)
            case ArgumentsDelta():
                self._open(event.choice, event.position)
                self._draw(event.text)
            case CallFinished():
                self._close(event.call)
            case CallRevised(call=call):
                name = self._names.get((event.choice, event.position), "a call")
                verdict = "not in the last word" if call is None else _verdict(call)[0]
                self._tell(f"{name} is now: {verdict}", _BAD)
            case Replaced(kind="arguments", position=int(position)):
                self._open(event.choice, position, again=False)
                self._draw(event.text)
            case Replaced(kind=kind):
                self._tell(f"the {kind} so far was replaced:", _QUIET)
                self._say(kind, event.choice, event.position or 0, event.text)
            case StartedOver():
                self._tell("the server began another answer:", _BAD)
            case ErrorReported(error=error):
                self._tell(f"error: {_line(_message(error))}", _BAD)
            case Ended():
                self._summarize(event.outcome)

    # --- Texts ------------------------------------------------------------------------

    def _move(self, *place: Any) -> bool:
        """Go to another place; say whether that is another."""
        if place == self._place:
            return False
        screen, before = self._screen, self._place
        self._place = place
        screen.end_line()
        if before[:1] == ("call",):
            screen.write(f"{screen.frame[2]} ...\n", _QUIET)
        if before and not before[0] == place[0] == "line":
            screen.write("\n")
        return True

    def _say(self, kind: str, choice: int, position: int, text: str) -> None:
        if self._move(kind, choice, position) and choice:
            self._screen.write(f"[{choice}] ", _QUIET)
        self._screen.write(escape_text(text), _STYLES[kind])

    def _tell(self, line: str, style: str) -> None:
        self._move("line")
        self._screen.write(f"{line}\n", style)

    # --- Calls ------------------------------------------------------------------------

    def _open(self, choice: int, position: int, *, again: bool = True) -> None:
        """Go to the frame of a call; draw its first line if it is another."""
        screen = self._screen
        if not self._move("call", choice, position) and again:
            return
        screen.end_line()
        head = f"[{choice}] " if choice else ""
        screen.write(f"{screen.frame[0]} ", _QUIET)
        screen.write(f"{head}{self._names[choice, position]}\n", "bold cyan")

    def _draw(self, text: str) -> None:
        """Write arguments in a frame."""
        screen = self._screen
        for number, line in enumerate(escape_text(text).split("\n")):
            if number:
                screen.end_line()
            rest = line
            while rest:
                if not screen.column:
                    screen.write(screen.frame[1], _QUIET)
                room = len(rest)
                if screen.width is not None:
                    room = _fit(rest, screen.width - screen.column)
                screen.write(rest[:room])
                if room < len(rest):
                    screen.end_line()
                rest = rest[room:]

    def _close(self, call: Call) -> None:
        """Draw the last line of a frame: the verdict."""
        screen, place = self._screen, (call.choice, call.position)
        if self._place == ("call", *place):
            self._place, name = ("closed",), ""
        else:
            self._move("line")
            name = f"{self._names[place]}: "
        screen.end_line()
        verdict, style = _verdict(call)
        screen.write(f"{screen.frame[2]} ", _QUIET)
        screen.write(f"{name}{verdict}\n", style)

    # --- The end ----------------------------------------------------------------------

    def _summarize(self, outcome: Outcome[Any]) -> None:
        record = outcome.record
        said = [str(outcome.ending)]
        if self.is_interrupted:
            said.insert(0, "interrupted")
        said += [reason for reason in record.finish_reasons if reason]
        if record.usage is not None:
            counts = {"in": record.usage.input, "out": record.usage.output}
            known = [f"{n} {way}" for way, n in counts.items() if n is not None]
            if known:
                said.append(f"{', '.join(known)} tokens")
        said.append(
            f"{count(outcome.n_events, 'event')}, {count(outcome.n_bytes, 'byte')}"
        )
        said += filter(None, (record.model, outcome.protocol))
        self._move("end")
        is_good = outcome.ending is Ending.COMPLETE and not self.is_interrupted
        screen, lines = self._screen, [_line(said[0])]
        for each in map(_line, said[1:]):
            longer = f"{lines[-1]}{screen.dot}{each}"
            if screen.width is not None and len(longer) > screen.width:
                lines.append(each)
            else:
                lines[-1] = longer
        for line in lines:
            screen.write(f"{line}\n", _GOOD if is_good else _BAD)


def _fit(text: str, room: int) -> int:
    """Return how many characters fit into so many columns: one at least."""
    if text.isascii():
        return max(1, min(len(text), room))
    taken = 0
    for at, character in enumerate(text):
        taken += _width(character)
        if taken > room:
            return max(1, at)
    return len(text)


def _verdict(call: Call) -> tuple[str, str]:
    """Say what a call is, and in which style."""
    if call.runnable:
        return f"{call.arguments}, may run", _GOOD
    return f"{call.arguments}, must not run", _BAD


def _line(text: str) -> str:
    """Return a text as one line."""
    return escape_text(" ".join(text.split()))


def _message(error: Json) -> str:
    """Return what an error says."""
    if type(error) is dict:
        error = error.get("message", error)
    return error if type(error) is str else dump(error)
