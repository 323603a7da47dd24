"""Which files are meant, and their bytes; gzip and zstd are undone.

This module knows nothing of what is in a file.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Final

from unstream._coding import Body, Undecodable

__all__ = ["Source", "find", "plain", "read", "why"]

_READ: Final = 64 * 1024
# The first bytes of RFC 1952 and RFC 8878.
_MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def find(names: Iterable[str]) -> Iterator[str]:
    """Yield the files that are meant: of folders, all in them, sorted, at any depth.

    What is hidden is left out, and what is no file. A folder that cannot be read, or in
    which there is nothing, stands for itself: `read` says why.
    """
    for name in names:
        if name == "-" or not os.path.isdir(name):  # noqa: PTH112 - never raises
            yield name
            continue
        found = list(_walk(name))
        yield from found or [name]


def _walk(name: str) -> Iterator[str]:
    errors: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=errors.append):
        folders[:] = sorted(each for each in folders if each[0] != ".")
        for file in sorted(files):
            path = os.path.join(folder, file)  # noqa: PTH118 - the name as it was given
            # A link that leads nowhere is not passed over; a pipe would block.
            if file[0] != "." and (os.path.isfile(path) or not os.path.exists(path)):  # noqa: PTH110, PTH113
                yield path
    for error in errors:
        yield str(error.filename)


def why(error: OSError) -> str:
    """Say what went wrong, without the name of the file."""
    return error.strerror or str(error)


def read(name: str) -> Iterator[bytes]:
    """Yield the bytes of a file, or of standard input; raise OSError."""
    if os.path.isdir(name):  # noqa: PTH112 - never raises
        os.listdir(name)  # noqa: PTH208 - raises where it cannot be read
        raise OSError("there are no files in this folder")
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


def plain(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Undo gzip and zstd, which are told by their first bytes; raise OSError.

    What is in such a file is somebody's own, and it is folded as it comes: unlike a
    body from the network it may stand for any number of bytes.
    """
    head = b""
    for piece in pieces:
        head += piece
        if not any(magic.startswith(head) for magic in _MAGIC):
            break
    for magic, coding in _MAGIC.items():
        if head.startswith(magic):
            return plain(_decode(chain([head], pieces), coding))
    return chain([head], pieces) if head else iter(())


class Source:
    """The pieces of a file, which end where it cannot be read on; `fault` says why.

    Raises OSError where nothing of it can be read.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._has_given = False
        self.fault: OSError | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except OSError as error:
            if not self._has_given:
                raise
            self.fault = error
            raise StopIteration from None
        self._has_given = True
        return piece


def _decode(pieces: Iterator[bytes], coding: str) -> Iterator[bytes]:
    try:
        body = Body(coding, limit=sys.maxsize, ratio=sys.maxsize)
        for piece in pieces:
            yield from filter(None, body.decode(piece))
        if not body.is_whole:
            raise OSError(f"{coding}: it breaks off")
    except Undecodable as error:
        raise OSError(str(error)) from None
