"""The command line: event streams in, completions out."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

import msgspec

from unstream._accumulator import Accumulator
from unstream._outcome import Ending, Outcome, StreamError

__all__ = ["main"]

_UNREADABLE: Final = 1
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count
_CODES: Final = {
    Ending.COMPLETE: 0,
    Ending.TRUNCATED: 3,
    Ending.EMPTY: 3,
    Ending.LIMIT: 3,
    Ending.ERROR: 4,
}
_READ: Final = 64 * 1024

_EPILOG: Final = """\
exit status:
  0    every stream was complete
  1    a file could not be read
  2    the arguments were wrong
  3    a stream was truncated, empty, or over a limit
  4    a provider reported an error inside a stream
  130  interrupted
With several files, the highest of theirs. What came of a stream is printed
whatever its ending; why it is not complete goes to standard error.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted (`| head`). Python flushes stdout once more when
        # it exits, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unstream",
        description="Fold streamed chat completions (server-sent events) into whole "
        "ones, one line of JSON each.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help='a recorded stream; "-", or none at all, is standard input',
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--text", action="store_true", help="print just the content of the first choice"
    )
    shape.add_argument("--pretty", action="store_true", help="indent the JSON")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    names = arguments.files or ["-"]
    status = 0
    for name in names:
        label = name if len(names) > 1 else None
        try:
            outcome = _fold(name)
        except OSError as error:
            print(f"unstream: {name}: {error.strerror or error}", file=sys.stderr)
            status = max(status, _UNREADABLE)
            continue
        _print(outcome, label, text=arguments.text, pretty=arguments.pretty)
        try:
            outcome.unwrap()
        except StreamError as error:
            sys.stdout.flush()  # so that the reason stands below what it is about
            place = "" if name == "-" else f"{name}: "
            print(f"unstream: {place}{outcome.ending}: {error}", file=sys.stderr)
        status = max(status, _CODES[outcome.ending])
    return status


def _fold(name: str) -> Outcome:
    accumulator = Accumulator()
    if name == "-":
        for data in _pieces(sys.stdin.buffer):
            accumulator.feed(data)
    else:
        with open(name, "rb") as file:  # noqa: PTH123 - a name from the shell
            for data in _pieces(file):
                accumulator.feed(data)
    return accumulator.finish()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_READ):
        yield data


def _print(outcome: Outcome, label: str | None, *, text: bool, pretty: bool) -> None:
    completion = outcome.completion
    if text:
        choices = completion.choices if completion else []
        content = choices[0].message.text() if choices else ""
        _write(content.encode("utf-8") + b"\n")
        return
    whole = completion.to_dict() if completion else None
    if label is not None:
        # A name may hold bytes that are no UTF-8.
        shown = os.fsencode(label).decode("utf-8", "replace")
        whole = {"file": shown, **(whole or {})}
    if whole is not None:
        line = msgspec.json.encode(whole)
        _write((msgspec.json.format(line, indent=2) if pretty else line) + b"\n")


def _write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
