"""The look: an event that equals the one before it but for its text and its usage.

Nearly every event of Google's is one more piece of the same text, with a new total. It
is decoded into Structs, and where everything but these two equals an event that did
nothing but append its text and replace the usage, its text is appended where that one's
went, and its usage takes the place of the former. What may stand in such an event has a
field here: an event with any other key or type goes the ordinary way. What was learned
is forgotten as soon as an event went that way. (Events that differ in their texts alone
need no look, they are taken by the fast path.)
"""

from io import StringIO
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from unstream._json import REFUSED
from unstream._rules import CHANGED, Effects, State

__all__ = ["Look"]

# Streams in which something else changes from event to event are not looked at again
# and again in vain: after so many misses in a row, not any more.
_MISSES: Final = 4

# Counts, names, and counts by modality: nothing that is deep.
_Usage: TypeAlias = dict[str, int | str | list[dict[str, int | str]]]


class _Part(Struct, gc=False, forbid_unknown_fields=True):
    text: str
    thought: bool = False


class _Content(Struct, gc=False, forbid_unknown_fields=True):
    parts: tuple[_Part]
    role: str | None = None


class _Candidate(Struct, gc=False, forbid_unknown_fields=True):
    content: _Content
    index: int | None = None


class _Response(Struct, gc=False, forbid_unknown_fields=True):
    # The names of the wire, in the order of Google's servers.
    candidates: tuple[_Candidate]
    usageMetadata: _Usage  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    createTime: str | None = None  # noqa: N815
    responseId: str | None = None  # noqa: N815


_decode: Final = msgspec.json.Decoder(_Response).decode

_Rest: TypeAlias = tuple[int | str | bool | None, ...]


def _rest(sent: _Response) -> _Rest:
    """Return all that an event says besides its text and its usage."""
    [candidate] = sent.candidates
    content = candidate.content
    return (
        content.parts[0].thought,
        content.role,
        candidate.index,
        sent.modelVersion,
        sent.createTime,
        sent.responseId,
    )


class Look:
    """What the newest event was, if one like it can be taken by a look."""

    __slots__ = ("_misses", "_rest", "_text", "is_ready")

    def __init__(self) -> None:
        self.is_ready = False
        self._misses = 0
        self._rest: _Rest = ()
        self._text = StringIO()

    def learn(self, data: bytes, effects: Effects) -> None:
        """Look at an event that did what the effects say."""
        if len(effects) != 2 or self._misses == _MISSES:  # noqa: PLR2004 - text, usage
            return
        (key, _, replaced), (_, text, appended) = effects
        if key != "usageMetadata" or replaced is not CHANGED:
            return
        if not isinstance(appended, StringIO):
            return
        try:
            sent = _decode(data)
        except REFUSED:
            self._misses += 1
            return
        if sent.candidates[0].content.parts[0].text == text:
            self._rest = _rest(sent)
            self._text = appended
            self.is_ready = True

    def take(self, data: bytes, top: State) -> bool:
        """Take an event if it is like the newest one; say whether it is."""
        try:
            sent = _decode(data)
        except REFUSED:
            sent = None
        if (
            sent is None
            or _rest(sent) != self._rest
            or "totalTokenCount" not in sent.usageMetadata
        ):
            self._misses += 1
            self.is_ready = False
            return False
        self._misses = 0
        # An empty text says nothing, and to append it does nothing.
        self._text.write(sent.candidates[0].content.parts[0].text)
        top["usageMetadata"] = sent.usageMetadata
        return True
