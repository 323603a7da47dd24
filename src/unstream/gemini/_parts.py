"""The parts of a content: what is joined, and what stands by itself.

This module knows text parts, signatures, and which call a piece of a call belongs to;
not what becomes of a call. Parts stay in the order in which they came.

A text part is joined to the one right before it if both are thoughts or neither is,
unless both have a signature and these differ. The signature of a text may come with its
first piece (Gemini 2.5) or behind it, with an empty text (Gemini 3): the part has it in
both cases. It is never changed, moved over another part, or dropped.
"""

from io import StringIO
from typing import Final

from unstream._json import Json
from unstream._rules import CHANGED, HELD, Effects, Grown, State, settle
from unstream.gemini._calls import Call, Room

__all__ = ["Parts"]

_TEXT: Final = frozenset(("text", "thought", "thoughtSignature"))
_THOUGHTS: Final = (bool, type(None))
_SIGNATURES: Final = (str, type(None))


class Parts(Grown):
    """The parts of one candidate's content."""

    __slots__ = ("_is_open", "_newest", "_open", "_parts", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._parts: list[State | Call] = []
        self._newest: State | None = None  # the last part, if it is text
        self._is_open = False  # a call is: pieces without a name go on with it
        self._open: Call | None = None  # it; None if there was no room for it

    def add(self, part: State, effects: Effects) -> bool:
        """Take the next part; say whether it said anything."""
        if type(part.get("text")) is str and _is_text(part):
            return self._add_text(part, effects)
        call = part.get("functionCall")
        if type(call) is not dict:
            self._append(part, effects)
            return True
        if not call and not self._is_open and len(part) == 1:
            return False  # the end of a call that ended before
        self._add_call(part, call, effects)
        return True

    def ends_in_code(self) -> bool:
        """Say whether the last part is code, so that its result is still to come."""
        newest = self._parts[-1] if self._parts else None
        return type(newest) is dict and "executableCode" in newest

    def count_open(self) -> int:
        """Count the calls that were not closed."""
        return int(self._open is not None and self._is_open)

    def result(self) -> list[Json]:
        """Return the parts so far."""
        return settle(self._parts)  # type: ignore[no-any-return]

    def _append(self, part: State | Call, effects: Effects) -> None:
        self._parts.append(part)
        self._newest = None
        effects.append(("parts", True, HELD))

    def _add_text(self, part: State, effects: Effects) -> bool:
        text, signature = part["text"], part.get("thoughtSignature")
        if not text and not signature:
            return False
        newest = self._newest
        if newest is not None and bool(part.get("thought")) == bool(
            newest.get("thought")
        ):
            held = newest.get("thoughtSignature")
            if not held or not signature or held == signature:
                if signature and not held:
                    newest["thoughtSignature"] = signature
                    effects.append(("thoughtSignature", signature, CHANGED))
                if text:
                    newest["text"].write(text)
                    effects.append(("text", text, newest["text"]))
                return True
        part["text"] = grown = StringIO()
        grown.write(text)
        self._append(part, effects)
        self._newest = part
        return True

    def _add_call(self, part: State, call: State, effects: Effects) -> None:
        name = call.get("name")
        if self._is_open and not (type(name) is str and name):
            self._is_open = call.get("willContinue") is True
            if self._open is not None:
                effects.append(("functionCall", True, HELD))
                if rest := self._open.add(part, call):
                    self._append(rest, effects)  # a second signature, say
            return
        if self._open is not None:
            self._open.is_open = False
        has_room = self._room.may_open_call()
        self._is_open = call.get("willContinue") is True
        self._open = None
        if self._is_open or type(call.get("partialArgs")) is list:
            if has_room:
                self._open = Call(part, call, self._room)
                self._append(self._open, effects)
        elif has_room:
            self._append(part, effects)


def _is_text(part: State) -> bool:
    """Say whether a part that has a text is nothing else."""
    if len(part) == 1:
        return True
    return (
        part.keys() <= _TEXT
        and type(part.get("thought")) in _THOUGHTS
        and type(part.get("thoughtSignature")) in _SIGNATURES
    )
