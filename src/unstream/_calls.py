"""Tool calls: which call a piece belongs to, and what the call becomes.

This module knows nothing but tool calls. Servers disagree on `index` more than on
anything else: it is missing (Mistral, Gemini), -1 (z.ai), starts at 1, or is used again
for the next call (Ollama), so a call is found by these rules, in this order:

1. With an index, the call at that index; but where an id comes that differs from that
   call's id, together with a name, it is a new call, which takes the index over.
2. Without an index, the call of that id; without an id either, the newest call.
3. Calls stand in the order in which they appeared.
"""

from io import StringIO
from typing import Final

from unstream._fit import fit
from unstream._rules import Rule, State, drop, latest, merge, settle
from unstream._schema import CustomDelta, FunctionDelta, ToolCall, ToolCallDelta
from unstream._sinks import Path, Sink

__all__ = ["Calls"]


class _Call:
    __slots__ = (
        "body",
        "extra",
        "id",
        "name",
        "name_size",
        "rest",
        "text",
        "type",
    )

    def __init__(self) -> None:
        self.id = ""
        self.type = ""
        self.body = ""  # the key that the name came under: function or custom
        self.name: list[str] = []  # its fragments
        self.name_size = 0
        self.text = StringIO()  # arguments or input
        self.rest: State = {}  # strangers beside the name
        self.extra: State = {}  # strangers beside the id

    def add_name(self, piece: str) -> None:
        # Fragments come before the arguments begin (watsonx); the whole name again, at
        # any time, is a repetition (Cerebras, OpenRouter), and so is any later name.
        if self.name and (self.text.tell() or self._is_name(piece)):
            return
        self.name.append(piece)
        self.name_size += len(piece)

    def _is_name(self, piece: str) -> bool:
        return len(piece) == self.name_size and piece == "".join(self.name)

    def settle(self) -> ToolCall:
        custom = (self.body or self.type) == "custom"
        text = self.text.getvalue()
        body = {"name": "".join(self.name), "input" if custom else "arguments": text}
        key = "custom" if custom else "function"
        call = {"id": self.id, "type": self.type or key, key: {**self.rest, **body}}
        return fit(ToolCall, settle({**self.extra, **call}))


_NOTHING: Final = ToolCallDelta()


class Calls:
    """The tool calls of one choice, `limit` of them at most."""

    __slots__ = ("_by_id", "_by_index", "_limit", "_newest", "calls", "overflowed")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.calls: list[_Call] = []
        self._by_index: dict[int, _Call | None] = {}  # None: a call over the limit
        self._by_id: dict[str, _Call] = {}
        self._newest: _Call | None = None
        self.overflowed = False

    def add(self, piece: ToolCallDelta) -> None:
        """Take the next piece of a call; one in which nothing is set is none."""
        if piece.function is None and piece == _NOTHING:
            return
        identity = _set(piece.id) if piece.id else ""
        call = self._find(piece, identity)
        if call is None:
            self.overflowed = True
            return
        if identity and not call.id:
            call.id = identity
            self._by_id.setdefault(identity, call)
        if piece.type and not call.type:
            call.type = _set(piece.type)
        if (function := piece.function) is not None:
            self._fill(call, "function", function, function.arguments)
        if (custom := piece.custom) is not None:
            self._fill(call, "custom", custom, custom.input)
        if piece.extra_content is not None:
            merge(call.extra, "extra_content", piece.extra_content)
        if piece.extra:
            for key, value in piece.extra.items():
                _rule(key)(call.extra, key, value)

    def lead(  # noqa: PLR0911 - one return a reason
        self, pieces: list[ToolCallDelta], path: Path, sinks: dict[Path, Sink]
    ) -> bool:
        """Give the text of a lone piece its sink, if it would change no more."""
        if len(pieces) != 1:
            return False
        [piece] = pieces
        index, identity = piece.index, _set(piece.id)
        if index is not None:
            call = self._by_index.get(index)
        else:
            call = self._by_id.get(identity) if identity else self._newest
        body = piece.function or piece.custom
        if body is None or (piece.function and piece.custom):
            return False
        if call is None or not call.body:
            return False
        if (identity and identity != call.id) or (piece.type and not call.type):
            return False
        if body.name and not (call.name and call.text.tell()):
            return False
        if piece.extra or body.extra or piece.extra_content:
            return False
        if isinstance(body, FunctionDelta):
            sinks[(*path, 0, "function", "arguments")] = call.text
            return bool(body.arguments)
        sinks[(*path, 0, "custom", "input")] = call.text
        return bool(body.input)

    def _find(self, piece: ToolCallDelta, identity: str) -> _Call | None:
        index = piece.index
        if index is None:
            if identity:
                return self._by_id.get(identity) or self._open()
            return self._newest or (None if self.calls else self._open())
        if index not in self._by_index:
            call = self._open()
            if call is not None:
                self._by_index[index] = call
            return call
        call = self._by_index[index]
        if call is None or not identity or not call.id or identity == call.id:
            return call
        if identity in self._by_id:  # calls that take turns at one index
            call = self._by_index[index] = self._by_id[identity]
        elif any(_set(body.name) for body in (piece.function, piece.custom) if body):
            call = self._by_index[index] = self._open()
        return call

    def _open(self) -> _Call | None:
        self._newest = None
        if len(self.calls) < self._limit:
            self._newest = _Call()
            self.calls.append(self._newest)
        return self._newest

    @staticmethod
    def _fill(
        call: _Call, key: str, body: FunctionDelta | CustomDelta, piece: str | None
    ) -> None:
        call.body = call.body or key
        if body.name and (name := _set(body.name)):
            call.add_name(name)
        if piece:
            call.text.write(piece)
        if body.extra:
            for name, value in body.extra.items():
                _rule(name)(call.rest, name, value)

    def settle(self) -> list[ToolCall]:
        """Return the calls so far."""
        return [call.settle() for call in self.calls]


def _rule(key: str) -> Rule:
    return drop if key == "obfuscation" else latest


def _set(value: str | None) -> str:
    """Read an id, type or name; some servers write an absent one as "null"."""
    return "" if value is None or value == "null" else value
