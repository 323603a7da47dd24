"""Values of a chat message that are made of parts, each with a rule of its own.

Content as a list, reasoning details, thinking blocks, audio, executed tools: what
servers stream as pieces that must be put together by type, index or id. This module
knows the shape of each; which key holds which is written in `_fields`.
"""

import re
from collections.abc import Hashable
from io import StringIO
from typing import Final

from unstream._json import Json, dump
from unstream._rules import (
    CHANGED,
    HELD,
    Did,
    Effects,
    Grown,
    State,
    append,
    concat,
    extend,
    first_text,
    fold,
    grow,
    ignore,
    last,
    last_non_null,
    merge,
    settle,
)

__all__ = [
    "audio",
    "content",
    "details",
    "executed_tools",
    "function_call",
    "items",
    "provider_fields",
    "reasoning",
    "thinking_blocks",
    "unknown",
]

# Strings that name something: a later one replaces, and is never glued on.
_NAMES: Final = frozenset(
    (
        *("id", "type", "index", "role", "name", "model", "object", "format"),
        *("signature", "status", "channel", "phase"),
    )
)


def unknown(state: State, key: str, value: Json) -> Did:
    """Fold a key of a delta that has no row: texts and lists grow, objects merge."""
    if type(value) is str:
        if key in _NAMES:
            return last(state, key, value)
        if key not in state:
            state[key] = (
                value  # most come once: a text that grows takes four times more
            )
            return HELD
        if type(held := state[key]) is str:
            state[key] = StringIO()
            state[key].write(held)
        return concat(state, key, value)
    if type(value) is list:
        return extend(state, key, value)
    if type(value) is dict:
        return merge(state, key, value)
    return last_non_null(state, key, value)


def items(state: State, key: str, value: Json) -> Did:
    """Append the items of a list; a lone object is one, an empty list is nothing."""
    if type(value) is dict or (type(value) is list and value):
        return extend(state, key, value)
    return None


def reasoning(state: State, key: str, value: Json) -> Did:
    """Concatenate texts that are not empty; an object stays until a text comes."""
    if type(value) is str:
        return append(state, key, value)
    if type(value) is dict and type(state.get(key)) is not StringIO:
        return merge(state, key, value)
    return None


# --- Content --------------------------------------------------------------------------


def content(state: State, key: str, value: Json) -> Did:
    """Concatenate texts; a list, once one came, makes the content a list of parts."""
    held = state.get(key)
    if type(value) is str and (held is None or type(held) is StringIO):
        return grow(state, key, value)
    if type(value) is bool:
        return None
    if type(value) is not list and type(value) is not dict:
        value = value if type(value) is str else dump(value)
        if held is None or type(held) is StringIO:
            return grow(state, key, value)
    pieces = value if type(value) is list else [value]
    if isinstance(held, Parts):
        did: Did = None
        for part in pieces:
            did = held.add(part)
        return did if len(pieces) == 1 else HELD
    state[key] = parts = Parts()
    if held is not None:
        parts.add(held.getvalue())
    for part in pieces:
        parts.add(part)
    return HELD  # where the text went so far, no more is to be appended


class Parts(Grown):
    """Content as a list of parts, as Mistral and Databricks stream it.

    Neighbours of one type are joined where they are made of text: `text` itself, and
    lists of parts within (`thinking`, `summary`). Other parts, images say, stay apart.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[Json] = []

    def add(self, part: Json) -> Did:
        """Take the next part, or a plain string, or whatever else stood in the list."""
        if type(part) is str:
            if not part:
                return None
            part = {"type": "text", "text": part}
        if type(part) is not dict:
            self._parts.append(part)
            return HELD
        newest = self._parts[-1] if self._parts else None
        if newest is not None and _continues(newest, part):
            return _grow_part(newest, part)
        self._parts.append(newest := {})
        _grow_part(newest, part)
        return HELD  # a part of nothing, too

    def result(self) -> Json:
        """Return the parts so far."""
        return settle(self._parts)


_NESTED: Final = ("thinking", "summary")


def _grow_part(newest: State, part: State) -> Did:
    """Add a part to the newest one; say what that did, as a rule does."""
    deed: Did = None
    for key, value in part.items():
        if value is None:
            did: Did = None if key in newest else HELD
            newest.setdefault(key, None)
        elif key == "text" or (key in _NESTED and type(value) is str):
            did = concat(newest, key, value)
            if type(did) is StringIO:
                did = (key, value, did)
        elif key in _NESTED and type(value) is list:
            did = _grow_list(newest, key, value)
        elif type(value) is list:
            did = extend(newest, key, value)
        elif value == "" and key in newest:
            did = None
        else:
            did = last_non_null(newest, key, value)
        if did is not None:
            deed = did if deed is None else HELD
    return deed


def _grow_list(newest: State, key: str, value: list[Json]) -> Did:
    held = newest.get(key)
    if not isinstance(held, Parts):
        newest[key] = held = Parts()
    did: Did = None
    for inner in value:
        did = held.add(inner)
    return did if len(value) == 1 else HELD


def _continues(newest: Json, part: State) -> bool:
    return (
        type(newest) is dict
        and newest.get("type") == part.get("type")
        and newest.get("index") == part.get("index")
        and any(key in newest or key in part for key in ("text", *_NESTED))
    )


# --- Lists of objects that grow -------------------------------------------------------


def executed_tools(state: State, key: str, value: Json) -> Did:
    """Replace whole entries of a list by their `index` (Groq, which repeats them)."""
    if not (entries := _objects(value)):
        return None
    held = state.get(key)
    if not isinstance(held, Entries):
        state[key] = held = Entries()
    for entry in entries:
        held.add(entry)
    return HELD


class Entries(Grown):
    """Entries of a list, keyed by `index`; one without stands for itself."""

    __slots__ = ("_by_index", "_entries")

    def __init__(self) -> None:
        self._entries: list[Json] = []
        self._by_index: dict[str, int] = {}

    def add(self, entry: State) -> None:
        """Take the next entry, in full."""
        index = entry.get("index")
        place = len(self._entries)
        if index is not None:
            place = self._by_index.setdefault(repr(index), place)
        self._entries[place : place + 1] = [entry]

    def result(self) -> Json:
        """Return the entries so far."""
        return settle(self._entries)


def details(state: State, key: str, value: Json) -> Did:
    """Fold pieces of `reasoning_details`; an empty list is nothing."""
    if not (entries := _objects(value)):
        return None
    held = state.get(key)
    if not isinstance(held, Details):
        state[key] = held = Details()
    if len(entries) == 1:
        return held.add(entries[0])
    for entry in entries:
        held.add(entry)
    return HELD


class Details(Grown):
    """`reasoning_details`: entries keyed by type, index and id.

    OpenRouter streams a summary and an encrypted entry under one index, so the type is
    part of the key. A piece without id continues the newest entry of its type and
    index.
    """

    __slots__ = ("_by_id", "_entries", "_newest")

    def __init__(self) -> None:
        self._entries: list[State] = []
        self._by_id: dict[tuple[Hashable, ...], State] = {}
        self._newest: dict[tuple[Hashable, ...], State] = {}

    def add(self, piece: State) -> Did:
        """Take the next piece; say what it did, as a rule does."""
        group = _key(piece.get("type"), piece.get("index"))
        identity = piece.get("id")
        named = identity is not None and identity != ""
        entry = (
            self._by_id.get((*group, *_key(identity)))
            if named
            else self._newest.get(group)
        )
        deed: Did = None
        if entry is None:
            self._entries.append(entry := {})
            deed = HELD
        if named:
            self._by_id[(*group, *_key(identity))] = entry
        if self._newest.get(group) is not entry:
            self._newest[group] = entry
            deed = HELD
        for key, value in piece.items():
            if value is None:
                did: Did = None if key in entry else HELD
                entry.setdefault(key, None)
            elif key in _DETAIL_TEXTS and type(value) is str:
                did = concat(entry, key, value)
                if type(did) is StringIO:
                    did = (key, value, did)
            else:
                did = last(entry, key, value)
            if did is not None:
                deed = did if deed is None else HELD
        return deed

    def result(self) -> Json:
        """Return the entries so far."""
        return settle(self._entries)


def _key(*values: Json) -> tuple[Hashable, ...]:
    """Return what tells values apart that may be anything, and 1 from true."""
    return tuple(
        value if type(value) is str else (repr(value), type(value)) for value in values
    )


_DETAIL_TEXTS: Final = ("text", "summary", "data")


def thinking_blocks(state: State, key: str, value: Json) -> Did:
    """Join the pieces of thinking blocks (LiteLLM over Anthropic)."""
    if not (pieces := _objects(value)):
        return None
    held = state.get(key)
    if not isinstance(held, ThinkingBlocks):
        state[key] = held = ThinkingBlocks()
    n = len(held)
    for piece in pieces:
        held.add(piece)
    return CHANGED if n == len(held) else HELD


class ThinkingBlocks(Grown):
    """Anthropic's thinking blocks: text grows, a signature ends the block.

    By `index` where there is one, which is no part of the result: LiteLLM's whole
    answers have none. A `redacted_thinking` is a block by itself.
    """

    __slots__ = ("_blocks", "_by_index", "_open")

    def __init__(self) -> None:
        self._blocks: list[State] = []
        self._by_index: dict[str, State] = {}
        self._open: State | None = None  # the newest without an index, unsigned

    def __len__(self) -> int:
        return len(self._blocks)

    def __bool__(self) -> bool:
        return True

    def add(self, piece: State) -> None:
        """Take the next piece."""
        block = self._find(piece)
        for key, value in piece.items():
            if key == "index":
                continue
            if value is None:
                block.setdefault(key, None)
            elif key in ("thinking", "data") and type(value) is str:
                concat(block, key, value)
            else:
                last(block, key, value)
        if piece.get("signature") and block is self._open:
            self._open = None

    def _find(self, piece: State) -> State:
        index = piece.get("index")
        redacted = piece.get("type") == "redacted_thinking"
        block = self._by_index.get(repr(index)) if index is not None else self._open
        if block is None or (redacted and index is None):
            block = {}
            self._blocks.append(block)
            if index is not None:
                self._by_index[repr(index)] = block
            else:
                self._open = None if redacted else block
        return block

    def result(self) -> Json:
        """Return the blocks so far."""
        return settle(self._blocks)


def provider_fields(state: State, key: str, value: Json) -> Did:
    """Fold LiteLLM's `provider_specific_fields` to what its whole answers carry."""
    if type(value) is not dict:
        return None
    held = state.get(key)
    if type(held) is not dict:
        state[key] = held = {}
    for name, inner in value.items():
        if inner is None:
            held.setdefault(name, None)
        elif name == "citation":
            extend(held, "citations", [inner])
        elif name == "thinking_blocks":
            thinking_blocks(held, name, inner)
        elif type(inner) is list:
            extend(held, name, inner)
        else:
            merge(held, name, inner)
    return HELD


def _objects(value: Json) -> list[State]:
    """Return the objects of a list; a lone object is a list of it."""
    if type(value) is dict:
        return [value]
    return [i for i in value if type(i) is dict] if type(value) is list else []


# --- Audio, and the old function call -------------------------------------------------


def audio(state: State, key: str, value: Json) -> Did:
    """Fold a piece of spoken output; one of nulls alone is nothing."""
    if type(value) is not dict or all(inner is None for inner in value.values()):
        return None
    held = state.get(key)
    if not isinstance(held, Audio):
        state[key] = held = Audio()
    return held.add(value)


class Audio(Grown):
    """`audio`: id first, data and transcript grow, expires_at and the rest last."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state: State = {}

    def add(self, piece: State) -> Did:
        """Take the next piece."""
        effects: Effects = []
        fold(self._state, piece, _AUDIO, last, effects)
        return HELD if any(did is HELD for _, _, did in effects) else CHANGED

    def result(self) -> Json:
        """Return the audio so far."""
        audio: State = settle(self._state)
        if "data" in audio:
            audio["data"] = join_base64(audio["data"])
        return audio


_AUDIO: Final = {"id": first_text, "data": concat, "transcript": concat}

_SEGMENT: Final = re.compile(r"[^=]+=*")


def join_base64(data: str) -> str:
    """Join base64 that was padded piece by piece into base64 of the joined bytes.

    Text without padding inside is returned as it is, and so is what is no base64.
    """
    if "=" not in data.rstrip("="):
        return data
    import base64  # noqa: PLC0415 - takes a millisecond, and audio is rare

    try:
        pieces = [
            base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True)
            for piece in _SEGMENT.findall(data)
        ]
    except ValueError:  # binascii.Error is one
        return data
    return base64.b64encode(b"".join(pieces)).decode()


def function_call(state: State, key: str, value: Json) -> Did:
    """Fold the deprecated function call: name first, arguments concatenated."""
    if type(value) is not dict or all(inner is None for inner in value.values()):
        return None
    held = state.get(key)
    if type(held) is not dict:
        state[key] = held = {"name": "", "arguments": StringIO()}
    name, arguments = value.get("name"), value.get("arguments")
    if type(name) is str:
        held["name"] = held["name"] or name
    append(held, "arguments", arguments if type(arguments) is str else _dump(arguments))
    effects: Effects = []
    fold(held, value, _FUNCTION_CALL, last, effects)
    return HELD if effects else CHANGED


_FUNCTION_CALL: Final = {"name": ignore, "arguments": ignore}


def _dump(value: Json) -> str:
    return "" if value is None else dump(value)
