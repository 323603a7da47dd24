"""Log probabilities as they were sent: JSON text that is cut out of a chunk.

This module knows where their text stands in a chunk, and what makes a list unfit to be
kept as text; how such lists grow is in `_lists`.
"""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from unstream._json import MAX_DEPTH

__all__ = ["check", "raw_logprobs"]


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
