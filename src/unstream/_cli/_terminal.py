"""What may be written to a terminal, and how a line gets out.

This module knows nothing of streams.
"""

import os
import re
import sys
from typing import Final

__all__ = [
    "drop_output",
    "escape",
    "escape_json",
    "escape_text",
    "shown",
    "tell",
    "write",
]

# What moves the cursor, changes the terminal, or turns the order of characters about:
# a model may write it, and so may who wrote what it read. One is for a text, which may
# have lines and tabs, one for a line.
_NO_TEXT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)
_NO_LINE: Final = re.compile(f"{_NO_TEXT.pattern}|[\t\n\u2028\u2029]")


def escape(text: str) -> str:
    """Return a line without control characters."""
    return _NO_LINE.sub(_as_escape, text)


def escape_text(text: str) -> str:
    """Return a text, which may have lines, without other control characters."""
    return _NO_TEXT.sub(_as_escape, text)


def _as_escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def escape_json(text: str) -> str:
    """Return JSON without control characters: they can stand in strings alone."""
    return _NO_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(name: str) -> str:
    """Return a name as text: it may hold bytes that are no UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def write(data: bytes) -> None:
    """Write to standard output, all of it and at once; raise OSError."""
    while data:  # `python -u` writes as much as there is room for
        data = data[sys.stdout.buffer.write(data) :]
    sys.stdout.buffer.flush()


def tell(message: str) -> None:
    """Write a line to standard error, if anybody reads it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"unstream: {escape(message)}\n")
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def drop_output() -> None:
    """Let standard output go nowhere: Python flushes it once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
