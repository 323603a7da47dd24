"""Where a value that stands alone goes, without a chunk around it.

A state that grows by one value of a chunk is a sink; the express lane cuts such values
out of many events and writes them there. This module knows how the raw JSON of many
values is read at once, and what makes that unsound; not which value goes where.

A sink is a text that grows (a StringIO), None for a text that is dropped, or an object
for values of another kind.
"""

import re
from collections.abc import Callable
from io import SEEK_END, BytesIO, StringIO
from typing import Any, Final, TypeAlias

import msgspec

from unstream._json import Json, count_brackets, decode, too_deep

__all__ = ["Lists", "Path", "Sink", "Values", "place", "read", "read_text", "valid"]

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_CUT_ESCAPE: Final = re.compile(
    rb"\\(?:u(?![0-9a-fA-F]{4})|u[dD][89abAB]..(?:\n|$)|\n|$)"
)
# More brackets may be nested deeper than what is folded (150), less what is around it.
_BRACKETS: Final = 100
# Shorter lists are nested less deeply than decoders refuse (about 1,000 levels).
_LONG: Final = 1200

_decode_text = msgspec.json.Decoder(str).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode


class Values:
    """Values that a rule folds one by one.

    `kind` is the type that they must have, `place` what they change; without a `fold`
    they change nothing, and it only matters that they are values.
    """

    __slots__ = ("fold", "kind", "place")

    def __init__(
        self,
        fold: Callable[[Json], None] | None,
        place: object = None,
        kind: type | None = None,
    ) -> None:
        self.fold = fold
        self.place = place
        self.kind = kind

    def read(self, bodies: list[bytes]) -> list[Json]:
        """Decode each by itself."""
        check_depth(bodies)
        values = []
        for body in bodies:
            value = decode(body)
            if self.kind is not None and type(value) is not self.kind:
                raise ValueError("of another type")
            values.append(value)
        return values

    def write(self, values: list[Json]) -> None:
        """Fold them in their order."""
        if self.fold is not None:
            for value in values:
                self.fold(value)


class Lists:
    """Lists whose items make one list, all as JSON text.

    They are held in one buffer that `settle` hands out without a copy: there may be
    more of this than of all else in a completion.
    """

    __slots__ = ("_text",)

    def __init__(self) -> None:
        self._text = BytesIO()  # the one list, but for its end

    @staticmethod
    def read(bodies: list[bytes]) -> bytes:
        """Check each by itself, and return the items of them all."""
        items = []
        for body in bodies:
            if body[:1] != b"[" or body[-1:] != b"]":
                raise ValueError("not a list")
            if len(body) > _LONG and too_deep(body):
                raise ValueError("nested too deeply")
            _skip(body)
            if item := body[1:-1].strip():
                items.append(item)
        return valid(b",".join(items))

    def write(self, items: bytes) -> None:
        """Append items."""
        if items:
            self._text.write(b"," if self._text.tell() else b"[")
            self._text.write(items)

    def settle(self) -> bytes:
        """Return the one list so far."""
        if not self._text.tell():
            return b"[]"
        self._text.write(b"]")
        whole = self._text.getvalue()
        self._text.seek(-1, SEEK_END)  # the next item goes there
        return whole


def check_depth(bodies: list[bytes]) -> None:
    """Raise ValueError where one of them may be nested too deeply."""
    for body in bodies:
        if len(body) > _BRACKETS and count_brackets(body) > _BRACKETS:
            raise ValueError("it may be nested too deeply")


def valid(text: bytes) -> bytes:
    """Replace what is no UTF-8."""
    if text.isascii():
        return text
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace").encode()
    return text


# Where a value stands in a chunk: keys of objects and places in lists.
Path: TypeAlias = tuple[str | int, ...]

Sink: TypeAlias = StringIO | Values | Lists | None


def place(sink: Sink) -> object:
    """Return what tells the state behind a sink: what goes there must stay in order."""
    found = sink.place if isinstance(sink, Values) else sink
    if isinstance(found, StringIO | Lists):
        found = id(found)
    return object() if found is None else found  # nothing is no one's rival


def read(sink: Sink, bodies: list[bytes]) -> Any:
    """Turn the raw JSON of values, of a string without its quotes, into one value.

    It is what `write` takes, and nothing changes before that. Raises ValueError where
    one of them is no value by itself, although the sum of them may be.
    """
    if isinstance(sink, Values | Lists):
        return sink.read(bodies)
    return read_text(bodies, b"".join(bodies))


def read_text(bodies: list[bytes], joined: bytes) -> str:
    """Decode the bodies of JSON strings, and the sum of them, as one.

    None by itself is a body with a quote that is not escaped, with an escape or a
    surrogate pair that is cut by its end, or with a part of a character.
    """
    if _BACKSLASH in joined or _QUOTE in joined:
        clean = b"\n".join(bodies).replace(b"\\\\", b"")
        if clean.count(b'"') != clean.count(b'\\"') or _CUT_ESCAPE.search(clean):
            raise ValueError("not the body of a string")
    if not joined.isascii():
        b"\n".join(bodies).decode()
    return _decode_text(b'"' + joined + b'"')
