"""The items of one response: which of them an event is about, and what it becomes.

Servers disagree on `output_index` and on ids: one index for all items, an id that
changes on every event (GitHub Copilot), neither of them. So an item is found by these
rules, in this order:

1. One whose id is the event's: of several the one at the event's index, else the
   newest.
2. The newest at the event's index. But if it is of another known type than the event
   builds, or closed while the event names another id, a new item behind it.
3. Without an index: a new item behind all others where there is an id; without either
   the newest open item of the type that the event builds, else a new one.

Each is a look into a dict, so that a stream of many items stays linear.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from unstream._json import Json
from unstream._rules import State
from unstream.responses._families import FAMILIES
from unstream.responses._schema import ITEMS
from unstream.responses._slots import fill

__all__ = ["Item", "Items", "Room", "type_of"]

# Types that are described: an item of one of them is of no other.
_KNOWN: Final = frozenset((*ITEMS, *(family.item for family in FAMILIES.values())))


class Room(Protocol):
    """What a fold grants its items: room for one more, and a place for notes."""

    def may_open(self, kind: str) -> bool:
        """Say whether there is room for one more item of a type, and count it."""
        ...

    def leave(self, kind: str) -> None:
        """Take note that an item of a type is held no more."""

    def note(self, code: str) -> None:
        """Note what is odd."""


class Item:
    """One item: its `state`, with texts that grow in it, and where it stands.

    `built` says that deltas opened it and no event gave it yet, `closed` that its
    `done` came.
    """

    __slots__ = ("built", "closed", "index", "kind", "state")

    def __init__(self, index: int, state: State, *, built: bool) -> None:
        self.index = index
        self.state = state
        self.built = built
        self.closed = False
        self.kind = type_of(state)  # that it was opened as

    @property
    def id(self) -> str:
        """Its id, or ""."""
        return _text(self.state, "id")

    @property
    def type(self) -> str:
        """Its type, or ""."""
        return type_of(self.state)


class Items:
    """The items of one response, in the order of the output."""

    __slots__ = ("_at", "_by_id", "_by_place", "_end", "_of_type", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._at: dict[int, list[Item]] = {}  # by index, in order of arrival
        self._by_id: dict[str, Item] = {}  # the newest of that id
        self._by_place: dict[tuple[str, int], Item] = {}
        self._of_type: dict[str, list[Item]] = {}
        self._end = 0  # behind all others

    def __bool__(self) -> bool:
        return bool(self._at)

    def __iter__(self) -> Iterator[Item]:
        for index in sorted(self._at):
            yield from self._at[index]

    # --- Which item -------------------------------------------------------------------

    def find(self, sent: State, index: int | None, kind: str) -> Item | None:
        """Return the item that an event is about; None for one that is not there.

        `kind` is the type that the event builds, "" where that may be any.
        """
        return self._find(_text(sent, "item_id"), index, kind)

    def _find(self, item_id: str, index: int | None, kind: str) -> Item | None:
        held = self._by_id.get(item_id) if item_id else None
        if held is not None:
            if index is None or held.index == index:
                return held
            return self._by_place.get((item_id, index), held)
        if index is None:
            return None if item_id else self._newest_of(kind)
        held = self._newest_at(index)
        if held is None or _is_other(held.type, kind):
            return None
        return None if held.closed and item_id not in ("", held.id) else held

    def _newest_at(self, index: int) -> Item | None:
        held = self._at.get(index)
        return held[-1] if held else None

    def _newest_of(self, kind: str) -> Item | None:
        """Return the newest open item of a type."""
        held = self._of_type.get(kind)
        while held:
            if not held[-1].closed and held[-1].type == kind:
                return held[-1]
            held.pop()
        return None

    # --- What becomes of it -----------------------------------------------------------

    def build(self, sent: State, index: int | None, kind: str) -> Item | None:
        """Open an item that no event gave: it has only what came."""
        state: State = {}
        if item_id := _text(sent, "item_id"):
            state["id"] = item_id
        if kind:
            state["type"] = kind
        self._room.note("item_not_added")
        return self._open(state, index, built=True)

    def add(self, state: State, index: int | None) -> None:
        """Take the item of an `added`."""
        held = self._find_same(state, index)
        if held is None:
            self._open(state, index, built=False)
        elif held.built:
            self._set(held, fill(_named(held, state), state))
        else:
            self._set(held, state)

    def close(self, state: State, index: int | None, sent: State) -> bool:
        """Take the item of a `done`; say whether that did anything."""
        item_id, kind = _text(state, "id") or _text(sent, "item_id"), type_of(state)
        held = self._find(item_id, index, kind)
        if held is None or (held.type and kind and held.type != kind):
            self._room.note("item_not_added")
            held = self._open(state, index, built=False)
        elif held.closed:
            return False
        else:
            self._set(held, state)
        if held is not None:
            held.closed = True
        return True

    def replace(self, index: int, state: State) -> None:
        """Put an item in the place of those at an index."""
        for held in self._at.pop(index, ()):
            self._forget(held)
            held.closed = True
            self._room.leave(held.kind)
        self._open(state, index, built=False)

    def _find_same(self, state: State, index: int | None) -> Item | None:
        """Return the open item that an `added` gives at last, or once more."""
        item_id, kind = _text(state, "id"), type_of(state)
        if index is not None:
            held = self._by_place.get((item_id, index)) or self._newest_at(index)
        elif item_id in self._by_id:
            held = self._by_id[item_id]
        else:
            held = self._newest_of(kind)
            held = held if held is not None and held.built else None
        if held is None or held.closed:
            return None
        if not held.built:
            return held if _traits(held.state) == _traits(state) else None
        # What never came contradicts nothing, and its type may be a guess.
        if held.id and item_id:
            return held if held.id == item_id else None
        return None if _is_other(held.type, kind) else held

    def _open(self, state: State, index: int | None, *, built: bool) -> Item | None:
        if not self._room.may_open(type_of(state)):
            return None
        if index is None:
            index = self._end
        elif index in self._at:
            self._room.note("index_reused")
        self._end = max(self._end, index + 1)
        item = Item(index, state, built=built)
        self._at.setdefault(index, []).append(item)
        self._of_type.setdefault(item.type, []).append(item)
        self._remember(item)
        return item

    def _set(self, item: Item, state: State) -> None:
        self._forget(item)
        before, item.state = item.type, state
        item.built = False
        if item.type != before:
            self._of_type.setdefault(item.type, []).append(item)
        self._remember(item)

    def _remember(self, item: Item) -> None:
        if item_id := item.id:
            self._by_id[item_id] = item
            self._by_place[item_id, item.index] = item

    def _forget(self, item: Item) -> None:
        item_id = item.id
        if self._by_id.get(item_id) is item:
            del self._by_id[item_id]
        if self._by_place.get((item_id, item.index)) is item:
            del self._by_place[item_id, item.index]


def _text(state: State, key: str) -> str:
    value = state.get(key)
    return value if type(value) is str else ""


def type_of(value: Json) -> str:
    """Return the type that an object says that it is of, or ""."""
    return _text(value, "type") if type(value) is dict else ""


def _traits(state: State) -> tuple[Json, ...]:
    return _text(state, "id"), type_of(state), state.get("call_id")


def _is_other(held: str, kind: str) -> bool:
    """Say whether items of a type cannot be what an event builds."""
    return held in _KNOWN and kind not in ("", held)


def _named(item: Item, given: State) -> State:
    """Name the texts of an item by its type, which an unknown family did not know."""
    kind = type_of(given)
    if item.type or not kind:
        return item.state
    return {key.removeprefix(f"{kind}_"): item.state[key] for key in item.state}
