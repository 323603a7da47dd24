"""What grows inside an item: lists that are written by index, and texts.

A list is written in any order, with holes; what stands in it may be given whole, or
built by deltas before it is given. This module knows how both become one.
"""

from io import StringIO
from typing import Any, Final

from unstream._json import Json
from unstream._rules import HELD, Effect, Grown, State, is_empty, settle

__all__ = ["Slots", "fill", "grow", "slots", "to_index"]


def to_index(value: Json) -> int | None:
    """Read an index: an integer of at least 0; anything else is missing."""
    return value if type(value) is int and value >= 0 else None


class Slots(dict[int, Any], Grown):
    """A list that is written by index; holes are closed in the result.

    `built` are the places that deltas opened, which no event gave yet; `end` is behind
    the last place.
    """

    __slots__ = ("built", "end")

    def __init__(self, values: Json = None) -> None:
        super().__init__(enumerate(values) if type(values) is list else ())
        self.built: set[int] = set()
        self.end = len(self)

    def put(self, index: int, value: Json) -> None:
        """Set the value of a place, as it was given."""
        self[index] = value
        self.end = max(self.end, index + 1)
        self.built.discard(index)

    def open(self, index: int, value: Json) -> None:
        """Set the value of a place that nothing gave."""
        self.put(index, value)
        self.built.add(index)

    def give(self, index: int, value: Json) -> None:
        """Set the value of a place; what deltas built there stays."""
        self.put(index, fill(self[index], value) if index in self.built else value)

    def result(self) -> Json:
        """Return the list so far."""
        return [settle(self[index]) for index in sorted(self)]


_NOTHING: Final = (None, "")


def fill(built: Json, given: Json) -> Json:
    """Return what was given, but what was built where that is empty, at any depth."""
    if built in _NOTHING:
        return given
    if given is None or is_empty(given):
        return built
    if type(given) is dict and type(built) is dict:
        kept = {key: fill(value, given.get(key)) for key, value in built.items()}
        return {**given, **kept}
    if type(given) is list and isinstance(built, Slots):
        for index, value in enumerate(given):
            built.put(index, fill(built.get(index), value))
        return built
    return given


def slots(level: State, key: str) -> Slots:
    """Return the list under a key of an object, to be written by index."""
    held = level.get(key)
    if not isinstance(held, Slots):
        level[key] = held = Slots(held)
    return held


def grow(holder: dict[Any, Any], key: Any, text: str) -> StringIO | Effect:
    """Append to the text under a key, which may have been given whole."""
    held = holder.get(key)
    if type(held) is StringIO:
        held.write(text)
        return held
    holder[key] = grown = StringIO()
    grown.write(held if type(held) is str else "")
    grown.write(text)
    return HELD
