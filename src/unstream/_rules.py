"""The merge rules: how the values of one key, piece by piece, become one value.

This module knows the rules and not which key follows which: that is written in the
tables of each protocol. A rule takes the state (a dict of its own level), the key and
the next value, changes the state, and says what it did:

- None: nothing, and the same value again would do nothing again;
- a StringIO: it appended the value, a string, to that text and did nothing else;
- such an answer with a key and a string before it: it did so with a string that stands
  deeper in the value, under that key;
- DROPPED: it forgot a string, as it would any other;
- CHANGED: it put a value in the place of another, or set one of a few;
- HELD: it holds more than before, and could go on like this.

What the fast roads know of folding is this answer and nothing more.

Text grows in a StringIO, which takes a piece in constant time and holds no object for
it. `settle` turns state into the plain values of the result.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from io import StringIO
from math import isfinite
from typing import Any, Final, TypeAlias

from msgspec import Struct

from unstream._json import Json, encode

__all__ = [
    "ATOMS",
    "CHANGED",
    "DROPPED",
    "HELD",
    "Deed",
    "Did",
    "Effect",
    "Effects",
    "Grown",
    "Rule",
    "Rules",
    "State",
    "append",
    "concat",
    "drop",
    "extend",
    "first_count",
    "first_id",
    "first_text",
    "fold",
    "grow",
    "ignore",
    "is_empty",
    "is_exact",
    "last",
    "last_non_null",
    "last_text",
    "merge",
    "settle",
    "table",
]


class Effect(Enum):
    """Say what a rule did that was no append."""

    DROPPED = "dropped"
    CHANGED = "changed"
    HELD = "held"


DROPPED: Final = Effect.DROPPED
CHANGED: Final = Effect.CHANGED
HELD: Final = Effect.HELD

State: TypeAlias = dict[str, Any]
# What an event did: a key, its value, and what its rule said; or, where the fold of a
# protocol appends to something else than a text, that.
Deed: TypeAlias = tuple[str, Json, Any]
Effects: TypeAlias = list[Deed]
Did: TypeAlias = StringIO | Effect | Deed | None
Rule: TypeAlias = Callable[[State, str, Json], Did]
Rules: TypeAlias = Mapping[str, Rule]


class Grown:
    """A value that grows by a rule of its own and gives out a plain copy."""

    __slots__ = ()

    def result(self) -> Json:
        """Return the plain value so far."""
        raise NotImplementedError


def fold(
    state: State, sent: Mapping[str, Json], rules: Rules, rest: Rule, effects: Effects
) -> None:
    """Fold each key of an object by its rule, or by `rest`; a null is nothing."""
    find = rules.get
    for key, value in sent.items():
        if value is not None:
            did = find(key, rest)(state, key, value)
            if did is not None:
                effects.append(did if type(did) is tuple else (key, value, did))


def is_exact(sent: State, but: str | None = None) -> bool:
    """Say whether an object that Python holds to be equal is the same JSON.

    And whether to fold it once more would change nothing. Not so where a number stands
    in it, since 1 is equal to 1.0 and to true, or a list, which might be extended; an
    integer under the key `but` is let pass.
    """
    for key, value in sent.items():
        kind = type(value)
        if kind is str or value is None or (kind is int and key == but):
            continue
        if kind is not dict or not is_exact(value):
            return False
    return True


def table(kind: type[Struct], rows: Rules) -> Rules:
    """Return the rows of a level; each field of its Struct must have one.

    Raises KeyError, when the protocol is imported, for a field without a row: its
    values would be lost in silence.
    """
    for name in kind.__struct_encode_fields__:
        if name not in rows:
            raise KeyError(f"{kind.__name__}.{name} has no row: say how it folds")
    return rows


# --- Rules ----------------------------------------------------------------------------


def ignore(state: State, key: str, value: Json) -> None:
    """Pass over what is folded elsewhere, or is the same whatever was sent."""


def drop(state: State, key: str, value: Json) -> Did:  # noqa: ARG001
    """Forget it: padding against traffic analysis, or a twin of another value."""
    return DROPPED if type(value) is str else None


def first_text(state: State, key: str, value: Json) -> Did:
    """Keep the first text that is not empty."""
    if key in state or type(value) is not str or not value:
        return None
    state[key] = value
    return CHANGED


def first_id(state: State, key: str, value: Json) -> Did:
    """Keep the first id that is not empty; a number is written as text."""
    return first_text(state, key, str(value) if type(value) is int else value)


def first_count(state: State, key: str, value: Json) -> Did:
    """Keep the first number that is not zero, cut to an integer.

    `created` is a float where a server sends what Python's `time.time()` gives.
    """
    if key in state or type(value) not in _NUMBERS or not value:
        return None
    if type(value) is float and not isfinite(value):
        return None
    state[key] = int(value)
    return CHANGED


def last_text(state: State, key: str, value: Json) -> Did:
    """Keep the last text that is not empty."""
    if type(value) is not str or not value or state.get(key) == value:
        return None
    state[key] = value
    return CHANGED


def last(state: State, key: str, value: Json) -> Did:
    """Keep the last value; an empty one replaces nothing but another empty one."""
    held = state.get(key)
    if held is not None and is_empty(value) and not is_empty(held):
        return None
    return last_non_null(state, key, value)


def last_non_null(state: State, key: str, value: Json) -> Did:
    """Keep the last value, an empty one too."""
    held = state.get(key)
    # By the text of containers and floats: 1, 1.0 and True are equal in Python and not
    # in JSON, nor are the two zeros.
    if (
        type(held) is type(value)
        and held == value
        and (type(value) in _EXACT or encode(held) == encode(value))
    ):
        return None
    state[key] = value
    return HELD if held is None else CHANGED


def merge(state: State, key: str, value: Json) -> Did:
    """Merge objects at every depth: the last value that is not empty wins.

    A null stays where nothing else ever came. The first object is kept as it is, and
    later ones change it.
    """
    held = state.get(key)
    if type(value) is not dict:
        return last(state, key, value)
    if type(held) is not dict:
        if held is not None and not value and not is_empty(held):
            return None
        state[key] = value
        return HELD
    did: Did = None
    for name, inner in value.items():
        if inner is None:
            if name not in held:
                held[name] = None
                did = HELD
        elif (changed := merge(held, name, inner)) is not None and did is not HELD:
            did = changed
    return did


def extend(state: State, key: str, value: Json) -> Did:
    """Append the items of a list; what is no list is one item."""
    items = value if type(value) is list else [value]
    held = state.get(key)
    if type(held) is not list:
        state[key] = list(items)
        return HELD
    if not items:
        return None
    held.extend(items)
    return HELD


def append(state: State, key: str, value: Json) -> Did:
    """Concatenate texts; an empty one alone is nothing, and so is what is no text."""
    return grow(state, key, value) if type(value) is str and value else None


def concat(state: State, key: str, value: Json) -> Did:
    """Concatenate texts; an empty one makes the key."""
    return grow(state, key, value) if type(value) is str else None


def grow(state: State, key: str, value: str) -> Did:
    """Append a string to the text under a key, or begin it."""
    held = state.get(key)
    if type(held) is StringIO:
        if not value:
            return None
        held.write(value)
        return held
    state[key] = held = StringIO()
    held.write(value)
    return CHANGED


def is_empty(value: Json) -> bool:
    """Say whether a value is an empty text, list or object."""
    return not value and type(value) in _SIZED


_NUMBERS: Final = (int, float)
_SIZED: Final = (str, list, dict)
_EXACT: Final = (str, int, bool)


# --- The result -----------------------------------------------------------------------

# What is its own plain value: most of all there is, told apart by one lookup.
ATOMS: Final = frozenset((str, int, float, bool, type(None)))


def settle(value: Any) -> Json:
    """Return the plain value of a state: a copy, so that the fold may go on."""
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is StringIO:
        return value.getvalue()
    if kind is dict:
        return {
            key: inner if type(inner) in ATOMS else settle(inner)
            for key, inner in value.items()
        }
    if kind is list:
        return [inner if type(inner) in ATOMS else settle(inner) for inner in value]
    if isinstance(value, Grown):
        return value.result()
    return value
