"""Tool calls: which call a piece belongs to, and what the call becomes.

This module knows nothing but tool calls. Servers disagree on `index` more than on
anything else: it is missing (Mistral, Gemini), -1 (z.ai), starts at 1, or is used again
for the next call (Ollama), so a call is found by these rules, in this order:

1. With an index, the call at that index; but where an id comes that differs from that
   call's id, together with a name, it is a new call, which takes the index over.
2. Without an index, the call of that id; without an id either, the newest call.
3. A piece with another name, where the call's arguments are a whole JSON object, is a
   new call, which takes index and id over. So is a piece without index and id that has
   a name and whole arguments, where those of the newest call are whole.
4. A piece in which nothing is set (no id, name, arguments or unknown key) opens none.
5. Calls stand by index where each has one, else in the order in which they appeared.
"""

from io import StringIO
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import asdict

from unstream._json import Json, dump, is_object
from unstream._outcome import Arguments, judge
from unstream._rules import (
    CHANGED,
    HELD,
    Did,
    Effects,
    Grown,
    Rules,
    State,
    drop,
    fold,
    ignore,
    last,
    merge,
    settle,
)
from unstream._structs import structure
from unstream.chat._schema import Function, FunctionDelta, ToolCall, ToolCallDelta

__all__ = ["CALL", "FUNCTION", "Calls", "Room", "to_index"]

# Keys of a call; any other: the last value that is not empty.
CALL: Final[Rules] = {
    "index": ignore,  # `Calls` reads these, by the rules above
    "id": ignore,
    "type": ignore,
    "function": ignore,
    "custom": ignore,
    "extra_content": merge,  # Gemini: thought signatures
    "obfuscation": drop,
}
# Keys of `function` and `custom`; any other: the last value that is not empty.
FUNCTION: Final[Rules] = {
    "name": ignore,
    "arguments": ignore,
    "input": ignore,
    "obfuscation": drop,
}

# Fields of a piece that `Calls.add_plain` does not read itself: none today.
_MORE: Final = (
    *set(ToolCallDelta.__struct_fields__).difference(
        ("index", "id", "type", "function")
    ),
    *set(FunctionDelta.__struct_fields__).difference(("name", "arguments")),
)

# Whether arguments are whole is asked only where a name changes. After so many times in
# vain it is not asked again: each time may read all that came.
_MOST_ASKED: Final = 16
_PLACEHOLDER: Final = "{}"


class Room(Protocol):
    """What a fold grants its calls: room for one more, and a place for notes."""

    def may_open_call(self) -> bool:
        """Say whether there is room for one more call, and count it."""
        ...

    def note(self, code: str) -> None:
        """Note what is odd."""


class Calls(Grown):
    """The tool calls of one choice."""

    __slots__ = ("_by_id", "_by_index", "_calls", "_newest", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._calls: list[_Call] = []
        self._by_index: dict[int | None, _Call | None] = {}  # None: there was no room
        self._by_id: dict[str, _Call] = {}
        self._newest: _Call | None = None

    def add_plain(self, sent: ToolCallDelta) -> Did:
        """Take the next piece of a call that has nothing rare in it."""
        function = sent.function
        if _MORE or function is None:
            plain = asdict(sent)
            if function is not None:
                plain["function"] = asdict(function)
            return self.add(plain)
        call = self._by_index.get(sent.index)
        # Most often it is more of the arguments of a call that is known by its index.
        if (
            call is not None
            and not (sent.id or sent.type or function.name)
            and call.key == "function"
        ):
            if not function.arguments:
                return None
            if call.add(function.arguments):
                return CHANGED
            return ("arguments", function.arguments, call.text)
        return self._add(_read_plain(sent, function))

    def add(self, sent: State) -> Did:
        """Take the next piece of a call; say what it did, as a rule does."""
        return self._add(_read(sent), sent)

    def _add(self, piece: "_Piece", sent: State | None = None) -> Did:
        """Take a piece that was read, and what has no field, of what was sent."""
        n, at_index = len(self._calls), self._by_index.get(piece.index)
        newest = self._newest
        call = self._find(piece)
        if call is None:  # and where there was no room, what follows is lost, too
            return None if newest is self._newest else CHANGED
        changed = n != len(self._calls)
        if piece.index is not None and call is not at_index:
            changed = True
        effects: Effects = []
        if sent is not None:
            fold(call.extra, sent, CALL, last, effects)
            fold(call.rest, piece.body, FUNCTION, last, effects)
        if piece.twin is not None:
            last(call.extra, "custom", piece.twin)
            changed = True
        if piece.id and not call.id:
            call.id = piece.id
            self._by_id.setdefault(piece.id, call)
            changed = True
        if piece.type and not call.type:
            call.type = piece.type
            changed = True
        if piece.key != call.key and (not call.key or (piece.says and call.is_blank())):
            call.key = piece.key
            changed = True
        if piece.name and self._add_name(call, piece.name):
            changed = True
        if piece.text and call.add(piece.text):
            changed = True
        # Without an index, a name may begin a new call the next time.
        if changed or effects or (piece.name and piece.index is None):
            opened = n != len(self._calls) or any(did is HELD for _, _, did in effects)
            return HELD if opened else CHANGED
        if not piece.text:
            return None
        place = "input" if piece.key == "custom" else "arguments"
        return (place, piece.text, call.text)

    def _add_name(self, call: "_Call", name: str) -> bool:
        """Take a name, or a fragment of one; say whether it changed anything."""
        if call.is_named(name):
            return False
        # Fragments come before the arguments begin (watsonx).
        if call.name and call.text.tell():
            self._room.note("name_changed")
            return True  # so that it is noted again, each time
        call.name.append(name)
        call.name_size += len(name)
        return True

    def _find(self, piece: "_Piece") -> "_Call | None":
        index, identity = piece.index, piece.id
        if index is not None:
            if index not in self._by_index:
                return self._open(piece)
            call = self._by_index[index]
            if call is None:
                return None
            if identity and call.id and identity != call.id:
                if identity in self._by_id:  # calls that take turns at one index
                    call = self._by_index[index] = self._by_id[identity]
                elif piece.name:
                    self._room.note("index_reused")
                    return self._open(piece)
        elif identity:
            call = self._by_id.get(identity)
            if call is None:
                return self._open(piece)
        else:
            call = self._newest
            if call is None:
                return None if self._calls else self._open(piece)
            if piece.name and is_object(piece.text) and call.is_whole():
                return self._open(piece)
        if (
            piece.name
            and call.name
            and not call.is_named(piece.name)
            and call.is_whole()
        ):
            self._room.note("index_reused")
            return self._open(piece)
        return call

    def _open(self, piece: "_Piece") -> "_Call | None":
        if not piece.is_set:
            return None
        call = None
        if self._room.may_open_call():
            call = _Call(piece.index)
            self._calls.append(call)
        self._newest = call
        if piece.index is not None:
            self._by_index[piece.index] = call
        if piece.id and call is not None:
            call.id = piece.id
            self._by_id[piece.id] = call
        return call

    def count_several(self) -> int:
        """Count the calls whose arguments are more than one JSON document."""
        return sum(call.is_several() for call in self._calls)

    def result(self) -> list[State]:
        """Return the calls so far."""
        return [call.result() for call in self._ordered()]

    def typed(self) -> list[ToolCall]:
        """Return the calls so far, as Structs."""
        return [call.typed() for call in self._ordered()]

    def _ordered(self) -> "list[_Call]":
        calls = self._calls
        if len(calls) > 1 and all(call.index is not None for call in calls):
            return sorted(calls, key=lambda call: call.index or 0)
        return calls

    def newest_of(self, sent: State) -> "_Call | None":
        """Return the call that a piece went to, if it was the last of its index or id.

        By the rules above, those of `_find`, once they have been followed.
        """
        index, identity = to_index(sent.get("index")), sent.get("id")
        if index is not None:
            return self._by_index.get(index)
        identity = _named(str(identity) if type(identity) is int else identity)
        return self._by_id.get(identity) if identity else self._newest


class _Piece(Struct):
    """What a piece says, read leniently."""

    index: int | None
    id: str
    type: str
    key: str  # function or custom
    name: str
    text: str
    says: bool  # a name, a text, or what has no field beside them
    is_set: bool  # or anything else
    body: State = {}
    twin: State | None = None  # a custom part beside a function that is set


def _read(sent: State) -> _Piece:
    identity = sent.get("id")
    identity = _named(str(identity) if type(identity) is int else identity)
    function, custom = _object(sent.get("function")), _object(sent.get("custom"))
    key, body, twin = "" if function is None else "function", function or {}, None
    if custom is not None:
        if not key or not any(body.values()):
            key, body = "custom", custom
        elif any(custom.values()):
            twin = custom
    name = _named(body.get("name"))
    text = _written(body.get("input" if key == "custom" else "arguments"))
    says = bool(name or text or _has_rest(body))
    return _Piece(
        index=to_index(sent.get("index")),
        id=identity,
        type=_named(sent.get("type")),
        key=key,
        name=name,
        text=text,
        says=says,
        is_set=bool(identity or says)
        or any(value is not None and key not in _KNOWN for key, value in sent.items()),
        body=body,
        twin=twin,
    )


def _read_plain(sent: ToolCallDelta, function: FunctionDelta) -> _Piece:
    identity, name = _named(sent.id), _named(function.name)
    text = function.arguments or ""
    return _Piece(
        index=sent.index,
        id=identity,
        type=_named(sent.type),
        key="function",
        name=name,
        text=text,
        says=bool(name or text),
        is_set=bool(identity or name or text),
    )


class _Call:
    __slots__ = (
        "asked",
        "extra",
        "id",
        "index",
        "key",
        "name",
        "name_size",
        "rest",
        "text",
        "type",
    )

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.type = ""
        self.key = ""  # function or custom
        self.name: list[str] = []  # its fragments
        self.name_size = 0
        self.text = StringIO()  # arguments or input
        self.rest: State = {}  # what has no field beside the name
        self.extra: State = {}  # what has no field beside the id
        self.asked = 0

    def is_named(self, name: str) -> bool:
        """Say whether that is the name so far."""
        return len(name) == self.name_size and name == "".join(self.name)

    def is_blank(self) -> bool:
        """Say whether neither a name nor a text came."""
        return not (self.name or self.text.tell() or self.rest)

    def is_whole(self) -> bool:
        """Say whether the arguments so far are a whole JSON object."""
        size = self.text.tell()
        if size < len(_PLACEHOLDER) or self.asked == _MOST_ASKED:
            return False
        self.text.seek(size - 1)
        if self.text.read(1) not in "} \t\r\n":  # before all of it is read
            return False
        self.asked += 1
        return is_object(self.text.getvalue())

    def is_several(self) -> bool:
        """Say whether the arguments are more than one JSON document."""
        if self.key == "custom" or not self.text.tell():
            return False
        text = self.text.getvalue()
        return not is_object(text) and judge(text) is Arguments.SEVERAL

    def add(self, text: str) -> bool:
        """Append a text; say whether that, or the same once more, is no mere append."""
        size = self.text.tell()
        if size > len(_PLACEHOLDER):
            self.text.write(text)
            return False
        # Databricks sends arguments of `{}` before the real ones.
        is_new = text[0] == "{" and self.text.getvalue() == _PLACEHOLDER
        if is_new:
            self.text = StringIO()
        self.text.write(text)
        return is_new or _PLACEHOLDER.startswith(self.text.getvalue())

    def result(self) -> State:
        custom = (self.key or self.type) == "custom"
        key = "custom" if custom else "function"
        text = self.text.getvalue()
        body = {"name": "".join(self.name), "input" if custom else "arguments": text}
        call = {"id": self.id, "type": self.type or key, key: {**self.rest, **body}}
        return settle({**self.extra, **call})  # type: ignore[no-any-return]

    def typed(self) -> ToolCall:
        if self.key != "function" or self.extra or self.rest:
            return structure(ToolCall, self.result())
        function = Function(name="".join(self.name), arguments=self.text.getvalue())
        return ToolCall(id=self.id, type=self.type or self.key, function=function)


_KNOWN: Final = ("index", "id", "type", "function", "custom", "obfuscation")


def to_index(value: Json) -> int | None:
    """Read an index: an integer, `1.0`, or digits; anything else is none."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and value.isascii() and value.isdigit():
        return int(value) if len(value) <= 18 else None  # noqa: PLR2004 - 64 bits
    return None


def _named(value: Json) -> str:
    """Read an id, type or name; some servers write an absent one as "null"."""
    return value if type(value) is str and value != "null" else ""


def _written(value: Json) -> str:
    """Read arguments; what came as an object is JSON text (Mistral, Ollama)."""
    if type(value) is str:
        return value
    return "" if value is None or type(value) is bool else dump(value)


def _object(value: Json) -> State | None:
    return value if type(value) is dict else None


def _has_rest(body: State) -> bool:
    return any(value is not None and key not in FUNCTION for key, value in body.items())
