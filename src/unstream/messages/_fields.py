"""How each key folds: of the message, of a delta, of the usage.

This module is where a new habit goes. A key that nobody listed needs nothing: the rest
of its level keeps it. The rows of a delta hold whatever the type of the delta or of the
block is: what a value becomes is told by its own type.
"""

from io import StringIO
from typing import Final

from unstream._json import Json
from unstream._rules import (
    CHANGED,
    HELD,
    Did,
    Effects,
    Rules,
    State,
    drop,
    first_text,
    fold,
    ignore,
    last_non_null,
)

__all__ = ["BESIDE", "DELTA", "by_shape", "keep", "merge_usage"]


# --- The message ----------------------------------------------------------------------


def text(state: State, key: str, value: Json) -> Did:
    """Keep the last text."""
    return last_non_null(state, key, value) if type(value) is str else None


# Keys of a message, and of the events beside it; any other: the last that is not null.
MESSAGE: Final[Rules] = {
    "id": first_text,
    "type": first_text,
    "role": first_text,
    "model": first_text,
    "content": ignore,  # the fold reads these two
    "usage": ignore,
    "stop_reason": text,
    "stop_sequence": text,
    "error": ignore,  # reported, and no part of the message
}

# Keys of an event that are none of the message.
BESIDE: Final = frozenset(("type", "message", "delta"))


def keep(state: State, sent: State, effects: Effects) -> None:
    """Set the keys of an object on the message; a null makes a key."""
    fold(state, sent, MESSAGE, last_non_null, effects)
    for key, value in sent.items():
        if value is None and key not in MESSAGE and key not in state:
            state[key] = None
            effects.append((key, None, HELD))


def merge_usage(held: State, sent: State) -> Did:
    """Merge running totals field by field at every depth.

    The last value that is not null wins, 0 and empty ones too; a null makes the key.
    """
    did: Did = None
    for key, value in sent.items():
        inner = held.get(key)
        if value is None:
            changed: Did = None if key in held else HELD
            held.setdefault(key)
        elif type(value) is dict and type(inner) is dict:
            changed = merge_usage(inner, value)
        else:
            changed = last_non_null(held, key, value)
        if did is not HELD:
            did = changed or did
    return did


# --- A delta --------------------------------------------------------------------------


def by_shape(state: State, key: str, value: Json) -> Did:
    """Append texts, extend lists, replace the rest; what is of another type is nothing.

    A null that stands there is as good as nothing.
    """
    held, kind = state.get(key), type(value)
    if kind is str:
        return _append(state, key, value, held)
    if held is None:
        state[key] = value
        return HELD
    if kind is list:
        if type(held) is not list or not value:
            return None
        held.extend(value)
        return HELD
    if type(held) is kind or (type(held) in _NUMBERS and kind in _NUMBERS):
        return last_non_null(state, key, value)
    return None


def _append(state: State, key: str, value: str, held: Json) -> Did:
    if type(held) is StringIO:
        if not value:
            return None
        held.write(value)
        return held
    if held is not None and (type(held) is not str or not value):
        return None
    state[key] = grown = StringIO()
    grown.write(held or "")
    grown.write(value)
    return CHANGED if held else HELD


def input_json(state: State, key: str, value: Json) -> Did:
    """Join the text of the input; it is read at the end."""
    return by_shape(state, key, value) if type(value) is str else None


def citation(state: State, key: str, value: Json) -> Did:  # noqa: ARG001 - a rule
    """Append it to the list `citations`, an equal one too."""
    held = state.get("citations")
    if type(value) is not dict or (held is not None and type(held) is not list):
        return None
    if held is None:
        state["citations"] = held = []
    held.append(value)
    return HELD


def signature(state: State, key: str, value: Json) -> Did:
    """Keep the last that is not empty: it arrives whole, and is never appended."""
    held = state.get(key)
    if type(value) is not str or not value or type(held) not in (str, type(None)):
        return None
    return last_non_null(state, key, value)


# Keys of a delta; any other: `by_shape`.
DELTA: Final[Rules] = {
    "type": ignore,
    "partial_json": input_json,
    "citation": citation,
    "signature": signature,
    "estimated_tokens": drop,  # a count of progress that no answer has
}

_NUMBERS: Final = (int, float)
