"""Log probabilities while they are folded: JSON text that grows.

There are thousands, and most are stored without being looked at: as text they take a
tenth of the memory and of the time. This module knows how the text of many lists
becomes that of one, and what makes a list unfit for that.
"""

from io import SEEK_END, BytesIO
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from unstream._json import MAX_DEPTH

__all__ = ["JsonArray", "check", "raw_logprobs"]


class JsonArray:
    """A JSON array as text, which grows by the items of others.

    `text` hands out the one buffer without a copy.
    """

    __slots__ = ("_text",)

    def __init__(self) -> None:
        self._text = BytesIO()  # the array, but for its end

    def extend(self, array: bytes) -> None:
        """Append the items of an array."""
        if items := array[1:-1].strip():
            self._text.write(b"," if self._text.tell() else b"[")
            self._text.write(items)

    def text(self) -> bytes:
        """Return the array so far."""
        if not self._text.tell():
            return b"[]"
        self._text.write(b"]")
        text = self._text.getvalue()
        self._text.seek(-1, SEEK_END)  # the next item goes there
        return text


# What is left of a list to find a number that no double holds, or deep nesting: digits
# as 0, e, commas, and brackets of both kinds as one.
_LEFT: Final = bytes.maketrans(b"123456789E{", b"000000000e[")
_GONE: Final = bytes(set(range(256)) - set(b"0123456789eE,[{"))
_EXPONENT: Final = b"0e000"
_LONG: Final = b"0" * 200  # with an exponent of two digits beside it
_BACKSLASH: Final = ord("\\")


def check(raw: Raw) -> bytes:
    """Return a list that was cut out of its event, as text.

    Its grammar has been checked. Raises ValueError where it is no list, or the ordinary
    road might read it otherwise: for half a surrogate pair, a number that JSON has not,
    bytes that are no UTF-8, or what is nested too deeply.
    """
    array = bytes(raw)
    if array[:1] != b"[" or (_BACKSLASH in array and b"\\u" in array):
        raise ValueError("no list, or with escapes")
    if not array.isascii():
        array.decode()
    left = array.translate(_LEFT, _GONE)
    if _EXPONENT in left or _LONG in left:
        raise ValueError("perhaps a number that JSON has not")
    if left.count(b"[") > MAX_DEPTH - 4:  # less what is around the list
        raise ValueError("perhaps nested too deeply")
    return array


# --- The text of a chunk's log probabilities ------------------------------------------


class _RawChoice(Struct, gc=False):
    logprobs: dict[str, Raw] | None = None


class _RawChunk(Struct, gc=False):
    choices: list[_RawChoice] | _RawChoice = []


_decode_raw: Final = msgspec.json.Decoder(_RawChunk).decode


def raw_logprobs(data: bytes, place: int) -> dict[str, Raw] | None:
    """Return log probabilities as the text that was sent; None where that fails."""
    try:
        choices: Any = _decode_raw(data).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # another choice is odd
    found: dict[str, Raw] | None
    found = (choices if type(choices) is list else [choices])[place].logprobs
    return found
