"""How each key of a response folds: one row a key, one table a level.

This module is where a new habit goes. A key that nobody listed needs nothing: the
default rule of its level keeps it, at the top and in a candidate the last value that is
not empty (an empty one makes the key), in a content the last that is not null.

What has the rule `ignore` is structure, which `_fold` walks.
"""

import json
from typing import Final

from unstream._json import Json
from unstream._rules import (
    CHANGED,
    HELD,
    Did,
    Effects,
    Grown,
    Rule,
    Rules,
    State,
    extend,
    ignore,
    last_non_null,
    settle,
)

__all__ = [
    "CANDIDATE",
    "CONTENT",
    "TOP",
    "ends",
    "fold_level",
    "to_index",
]


def first(state: State, key: str, value: Json) -> Did:
    """Keep the first text that is not empty; an empty one makes the key."""
    if type(value) is not str or state.get(key) or state.get(key) == value:
        return None
    state[key] = value
    return CHANGED


def usage(state: State, key: str, value: Json) -> Did:
    """Keep the last total; what has none is added to it, field by field.

    Each is a running total, and zeros are left out of the wire: a count that is missing
    beside a total is zero and not what it was before. Vertex AI sends a `trafficType`
    alone in all events but the last.
    """
    if type(value) is not dict:
        return None
    held = state.get(key)
    if held is None or value.get("totalTokenCount") is not None:
        return last_non_null(state, key, value)
    did: Did = None
    for name, inner in value.items():
        if inner is not None:
            did = _more(did, last_non_null(held, name, inner))
        elif name not in held:
            held[name] = None
            did = HELD
    return did


def _more(did: Did, other: Did) -> Did:
    """Return which of two things that were done is more."""
    return did if other is None or did is HELD else other


def index(state: State, key: str, value: Json) -> Did:
    """Keep an index that is one."""
    number = to_index(value)
    return None if number is None else last_non_null(state, key, number)


def finish_reason(state: State, key: str, value: Json) -> Did:
    """Keep the last that is a reason; one that is none makes the key."""
    if type(value) not in (str, int) or (not ends(value) and state.get(key)):
        return None
    return last_non_null(state, key, value)


def _lists(add: Rule) -> Rule:
    """Return the rule for an object whose lists grow; else the last, but for nulls."""

    def rule(state: State, key: str, value: Json) -> Did:
        if type(value) is not dict:
            return None
        held = state.get(key)
        did: Did = None
        if held is None:
            state[key] = held = {}
            did = HELD
        for name, inner in value.items():
            if type(inner) is list:
                did = _more(did, add(held, name, inner))
            elif inner is not None and not isinstance(held.get(name), list | _Distinct):
                did = _more(did, last_non_null(held, name, inner))
        return did

    return rule


class _Distinct(Grown):
    """A list that holds nothing twice."""

    __slots__ = ("_items", "_seen")

    def __init__(self) -> None:
        self._items: list[Json] = []
        self._seen: set[str] = set()

    def add(self, items: list[Json]) -> Did:
        """Append the items that are new."""
        n = len(self._items)
        for item in items:
            text = json.dumps(item, sort_keys=True)
            if text not in self._seen:
                self._seen.add(text)
                self._items.append(item)
        return HELD if len(self._items) > n else None

    def result(self) -> Json:
        """Return a copy of the list."""
        return settle(self._items)


def collect(state: State, key: str, value: Json) -> Did:
    """Append the items of a list that are not there yet."""
    held = state.get(key)
    if not isinstance(held, _Distinct):
        state[key] = held = _Distinct()
        held.add(value)
        return HELD
    return held.add(value)


# Keys of a response.
TOP: Final[Rules] = {
    "candidates": ignore,
    "usageMetadata": usage,
    "responseId": first,
    "modelVersion": first,
    "createTime": first,
    "error": ignore,
}

# Keys of a candidate.
CANDIDATE: Final[Rules] = {
    "index": index,
    "content": ignore,
    "finishReason": finish_reason,
    # Each event has those of its own.
    "citationMetadata": _lists(collect),
    "logprobsResult": _lists(extend),
}

# Keys of a content.
CONTENT: Final[Rules] = {
    "role": first,
    "parts": ignore,
}


def fold_level(
    state: State, sent: State, rules: Rules, rest: Rule, effects: Effects
) -> None:
    """Fold each key of an object by its rule, or by `rest`, as `_rules.fold` does.

    A value that is held already does nothing by any rule of these tables, and most are:
    to look takes a quarter of what it takes to call the rule.
    """
    hold, find = state.get, rules.get
    for key, value in sent.items():
        held = hold(key)
        if held is value or value is None or (type(value) is str and held == value):
            continue
        rule = find(key, rest)
        if rule is not ignore:
            did = rule(state, key, value)
            if did is not None:
                effects.append(did if isinstance(did, tuple) else (key, value, did))


# --- What values say ------------------------------------------------------------------


def to_index(value: Json) -> int | None:
    """Read an index: an integer, also one that a float passed through."""
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else None


def ends(reason: Json) -> bool:
    """Say whether a finishReason is one; 0 is the number of the unspecified."""
    return type(reason) in (str, int) and reason not in _UNSPECIFIED


_UNSPECIFIED: Final = ("", "FINISH_REASON_UNSPECIFIED", 0)
