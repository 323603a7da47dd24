"""Lists that are held as JSON text: log probabilities, in most protocols.

There are thousands of their items, and most are stored without being looked at: as text
they take a tenth of the memory and of the time. This module knows how such lists grow
and are handed out; not what stands in them.
"""

from collections.abc import Mapping
from io import SEEK_END, BytesIO
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from unstream._json import Json, dump, mend, read
from unstream._rules import CHANGED, HELD, Did, Grown
from unstream._structs import Text

__all__ = ["GrownLists", "JsonArray", "Lists"]


class Lists(Text):  # noqa: PLW1641 - not hashable, like the Structs around it
    """An object of lists, each the JSON text that was sent.

    `lists` holds that text by key, for any key that came. They are decoded when they
    are first looked at: see `_typed`.
    """

    __slots__ = ("_decoded", "lists")

    decoders: ClassVar[Mapping[str, msgspec.json.Decoder[Any]]] = {}

    def __init__(self, lists: dict[str, bytes]) -> None:
        self.lists: dict[str, bytes] = lists
        self._decoded: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Json]:
        """Return plain dicts and lists, shaped as the JSON of the completion."""
        return {key: read(text) for key, text in self.lists.items()}

    def to_raw(self) -> dict[str, Json]:
        """Return the text that was sent, for the encoder."""
        return {key: Raw(text) for key, text in self.lists.items()}

    @classmethod
    def from_plain(cls, value: Json) -> Any:
        """Return the lists of a parsed object."""
        if isinstance(value, cls):
            return value
        if type(value) is not dict:
            return msgspec.UNSET
        return cls({mend(key): _write(inner) for key, inner in value.items()})

    def _typed(self, key: str) -> Any:
        """Decode a list; None where none came, or one of another shape."""
        if key not in self._decoded:
            try:
                found = self.decoders[key].decode(self.lists.get(key, b"null"))
            except (msgspec.DecodeError, RecursionError):
                found = None
            self._decoded[key] = found
        return self._decoded[key]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        # What was saved and loaded is the same but for white space and digits.
        return self.lists == other.lists or dump(self.to_dict()) == dump(
            other.to_dict()
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lists!r})"

    def __reduce__(self) -> tuple[type["Lists"], tuple[dict[str, bytes]]]:
        return type(self), (self.lists,)


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


class GrownLists(Grown):
    """Lists of one object that grow from piece to piece; `kind` is what they become."""

    __slots__ = ("_kind", "_texts")

    def __init__(self, kind: type[Lists]) -> None:
        self._kind = kind
        self._texts: dict[str, JsonArray | bytes | None] = {}

    def add(self, sent: Mapping[str, Json]) -> Did:
        """Extend lists; of anything else keep the last, until there is a list."""
        known = len(self._texts)
        for name, value in sent.items():
            key = mend(name)
            held = self._texts.get(key)
            if value is None:
                self._texts.setdefault(key, None)
            elif type(value) is list:
                if not isinstance(held, JsonArray):
                    held = self._texts[key] = JsonArray()
                held.extend(_write(value))
            elif not isinstance(held, JsonArray):
                self._texts[key] = _write(value)
        # Text takes what it is long, a key takes more.
        return CHANGED if len(self._texts) == known else HELD

    def result(self) -> Lists | None:
        """Return a copy of the lists so far; None where no list came."""
        held = self._texts.values()
        if not any(isinstance(value, JsonArray) for value in held):
            return None
        return self._kind(
            {
                key: value.text() if isinstance(value, JsonArray) else value or b"null"
                for key, value in self._texts.items()
            }
        )


def _write(value: Json) -> bytes:
    try:
        return dump(value).encode()
    except UnicodeEncodeError:
        return dump(mend(value)).encode()
