"""The command line: recorded streams in, completions out."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

import msgspec

import unstream
from unstream import _input
from unstream._accumulator import Accumulator
from unstream._detect import ANY, NAMES, load
from unstream._json import Json
from unstream._notes import NOTES
from unstream._outcome import Ending, ForeignStream, Limits, Outcome, StreamError
from unstream._protocol import Protocol

__all__ = ["main"]

_FAILED: Final = 1
_WRONG: Final = 2
_NOTED: Final = 3
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
_CODES: Final = {
    Ending.COMPLETE: 0,
    Ending.TRUNCATED: 3,
    Ending.EMPTY: 3,
    Ending.FOREIGN: 3,
    Ending.LIMIT: 3,
    Ending.ERROR: 4,
}

_DESCRIPTION: Final = """\
Fold the recorded streams of language models into the whole answers, one line of
JSON each. A recording is an event stream, as the server sent it, or the chunks
as lines of JSON; a whole answer that was never streamed passes as it is.
"""
_EPILOG: Final = """\
exit status:
  0    every stream was complete
  1    a file could not be read, or the output not be written
  2    the arguments were wrong
  3    a stream was truncated, empty, foreign, or over a limit; with --check: or
       there was something to note
  4    a provider reported an error inside a stream
  130  interrupted
With several files, the highest of theirs. What came of a stream is printed
whatever its ending; why it is not complete goes to standard error, in one line.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    if sys.stdout is None:
        _tell("standard output: it is closed")
        return _FAILED
    try:
        try:
            return _run(_parse(argv))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted (`| head`).
        _drop_output()
        return 0
    except OSError as error:  # of the output: those of the input are told beside it
        _drop_output()
        _tell(f"standard output: {error.strerror or error}")
        return _FAILED


# --- Arguments ------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help is not lost in silence."""

    def error(self, message: str) -> NoReturn:
        _tell(f"{message}; --help tells more")
        self.exit(_WRONG)

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="unstream",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help='a recording, or a folder of them; "-", or none at all, is standard input',
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--text",
        action="store_true",
        help="print just the text of the answer, of several choices that of the first",
    )
    shape.add_argument(
        "--outcome",
        action="store_true",
        help="print all that is known: how it ended, notes, tool calls, counts, and "
        "the answer in it",
    )
    shape.add_argument(
        "--check",
        action="store_true",
        help="print what was odd, one line each, in place of the answer",
    )
    shape.add_argument(
        "--follow",
        action="store_true",
        help="show the answer while it comes, and its tool calls, then a line about it",
    )
    parser.add_argument("--pretty", action="store_true", help="indent the JSON")
    parser.add_argument(
        "--protocol",
        choices=(*NAMES, "any"),
        default="any",
        help="what the streams are of; any, the default: find out",
    )
    parser.add_argument(
        "--limit",
        type=_limits,
        default=Limits(),
        metavar="BYTES",
        help="read no more than this of a stream "
        f"(default: {Limits().stream_bytes >> 20} MiB)",
    )
    parser.add_argument("--version", action=_Version)
    arguments = parser.parse_intermixed_args(argv)
    others = [name for name in ("text", "check", "follow") if getattr(arguments, name)]
    if arguments.pretty and others:
        other = f"--{others[0]}"
        parser.error(f"argument --pretty: not allowed with argument {other}")
    return arguments


def _limits(text: str) -> Limits:
    try:
        return Limits(stream_bytes=int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"it is an integer of at least 1, not {text!r}"
        ) from None


class _Version(argparse.Action):
    """Print the version; it is looked up only then, which takes 10 ms."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"unstream {unstream.__version__}")
        parser.exit()


# --- Streams --------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    protocol = ANY if arguments.protocol == "any" else load(arguments.protocol)
    names = arguments.files or ["-"]
    files = list(_input.find(names))
    printer = _Printer(arguments, several=[name for name, _ in files] != names[:1])
    status = 0
    for name, error in files:
        try:
            if error is not None:
                raise error
            if arguments.follow:
                outcome = _follow(name, protocol, arguments.limit)
                status = max(status, _CODES[outcome.ending])
                continue
            outcome = _fold(name, protocol, arguments.limit)
        except OSError as failed:
            why = failed.strerror or str(failed)
            printer.show_failed(name, why)
            _tell(f"{'standard input' if name == '-' else name}: {why}")
            status = max(status, _FAILED)
            continue
        reason = _reason(outcome)
        printer.show(name, outcome, reason)
        if reason is not None:
            place = "" if name == "-" else f"{name}: "
            _tell(f"{place}{outcome.ending}: {reason}")
        status = max(status, _CODES[outcome.ending])
        if arguments.check and outcome.notes:
            status = max(status, _NOTED)
    return status


def _fold(name: str, protocol: Protocol[Any], limits: Limits) -> Outcome[Any]:
    if name == "-" and sys.stdin is not None and sys.stdin.isatty():
        _tell("reading a stream from the terminal; Ctrl-D ends it, --help tells more")
    accumulator = Accumulator(protocol=protocol, limits=limits)
    size = 0

    def watched() -> Iterator[bytes]:
        nonlocal size
        for piece in _input.read(name):
            size += len(piece)
            yield piece
            if size > limits.stream_bytes:
                return

    for data in _input.as_events(watched(), protocol):
        accumulator.feed(data)
    return msgspec.structs.replace(accumulator.finish(), n_bytes=size)


def _follow(name: str, protocol: Protocol[Any], limits: Limits) -> Outcome[Any]:
    from unstream._follow import follow  # noqa: PLC0415 - rich takes 50 ms

    pieces = _input.as_events(_input.read(name), protocol)
    return follow(pieces, protocol, limits, sys.stdout)


def _reason(outcome: Outcome[Any]) -> str | None:
    """Say why a stream is not complete; None where it is."""
    try:
        outcome.unwrap()
    except ForeignStream as error:
        if outcome.foreign is None:
            return str(error)
        return (
            f"this is a stream of another protocol: --protocol {outcome.foreign} "
            "reads it"
        )
    except StreamError as error:
        return str(error)
    return None


# --- Output ---------------------------------------------------------------------------


class _Printer:
    """Print what came of each stream, as the arguments say."""

    def __init__(self, arguments: argparse.Namespace, *, several: bool) -> None:
        self._text: bool = arguments.text
        self._outcome: bool = arguments.outcome
        self._check: bool = arguments.check
        self._pretty: bool = arguments.pretty
        self._several = several
        self._is_terminal = sys.stdout.isatty()
        self._has_begun = False

    def show(self, name: str, outcome: Outcome[Any], reason: str | None) -> None:
        """Print what came of a stream, and where nothing did, why."""
        whole = outcome.completion
        if self._check:
            for note in outcome.notes:
                times = f" ({note.count} times)" if note.count > 1 else ""
                what = NOTES.get(note.code, "")
                line = f"event {note.event}: {note.code}{times}: {what}"
                self._write(f"{_escape(_shown(name))}: {line}")
        elif self._text:
            text = "" if whole is None else whole.output_text
            if self._several:
                head = f"==> {_escape(_shown(name))} <=="
                self._write(f"\n{head}" if self._has_begun else head)
            self._write(_escape(text, _NO_TEXT) if self._is_terminal else text)
        elif self._outcome:
            self._write_json(name, outcome.to_dict())
        elif whole is not None:
            self._write_json(name, whole.to_dict())
        elif self._several:
            self._write_json(name, {"error": reason})

    def show_failed(self, name: str, why: str) -> None:
        """Print, of several files, the one that could not be read."""
        if self._several and not (self._text or self._check):
            self._write_json(name, {"error": why})

    def _write_json(self, name: str, whole: dict[str, Json]) -> None:
        if self._several:
            whole = {"file": _shown(name), **whole}
        line = msgspec.json.encode(whole)
        text = (msgspec.json.format(line, indent=2) if self._pretty else line).decode()
        if self._is_terminal:  # in JSON they can stand in strings alone
            text = _NO_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        self._write(text)

    def _write(self, text: str) -> None:
        self._has_begun = True
        data = text.encode("utf-8", "replace") + b"\n"
        while data:  # `python -u` writes as much as there is room for
            data = data[sys.stdout.buffer.write(data) :]
        sys.stdout.buffer.flush()


# What moves the cursor, changes the terminal, or turns the order of characters about;
# of a text that may have lines and tabs, and of a line.
_NO_TEXT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NO_LINE: Final = re.compile(f"{_NO_TEXT.pattern}|[\t\n\u2028\u2029]")


def _escape(text: str, pattern: re.Pattern[str] = _NO_LINE) -> str:
    return pattern.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _shown(name: str) -> str:
    """Return a name as text: it may hold bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def _tell(message: str) -> None:
    """Write a line to standard error, if anybody reads it."""
    if sys.stderr is None:
        return
    try:
        print(f"unstream: {_escape(message)}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _drop_output() -> None:
    """Let standard output go nowhere: Python flushes it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
