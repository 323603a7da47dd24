"""The merge rules: how the values of one key, piece by piece, become one value.

This module knows the rules and not which key follows which: that is the table in
`_dialects`. A rule takes the state (a dict of its own level), the key and the next
value, and changes the state. Text grows in a StringIO, which takes a piece in constant
time and holds no object for it; `settle` turns state into the plain values of the
result.
"""

import base64
import re
from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any, Final, TypeAlias

from unstream._json import Json
from unstream._schema import FunctionDelta
from unstream._sinks import Path, Sink

__all__ = [
    "Details",
    "Parts",
    "Rule",
    "State",
    "audio",
    "details",
    "drop",
    "extend",
    "first",
    "function_call",
    "is_settled",
    "keyed",
    "last",
    "latest",
    "merge",
    "settle",
    "stranger",
    "text",
]

State: TypeAlias = dict[str, Any]
Rule: TypeAlias = Callable[[State, str, Json], None]


def drop(state: State, key: str, value: Json) -> None:
    """Forget it: padding against traffic analysis."""


def first(state: State, key: str, value: Json) -> None:
    """Keep the first value that is not null and not empty."""
    if value is not None and value != "" and key not in state:
        state[key] = value


def last(state: State, key: str, value: Json) -> None:
    """Keep the last value that is not null and not empty."""
    if value is not None and value != "":
        state[key] = value


def latest(state: State, key: str, value: Json) -> None:
    """Keep the last value that is not null."""
    if value is not None:
        state[key] = value


def text(state: State, key: str, value: Json) -> None:
    """Concatenate strings; a value of another type replaces what was there."""
    if isinstance(value, str):
        grown = state.get(key)
        if not isinstance(grown, StringIO):
            grown = state[key] = StringIO()
        grown.write(value)
    elif value is not None:
        state[key] = value


def extend(state: State, key: str, value: Json) -> None:
    """Append the items of a list; what is no list is one item."""
    if value is None:
        return
    items = value if isinstance(value, list) else [value]
    held = state.get(key)
    if isinstance(held, list):
        held.extend(items)
    else:
        state[key] = list(items)


def merge(state: State, key: str, value: Json) -> None:
    """Merge objects at every depth: the last value wins that is not null.

    A null stays where nothing else ever came; `{}` erases nothing.
    """
    held = state.get(key)
    if isinstance(held, dict) and isinstance(value, dict):
        for name, inner in value.items():
            if inner is None:
                held.setdefault(name, None)
            else:
                merge(held, name, inner)
    elif isinstance(value, dict):
        # A copy: what was parsed belongs to the caller where chunks are fed as objects.
        state[key] = {}
        merge(state, key, value)
    elif value is not None:
        state[key] = value


def keyed(state: State, key: str, value: Json) -> None:
    """Replace whole entries of a list by their `index`."""
    if not isinstance(value, list):
        return stranger(state, key, value)
    held = state.get(key)
    if not isinstance(held, Entries):
        held = state[key] = Entries()
    return held.add(value)


# Strings that name something: a later one replaces, and is never glued on.
_NAMES: Final = frozenset(
    (
        *("id", "type", "index", "role", "name", "model", "object", "format"),
        *("signature", "status", "channel", "phase"),
    )
)


def stranger(state: State, key: str, value: Json) -> None:
    """Fold a key of a delta that nobody listed: text and lists grow, others last."""
    if isinstance(value, str):
        (last if key in _NAMES else text)(state, key, value)
    elif isinstance(value, list):
        extend(state, key, value)
    else:
        latest(state, key, value)


def is_settled(rule: Rule, state: State, key: str, value: Json) -> bool:
    """Say whether folding a value once more would change nothing, ever."""
    if value is None or rule is drop:
        return True
    # Text and lists grow by what they are given, even if it is the same.
    stays = rule is latest or (
        rule is stranger
        and not isinstance(value, list)
        and (not isinstance(value, str) or key in _NAMES)
    )
    return stays and is_same(state.get(key), value)


def is_same(held: Json, value: Json) -> bool:
    """Say whether two values are the same JSON."""
    if type(held) is not type(value) or held != value:
        return False
    # By their text: 1, 1.0 and True are equal in Python and not in JSON, nor are zeros.
    return not isinstance(value, dict | list | float) or repr(held) == repr(value)


# --- Rules with a memory --------------------------------------------------------------


class Parts:
    """Content as a list of parts, as Mistral and Databricks stream it.

    Neighbours of one type are joined where they are made of text: `text` itself, and
    lists of parts within (`thinking`, `summary`). Other parts, images say, stay apart.
    """

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[Json] = []

    def add(self, part: Json) -> None:  # noqa: C901 - one branch a shape
        """Take the next part, or a plain string, or whatever else stood in the list."""
        if isinstance(part, str):
            if not part:
                return
            part = {"type": "text", "text": part}
        if not isinstance(part, dict):
            self.parts.append(part)
            return
        newest: Json = self.parts[-1] if self.parts else None
        if not _goes_on(newest, part):
            newest = {}
            self.parts.append(newest)
        for key, value in part.items():
            if value is None:
                newest.setdefault(key, None)
            elif key == "text" or (key in _NESTED and isinstance(value, str)):
                text(newest, key, value)
            elif key in _NESTED and isinstance(value, list):
                if not isinstance(newest.get(key), Parts):
                    newest[key] = Parts()
                for inner in value:
                    newest[key].add(inner)
            elif isinstance(value, list):
                extend(newest, key, value)
            elif value != "" or key not in newest:
                newest[key] = value

    def lead(self, parts: list[Json], path: Path, sinks: dict[Path, Sink]) -> bool:
        """Give each text of a lone part its sink, if it would change no more."""
        if len(parts) != 1:
            return not parts
        [part] = parts
        newest: Json = self.parts[-1] if self.parts else None
        if not isinstance(part, dict) or not _goes_on(newest, part):
            return False
        for key, value in part.items():
            held = newest.get(key, ...)
            here = (*path, 0, key)
            if isinstance(held, Parts) and isinstance(value, list):
                if not held.lead(value, here, sinks):
                    return False
            elif isinstance(held, StringIO) and isinstance(value, str):
                if value:
                    sinks[here] = held
            elif isinstance(value, list) or not is_same(held, value):
                return False
        return True

    def settle(self) -> list[Json]:
        """Return the parts so far."""
        return [settle(part) for part in self.parts]


_NESTED: Final = ("thinking", "summary")


def _goes_on(newest: Json, part: State) -> bool:
    """Say whether a part continues the newest one."""
    return (
        isinstance(newest, dict)
        and newest.get("type") == part.get("type")
        and newest.get("index") == part.get("index")
        and (_is_textual(newest) or _is_textual(part))
    )


def _is_textual(part: State) -> bool:
    return any(key in part for key in ("text", *_NESTED))


_TEXTS: Final = ("text", "summary", "data")


class Entries:
    """Entries of a list, keyed by `index`; one without stands for itself."""

    __slots__ = ("_by_index", "entries")

    def __init__(self) -> None:
        self.entries: list[Json] = []
        self._by_index: dict[str, int] = {}

    def add(self, entries: list[Json]) -> None:
        """Take the next entries, each in full."""
        for entry in entries:
            index = entry.get("index") if isinstance(entry, dict) else None
            place = len(self.entries)
            if index is not None:
                place = self._by_index.setdefault(repr(index), place)
            self.entries[place : place + 1] = [entry]

    def settle(self) -> list[Json]:
        """Return the entries so far."""
        return [settle(entry) for entry in self.entries]


class Details:
    """`reasoning_details`: entries keyed by type, index and id.

    OpenRouter streams a summary and an encrypted entry under one index, so the type is
    part of the key. A piece without id continues the newest entry of its type and
    index.
    """

    __slots__ = ("_by_key", "_newest", "entries")

    def __init__(self) -> None:
        self.entries: list[Json] = []
        self._by_key: dict[str, State] = {}
        self._newest: dict[str, State] = {}

    def add(self, pieces: Iterable[Json]) -> None:
        """Take the next pieces."""
        for piece in pieces:
            if isinstance(piece, dict):
                self._add(piece)
            else:
                self.entries.append(piece)

    def _add(self, piece: State) -> None:
        # repr: what should be a string or a number may be anything.
        group = repr((piece.get("type"), piece.get("index")))
        key = group + repr(piece.get("id"))
        named = piece.get("id") not in (None, "")
        entry = (self._by_key if named else self._newest).get(key if named else group)
        if entry is None:
            entry = {}
            self.entries.append(entry)
        if named:
            self._by_key[key] = entry
        self._newest[group] = entry
        for name, value in piece.items():
            if value is None:
                entry.setdefault(name, None)
            elif name in _TEXTS:
                text(entry, name, value)
            else:
                last(entry, name, value)

    def lead(self, pieces: list[Json], path: Path, sinks: dict[Path, Sink]) -> bool:
        """Give each text of some pieces its sink, if they would change no more."""
        for place, piece in enumerate(pieces):
            if not isinstance(piece, dict) or piece.get("id") not in (None, ""):
                return False
            entry = self._newest.get(repr((piece.get("type"), piece.get("index"))))
            if entry is None:
                return False
            for key, value in piece.items():
                held = entry.get(key, ...)
                if isinstance(held, StringIO) and isinstance(value, str):
                    sinks[(*path, place, key)] = held
                elif not is_same(held, value):
                    return False
        return True

    def settle(self) -> list[Json]:
        """Return the entries so far."""
        return [settle(entry) for entry in self.entries]


def details(state: State, key: str, value: Json) -> None:
    """Fold pieces of `reasoning_details`; an empty list is nothing."""
    if not isinstance(value, list):
        stranger(state, key, value)
    elif value:
        held = state.get(key)
        if not isinstance(held, Details):
            held = state[key] = Details()
        held.add(value)


class Sound:
    """`audio`: id first, data and transcript grow, expires_at and the rest last."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: State = {}

    def add(self, piece: State) -> None:
        """Take the next piece."""
        for key, value in piece.items():
            rule = _SOUND.get(key, latest)
            rule(self.state, key, value)

    def settle(self) -> State:
        """Return the audio so far."""
        audio: State = settle(self.state)
        if isinstance(data := audio.get("data"), str):
            audio["data"] = join_base64(data)
        return audio


_SOUND: Final = {"id": first, "data": text, "transcript": text}


def audio(state: State, key: str, value: Json) -> None:
    """Fold a piece of spoken output."""
    if not isinstance(value, dict):
        return stranger(state, key, value)
    if all(inner is None for inner in value.values()):
        return None
    held = state.get(key)
    if not isinstance(held, Sound):
        held = state[key] = Sound()
    return held.add(value)


def function_call(state: State, key: str, value: Any) -> None:
    """Fold the deprecated function call: name first, arguments concatenated."""
    if not isinstance(value, FunctionDelta):
        return stranger(state, key, value)
    if value == FunctionDelta():
        return None
    held = state.get(key)
    if not isinstance(held, dict):
        held = state[key] = {"name": "", "arguments": StringIO()}
    held["name"] = held["name"] or value.name or ""
    held["arguments"].write(value.arguments or "")
    for name, inner in (value.extra or {}).items():
        if name not in ("name", "arguments"):
            latest(held, name, inner)
    return None


_SEGMENT: Final = re.compile(r"[^=]+=*")


def join_base64(data: str) -> str:
    """Join base64 that was padded piece by piece into base64 of the joined bytes.

    Text without padding inside is returned as it is, and so is what is no base64.
    """
    if "=" not in data.rstrip("="):
        return data
    try:
        pieces = [
            base64.b64decode(piece + "=" * (-len(piece) % 4), validate=True)
            for piece in _SEGMENT.findall(data)
        ]
    except ValueError:  # binascii.Error is one
        return data
    return base64.b64encode(b"".join(pieces)).decode()


# What is its own plain value: most of all there is, told apart by one lookup.
_ATOMS: Final = frozenset((str, int, float, bool, type(None)))


def settle(value: Any) -> Json:
    """Return the plain value of a state: a copy, so that the fold may go on."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict or isinstance(value, dict):
        return {
            key: inner if type(inner) in _ATOMS else settle(inner)
            for key, inner in value.items()
        }
    if kind is StringIO:
        return value.getvalue()
    if kind is list:
        return [settle(inner) for inner in value]
    if isinstance(value, Parts | Details | Entries | Sound):
        return value.settle()
    return value
