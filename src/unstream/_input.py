"""What the command line is given: files, folders, standard input; whatever is in them.

This module knows which files are meant, and how JSON lines, as logs hold chunks, become
an event stream; not what any line means.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO, Final

from unstream._detect import ANY, claim
from unstream._json import Json, Malformed, parse
from unstream._outcome import Limits
from unstream._protocol import Protocol

__all__ = ["as_events", "find", "read"]

_READ: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"


def find(names: Iterable[str]) -> Iterator[tuple[str, OSError | None]]:
    """Yield the files that are meant: of folders, all in them, sorted, at any depth.

    What is hidden is left out, and what is no file. A folder that cannot be read, or in
    which there is nothing, comes with the error.
    """
    for name in names:
        if name == "-" or not os.path.isdir(name):  # noqa: PTH112 - never raises
            yield name, None
            continue
        found = list(_walk(name))
        yield from found or [(name, OSError("there are no files in this folder"))]


def _walk(name: str) -> Iterator[tuple[str, OSError | None]]:
    errors: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=errors.append):
        folders[:] = sorted(each for each in folders if each[0] != ".")
        for file in sorted(files):
            path = os.path.join(folder, file)  # noqa: PTH118 - the name as it was given
            # A link that leads nowhere is not passed over; a pipe would block.
            if file[0] != "." and (os.path.isfile(path) or not os.path.exists(path)):  # noqa: PTH110, PTH113
                yield path, None
    for error in errors:
        yield str(error.filename), error


def read(name: str) -> Iterator[bytes]:
    """Yield the bytes of a file, or of standard input; raise OSError."""
    if name != "-":
        with open(name, "rb") as file:  # noqa: PTH123 - a name from the shell
            yield from _pieces(file)
    elif sys.stdin is None:
        raise OSError("it is closed")
    else:
        yield from _pieces(sys.stdin.buffer)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    # Whatever is there, at once: a terminal has no more after its end of file.
    take = getattr(file, "read1", file.read)
    while data := take(_READ):
        yield data


def as_events(pieces: Iterator[bytes], protocol: Protocol[Any]) -> Iterator[bytes]:
    """Pass an event stream on as it is, and JSON lines of chunks as one.

    These are told by their first two lines: each is a JSON object, and they are not two
    whole answers. Anything else passes as it is: one JSON body, say.
    """
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _READ or head.removeprefix(_BOM).strip(_SPACE):
            break
    if not head.removeprefix(_BOM).lstrip(_SPACE).startswith(b"{"):
        yield head
        yield from pieces
        return
    lines = _lines(chain([head.removeprefix(_BOM)], pieces))
    first_two = list(islice((line for line in lines if line.strip(_SPACE)), 2))
    if not _are_chunks(first_two, protocol):
        yield from chain(first_two, lines)
        return
    for line in chain(first_two, lines):
        if bare := line.strip(_SPACE):
            yield b"%b%b\n\n" % (b"" if bare[:5] == b"data:" else b"data: ", bare)


def _are_chunks(lines: list[bytes], protocol: Protocol[Any]) -> bool:
    """Say whether two lines may be chunks of one stream."""
    try:
        sent: list[Json] = [parse(line) for line in lines]
    except Malformed:
        return False
    if len(sent) < 2 or not all(type(each) is dict for each in sent):  # noqa: PLR2004
        return False
    of = claim(sent[0]) if protocol is ANY else protocol
    if of is None:
        return False
    ids = [each.get("id") or each.get("responseId") for each in sent]
    # A chunk may have the shape of a whole answer; then it has the id of the others.
    whole = all(of.fold(Limits()).read_body(each) for each in sent)
    return not whole or ids[0] == ids[1] is not None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield lines, each with its line end."""
    rest: list[bytes] = []
    for piece in pieces:
        first, *others = piece.split(b"\n")
        rest.append(first)
        for other in others:
            rest.append(b"\n")
            yield b"".join(rest)
            rest = [other]
    yield b"".join(rest)
