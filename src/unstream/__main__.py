"""The command line: recorded streams in, completions out."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from shutil import get_terminal_size
from typing import Any, Final, NoReturn

import unstream
from unstream._cli._files import find
from unstream._cli._progress import is_drawn, progress
from unstream._cli._report import FAILED, Report, Shape, died, reports
from unstream._cli._stats import Row, draw
from unstream._cli._streams import Ask
from unstream._cli._terminal import drop_output, tell, write
from unstream._detect import NAMES
from unstream._outcome import Limits

__all__ = ["main"]

_WRONG: Final = 2
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count

_PICTURES: Final = (".svg", ".png", ".pdf")

_DESCRIPTION: Final = """\
Fold the recorded streams of language models into the whole answers, one line of
JSON each. A recording is an event stream, as the server sent it, or its chunks
as lines of JSON or as an array; a whole answer that was never streamed passes
as it is. Files that hold many, HAR, VCR cassettes, mitmproxy's flows and logs in
lines of JSON (--field), give a line for each. The content tells, not the name;
gzip and zstd are undone.
"""
_EPILOG: Final = """\
exit status:
  0    every stream was complete
  1    a file could not be read, or the output not be written
  2    the arguments were wrong, or there was nothing to --plot
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
        tell("standard output: it is closed")
        return FAILED
    try:
        try:
            return _run(_parse(argv))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted (`| head`).
        drop_output()
        return 0
    except OSError as error:  # of the output: those of the input are told beside it
        drop_output()
        tell(f"standard output: {error.strerror or error}")
        return FAILED


# --- Arguments ------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help is not lost in silence."""

    def error(self, message: str) -> NoReturn:
        tell(f"{message}; --help tells more")
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
    parser.set_defaults(kind="json")
    shape.add_argument(
        "--text",
        **_kind("text"),
        help="print just the text of the answer, of several choices that of the first",
    )
    shape.add_argument(
        "--outcome",
        **_kind("outcome"),
        help="print all that is known: how it ended, notes, tool calls, counts, and "
        "the answer in it",
    )
    shape.add_argument(
        "--check",
        **_kind("check"),
        help="print what was odd, one line each, in place of the answer",
    )
    shape.add_argument(
        "--follow",
        **_kind("follow"),
        help="show the answer while it comes, and its tool calls, then a line about it",
    )
    shape.add_argument(
        "--stats",
        **_kind("stats"),
        help="print a summary: endings, ids, usage, calls, notes, times where the "
        "files have them",
    )
    shape.add_argument(
        "--bench",
        **_kind("bench"),
        help="measure how fast these streams decode, beside other libraries that are "
        "installed",
    )
    shape.add_argument(
        "--plot",
        metavar="FILE.svg",
        type=_picture,
        help="draw when the streams came, and the gaps between their events, where the "
        "files have times: HAR, flows",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=_jobs,
        default=1,
        metavar="N",
        help="fold files by so many processes; 0: as many as there are processors",
    )
    parser.add_argument("--pretty", action="store_true", help="indent the JSON")
    parser.add_argument(
        "--protocol",
        choices=(*NAMES, "any"),
        default="any",
        help="what the streams are of; any, the default: find out",
    )
    parser.add_argument(
        "--field",
        metavar="PATH",
        help="of a log in JSON, the field that holds the stream or answer: "
        "response.body",
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
    given = sys.argv[1:] if argv is None else [*argv]
    # Behind it all are files; argparse loses it where options and files are mixed.
    end = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_intermixed_args(given[:end])
    arguments.files += given[end + 1 :]
    if arguments.plot is not None:
        arguments.kind = "plot"
    if arguments.pretty and arguments.kind not in ("json", "outcome"):
        other = f"--{arguments.kind}"
        parser.error(f"argument --pretty: not allowed with argument {other}")
    return arguments


def _kind(name: str) -> dict[str, Any]:
    return {"action": "store_const", "dest": "kind", "const": name}


def _picture(path: str) -> str:
    if not path.lower().endswith(_PICTURES):
        *most, last = _PICTURES
        wanted = f"{', '.join(most)} or {last}"
        raise argparse.ArgumentTypeError(f"its name ends in {wanted}, not as {path!r}")
    return path


def _jobs(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it is a number of processes, not {text!r}")
    return int(text) or os.cpu_count() or 1


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


# --- Files ----------------------------------------------------------------------------


def _run(arguments: argparse.Namespace) -> int:
    names = arguments.files or ["-"]
    files = list(find(names))
    ask = Ask(
        protocol=arguments.protocol, limits=arguments.limit, field=arguments.field
    )
    shape = Shape(
        kind=arguments.kind,
        pretty=arguments.pretty,
        several=files != names[:1],
        terminal=sys.stdout.isatty(),
    )
    if "-" in names and sys.stdin is not None and sys.stdin.isatty():
        tell("reading a stream from the terminal; Ctrl-D ends it, --help tells more")
    if arguments.kind == "bench":
        from unstream._cli import _bench  # noqa: PLC0415 - it loads other libraries

        return _bench.run(files, ask, _width())
    if arguments.kind == "plot":
        from unstream._cli import _plot  # noqa: PLC0415 - rarely needed

        if not _plot.is_there():
            tell("--plot needs matplotlib: pip install 'unstream[plot]'")
            return _WRONG
    work = partial(reports, ask=ask, shape=shape)
    # Where what is printed goes by on the same terminal, it is progress enough.
    is_quiet = shape.is_sum or not (shape.terminal or shape.kind == "follow")
    shown = len(files) if is_quiet else 0
    with progress(shown) as bar:
        printer = _Printer(shape, bar.tell)
        # What is shown while it comes goes by once.
        n = 1 if shape.kind == "follow" else arguments.jobs
        for found in _each(files, work, partial(died, shape=shape), n):
            for report in found:
                printer.show(report)
            bar.advance()
    printer.close()
    if arguments.kind == "plot":
        return _draw(printer, arguments.plot)
    return printer.status


def _draw(printer: "_Printer", path: str) -> int:
    from unstream._cli import _plot  # noqa: PLC0415 - rarely needed

    try:
        if (said := _plot.draw(printer.rows, path)) is not None:
            tell(said)
    except _plot.NoTimes as error:
        tell(str(error))
        return _WRONG
    except OSError as error:
        tell(f"{path}: {error.strerror or error}")
        return max(FAILED, printer.status)
    return printer.status


def _width() -> int | None:
    """Return how wide the terminal is that is written to; None where it is none."""
    return get_terminal_size().columns if is_drawn(sys.stdout) else None


def _each(
    files: Sequence[str],
    work: Callable[[str], Iterator[Report]],
    died: Callable[[str], Report],
    n: int,
) -> Iterator[Iterable[Report]]:
    if n == 1 or len(files) == 1:
        return map(work, files)
    from unstream._cli._work import each  # noqa: PLC0415 - takes 20 ms

    return each(files, work, died, n)


class _Printer:
    """Write reports as they come; `status` is the highest of theirs."""

    def __init__(self, shape: Shape, tell: Callable[[str], object]) -> None:
        self._shape = shape
        self._tell = tell
        self.status = 0
        self._has_begun = False
        self._n_passed = 0
        self.rows: list[Row] = []

    def show(self, report: Report) -> None:
        """Write what a report says, and tell why a stream is not complete."""
        self.status = max(self.status, report.status)
        self._n_passed += report.passed
        if report.out:
            parted = self._shape.kind == "text" and self._has_begun
            write(b"\n" + report.out if parted else report.out)
            self._has_begun = True
        if report.told is not None:
            self._tell(report.told)
        if report.row is not None and self._shape.is_sum:
            self.rows.append(report.row)

    def close(self) -> None:
        """Write the summary, if that was asked for, and tell what was passed over."""
        if self._shape.kind == "stats" and self.rows:
            drawn = draw(self.rows, several=self._shape.several, width=_width())
            write(drawn.encode("utf-8", "replace"))
        if n := self._n_passed:
            what = ("entry", "answer") if n == 1 else ("entries", "answers")
            tell(f"{n} {what[0]} passed over: no {what[1]} of a model")


if __name__ == "__main__":
    sys.exit(main())
