"""Calls in pieces: a functionCall whose arguments come by paths (Vertex AI).

This module knows how one call grows; which call a piece belongs to is known in
`_parts`. A piece of `partialArgs` puts a string, a number, a boolean or null where its
`jsonPath` says: `$` and steps `.name`, `['name']`, `[n]`. Strings are appended, objects
and lists are made on the way, a list grows by one at a time. What cannot be put stays
under `partialArgs`, and nothing is made for it.
"""

import re
from io import StringIO
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias

from unstream._json import Json
from unstream._rules import Grown, State, settle

__all__ = ["Call", "Room"]

_STEP: Final = re.compile(
    r"\.([^.\[\]]++)"
    r"|\['((?:[^'\\]++|\\.)*+)'\]"
    r'|\["((?:[^"\\]++|\\.)*+)"\]'
    r"|\[(\d{1,18})\]",  # more digits are no place in any list
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
# No payload is nested deeper, see `_json`; and what is may not be read back.
_MOST_STEPS: Final = 128
_NOTHING: Final[Any] = object()

_Step: TypeAlias = str | int


class Room(Protocol):
    """What a fold grants its parts and calls: room, and a place for notes."""

    def may_open_call(self) -> bool:
        """Say whether there is room for one more call, and count it."""
        ...

    def may_make(self, n: int) -> bool:
        """Say whether so many objects and lists may be made, and count them."""
        ...

    def note(self, code: str) -> None:
        """Note what is odd."""


class Call(Grown):
    """A part with a functionCall that comes in pieces."""

    __slots__ = ("_args", "_call", "_left", "_part", "_room", "is_open")

    def __init__(self, part: State, call: State, room: Room) -> None:
        self._room = room
        self._part = {**part, "functionCall": None}  # its place
        self._call: State = {}
        self._args: State = {}
        self._left: list[Json] = []  # the pieces that could not be put
        self.is_open = True
        self._take(call)

    def add(self, part: State, call: State) -> State:
        """Take the next piece; return what stood beside it and has no place here."""
        self._take(call)
        held = self._part
        for key, value in part.items():
            held.setdefault(key, value)
        return {
            key: value
            for key, value in part.items()
            if key != "functionCall" and held[key] != value
        }

    def _take(self, call: State) -> None:
        for key, value in call.items():
            if key == "args":
                if type(value) is dict:
                    self._args.update(value)
            elif key == "partialArgs" and type(value) is list:
                for piece in value:
                    if not self._put(piece):
                        self._left.append(piece)
                        self._room.note("arguments_left")
            elif key != "willContinue":
                self._call.setdefault(key, value)
        self.is_open = call.get("willContinue") is True

    def result(self) -> Json:
        """Return the part so far."""
        call = {**self._call, "args": self._args}
        if self._left:
            call["partialArgs"] = self._left
        if self.is_open:
            call["willContinue"] = True
        return settle({**self._part, "functionCall": call})

    # --- Paths ------------------------------------------------------------------------

    def _put(self, piece: Json) -> bool:
        """Put a value at its path; say whether that could be done."""
        if type(piece) is not dict:
            return False
        steps = _read_path(piece.get("jsonPath"))
        value = _read_value(piece)
        if not steps or value is _NOTHING:
            return False
        node: Any = self._args
        at = 0
        while _may_hold(node, steps[at]):
            step = steps[at]
            if at + 1 == len(steps):
                _set(node, step, value)
                return True
            if _is_free(node, step):
                return self._make(node, steps[at:], value)
            node = node[step]
            at += 1
        return False

    def _make(self, node: Any, steps: list[_Step], value: Json) -> bool:
        """Make the objects and lists of a path from a free place on."""
        if any(type(step) is int and step for step in steps[1:]):
            return False  # a list begins at 0
        if not self._room.may_make(len(steps) - 1):
            return False
        for step, inner in pairwise(steps):
            made: Json = {} if type(inner) is str else []
            _set(node, step, made)
            node = made
        _set(node, steps[-1], value)
        return True


def _read_path(path: Json) -> list[_Step] | None:
    """Return the steps of a path; None where it is none, or too long."""
    if type(path) is not str or path[:1] != "$":
        return None
    steps: list[_Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(steps) == _MOST_STEPS:
            return None
        name, single, double, digits = found.groups()
        if digits is not None:
            steps.append(int(digits))
        elif name is not None:
            steps.append(name)
        else:
            steps.append(_ESCAPED.sub(r"\1", double if single is None else single))
        at = found.end()
    return steps


def _read_value(piece: State) -> Json:
    """Return what a piece puts, or _NOTHING."""
    for key, types in _VALUES.items():
        if key in piece and type(piece[key]) in types:
            return piece[key]
    return None if "nullValue" in piece else _NOTHING


_VALUES: Final = {
    "stringValue": (str,),
    "numberValue": (int, float),
    "boolValue": (bool,),
}


def _may_hold(node: Json, step: _Step) -> bool:
    """Say whether a node has, or may get, a place by that name or number."""
    if isinstance(step, str):
        return type(node) is dict
    return type(node) is list and step <= len(node)


def _is_free(node: Any, step: _Step) -> bool:
    return step == len(node) if type(node) is list else step not in node


def _set(node: Any, step: _Step, value: Json) -> None:
    """Set a value in its place; a string is appended to one that stands there."""
    if _is_free(node, step):
        if type(node) is list:
            node.append(value)
        else:
            node[step] = value
        return
    held = node[step]
    if type(value) is str:
        if type(held) is str:
            node[step] = text = StringIO()
            text.write(held)
            held = text
        if type(held) is StringIO:
            held.write(value)
            return
    node[step] = value
